"""The functions of a model that run without PyTorch, as modules with flat tensor signatures.

The names of inputs and outputs are those that :mod:`anytag.backends.onnx` uses.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from anytag.nn.clip_text import ClipTextTransformer
from anytag.nn.model import RecognitionModel
from anytag.nn.text_encoder import SentenceEncoder


class ImageEncoderGraph(nn.Module):
    """Map uint8 pixels ``[B, R, R, 3]`` to features ``[B, N, W]`` and class probabilities ``[B, classes]``."""

    def __init__(self, model: RecognitionModel):
        super().__init__()
        self.model = model
        encoder = model.config.image_encoder
        self.mean = nn.Buffer(torch.tensor(encoder.mean)[:, None, None])
        self.scale = nn.Buffer(1 / torch.tensor(encoder.std)[:, None, None])

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        # Channels first, because subtracting a vector of three values is slow.
        normalized = (pixels.permute(0, 3, 1, 2).to(torch.float32) - self.mean) * self.scale
        if not self.model.config.image_encoder.classes:
            # Not every runtime supports products with empty matrices.
            features = self.model.features(self.model.image_encoder(normalized))
            return features, features[:, 0, :0]
        features, classes = self.model.encode(normalized)
        return features, classes.softmax(-1)


class _DecoderGraph(nn.Module):
    """A function of the recognition decoder; in RAM++ also of the label queries, which depend on the picture."""

    def __init__(self, model: RecognitionModel):
        super().__init__()
        self.decoder = model.recognition_decoder
        if model.config.labels.kind == "described":
            self.labels: Any = model.label_queries

    def queries(self, features: Tensor, descriptions: Tensor) -> Tensor:
        """Label queries ``[B, T, W]`` from features and descriptions ``[T, D, E]``."""
        return self.labels.project(self.labels.mix(features[:, 0], descriptions))


class RecognitionGraph(_DecoderGraph):
    """Map features ``[B, N, W]`` and label queries ``[T, W]`` to logits ``[B, T]``."""

    def forward(self, features: Tensor, queries: Tensor, projected: Tensor) -> Tensor:
        return self.decoder(features, queries, projected)


class PerTagRecognitionGraph(_DecoderGraph):
    """:class:`RecognitionGraph` with separate weights ``[T, W]`` and biases ``[T]`` for every tag (Tag2Text)."""

    def forward(self, features: Tensor, queries: Tensor, projected: Tensor, weights: Tensor, biases: Tensor) -> Tensor:
        return (self.decoder.embed(features, queries, projected) * weights).sum(-1) + biases


class DescribedRecognitionGraph(_DecoderGraph):
    """:class:`RecognitionGraph` for descriptions ``[T, D, E]`` instead of queries (RAM++)."""

    def forward(self, features: Tensor, descriptions: Tensor) -> Tensor:
        return self.decoder(features, self.queries(features, descriptions))


class AttentionGraph(_DecoderGraph):
    """Map features ``[B, N, W]`` and label queries ``[T, W]`` to the decoder's attention weights ``[B, T, N]``."""

    def forward(self, features: Tensor, queries: Tensor, projected: Tensor) -> Tensor:
        return self.decoder.attention(features, queries, projected)


class DescribedAttentionGraph(_DecoderGraph):
    """:class:`AttentionGraph` for descriptions ``[T, D, E]`` instead of queries (RAM++)."""

    def forward(self, features: Tensor, descriptions: Tensor) -> Tensor:
        return self.decoder.attention(features, self.queries(features, descriptions))


class LabelProjectionGraph(nn.Module):
    """Map text embeddings ``[T, E]`` to label queries and their first projection, ``[T, W]`` each (RAM)."""

    def __init__(self, model: RecognitionModel):
        super().__init__()
        self.labels: Any = model.label_queries
        self.decoder = model.recognition_decoder

    def forward(self, embeddings: Tensor) -> tuple[Tensor, Tensor]:
        queries = self.labels.project(embeddings)
        return queries, self.decoder.project(queries)


class LabelEncoderGraph(nn.Module):
    """Map token ids ``[T, L]``, padded with 0, to label queries, their first projection and text embeddings."""

    def __init__(self, model: RecognitionModel, encoder: SentenceEncoder):
        super().__init__()
        self.encoder, self.queries, self.decoder = encoder, model.label_queries, model.recognition_decoder

    def forward(self, ids: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        embeddings = self.encoder(ids)
        queries = self.queries(embeddings)
        return queries, self.decoder.project(queries), embeddings


class InteractionGraph(nn.Module):
    """Map tag ids ``[B, T]`` and features to keys and values ``[B, layers, heads, M, d]`` and a mask ``[B, M]``."""

    def __init__(self, model: RecognitionModel):
        super().__init__()
        self.model = model

    def forward(self, tags: Tensor, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        fused, mask = self.model.fuse(tags, features)
        memory = self.model.text_decoder.memory(fused)
        keys, values = (torch.stack([pair[i] for pair in memory], 1) for i in (0, 1))
        return keys, values, mask[:, 0, 0]


class TextDecoderGraph(nn.Module):
    """One decoding step: logits of the next piece, and the caches ``[R, layers, heads, P, d]`` of keys and values."""

    def __init__(self, model: RecognitionModel):
        super().__init__()
        self.decoder = model.text_decoder

    def forward(
        self, ids: Tensor, keys: Tensor, values: Tensor, memory_keys: Tensor, memory_values: Tensor, memory_mask: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        layers = range(len(self.decoder.layers))
        past = [(keys[:, i], values[:, i]) for i in layers]
        memory = [(memory_keys[:, i], memory_values[:, i]) for i in layers]
        logits, grown = self.decoder.step(ids, past, memory, memory_mask[:, None, None])
        return logits, torch.stack([k for k, _ in grown], 1), torch.stack([v for _, v in grown], 1)


@dataclass
class GraphSpec:
    """How to export one graph.

    Attributes:
        name: File name without ``.onnx``.
        inputs: Example inputs by name, in order; sizes of dynamic axes differ from each other and from 1.
        dynamic: Dynamic axes of each input or output, with names of their sizes.
        variants: Returns other inputs for checking parity.
    """

    name: str
    module: nn.Module
    inputs: dict[str, Tensor]
    outputs: tuple[str, ...]
    dynamic: dict[str, dict[int, str]]
    variants: Callable[[], list[dict[str, Tensor]]] = field(default=list)


def graph_specs(model: RecognitionModel, label_encoder: SentenceEncoder | None) -> list[GraphSpec]:
    """The graphs of a model and of its captioner, if it has one."""
    config = model.config
    side = config.image_encoder.resolution

    def pixels(batch: int) -> Tensor:
        generator = torch.Generator().manual_seed(batch)
        return torch.randint(0, 256, (batch, side, side, 3), dtype=torch.uint8, generator=generator)

    specs = [
        GraphSpec(
            "image_encoder",
            ImageEncoderGraph(model),
            {"pixels": pixels(2)},
            ("features", "classes"),
            {"pixels": {0: "batch"}},
            lambda: [{"pixels": pixels(1)}],
        ),
        _recognition_spec(model),
    ]
    if label_encoder is not None:
        ids = torch.tensor([[101, 3899, 102, 0, 0], [101, 2175, 1011, 28155, 102], [101, 4937, 102, 0, 0]])
        specs.append(
            GraphSpec(
                "label_encoder",
                LabelEncoderGraph(model, label_encoder),
                {"ids": ids},
                ("queries", "projected", "embeddings"),
                {"ids": {0: "tags", 1: "length"}},
                lambda: [{"ids": ids[:1, :3]}],
            )
        )
    if config.labels.kind == "embedded":
        embeddings = torch.randn(6, config.labels.width, generator=torch.Generator().manual_seed(6))
        specs.append(
            GraphSpec(
                "label_projection",
                LabelProjectionGraph(model),
                {"embeddings": embeddings[:3]},
                ("queries", "projected"),
                {"embeddings": {0: "tags"}},
                lambda: [{"embeddings": embeddings[:1]}, {"embeddings": embeddings}],
            )
        )
    if config.captioner is not None:
        specs += _captioner_specs(model)
    return specs


def attention_spec(model: RecognitionModel) -> GraphSpec:
    """The graph of the recognition decoder's attention, which only locating tags needs."""
    described = model.config.labels.kind == "described"

    def inputs(batch: int, count: int) -> dict[str, Tensor]:
        return {n: x for n, x in _decoder_inputs(model, batch, count).items() if n not in ("weights", "biases")}

    return GraphSpec(
        "attention",
        DescribedAttentionGraph(model) if described else AttentionGraph(model),
        inputs(2, 7),
        ("attention",),
        _decoder_axes(inputs(2, 7)) | {"attention": {0: "batch", 1: "tags"}},
        lambda: [inputs(1, 1), inputs(3, 4)],
    )


def clip_text_spec(model: ClipTextTransformer) -> GraphSpec:
    """The graph of CLIP's text encoder: ids ``[T, L]`` to unit vectors ``[T, E]``."""

    def ids(count: int, length: int) -> dict[str, Tensor]:
        made = torch.randint(1, model.config.end_token, (count, length), generator=torch.Generator().manual_seed(count))
        made[:, -1] = model.config.end_token
        return {"ids": made}

    longest = model.config.positions
    return GraphSpec(
        "clip_text",
        model,
        ids(3, min(7, longest)),
        ("embeddings",),
        {"ids": {0: "texts", 1: "length"}},
        lambda: [ids(1, longest), ids(5, 3), ids(2, 1)],
    )


def _recognition_spec(model: RecognitionModel) -> GraphSpec:
    graph: nn.Module = RecognitionGraph(model)
    if model.config.labels.kind == "described":
        graph = DescribedRecognitionGraph(model)
    elif model.config.recognition.score == "per_tag":
        graph = PerTagRecognitionGraph(model)
    example = _decoder_inputs(model, 2, 7)
    return GraphSpec(
        "recognition_decoder",
        graph,
        example,
        ("logits",),
        _decoder_axes(example),
        lambda: [_decoder_inputs(model, 1, 50), _decoder_inputs(model, 3, 1)],
    )


def _features(model: RecognitionModel, batch: int) -> Tensor:
    shape = (batch, model.config.image_encoder.tokens, model.config.features)
    return torch.randn(shape, generator=torch.Generator().manual_seed(batch))


def _decoder_inputs(model: RecognitionModel, batch: int, count: int) -> dict[str, Tensor]:
    """Random inputs of the recognition decoder."""
    labels, config = model.config.labels, model.config
    generator = torch.Generator().manual_seed(count)
    if labels.kind == "described":
        shape = (count, labels.descriptions, labels.width)
        return {"features": _features(model, batch), "descriptions": torch.randn(shape, generator=generator)}
    q = torch.randn(count, config.width, generator=generator)
    with torch.no_grad():
        made = {"features": _features(model, batch), "queries": q, "projected": model.recognition_decoder.project(q)}
    if config.recognition.score == "per_tag":
        made["weights"] = torch.randn(count, config.width, generator=generator)
        made["biases"] = torch.randn(count, generator=generator)
    return made


def _decoder_axes(example: dict[str, Tensor]) -> dict[str, dict[int, str]]:
    axes = {name: {0: "batch" if name == "features" else "tags"} for name in example}
    if "descriptions" in axes:
        axes["descriptions"][1] = "descriptions"
    return axes


def _captioner_specs(model: RecognitionModel) -> list[GraphSpec]:
    captioner = model.config.captioner
    assert captioner is not None
    interaction, decoder = InteractionGraph(model), TextDecoderGraph(model)
    depth = model.config.width // captioner.heads

    def tags(batch: int, length: int) -> dict[str, Tensor]:
        ids = torch.randint(2, 60, (batch, length), generator=torch.Generator().manual_seed(length))
        ids[-1, length - 1 :] = 0 if length > 1 else ids[-1, -1]
        return {"tags": ids, "features": _features(model, batch)}

    def step(batch: int, new: int, past: int) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(past)
        with torch.no_grad():
            keys, values, mask = interaction(**tags(batch, 5))
        shape = (batch, captioner.layers, captioner.heads, past, depth)
        return {
            "ids": torch.randint(2, 60, (batch, new), generator=generator),
            "keys": torch.randn(shape, generator=generator),
            "values": torch.randn(shape, generator=generator),
            "memory_keys": keys,
            "memory_values": values,
            "memory_mask": mask,
        }

    cache: dict[int, Any] = {0: "rows", 3: "past"}
    memory: dict[int, Any] = {0: "rows", 3: "memory"}
    return [
        GraphSpec(
            "interaction_encoder",
            interaction,
            tags(2, 5),
            ("memory_keys", "memory_values", "memory_mask"),
            {"tags": {0: "batch", 1: "length"}, "features": {0: "batch"}},
            lambda: [tags(1, 1), tags(3, 9)],
        ),
        GraphSpec(
            "text_decoder",
            decoder,
            step(2, 4, 3),
            ("logits", "new_keys", "new_values"),
            {
                "ids": {0: "rows", 1: "new"},
                "keys": cache,
                "values": cache,
                "memory_keys": memory,
                "memory_values": memory,
                "memory_mask": {0: "rows", 1: "memory"},
            },
            lambda: [step(1, 1, 0), step(6, 1, 9)],
        ),
    ]
