"""How names of tags are compared."""

from __future__ import annotations


def normalize_name(name: str) -> str:
    """The form in which names are compared: lower case, single blanks, no underscores or outer blanks."""
    return " ".join(name.replace("_", " ").lower().split())
