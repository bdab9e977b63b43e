"""How long work says what it is doing."""

from __future__ import annotations

from collections.abc import Callable

#: Receives one line for people, without a line end.
Report = Callable[[str], None]
