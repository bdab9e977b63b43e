"""Transfer weights between models of the same architecture, with other tags or for larger pictures.

Per-tag weights (query, embedding, offset, score) follow the tag to its new id; everything else is copied.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anytag.checkpoints.swin import resize_position_table
from anytag.errors import ModelError
from anytag.nn.label_queries import EmbeddedLabelQueries, LearnedLabelQueries, TextLabelQueries
from anytag.nn.model import RecognitionModel
from anytag.nn.recognition_decoder import PerTagScore

#: Parameters with one row per tag, by module and its class.
_PER_TAG: tuple[tuple[str, type[nn.Module], tuple[str, ...]], ...] = (
    ("label_queries", LearnedLabelQueries, ("weight",)),
    ("label_queries", EmbeddedLabelQueries, ("embeddings",)),
    ("label_queries", TextLabelQueries, ("offsets.weight",)),
    ("recognition_decoder.score", PerTagScore, ("weight", "bias")),
)


@torch.no_grad()
def carry_over(
    old: RecognitionModel, new: RecognitionModel, origins: Sequence[int | None], embeddings: Tensor | None = None
) -> None:
    """Copy the weights of a model into another.

    A new tag keeps its random query, or starts from its text embedding without an offset. If tags have scores of their
    own, a new tag starts from the mean of the known ones.

    Args:
        old: The source.
        new: The target, of the same architecture; a Swin may have another resolution.
        origins: For each tag of ``new``, its id in ``old``, or ``None``.
        embeddings: Text embeddings of the tags without origin, ``[T, D]`` or ``[T, descriptions, D]``, for models that
            store them.

    Raises:
        ModelError: If sizes differ, or a new tag has no embedding.
    """
    fresh = [place for place, origin in enumerate(origins) if origin is None]
    kept = [place for place, origin in enumerate(origins) if origin is not None]
    known = torch.tensor([origin for origin in origins if origin is not None], dtype=torch.long)
    old_parameters: dict[str, Tensor] = dict(old.named_parameters())
    per_tag = {
        f"{module}.{name}"
        for module, kind, names in _PER_TAG
        if isinstance(new.get_submodule(module), kind)
        for name in names
    }
    for name, parameter in new.named_parameters():
        if name not in old_parameters:
            raise ModelError(f"the model to start from has no {name}; it is of another family or size")
        before = old_parameters[name]
        if name in per_tag:
            parameter[kept] = before[known]
            if name == "label_queries.embeddings" and fresh:
                if embeddings is None or embeddings.shape != parameter[fresh].shape:
                    raise ModelError(
                        f"{len(fresh)} new tags need text embeddings of the shape {tuple(parameter[fresh].shape)}; "
                        "name a CLIP directory as teacher.clip"
                    )
                parameter[fresh] = embeddings.to(parameter)
            elif name.startswith("recognition_decoder.score.") and fresh and kept:
                parameter[fresh] = before[known].mean(0)
            continue
        if name.endswith(".position_table") and before.shape[0] != parameter.shape[0]:
            before = resize_position_table(before, (round(parameter.shape[0] ** 0.5) + 1) // 2)
        if name == "image_positions" and before.shape[0] != parameter.shape[0]:
            before = resize_positions(before, parameter.shape[0])
        if before.shape != parameter.shape:
            raise ModelError(
                f"{name} has the shape {tuple(before.shape)} in the model to start from, and is to have "
                f"{tuple(parameter.shape)}"
            )
        parameter.copy_(before)
    buffers = dict(old.named_buffers())
    for name, buffer in new.named_buffers():
        if name in buffers and buffers[name].shape == buffer.shape:
            buffer.copy_(buffers[name])


def resize_positions(positions: Tensor, tokens: int) -> Tensor:
    """Interpolate position embeddings ``[1 + N, W]`` to ``[tokens, W]``.

    The first is the whole picture's, the others are those of a square grid, row by row.
    """
    before, after = (round((count - 1) ** 0.5) for count in (positions.shape[0], tokens))
    grid = positions[1:].reshape(1, before, before, -1).permute(0, 3, 1, 2)
    resized = F.interpolate(grid, size=(after, after), mode="bicubic", align_corners=False)
    return torch.cat([positions[:1], resized.permute(0, 2, 3, 1).reshape(after * after, -1)])


class BoundLabelQueries(nn.Module):
    """Label queries of a ``lite`` model bound to its tags' embeddings, with the interface of other models'.

    The text embeddings ``[T, text_width]`` are not part of the weights.
    """

    def __init__(self, queries: TextLabelQueries, embeddings: Tensor):
        super().__init__()
        self.queries = queries
        self.embeddings = nn.Buffer(embeddings, persistent=False)

    def forward(self, ids: Tensor | None = None) -> Tensor:
        """Return the queries ``[T, width]`` of some tags, or of all."""
        ids = torch.arange(len(self.embeddings), device=self.embeddings.device) if ids is None else ids
        return self.queries(self.embeddings[ids], ids)

    def project(self, embeddings: Tensor) -> Tensor:
        """Project text embeddings ``[T, text_width]`` to queries ``[T, width]``, without offsets."""
        return self.queries(embeddings)
