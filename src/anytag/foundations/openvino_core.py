"""The process's one OpenVINO core."""

from __future__ import annotations

from functools import cache
from typing import Any

from anytag.foundations.telemetry import import_openvino


def openvino_core() -> Any:
    """Return the core that reads and compiles graphs; it lives as long as the process.

    On processors with AMX, OpenVINO's CPU plugin gives the thread that loads it another signal stack, and restores the
    old one when its core is destroyed. With two cores, the restored one may be the other core's, which is freed: the
    next Ctrl-C would crash the process or overwrite memory.

    Raises:
        ImportError: If OpenVINO is not installed.
    """
    core = _core(import_openvino())
    if not core.available_devices:
        _core.cache_clear()  # Its threads could not start; try again next time.
    return core


@cache
def _core(openvino: Any) -> Any:
    return openvino.Core()
