"""CLIP and SigLIP 2: pictures and prompts compared as wholes, from any ``transformers`` directory of theirs.

Published rows: one cosine, one threshold for all classes (Tag2Text table 2). The stronger form, scores standardized per
prompt and per picture, needs all pictures of the benchmark and is applied to the kept scores
(:func:`anytag.evaluation.ranking.standardized`); its row stands beside.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from anytag.errors import ModelError
from anytag.evaluation.baselines.base import Baseline, from_directory, model_from_directory, read_config, read_form
from anytag.evaluation.baselines.prompts import ENSEMBLE, sentences
from anytag.evaluation.systems import Paradigm, Scores

#: Texts that go through a text encoder together.
TEXTS = 64

_CLASSES = {"clip": "CLIPModel", "siglip": "SiglipModel", "siglip2": "Siglip2Model"}


class ContrastBaseline(Baseline):
    """Cosine of a picture and the mean of a category's prompts.

    Args:
        path: The directory.
        prompts: Templates.

    Raises:
        ModelError: If the directory holds neither CLIP nor SigLIP, or is incomplete.
    """

    title = "CLIP"
    paradigm: Paradigm = "alignment"

    def __init__(self, path: str | Path, prompts: tuple[str, ...] = ENSEMBLE):
        folder = Path(path)
        family = read_config(folder).get("model_type")
        if family not in _CLASSES:
            raise ModelError(f"{folder}: model_type is {family!r}; CLIP, SigLIP and SigLIP 2 are compared here")
        if family == "siglip2" and "naflex" in str(read_config(folder).get("vision_config", {})).lower():
            raise ModelError(f"{folder}: SigLIP 2 of any picture size (NaFlex) is not read; use one of a fixed size")
        super().__init__(folder, read_form(folder), f"{len(prompts)} prompts")
        self.model = model_from_directory(_CLASSES[family], folder)
        self.tokenizer = from_directory("AutoTokenizer", folder)
        if family != "clip":
            self.title = "SigLIP 2" if family == "siglip2" else "SigLIP"
        self._fixed = family != "clip"
        self.prompts = prompts
        self._texts: Tensor | None = None

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
        parts = []
        for start in range(0, len(texts), TEXTS):
            # SigLIP was trained on texts padded to its full length.
            padding: dict[str, Any] = (
                {"padding": "max_length", "max_length": self.length} if self._fixed else {"padding": True}
            )
            ids = self.tokenizer(list(texts[start : start + TEXTS]), return_tensors="pt", truncation=True, **padding)
            wanted = {name: ids[name] for name in ("input_ids", "attention_mask") if name in ids}
            if self._fixed:
                wanted.pop("attention_mask", None)
            parts.append(F.normalize(_pooled(self.model.get_text_features(**wanted)), dim=-1))
        return torch.cat(parts)

    @property
    def length(self) -> int:
        """Longest text in pieces."""
        return int(self.model.config.text_config.max_position_embeddings)

    @torch.inference_mode()
    def embed_pictures(self, pixels: Tensor) -> Tensor:
        """Unit vectors ``[B, D]``."""
        return F.normalize(_pooled(self.model.get_image_features(pixel_values=pixels)), dim=-1)

    def score(self, pictures: Tensor) -> Scores:
        """Cosines ``[B, C]``."""
        assert self._texts is not None, "ask for categories first"
        found: Scores = (self.embed_pictures(pictures) @ self._texts.T).numpy()
        return found


def _pooled(output: Any) -> Tensor:
    """The embedding, which newer releases wrap."""
    pooled: Tensor = output if isinstance(output, Tensor) else output.pooler_output
    return pooled.float()
