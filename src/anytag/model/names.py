"""Normalize names of tags for comparisons."""

from __future__ import annotations


def normalize_name(name: str) -> str:
    """Lower case, with single spaces instead of underscores and whitespace."""
    return " ".join(name.replace("_", " ").lower().split())
