"""Two towers, one for pictures and one for texts, whose unit vectors are compared: what CLIP, SigLIP and DiHT share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from anytag.evaluation.baselines.base import Baseline, PictureForm
from anytag.evaluation.baselines.prompts import sentences
from anytag.evaluation.systems import Paradigm, Scores

#: Texts that go through a text encoder together.
TEXTS = 64


class DualEncoderBaseline(Baseline):
    """Cosine of a picture and the mean of a category's prompts.

    Args:
        source: Where the weights come from.
        form: How pictures are brought to the encoder.
        model: A model of ``transformers`` with ``get_image_features``.
        prompts: Templates.
        settings: What else scores depend on.
    """

    paradigm: Paradigm = "alignment"

    def __init__(self, source: Path, form: PictureForm, model: Any, prompts: tuple[str, ...], settings: str = ""):
        super().__init__(source, form, f"{prompts} {settings}")
        self.model, self.prompts = model, prompts
        self._texts: Tensor | None = None

    @abstractmethod
    def text_features(self, texts: Sequence[str]) -> Any:
        """What the text encoder gives for at most :data:`TEXTS` texts."""

    def ask(self, names: Sequence[str], synonyms: dict[str, tuple[str, ...]]) -> list[str]:
        """Embed every category's prompts: each to length 1, averaged, to length 1."""
        made = dict.fromkeys(names)
        flat = [text for name in made for text in sentences(name, self.prompts)]
        embedded = self.embed_texts(flat).unflatten(0, (len(made), -1)).mean(1)
        rows = dict(zip(made, F.normalize(embedded, dim=-1), strict=True))
        self._texts = torch.stack([rows[name] for name in names])
        return []

    def ask_texts(self, texts: Sequence[str]) -> None:
        """Ask for whole texts instead of categories, for retrieval."""
        self._texts = self.embed_texts(texts)

    @torch.inference_mode()
    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """Unit vectors ``[T, D]``."""
        parts = [texts[start : start + TEXTS] for start in range(0, len(texts), TEXTS)]
        return torch.cat([F.normalize(pooled(self.text_features(part)), dim=-1) for part in parts])

    @torch.inference_mode()
    def embed_pictures(self, pixels: Tensor) -> Tensor:
        """Unit vectors ``[B, D]``."""
        return F.normalize(pooled(self.model.get_image_features(pixel_values=pixels)), dim=-1)

    def score(self, pictures: Tensor) -> Scores:
        """Cosines ``[B, C]``."""
        assert self._texts is not None, "ask for categories first"
        found: Scores = (self.embed_pictures(pictures) @ self._texts.T).numpy()
        return found


def pooled(output: Any) -> Tensor:
    """The embedding, which newer releases wrap."""
    pooled: Tensor = output if isinstance(output, Tensor) else output.pooler_output
    return pooled.float()
