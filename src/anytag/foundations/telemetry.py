"""Switch off the telemetry of the libraries that anytag loads."""

from __future__ import annotations

import os
import sys
from typing import Any

#: Environment variables that switch off a library's telemetry, and their values.
SWITCHES = {
    "ORT_DISABLE_TELEMETRY": "1",  # ONNX Runtime from 1.29 on
    "HF_HUB_DISABLE_TELEMETRY": "1",  # huggingface-hub and transformers
    "RAY_USAGE_STATS_ENABLED": "0",
}

_OPENVINO_REPORTER = "openvino_telemetry"


def switch_off() -> None:
    """Set every switch that the user has not set; libraries read them when they are loaded."""
    for name, value in SWITCHES.items():
        os.environ.setdefault(name, value)


def import_openvino() -> Any:
    """Import OpenVINO without telemetry; no other function may import it.

    OpenVINO has no switch, but works without its reporting module, which is hidden during the import unless the
    program has loaded it already.

    Raises:
        ImportError: If OpenVINO is not installed.
    """
    hidden = _OPENVINO_REPORTER not in sys.modules
    if hidden:
        sys.modules[_OPENVINO_REPORTER] = None  # type: ignore[assignment]
    try:
        import openvino

        return openvino
    finally:
        if hidden:
            del sys.modules[_OPENVINO_REPORTER]
