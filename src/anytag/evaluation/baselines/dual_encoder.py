"""Base class of CLIP, SigLIP and DiHT: an image and a text encoder whose unit vectors are compared."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from anytag.evaluation.baselines.base import Baseline, PictureTransform
from anytag.evaluation.baselines.prompts import sentences
from anytag.evaluation.systems import Paradigm, Scores

#: Batch size of text encoders.
TEXTS = 64


class DualEncoderBaseline(Baseline):
    """Cosine of a picture and the mean embedding of a category's prompts.

    Args:
        model: A model of ``transformers`` with ``get_image_features``.
        settings: Other settings that scores depend on.
    """

    paradigm: Paradigm = "alignment"

    def __init__(
        self, source: Path, transform: PictureTransform, model: Any, prompts: tuple[str, ...], settings: str = ""
    ):
        super().__init__(source, transform, f"{prompts} {settings}")
        self.model, self.prompts = model, prompts
        self._texts: Tensor | None = None

    @abstractmethod
    def text_features(self, texts: Sequence[str]) -> Any:
        """Return the text encoder's output for at most :data:`TEXTS` texts."""

    def set_categories(self, names: Sequence[str], synonyms: dict[str, tuple[str, ...]]) -> list[str]:
        """Embed every category's prompts: normalize each, average, normalize."""
        distinct = dict.fromkeys(names)
        flat = [text for name in distinct for text in sentences(name, self.prompts)]
        embedded = self.embed_texts(flat).unflatten(0, (len(distinct), -1)).mean(1)
        rows = dict(zip(distinct, F.normalize(embedded, dim=-1), strict=True))
        self._texts = torch.stack([rows[name] for name in names])
        return []

    def set_texts(self, texts: Sequence[str]) -> None:
        """Compare pictures with whole texts instead of categories, for retrieval."""
        self._texts = self.embed_texts(texts)

    @torch.inference_mode()
    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """Unit vectors ``[T, D]``."""
        parts = [texts[start : start + TEXTS] for start in range(0, len(texts), TEXTS)]
        return torch.cat([F.normalize(pooled(self.text_features(part)), dim=-1) for part in parts])

    @torch.inference_mode()
    def score(self, pictures: Tensor) -> Scores:
        """Compute cosines ``[B, C]``."""
        assert self._texts is not None, "set the categories first"
        embedded = F.normalize(pooled(self.model.get_image_features(pixel_values=pictures)), dim=-1)
        cosines: Scores = (embedded @ self._texts.T).numpy()
        return cosines


def pooled(output: Any) -> Tensor:
    """Return the embedding, which newer releases of ``transformers`` wrap."""
    pooled: Tensor = output if isinstance(output, Tensor) else output.pooler_output
    return pooled.float()
