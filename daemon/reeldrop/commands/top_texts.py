"""The texts of `reeldrop top`: the state in words, in parts that have styles. Pure: no I/O."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from rich.cells import cell_len, set_cell_size

from reeldrop.base.durations import in_words
from reeldrop.base.escaping import shown
from reeldrop.commands.top_state import Kind, Row, Seen
from reeldrop.store.status import Rendering, State

Parts = Sequence[tuple[str, str]]
"""Texts, each with its style."""

MAX_RENDERERS = 16
"""Upper bound on the renderers with a line each."""

COLUMN_SHARE = 0.45
"""Share of the width up to which the names of a list are as wide as its widest."""

_PLACES = {"device": "", "memory": " in memory", "kept": " kept in memory"}


def state(seen: Seen) -> Parts:
    """Return what the daemon does."""
    status = seen.status
    colour = "$error" if status.state.is_obstacle else "$success"
    if seen.doubt or status.state is State.UNKNOWN:
        colour = "$warning"
    at = datetime.fromisoformat(status.updated).astimezone()
    return [("● ", colour), (shown(status.said()), ""), (f"  {at:%H:%M:%S}", "dim")]


def trouble(seen: Seen) -> Parts:
    """Return what seems to be wrong, a line each."""
    status = seen.status
    troubles = [seen.doubt, *(model.trouble for model in status.models)]
    if status.missing:
        troubles.append(f"renderers are missing: {status.missing}")
    if status.refused:
        refused = f"config.yaml was refused, and the settings stay as they were: {status.refused}"
        troubles.append(refused)
    lines = [shown(found) for found in troubles if found]
    return [("\n".join(lines), "")] if lines else []


def renderers(seen: Seen) -> Parts:
    """Return what each of several renderers does, a line each."""
    found = seen.status.renderers
    lines = [f"{shown(r.id)}, {shown(r.device)}: {shown(r.said())}" for r in found[:MAX_RENDERERS]]
    if len(found) > MAX_RENDERERS:
        lines.append(f"and {len(found) - MAX_RENDERERS} more")
    return [("\n".join(lines), "")] if lines else []


def now(rendering: Rendering | None) -> Parts:
    """Return what is rendered, and how far it is."""
    if rendering is None:
        return []
    r = rendering
    beside = f", and {r.together - 1} beside it" if r.together > 1 else ""
    left = f", about {in_words(r.eta_seconds)} left" if r.eta_seconds is not None else ""
    how_far = f"  video {r.number} of {r.count}{beside}, step {r.step} of {r.steps}{left}\n"
    return [(shown(r.prompt_file), "bold"), (how_far, ""), (shown(r.prompt), "")]


def room(seen: Seen) -> Parts:
    """Return the room on the disk, and the models that are loaded."""
    loaded = [
        f"{shown(model.name)}{_PLACES.get(model.place, '')}"
        for model in seen.status.models
        if model.place
    ]
    free = "no folder for results"
    if seen.free_bytes is not None:
        free = f"{seen.free_bytes / 1e9:,.1f} GB free"
    return [(f"{free}, {'loaded: ' if loaded else 'no model loaded'}{', '.join(loaded)}", "")]


def heading(kind: Kind, count: str, sought: str) -> str:
    """Return what stands above a list."""
    if kind is Kind.RENDERING:
        return kind.upper()
    having = f" with {shown(sought)}" if sought else ""
    return f"{kind.upper()}{having}: {count}"


def line(row: Row, beside: Sequence[Row], width: int) -> Parts:
    """Return a file as a line of its list, in two columns; `width` is that of both."""
    width = min(max(cell_len(other.name) for other in beside), int(COLUMN_SHARE * width))
    name = row.name if cell_len(row.name) > width else set_cell_size(row.name, width)
    return [(f"  {name}  ", ""), (row.reason, "dim")]


def detail(row: Row) -> Parts:
    """Return all that is known of a file."""
    return [(row.name, "bold"), (f": {row.reason}" if row.reason else "", "")]
