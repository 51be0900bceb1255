"""Durations in words."""

from __future__ import annotations


def in_words(seconds: float) -> str:
    """Return a duration in words, with about two digits."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"
