"""The type of progress reports."""

from __future__ import annotations

from collections.abc import Callable

#: Receives one line of text, without a line break.
Report = Callable[[str], None]
