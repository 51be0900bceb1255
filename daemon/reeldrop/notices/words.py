"""The texts of messages. Untrusted text is escaped."""

from __future__ import annotations

import contextlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence

from reeldrop.base.escaping import short, shown
from reeldrop.notices.happenings import DOWN, FAILED, IDLE, JOB, TROUBLE, VIDEO, Happening

TITLES = {
    VIDEO: "{prompt}",
    JOB: "{prompt_file} is done",
    FAILED: "{prompt_file} could not be rendered",
    IDLE: "all is rendered",
    TROUBLE: "reeldrop waits: {reason}",
    DOWN: "reeldrop does not run",
}
BODIES = {
    VIDEO: "{video}\nfrom {prompt_file}, {seconds} s with {model}",
    JOB: "{folder}",
    FAILED: "{reason}\n{report}",
    IDLE: "nothing waits any more",
    TROUBLE: "{state}, since {since}",
    DOWN: "its last report: {report}",
}
"""The texts that config.yaml may replace, with the facts that each kind has."""

_COUNTED = {
    VIDEO: ("1 video", "{} videos"),
    JOB: ("1 prompt file done", "{} prompt files done"),
    FAILED: ("1 failed", "{} failed"),
    IDLE: ("all is rendered",) * 2,
    TROUBLE: ("reeldrop waits",) * 2,
    DOWN: ("reeldrop did not run",) * 2,
}
"""For the title of a digest, for one event and for several."""

_MENTION = re.compile(r"(?<![^\W_])@(?=\S)|@(?=everyone|here)")
"""What chats such as Discord and Mattermost take for a call of somebody, or of all."""

_LONGEST_TITLE = 200
_LONGEST_TEXT = 20_000
_LINES = 30
"""Upper bound on the lines of a digest."""


def message(
    happenings: Sequence[Happening],
    titles: Mapping[str, str],
    bodies: Mapping[str, str],
    *,
    is_unsure: bool = False,
) -> tuple[str, str]:
    """Return title and body of a message about one event, or a digest of several.

    titles, bodies: templates by kind, in place of the default ones
    is_unsure: whether these may have been told before; then it is always a digest, which says so
    """
    if len(happenings) == 1 and not is_unsure:
        [one] = happenings
        return _title(titles, one), _filled(bodies, BODIES, one)
    counts = Counter(happening.kind for happening in happenings)
    title = ", ".join(_COUNTED[kind][n > 1].format(n) for kind, n in counts.items())
    title = f"perhaps told before: {title}" if is_unsure else title
    lines = [_title(titles, happening) for happening in happenings[-_LINES:]]
    left_out = len(happenings) - len(lines)
    more = [f"and {left_out} earlier ones"] if left_out else []
    return title, "\n".join([*more, *lines])


def _title(own: Mapping[str, str], happening: Happening) -> str:
    return short(_filled(own, TITLES, happening), _LONGEST_TITLE)


def _filled(own: Mapping[str, str], usual: Mapping[str, str], happening: Happening) -> str:
    """Return the text of config.yaml with these facts; the default one if that fails."""
    kind, facts = happening.kind, _Facts(happening.facts)
    if kind in own:
        with contextlib.suppress(ValueError, LookupError, TypeError, AttributeError, MemoryError):
            return own[kind].format_map(facts)[:_LONGEST_TEXT]
    return usual[kind].format_map(facts)[:_LONGEST_TEXT]


class _Facts(dict[str, str]):
    """Facts for a template, escaped, and calling nobody; missing ones are empty."""

    def __missing__(self, key: str) -> str:
        return ""

    def __getitem__(self, key: str) -> str:
        text = shown(super().__getitem__(key)) if key in self else ""
        return _MENTION.sub("@\N{ZERO WIDTH SPACE}", text)
