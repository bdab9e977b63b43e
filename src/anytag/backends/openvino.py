"""Run the same ONNX graphs with OpenVINO, which is often faster on processors with wide vector units."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anytag.backends.onnx import OnnxBackend
from anytag.errors import ModelError, ResourceError, needs_extra
from anytag.foundations.cpu_count import available_processors
from anytag.foundations.openvino_core import openvino_core
from anytag.foundations.shortage import shortage_of
from anytag.model.directory import ModelDirectory

#: OpenVINO's names. By default it uses half precision on processors that support it.
PRECISIONS = {"float32": "f32", "bfloat16": "bf16"}


class OpenVinoBackend(OnnxBackend):
    """Run ``onnx/*.onnx`` of a model directory with OpenVINO; graphs are compiled on first use.

    Args:
        threads: Threads of the runtime; ``None``: all available processors.
        device: ``cpu``, or ``gpu`` for a graphics unit that OpenVINO supports.
        precision: ``float32`` or ``bfloat16``; 8-bit graphs stay in 8 bits, and a convolutional image encoder in
            float32, as in the torch backend.

    Raises:
        MissingExtraError: If OpenVINO is not installed.
        ModelError: If the device is not available.
    """

    def __init__(
        self, directory: ModelDirectory, threads: int | None = None, device: str = "cpu", precision: str = "float32"
    ):
        with needs_extra("The openvino backend", "openvino"):
            self._core = openvino_core()
        if precision not in PRECISIONS:
            raise ModelError(f"unknown precision {precision!r}; use one of {', '.join(PRECISIONS)}")
        super().__init__(directory, threads or available_processors())
        self._parallel = False  # A compiled graph has a single inference request.
        self.device = device.upper()
        if self.device not in self._core.available_devices:
            if not self._core.available_devices:  # Its threads failed to start.
                raise ResourceError("OpenVINO offers no device; free memory, or raise the limit of threads (ulimit -u)")
            offered = ", ".join(name.lower() for name in self._core.available_devices)
            cuda = "; CUDA is for --backend onnx or torch" if device.lower().startswith("cuda") else ""
            raise ModelError(f"device {device!r} is not available to OpenVINO here; it offers {offered}{cuda}")
        self.precision = precision
        #: Graphs that are faster on a batch than on its pictures one by one.
        self._batched: set[str] = set()
        self._settings: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY"}
        if self.device == "CPU":
            self._settings["INFERENCE_NUM_THREADS"] = self.threads

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.directory, self.threads, self.device.lower(), self.precision)

    def _open(self, name: str, threads: int | None = None) -> Any:
        path = self._graph(name)
        convolutional = name == "image_encoder" and self.directory.config.image_encoder.swin is None
        hint = PRECISIONS["float32" if convolutional else self.precision]
        try:
            model = self._core.read_model(path)
            if not _shares_scales(model) and (
                name == "image_encoder" or self.directory.config.labels.kind == "described"
            ):
                self._batched.add(name)
            return self._core.compile_model(model, self.device, {**self._settings, "INFERENCE_PRECISION_HINT": hint})
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1]
            raise shortage_of(error) or ModelError(f"{path}: OpenVINO cannot load it ({reason})") from error

    def _run_each(
        self, graph: str, outputs: list[str], name: str, pictures: NDArray[Any], shared: Mapping[str, NDArray[Any]]
    ) -> list[NDArray[Any]]:
        self._session(graph)  # Decides whether it is batched.
        if graph in self._batched:
            return self._run(graph, outputs, {name: pictures, **shared})
        return super()._run_each(graph, outputs, name, pictures, shared)

    def _outputs(self, graph: str) -> list[str]:
        return [output.get_any_name() for output in self._session(graph).outputs]

    def _run(self, graph: str, outputs: list[str], inputs: dict[str, NDArray[Any]]) -> list[NDArray[Any]]:
        compiled = self._session(graph)
        # Inputs are shared, but results are in the runtime's own memory, so they are copied.
        results = compiled({name: np.ascontiguousarray(array) for name, array in inputs.items()}, share_inputs=True)
        return [np.array(results[name]) for name in outputs]


def _shares_scales(model: Any) -> bool:
    """Whether 8-bit activations have dynamic scales, so that pictures of a batch would influence each other."""
    operations = model.get_ops()
    if any(operation.get_type_name() == "FakeQuantize" for operation in operations):
        return False  # Fixed scales.
    constants = (operation for operation in operations if operation.get_type_name() == "Constant")
    return any(operation.get_element_type().to_string() in ("i8", "u8") for operation in constants)
