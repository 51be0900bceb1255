"""Durations in words."""

from __future__ import annotations

import math


def in_words(seconds: float) -> str:
    """Return a duration in words, with about two digits; never none for what is left."""
    if seconds < 100:
        return f"{math.ceil(seconds)} s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"
