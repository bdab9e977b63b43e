"""Counts and lists in messages."""

from __future__ import annotations

from collections.abc import Sequence


def counted(number: int, noun: str) -> str:
    """Format a number with its noun: ``1 picture``, ``2,000 pictures``, ``3 classes``, ``4 categories``."""
    if number == 1:
        return f"1 {noun}"
    if noun.endswith("s"):
        return f"{number:,} {noun}es"
    return f"{number:,} {noun[:-1]}ies" if noun.endswith("y") else f"{number:,} {noun}s"


def listed(names: Sequence[str], most: int = 5) -> str:
    """Join the first names with commas, and an ellipsis if there are more."""
    return ", ".join(names[:most]) + (", …" if len(names) > most else "")
