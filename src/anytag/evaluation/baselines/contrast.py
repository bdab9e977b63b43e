"""CLIP and SigLIP 2: similarity of pictures and prompts, from any ``transformers`` directory.

Published rows use the cosine, with one threshold for all classes (Tag2Text table 2). The stronger form, scores
standardized per prompt and per picture (:func:`anytag.evaluation.ranking.standardized`), needs all pictures of the
benchmark; it is computed from cached scores and has its own row.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from anytag.checkpoints.weight_files import read_settings
from anytag.errors import ModelError
from anytag.evaluation.baselines.base import from_directory, model_from_directory, read_transform
from anytag.evaluation.baselines.dual_encoder import DualEncoderBaseline
from anytag.evaluation.baselines.prompts import ENSEMBLE

#: Largest vocabulary of the first SigLIP: that of its multilingual model.
_SIGLIP_PIECES = 250_000

_CLASSES = {"clip": "CLIPModel", "siglip": "SiglipModel", "siglip2": "Siglip2Model"}


class ContrastBaseline(DualEncoderBaseline):
    """Cosine of a picture and the mean embedding of a category's prompts.

    Raises:
        ModelError: If the directory contains neither CLIP nor SigLIP, or is incomplete.
    """

    title = "CLIP"

    def __init__(self, path: str | Path, prompts: tuple[str, ...] = ENSEMBLE):
        folder = Path(path)
        config = read_settings(folder / "config.json")
        family = config.get("model_type")
        if family not in _CLASSES:
            raise ModelError(f"{folder}: model_type is {family!r}; expected CLIP, SigLIP or SigLIP 2")
        if family == "siglip2" and "naflex" in str(config.get("vision_config", {})).lower():
            raise ModelError(f"{folder}: SigLIP 2 NaFlex is not supported; use one with a fixed picture size")
        model = model_from_directory(_CLASSES[family], folder)
        super().__init__(folder, read_transform(folder), model, prompts)
        self.tokenizer = from_directory("AutoTokenizer", folder)
        self.length = int(model.config.text_config.max_position_embeddings)
        self._fixed = family != "clip"
        if self._fixed:
            # SigLIP 2 of a fixed picture size has the type "siglip", too, but Gemma's 256,000 word pieces.
            second = family == "siglip2" or int(model.config.text_config.vocab_size) > _SIGLIP_PIECES
            self.title = "SigLIP 2" if second else "SigLIP"

    def text_features(self, texts: Sequence[str]) -> Any:
        # SigLIP was trained on texts padded to its full length.
        padding = "max_length" if self._fixed else True
        # Not every directory states the maximum length of its tokenizer.
        ids = self.tokenizer(list(texts), return_tensors="pt", padding=padding, truncation=True, max_length=self.length)
        kept = ("input_ids",) if self._fixed else ("input_ids", "attention_mask")
        return self.model.get_text_features(**{name: ids[name] for name in kept if name in ids})
