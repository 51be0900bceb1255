"""Write what a text file for another tool says as YAML."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from types import MappingProxyType

from reeldrop.base import strict_yaml, yaml_text
from reeldrop.base.escaping import short
from reeldrop.base.translated import ORIGINALS
from reeldrop.prompts import other_names
from reeldrop.prompts.key_value import Own, Recognised, Said

KEYS = (
    "prompt", "translated_prompt", "negative_prompt", "translated_negative_prompt", "height",
    "width", "num_frames", "num_inference_steps", "guidance_scale", "seed", "fps", "format",
    "num_videos_per_prompt",
)  # fmt: skip
TEXTS = (
    "prompt", "negative_prompt", "format", "translated_prompt", "translated_negative_prompt",
)  # fmt: skip
MOST = 10
"""Upper bound on the prompts of an example."""

_METADATA = re.compile(r"[A-Z][\w ()-]{2,40}: \S{1,60}")
"""A setting among others, such as `Use Face Correction: GFPGANv1.3`."""

_AROUND, _DIGITS = " *_#=-[]【】:：", "0123456789# "
LIST_MARK = re.compile(
    r"(?P<sign>[-*+>–—→](?=\s)|[oØüvq§](?=\t)"
    r"|[•◦‣▪●○∙·・►▸▶➤✓✔✅☐☑■□◆◇\uf020-\uf0ff]\ufe0f?(?=[\s\w\"'“„«「『(]))"
    r"\s*(\[[ xX]\]\s+)?(?=\S)"
    r"|[(（]?(?:(?P<letter>[a-z])\)\s+|(?P<number>\d{1,4}|[①-⑳])"  # noqa: RUF001
    r"(?:[.)](?:\s+|(?=[^\W\d]))|\t\s*|[、．）]\s*(?!\d)|\ufe0f?\u20e3\s*"  # noqa: RUF001
    r"|(?<=[①-⑳])(?:\s+|(?=[^\W①-⑳]))))(?=\S)"
)
"""What stands before an entry of a list. A letter before a tab is a sign in a font of Word's.

Not what is only part of a text: `(s)he`, `1.5 m`, `3、4只猫`, `○△□`.
"""


def example(found: Iterable[tuple[int, str, Recognised | None]]) -> tuple[str, list[str]]:
    """Return the YAML that says the same as lines, and the names for which reeldrop has no key."""
    says: list[Said] = []
    is_strange = False
    is_among_settings = False
    below = "prompt"
    lines = [(line, what, _heading(line, what)) for line, what in _joined(found)]
    bare = [line for line, what, heading in lines if what is None and heading is None]
    is_code = any(what is not None and what.what == "is a text in code" for _, what, _ in lines)
    is_list = len(bare) > 1 and all(map(LIST_MARK.match, bare))
    for line, what, heading in lines:
        is_strange = is_strange or bool(what and what.says)
        if heading is not None:
            below = heading
            continue
        if what is None and is_among_settings and _METADATA.fullmatch(line):
            continue
        if what is None or not what.is_doubtful:
            is_among_settings = what is not None and what.belongs_above
        if what is None:
            line = LIST_MARK.sub("", line, 1) if is_list else line  # at its beginning
            says.append({below: line.strip("\"'") if is_code else line})
            below = "prompt"
        elif what.says:
            says.append(what.says)
    if not any(_ours(one, []).get("prompt") for one in says):  # translations alone are prompts
        says = [{ORIGINALS.get(key, key): value for key, value in one.items()} for one in says]
    return yaml_of(*with_settings(says)) if is_strange else ("", [])


def _joined(
    found: Iterable[tuple[int, str, Recognised | None]],
) -> Iterator[tuple[str, Recognised | None]]:
    """Yield lines; those between A1111's negative prompt and its steps go on with the former."""
    above: tuple[str, Recognised] | None = None
    held: list[str] = []
    for _, line, what in found:
        if what is None and above is not None:
            held.append(line)
            continue
        if above is not None:
            is_whole = what is not None and "Steps" in what.says and len(what.says) > 1
            text = " ".join([above[1].says["negative_prompt"], *(held if is_whole else [])])
            yield above[0], dataclasses.replace(above[1], says={"negative_prompt": text.strip()})
            if not is_whole:
                yield from ((one, None) for one in held)
        above, held = None, []
        if what is not None and what.belongs_above and [*what.says] == ["negative_prompt"]:
            above = line, what
        else:
            yield line, what
    if above is not None:
        yield above
        yield from ((one, None) for one in held)


def _heading(line: str, what: Recognised | None) -> str | None:
    """Return the key of the text below a line that is only a heading; None if it is none.

    As `Settings:`, and `**Negative prompt:**` with the text in the next line; not `a room with
    vintage settings`.
    """
    if what is not None and (not what.says or any(what.says.values())):
        return None
    name = other_names.normal(line.strip(_AROUND).rstrip(_DIGITS))
    key = other_names.ours(name, (*TEXTS, "prompts"))
    is_marked = line[-1] in _AROUND or line[0] in "#=[" or name.count("_") < 2
    if key == "prompts" or (is_marked and other_names.is_heading(name)):
        return "prompt"
    return key if what is not None or "prompt" in name or not name.isascii() else None


def with_settings(says: Iterable[Said]) -> tuple[list[Said], Said]:
    """Return prompts with the settings around them, and the settings of all.

    A setting belongs to the prompt above it, and at the top to all; but if some stand above each
    prompt, and none below the last, to the one below.
    """
    rows = [(bool(_ours(one, []).get("prompt")), one) for one in says]
    given = [key for is_prompt, one in rows if not is_prompt for key in one]
    if rows and not rows[0][0] and rows[-1][0] and len(set(given)) < len(given):
        rows.reverse()
        prompts = _with_settings_below(rows)[0]
        return prompts[::-1], {}
    return _with_settings_below(rows)


def _with_settings_below(rows: Iterable[tuple[bool, Said]]) -> tuple[list[Said], Said]:
    """Return the prompts, each with the settings in the rows that follow, and those before all."""
    for_all: Said = {}
    prompts: list[Said] = []
    for is_prompt, one in rows:
        if is_prompt:
            prompts.append(one)
        elif prompts:
            prompts[-1] = {**prompts[-1], **{key: value for key, value in one.items() if value}}
        else:
            for_all = {**for_all, **one}
    return prompts, for_all


def yaml_of(says: Sequence[Said], for_all: Said = MappingProxyType({})) -> tuple[str, list[str]]:
    """Return prompts of another tool as YAML, and the names for which reeldrop has no key.

    for_all: settings that stand beside the prompts
    """
    left_out: list[str] = []
    prompts = [_ours(one, left_out) for one in says[:MOST]]
    prompts = [one for one in prompts if one.get("prompt")]
    if not prompts:
        return "", left_out
    beside = _ours(for_all, left_out)
    for one in prompts:  # it is that of the whole file
        beside |= {key: one.pop(key) for key in ("priority",) if key in one}
    whole = {"prompt": "", **beside, **prompts[0]} if len(prompts) == 1 else None
    more = "# and so on\n" if len(says) > MOST else ""
    return yaml_text.dump(whole or {"prompts": prompts, **beside}) + more, left_out


def without(left_out: Sequence[str]) -> str:
    """Return, in words, what the YAML of `yaml_of` leaves out."""
    out = ", ".join(dict.fromkeys(short(name) for name in left_out[:8]))
    return f", without {out}, which reeldrop does not have" if out else ""


def _ours(says: Said, left_out: list[str]) -> dict[str, object]:
    """Return settings of another tool by our keys; add the names without one to `left_out`."""
    settings: dict[str, object] = {}
    own: dict[str, object] = {}
    for name, value in says.items():
        if isinstance(value, Own):
            (document,) = strict_yaml.load_all(f"{name}: {value}")
            own |= strict_yaml.plain(document)
            continue
        size = other_names.size(value) if other_names.is_size(name) else None
        key = name if name in KEYS else other_names.ours(name, KEYS)
        if size is not None:
            settings["width"], settings["height"] = size
        elif key is None:
            is_setting = name != "prompts" and not name.isdigit()  # a number is a frame's
            left_out += [name] if is_setting else []
        elif key in TEXTS:
            settings[key] = value
        elif (found := number(value)) is not None and (key != "seed" or found >= 0):
            settings[key] = found
    return {key: settings[key] for key in KEYS if settings.get(key, "") != ""} | own


def number(text: str) -> float | None:
    """Return the finite number that a text is; None if it is none."""
    try:
        found = float(text[:30])
    except ValueError:
        return None
    if not math.isfinite(found):
        return None
    return int(found) if found.is_integer() else found
