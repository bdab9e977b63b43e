"""Run models with ONNX Runtime, which is part of the core installation."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anytag.backends.base import ArrayQueries, Cache, Encoded, FloatArray, Step, no_alignment, no_text_encoder
from anytag.errors import ModelError
from anytag.foundations.cpu_count import available_processors, processors_are_free
from anytag.foundations.headroom import FOR_ONNX_RUNTIME, need_room
from anytag.foundations.shortage import shortage_of
from anytag.foundations.telemetry import SWITCHES
from anytag.language.tokenizers.padding import batches_by_length
from anytag.model.directory import ModelDirectory

#: Graphs up to this size, in bytes, are loaded a second time to run pictures in parallel; larger ones keep all threads
#: busy, and would take too much memory.
_SMALL_GRAPH = 64 * 2**20

#: Texts that are embedded together.
_TEXT_BATCH = 64

#: Optimizations that slow a graph down: the fused sum and normalization takes twice as long as both separately, and
#: after constant folding, 8-bit products are no longer fused with the conversion to floats. Without them the
#: recognition decoder takes a third less time.
_UNWANTED = {"recognition_decoder": ["SkipLayerNormFusion", "ConstantFolding"]}

#: Option and value of a session: makes weights unsigned on processors whose 8-bit products saturate at 16 bits (AVX2,
#: AVX-512 without VNNI), so that results are exact.
EXACT_PRODUCTS = ("session.x64quantprecision", "1")


class OnnxBackend:
    """Run ``onnx/*.onnx`` of a model directory; graphs are loaded on first use.

    Args:
        threads: Threads of the runtime; ``None``: all available processors.
        device: ``cpu``, or ``cuda`` with ``onnxruntime-gpu``.

    Raises:
        ModelError: If the device is not available.
    """

    def __init__(self, directory: ModelDirectory, threads: int | None = None, device: str = "cpu"):
        self.directory, self.device = directory, device
        self.threads = threads or available_processors()
        self.providers = _providers(device)
        self._session = cache(self._open)
        self._parallel = self.threads > 1 and device == "cpu"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.directory, self.threads, self.device)

    def _open(self, name: str, threads: int | None = None) -> Any:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or self.threads
        options.inter_op_num_threads = 1
        # An arena keeps the most memory that a run needed; this pays off if all runs need the same.
        options.enable_cpu_mem_arena = name in ("image_encoder", "recognition_decoder")
        # Spinning threads take processors from those that decode pictures. But a decoding step of the captioner is a
        # hundred small products, and a quarter of its time would go into waking threads. If other programs need the
        # processors, spinning costs far more than it saves.
        spins = name == "text_decoder" and processors_are_free(options.intra_op_num_threads)
        options.add_session_config_entry("session.intra_op.allow_spinning", "1" if spins else "0")
        options.add_session_config_entry("session.force_spinning_stop", "1")  # Do not spin between two steps.
        options.add_session_config_entry(*EXACT_PRODUCTS)
        options.log_severity_level = 4  # Errors are raised.
        path = self._graph(name)
        try:
            # The fallback would print to standard output.
            return onnxruntime.InferenceSession(
                str(path),
                options,
                providers=self.providers,
                disabled_optimizers=_UNWANTED.get(name),
                enable_fallback=0,
            )
        except Exception as error:  # onnxruntime's own exceptions have no common base.
            raise shortage_of(error) or ModelError(f"{path}: ONNX Runtime cannot load it ({error})") from error

    def _graph(self, name: str) -> Path:
        """The file of a graph, after its checksum and that of its weights, if separate, were checked."""
        data = f"onnx/{name}.onnx.data"
        if self.directory.has(data):
            self.directory.file(data)
        return self.directory.file(f"onnx/{name}.onnx")

    def _run(self, graph: str, outputs: list[str], inputs: dict[str, NDArray[Any]]) -> list[NDArray[Any]]:
        return self._session(graph).run(outputs, inputs)  # type: ignore[no-any-return]

    def _outputs(self, graph: str) -> list[str]:
        return [output.name for output in self._session(graph).get_outputs()]

    def _run_each(
        self, graph: str, outputs: list[str], name: str, pictures: NDArray[Any], shared: Mapping[str, NDArray[Any]]
    ) -> list[NDArray[Any]]:
        """Run a graph on every picture ``[B, …]``, B > 0, and concatenate the outputs; in parallel for small graphs.

        ``name`` is the input for pictures; ``shared`` are the other inputs.
        """
        each = [{name: pictures[row : row + 1], **shared} for row in range(len(pictures))]
        if self._parallel and len(each) > 1 and self._graph(graph).stat().st_size <= _SMALL_GRAPH:
            session = self._session(graph, 1)
            parts = list(self._pool.map(lambda inputs: session.run(outputs, inputs), each))
        else:
            parts = [self._run(graph, outputs, inputs) for inputs in each]
        return [np.concatenate(results) for results in zip(*parts, strict=True)]

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self.threads, "anytag")

    def encode(self, pixels: NDArray[np.uint8]) -> Encoded:
        if not len(pixels):
            config = self.directory.config
            shape = (0, config.image_encoder.tokens, config.features)
            return Encoded(np.empty(shape, np.float32), np.empty((0, config.image_encoder.classes), np.float32))
        return Encoded(*self._run_each("image_encoder", ["features", "classes"], "pixels", pixels, {}))

    def recognize(self, features: FloatArray, queries: ArrayQueries) -> FloatArray:
        if not len(queries) or not len(features):
            return np.empty((len(features), len(queries)), np.float32)
        return self._run_each("recognition_decoder", ["logits"], "features", features, queries.arrays)[0]

    def attention(self, features: FloatArray, queries: ArrayQueries) -> FloatArray:
        if not self.directory.has("onnx/attention.onnx"):
            raise ModelError(
                f"{self.directory.path}: has no onnx/attention.onnx, which says where tags are; export the trained "
                "model again (anytag export RUN/model --out DIR), or use a model with PyTorch weights"
            )
        arrays = {name: array for name, array in queries.arrays.items() if name not in ("weights", "biases")}
        return self._run("attention", ["attention"], {"features": features, **arrays})[0]

    def vocabulary_queries(self) -> ArrayQueries:
        arrays = self.directory.arrays("label_queries.safetensors")
        return ArrayQueries({name: array.astype(np.float32) for name, array in arrays.items()})

    def text_queries(self, ids: NDArray[np.int64]) -> ArrayQueries:
        if self.directory.config.labels.kind == "learned":
            raise ModelError(no_alignment(self.directory))
        names = self._outputs("label_encoder")
        # One text at a time, because the 8-bit activations of a run share a scale.
        parts = [self._run("label_encoder", names, {"ids": row[None, : np.count_nonzero(row)]}) for row in ids]
        arrays = {name: np.concatenate([part[i] for part in parts]) for i, name in enumerate(names)}
        return ArrayQueries({name: arrays[name] for name in ("queries", "projected")}, arrays.get("embeddings"))

    def text_encoder(self) -> _OnnxTextEncoder:
        if not self.directory.has("onnx/clip_text.onnx"):
            raise ModelError(no_text_encoder(self.directory))
        return _OnnxTextEncoder(self)

    def embedding_queries(self, embeddings: FloatArray) -> ArrayQueries:
        if self.directory.config.labels.kind == "described":
            return ArrayQueries({"descriptions": np.ascontiguousarray(embeddings, np.float32)})
        names = ["queries", "projected"]
        arrays = self._run("label_projection", names, {"embeddings": np.ascontiguousarray(embeddings, np.float32)})
        return ArrayQueries(dict(zip(names, arrays, strict=True)))

    def fuse(self, tag_ids: NDArray[np.int64], features: FloatArray, rows: int) -> Step:
        outputs = ["memory_keys", "memory_values", "memory_mask"]
        fused = self._run("interaction_encoder", outputs, {"tags": tag_ids, "features": features})
        memory = {name: np.repeat(array, rows, axis=0) for name, array in zip(outputs, fused, strict=True)}
        _, layers, heads, _, depth = memory["memory_keys"].shape

        def step(ids: NDArray[np.int64], cache: Cache) -> tuple[FloatArray, Cache]:
            empty = np.zeros((len(ids), layers, heads, 0, depth), np.float32)
            past = {"keys": cache.get("keys", empty), "values": cache.get("values", empty)}
            logits, keys, values = self._run(
                "text_decoder", ["logits", "new_keys", "new_values"], {"ids": ids, **past, **memory}
            )
            return logits, {"keys": keys, "values": values}

        return step


class _OnnxTextEncoder:
    """Embed texts; implements :class:`~anytag.language.label_texts.embedding_cache.TextEncoder`."""

    def __init__(self, backend: OnnxBackend):
        from tokenizers import Tokenizer

        directory = backend.directory
        self.backend = backend
        self.tokenizer = Tokenizer.from_file(str(directory.file("label_tokenizer.json")))
        files = directory.config.files
        self.fingerprint = "".join(files.get(name, "") for name in ("onnx/clip_text.onnx", "label_tokenizer.json"))

    def embed(self, texts: Sequence[str]) -> FloatArray:
        encoded = [self.tokenizer.encode(text).ids for text in texts]
        order: list[int] = []
        parts: list[FloatArray] = []
        for places, ids in batches_by_length(encoded, _TEXT_BATCH):
            order += places
            parts += self.backend._run("clip_text", ["embeddings"], {"ids": ids})
        embeddings = np.empty((len(encoded), parts[0].shape[1]), np.float32)
        embeddings[order] = np.concatenate(parts)
        return embeddings


def _providers(device: str) -> list[str]:
    need_room(FOR_ONNX_RUNTIME)
    import onnxruntime

    if os.environ.get("ORT_DISABLE_TELEMETRY") == SWITCHES["ORT_DISABLE_TELEMETRY"]:
        onnxruntime.disable_telemetry_events()  # If the program loaded it before anytag.

    if device == "cpu":
        return ["CPUExecutionProvider"]
    available = onnxruntime.get_available_providers()
    if device == "cuda" and "CUDAExecutionProvider" in available:
        return ["CUDAExecutionProvider", "CPUExecutionProvider"]
    offered = "cpu, cuda" if "CUDAExecutionProvider" in available else "cpu"
    advice = "for other devices: --backend torch"
    if device.startswith("cuda"):
        advice = (
            "for NVIDIA cards: pip uninstall onnxruntime && pip install onnxruntime-gpu, then --device cuda; "
            "nvidia-smi shows whether NVIDIA's driver is there"
        )
    raise ModelError(f"device {device!r} is not available to ONNX Runtime here; it offers {offered} ({advice})")
