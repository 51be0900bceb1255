"""Write the tables of docs/models.md: the built-in profiles, and the classes of pipelines."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from reeldrop.commands.models import video
from reeldrop.config import builtin
from reeldrop.config.values import ANY
from reeldrop.render import classes

PAGE = Path(__file__).parents[1] / "docs" / "models.md"
BEGIN = "<!-- from here on: tools/models_table.py -->\n"
BEGIN_CLASSES = "<!-- classes from here on: tools/models_table.py -->\n"
END = "<!-- up to here -->\n"


def table() -> str:
    """Return the table of the built-in profiles."""
    memory = "weights", "least GPU memory"
    films = "films by default", "reads"
    heads = ("profile", *films, "steps, guidance", "download", *memory, "licence")
    lines = [heads, ("---",) * len(heads), *map(_row, builtin.profiles())]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _row(name: str) -> tuple[str, ...]:
    profile = builtin.profile(name)
    about, defaults = profile.about, profile.prompt_defaults
    scales = {**profile.guider, **defaults}
    guidance = scales.get("guidance_scale", scales.get("max_guidance_scale"))
    url = f"https://huggingface.co/{profile.repository}"
    return (
        f"[`{name}`]({url})" if profile.repository else f"`{name}`",
        video(profile),
        _languages(profile.languages),
        f"{defaults['num_inference_steps']}, {guidance:g}",
        _gb(about.download_gb),
        _gb(about.weights_gb),
        _gb(about.offloaded_gb),
        about.licence or "",
    )


def _languages(known: Sequence[str] | None) -> str:
    return "most languages" if known == (ANY,) else ", ".join(known or ()) or "no text"


def _gb(size: float | None) -> str:
    return "not known" if size is None else f"{size:g} GB" if size else "none"


def notes() -> Iterator[str]:
    """Yield what else is to be said of a profile, each as an item of a list."""
    for name in builtin.profiles():
        note = builtin.profile(name).about.note
        if note:
            yield f"- `{name}`: {note}\n"


def page(text: str) -> str:
    """Return the page with the table and notes of today."""
    text = _between(BEGIN, f"{table()}\n{''.join(notes())}", text)
    return _between(BEGIN_CLASSES, class_table(), text)


def class_table() -> str:
    """Return the table of the classes that something is known of."""
    rows = [f"| `{name}` | {classes.outcome(name)} |\n" for name in sorted(classes.KINDS)]
    return "".join(("| class | |\n| --- | --- |\n", *rows))


def _between(begin: str, written: str, text: str) -> str:
    """Return a text with what stands behind a mark written anew."""
    pattern = f"{re.escape(begin)}.*?{re.escape(END)}"
    return re.sub(pattern, lambda _: f"{begin}\n{written}\n{END}", text, flags=re.DOTALL)


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
