"""Checks of users' arguments: each returns the value, or raises a :class:`~anytag.errors.UsageError` with its name."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import Any, cast

from anytag.errors import UsageError
from anytag.recognition import TAG_KINDS, TagKind


def number(name: str, value: Any, low: float, high: float) -> float:
    """Check a number from ``low`` to ``high``."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise UsageError(f"{name} must be a number, not {repr_of(value)}")
    if not low <= float(value) <= high:
        raise UsageError(f"{name} must lie between {low:g} and {high:g}, not {value}")
    return float(value)


def whole_number(name: str, value: Any, least: int) -> int:
    """Check a whole number of at least ``least``."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise UsageError(f"{name} must be a whole number, not {repr_of(value)}")
    if value < least:
        raise UsageError(f"{name} must be at least {least}, not {value}")
    return int(value)


def flag(name: str, value: Any) -> bool:
    """Check a boolean."""
    if not isinstance(value, bool):
        raise UsageError(f"{name} must be True or False, not {repr_of(value)}")
    return value


def text(name: str, value: Any) -> str:
    """Check a string."""
    if not isinstance(value, str):
        raise UsageError(f"{name} must be a string, not {repr_of(value)}")
    return value


def texts(name: str, values: Any) -> list[str]:
    """Check a list, or any other iterable, of strings; a single string would be read as a list of its letters."""
    if isinstance(values, str):
        raise UsageError(f"{name}: give a list of names, not the one text {values!r}")
    if not isinstance(values, Iterable) or isinstance(values, Mapping | bytes | bytearray | memoryview):
        raise UsageError(f"{name} must be a list of strings, not {repr_of(values)}")
    given = list(values)
    for place, value in enumerate(given):
        if not isinstance(value, str):
            raise UsageError(f"{name}: every entry must be a string, but number {place + 1} is {repr_of(value)}")
    return given


def kinds(name: str, values: Any) -> Sequence[TagKind]:
    """Check a list of tag kinds."""
    given = texts(name, values)
    if bad := [kind for kind in given if kind not in TAG_KINDS]:
        raise UsageError(f"unknown kind {bad[0]!r}; kinds are {', '.join(TAG_KINDS)}")
    return cast(Sequence[TagKind], given)


def choice(name: str, value: Any, choices: Sequence[str]) -> str:
    """Check one of several words."""
    if not isinstance(value, str) or value not in choices:
        raise UsageError(f"{name} must be one of {', '.join(choices)}, not {repr_of(value)}")
    return value


def path(name: str, value: Any) -> str | Path:
    """Check a path."""
    if not isinstance(value, str | os.PathLike) or not isinstance(os.fspath(value), str):
        raise UsageError(f"{name} must be a path, not {repr_of(value)}")
    return value if isinstance(value, str) else Path(value)


def repr_of(value: object) -> str:
    """Format a value for a message: its repr if that is short, and its type."""
    text = repr(value)
    kind = type(value).__name__
    return f"{text} ({kind})" if len(text) <= 40 and "\n" not in text else f"a value of type {kind}"
