"""Run models with PyTorch, for GPUs and for models that were not exported."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from anytag.backends.base import (
    Cache,
    Encoded,
    FloatArray,
    Step,
    joined_embeddings,
    no_alignment,
    no_text_encoder,
)
from anytag.errors import ModelError
from anytag.model.directory import ALIGNMENT_FILE, ModelDirectory
from anytag.nn.clip_text import TOKENIZER as CLIP_TOKENIZER
from anytag.nn.clip_text import WEIGHTS as CLIP_WEIGHTS
from anytag.nn.clip_text import ClipTextEncoder
from anytag.nn.devices import find_device
from anytag.nn.label_queries import DescribedLabelQueries, EmbeddedLabelQueries, TextLabelQueries
from anytag.nn.model import RecognitionModel, encoder_input
from anytag.nn.packed import can_pack, pack_linears
from anytag.nn.transformer import KeysValues
from anytag.nn.weights import WEIGHTS_FILE, read_alignment, read_model

#: Queries per pass of the recognition decoder on a CPU.
_QUERIES = 576

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class TorchQueries:
    """Queries as tensors on the model's device, with the names of :class:`~anytag.backends.base.ArrayQueries`."""

    tensors: dict[str, Tensor]
    embeddings: FloatArray | None = None

    def __len__(self) -> int:
        return len(next(iter(self.tensors.values())))

    def take(self, rows: NDArray[np.int64]) -> TorchQueries:
        if np.array_equal(rows, np.arange(len(self))):
            return self
        index = torch.from_numpy(np.asarray(rows, np.int64))
        tensors = {name: tensor[index.to(tensor.device)] for name, tensor in self.tensors.items()}
        return TorchQueries(tensors, None if self.embeddings is None else self.embeddings[rows])

    def join(self, other: TorchQueries) -> TorchQueries:
        both = {name: torch.cat([tensor, other.tensors[name]]) for name, tensor in self.tensors.items()}
        return TorchQueries(both, joined_embeddings(self.embeddings, other.embeddings))

    def vectors(self) -> FloatArray:
        return _numpy(self.tensors["queries"])


class TorchBackend:
    """Run ``model.safetensors`` of a model directory.

    Args:
        device: ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
        precision: ``float32`` or ``bfloat16``; a convolutional image encoder stays in float32.

    Raises:
        ModelError: If the model has no PyTorch weights, or the device is not available.
    """

    def __init__(
        self,
        directory: ModelDirectory,
        threads: int | None = None,
        device: str = "cpu",
        precision: str = "float32",
    ):
        if precision not in PRECISIONS:
            raise ModelError(f"unknown precision {precision!r}; use one of {', '.join(PRECISIONS)}")
        if threads is not None:
            torch.set_num_threads(threads)
        self._arguments = (directory, threads, device, precision)
        self.directory, self.device, self.dtype = directory, find_device(device), PRECISIONS[precision]
        config = directory.config
        if not directory.has(WEIGHTS_FILE):
            raise ModelError(f"{directory.path}: has no {WEIGHTS_FILE}, so PyTorch cannot run it; use --backend onnx")
        model = read_model(config, len(directory.vocabulary), directory.file(WEIGHTS_FILE))
        parts = nn.ModuleList([model])
        if directory.has(ALIGNMENT_FILE) and config.captioner is not None:
            file = directory.file(ALIGNMENT_FILE)
            parts.append(read_alignment(file, model, config.captioner.vocabulary - 1).requires_grad_(False).eval())
        # Both together, since they share layers.
        if can_pack(self.device, self.dtype):
            pack_linears(parts, self.dtype)
        # In bfloat16, the convolutions of lite would change its features by 8 %, and they are not what is slow.
        self._pixels_dtype = self.dtype if config.image_encoder.swin is not None else torch.float32
        encoder = model.image_encoder
        del model.image_encoder
        parts.to(self.device, self.dtype)
        model.image_encoder = encoder.to(self.device, self._pixels_dtype)
        self.model: RecognitionModel = model
        self._alignment: Any = parts[1] if len(parts) > 1 else None
        self._label_encoder: Any = None

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self._arguments

    @torch.inference_mode()
    def encode(self, pixels: NDArray[np.uint8]) -> Encoded:
        config = self.directory.config
        if not len(pixels):
            shape = (0, config.image_encoder.tokens, config.features)
            return Encoded(np.empty(shape, np.float32), np.empty((0, config.image_encoder.classes), np.float32))
        inputs = torch.from_numpy(np.ascontiguousarray(pixels)).to(self.device)
        normalized = encoder_input(inputs, config.image_encoder).to(self._pixels_dtype)
        # In float32 one picture keeps a CPU busy, and its activations are small enough to reuse memory.
        alone = self.device.type == "cpu" and self._pixels_dtype == torch.float32
        parts = normalized.split(1 if alone else len(normalized))
        tokens = torch.cat([self.model.image_encoder(part) for part in parts]).to(self.dtype)
        features, classes = self.model.features(tokens), self.model.classifier(tokens)
        return Encoded(_numpy(features), _numpy(classes.float().softmax(-1)))

    @torch.inference_mode()
    def recognize(self, features: FloatArray, queries: TorchQueries) -> FloatArray:
        if not len(queries) or not len(features):
            return np.empty((len(features), len(queries)), np.float32)
        if "texts" in queries.tensors:
            return self._match(features, queries.tensors["texts"])
        # On a CPU one picture and some hundred queries at a time, so that activations fit into the caches.
        size = _QUERIES if self.device.type == "cpu" else len(queries)
        pictures = 1 if self.device.type == "cpu" else len(features)
        parts = [
            {name: tensor[start : start + size] for name, tensor in queries.tensors.items()}
            for start in range(0, len(queries), size)
        ]
        rows = torch.from_numpy(features).to(self.device, self.dtype).split(pictures)
        memories = [self.model.recognition_decoder.keys_values(row) for row in rows]
        return _numpy(torch.cat([self._logits(rows, memories, part) for part in parts], 1))

    def _match(self, features: FloatArray, texts: Tensor) -> FloatArray:
        """Log-odds ``[B, T]`` that texts fit pictures."""
        rows = torch.from_numpy(features).to(self.device, self.dtype).split(1)
        pairs = [self._alignment.match(texts, row.expand(len(texts), -1, -1)) for row in rows]
        return _numpy(torch.stack([pair[:, 1] - pair[:, 0] for pair in pairs]))

    def _logits(self, rows: tuple[Tensor, ...], memories: list[list[KeysValues]], tensors: dict[str, Tensor]) -> Tensor:
        """Logits ``[B, T]`` of some queries; ``rows`` are features of pictures that are decoded together."""
        decoder, labels = self.model.recognition_decoder, self.model.label_queries
        queries: list[tuple[Tensor, Tensor | None]]
        if isinstance(labels, DescribedLabelQueries):
            # All pictures at once, because reading the descriptions from memory takes most of the time.
            mixed = labels.mix(torch.cat(rows)[:, 0], tensors["descriptions"]).split(len(rows[0]))
            queries = [(labels.project(one), None) for one in mixed]
        else:
            queries = [(tensors["queries"], tensors["projected"])] * len(rows)
        hidden = torch.cat([decoder.embed(r, *q, memory) for r, q, memory in zip(rows, queries, memories, strict=True)])
        if "weights" in tensors:
            return (hidden * tensors["weights"]).sum(-1) + tensors["biases"]
        return decoder.score(hidden).squeeze(-1)

    @torch.inference_mode()
    def attention(self, features: FloatArray, queries: TorchQueries) -> FloatArray:
        decoder, tensors, labels = self.model.recognition_decoder, queries.tensors, self.model.label_queries
        pictures = torch.from_numpy(features).to(self.device, self.dtype)
        if isinstance(labels, DescribedLabelQueries):
            mixed = labels.project(labels.mix(pictures[:, 0], tensors["descriptions"]))
            return _numpy(decoder.attention(pictures, mixed))
        return _numpy(decoder.attention(pictures, tensors["queries"], tensors["projected"]))

    @torch.inference_mode()
    def vocabulary_queries(self) -> TorchQueries:
        if not isinstance(self.model.label_queries, TextLabelQueries):
            return TorchQueries(self.model.label_inputs())
        embeddings = torch.from_numpy(self.directory.arrays("label_queries.safetensors")["text_embeddings"])
        return TorchQueries(self.model.label_inputs(embeddings.to(self.device, self.dtype)))

    @torch.inference_mode()
    def embedding_queries(self, embeddings: FloatArray) -> TorchQueries:
        labels = self.model.label_queries
        given = torch.from_numpy(np.ascontiguousarray(embeddings)).to(self.device, self.dtype)
        if isinstance(labels, DescribedLabelQueries):
            return TorchQueries({"descriptions": given if given.dim() == 3 else given[:, None]})
        if isinstance(labels, EmbeddedLabelQueries):
            queries = labels.project(given)
        elif isinstance(labels, TextLabelQueries):
            queries = labels(given)
        else:
            raise ModelError(f"{self.directory.path}: a {self.directory.config.family} model only knows its own tags")
        return TorchQueries({"queries": queries, "projected": self.model.recognition_decoder.project(queries)})

    def text_encoder(self) -> ClipTextEncoder:
        config = self.directory.config.labels.clip_text
        if config is None:
            raise ModelError(no_text_encoder(self.directory))
        for name in (CLIP_WEIGHTS, CLIP_TOKENIZER):
            self.directory.file(name)  # Checks its checksum.
        return ClipTextEncoder.load(self.directory.path, config)

    @torch.inference_mode()
    def text_queries(self, ids: NDArray[np.int64]) -> TorchQueries:
        if self.directory.config.labels.kind == "learned":
            if self._alignment is None:
                raise ModelError(no_alignment(self.directory))
            return TorchQueries({"texts": torch.from_numpy(ids).to(self.device)})
        if self._label_encoder is None:
            from anytag.nn.text_encoder import load_sentence_encoder, sentence_encoder_folder

            self._label_encoder = load_sentence_encoder(sentence_encoder_folder())
        embeddings = self._label_encoder(torch.from_numpy(ids)).float().numpy()
        return replace(self.embedding_queries(embeddings), embeddings=embeddings)

    @torch.inference_mode()
    def fuse(self, tag_ids: NDArray[np.int64], features: FloatArray, rows: int) -> Step:
        on_device = torch.from_numpy(features).to(self.device, self.dtype)
        return decoding_step(self.model, torch.from_numpy(tag_ids).to(self.device), on_device, rows)


def _numpy(tensor: Tensor) -> FloatArray:
    array: FloatArray = tensor.float().cpu().numpy()
    return array


@torch.inference_mode()
def decoding_step(model: RecognitionModel, tag_ids: Tensor, features: Tensor, rows: int) -> Step:
    """Decoding step for tags ``[B, T]`` and features ``[B, N, width]``, each repeated for ``rows`` beams."""
    device, dtype = features.device, features.dtype
    fused, mask = model.fuse(tag_ids, features)
    # Keys and values are computed once per picture; beams share them.
    memory = [
        (keys.repeat_interleave(rows, 0), values.repeat_interleave(rows, 0))
        for keys, values in model.text_decoder.memory(fused)
    ]
    mask = mask.repeat_interleave(rows, 0)
    layers = range(len(memory))
    heads, depth = memory[0][0].shape[1], memory[0][0].shape[3]

    def back(array: NDArray[Any]) -> Tensor:
        return torch.from_numpy(array).to(device, dtype)

    @torch.inference_mode()
    def step(ids: NDArray[np.int64], cache: Cache) -> tuple[FloatArray, Cache]:
        empty = torch.zeros(len(ids), heads, 0, depth, device=device, dtype=dtype)
        past = [(back(cache[f"k{i}"]), back(cache[f"v{i}"])) if cache else (empty, empty) for i in layers]
        logits, grown = model.text_decoder.step(torch.tensor(ids, device=device), past, memory, mask)
        cache = {f"k{i}": _numpy(keys) for i, (keys, _) in enumerate(grown)}
        cache |= {f"v{i}": _numpy(values) for i, (_, values) in enumerate(grown)}
        return _numpy(logits), cache

    return step
