"""CLIP and SigLIP 2: pictures and prompts compared as wholes, from any ``transformers`` directory of theirs.

Published rows: one cosine, one threshold for all classes (Tag2Text table 2). The stronger form, scores standardized per
prompt and per picture, needs all pictures of the benchmark and is applied to the kept scores
(:func:`anytag.evaluation.ranking.standardized`); its row stands beside.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from anytag.checkpoints.weight_files import read_settings
from anytag.errors import ModelError
from anytag.evaluation.baselines.base import from_directory, model_from_directory, read_form
from anytag.evaluation.baselines.dual_encoder import DualEncoderBaseline
from anytag.evaluation.baselines.prompts import ENSEMBLE

#: The largest vocabulary of the first SigLIP, that of its multilingual model.
_SIGLIP_PIECES = 250_000

_CLASSES = {"clip": "CLIPModel", "siglip": "SiglipModel", "siglip2": "Siglip2Model"}


class ContrastBaseline(DualEncoderBaseline):
    """Cosine of a picture and the mean of a category's prompts.

    Args:
        path: The directory.
        prompts: Templates.

    Raises:
        ModelError: If the directory holds neither CLIP nor SigLIP, or is incomplete.
    """

    title = "CLIP"

    def __init__(self, path: str | Path, prompts: tuple[str, ...] = ENSEMBLE):
        folder = Path(path)
        config = read_settings(folder / "config.json")
        family = config.get("model_type")
        if family not in _CLASSES:
            raise ModelError(f"{folder}: model_type is {family!r}; CLIP, SigLIP and SigLIP 2 are compared here")
        if family == "siglip2" and "naflex" in str(config.get("vision_config", {})).lower():
            raise ModelError(f"{folder}: SigLIP 2 of any picture size (NaFlex) is not read; use one of a fixed size")
        model = model_from_directory(_CLASSES[family], folder)
        super().__init__(folder, read_form(folder), model, prompts)
        self.tokenizer = from_directory("AutoTokenizer", folder)
        self._fixed = family != "clip"
        if self._fixed:
            # SigLIP 2 of a fixed picture size says "siglip", too, but reads texts in Gemma's 256,000 pieces.
            second = family == "siglip2" or int(model.config.text_config.vocab_size) > _SIGLIP_PIECES
            self.title = "SigLIP 2" if second else "SigLIP"

    def text_features(self, texts: Sequence[str]) -> Any:
        # SigLIP was trained on texts padded to its full length.
        padding = "max_length" if self._fixed else True
        # Not every directory says how much its tokenizer may give.
        ids = self.tokenizer(list(texts), return_tensors="pt", padding=padding, truncation=True, max_length=self.length)
        wanted = {name: ids[name] for name in ("input_ids", "attention_mask") if name in ids}
        if self._fixed:
            wanted.pop("attention_mask", None)
        return self.model.get_text_features(**wanted)

    @property
    def length(self) -> int:
        """Longest text in pieces."""
        return int(self.model.config.text_config.max_position_embeddings)
