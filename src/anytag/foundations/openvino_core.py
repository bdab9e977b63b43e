"""OpenVINO's core, of which a process has one."""

from __future__ import annotations

from functools import cache
from typing import Any

from anytag.foundations.telemetry import import_openvino


def openvino_core() -> Any:
    """The core that reads and compiles graphs; it lives as long as the process.

    Where a processor has AMX, OpenVINO's CPU plugin gives the thread that loads it another stack for signals, takes it
    away again when its core goes, and then puts back the one that it had found. With two cores that may be the other
    one's, which is gone: the next Ctrl-C would end the process by a segmentation fault, or overwrite memory.

    Raises:
        ImportError: If OpenVINO is not installed.
    """
    core = _core(import_openvino())
    if not core.available_devices:
        _core.cache_clear()  # Its threads could not start; perhaps they can next time.
    return core


@cache
def _core(openvino: Any) -> Any:
    return openvino.Core()
