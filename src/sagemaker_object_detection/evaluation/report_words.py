"""Figures and names as a reader of the training report sees them."""

from __future__ import annotations

from unicodedata import east_asian_width


def duration(seconds: float) -> str:
    """3725 as 1 h 02 min, 75 as 1 min 15 s, 0.123 as 0.12 s."""
    if seconds < 10:
        return f"{seconds:.2f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600:,} h {whole % 3600 // 60:02d} min"


def short_count(value: int) -> str:
    """12345 as 12k, for narrow cells."""
    for unit, size in (("M", 10**6), ("k", 10**3)):
        if value >= 10 * size:
            return f"{value // size}{unit}"
    return str(value)


def shortened(text: str, letters: int) -> str:
    """A text that takes the room of at most so many letters; East Asian ones count twice."""
    taken = 0
    for length, letter in enumerate(text):
        taken += 2 if east_asian_width(letter) in "WF" else 1
        if taken > letters:
            return text[: max(0, length - 1)] + "\N{HORIZONTAL ELLIPSIS}"
    return text
