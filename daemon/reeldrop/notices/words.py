"""What messages say, in plain text. Texts of strangers are escaped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from reeldrop.base.escaping import shown
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
"""In the title of a digest: how one is called, and several."""

_LONGEST_TITLE = 200
_LINES = 30
"""Of a digest."""


def message(
    happenings: Sequence[Happening], titles: Mapping[str, str], bodies: Mapping[str, str]
) -> tuple[str, str]:
    """Return title and body of a message about one thing, or a digest of several.

    titles, bodies: templates by kind, in place of the usual ones
    """
    if len(happenings) == 1:
        [one] = happenings
        title, body = _filled({**TITLES, **titles}, one), _filled({**BODIES, **bodies}, one)
        return title[:_LONGEST_TITLE], body
    counts = Counter(happening.kind for happening in happenings)
    title = ", ".join(_COUNTED[kind][n > 1].format(n) for kind, n in counts.items())
    lines = [_filled({**TITLES, **titles}, happening) for happening in happenings[-_LINES:]]
    left_out = len(happenings) - len(lines)
    more = [f"and {left_out} earlier ones"] if left_out else []
    return title, "\n".join([*more, *lines])


def _filled(templates: Mapping[str, str], happening: Happening) -> str:
    return templates[happening.kind].format_map(_Facts(happening.facts))


class _Facts(dict[str, str]):
    """Facts for a template, escaped; one that is not there is empty."""

    def __missing__(self, key: str) -> str:
        return ""

    def __getitem__(self, key: str) -> str:
        return shown(super().__getitem__(key)) if key in self else ""
