"""Switches off the telemetry of the libraries that anytag loads."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

#: Environment variable and value by which a library's telemetry is off.
SWITCHES = {
    "ORT_DISABLE_TELEMETRY": "1",  # ONNX Runtime from 1.29 on
    "HF_HUB_DISABLE_TELEMETRY": "1",  # huggingface-hub and transformers
    "RAY_USAGE_STATS_ENABLED": "0",
}


def switch_off() -> None:
    """Set every switch that the user has not set; libraries read them when they are loaded."""
    for name, value in SWITCHES.items():
        os.environ.setdefault(name, value)


def import_openvino() -> Any:
    """OpenVINO, loaded so that it reports nothing; the only place that imports it.

    Raises:
        ImportError: If it is not installed.
    """
    with without_reporter("openvino_telemetry"):
        import openvino

        return openvino


@contextmanager
def without_reporter(module: str) -> Iterator[None]:
    """Hide a module that only reports while another is imported: OpenVINO has no switch, but does without it."""
    if module in sys.modules:
        yield  # The program has loaded it for purposes of its own.
        return
    sys.modules[module] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[module]
