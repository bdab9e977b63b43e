"""Tags from an object detector (the papers' column, and table 3): the score of a class is that of its best box.

Any detector of ``transformers`` with fixed classes (DETR, RT-DETR), or Grounding DINO, which detects given names.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from anytag.checkpoints.weight_files import read_settings
from anytag.errors import ModelError
from anytag.evaluation.baselines.base import (
    Baseline,
    FixedClassesBaseline,
    from_directory,
    model_from_directory,
    select_columns,
)
from anytag.evaluation.systems import Paradigm, Scores
from anytag.foundations.wording import listed

#: Detectors whose classes exclude each other; the last is "no object".
_SOFTMAX = {"detr", "yolos", "table-transformer"}

#: Names in a prompt of Grounding DINO, as far as they fit into its 256 word pieces.
_NAMES = 20


class DetectorBaseline(FixedClassesBaseline):
    """The best box of each class, by a ``transformers`` detector with a fixed set of classes."""

    paradigm: Paradigm = "detection"

    def __init__(self, path: str | Path):
        folder = Path(path)
        config = read_settings(folder / "config.json")
        super().__init__(folder, None)
        self.family = str(config.get("model_type"))
        self.title = {"detr": "DETR", "rt_detr": "RT-DETR", "rt_detr_v2": "RT-DETR v2"}.get(self.family, self.family)
        self.processor = from_directory("AutoImageProcessor", folder, backend="pil")
        self.model = model_from_directory("AutoModelForObjectDetection", folder)
        self.places = {
            str(name).lower(): int(place)
            for place, name in sorted(self.model.config.id2label.items(), key=lambda item: -int(item[0]))
        }

    @torch.inference_mode()
    def score(self, pictures: list[Image.Image]) -> Scores:
        """Score pictures, ``[B, C]``; NaN for classes that it does not detect."""
        inputs = self.processor(images=pictures, return_tensors="pt")
        logits = self.model(**{name: inputs[name] for name in ("pixel_values", "pixel_mask") if name in inputs}).logits
        probabilities = logits.softmax(-1)[..., :-1] if self.family in _SOFTMAX else logits.sigmoid()
        return select_columns(probabilities.amax(1), self._columns)


class GroundingDinoBaseline(Baseline):
    """The best box of each name, by a directory of ``GroundingDinoForObjectDetection``.

    A prompt has up to twenty names with full stops between them, which keep names from attending to each other. A box's
    score for a name is the mean over the name's word pieces.
    """

    title = "Grounding DINO"
    paradigm: Paradigm = "detection"

    def __init__(self, path: str | Path):
        folder = Path(path)
        super().__init__(folder, None)
        self.tokenizer = from_directory("AutoTokenizer", folder)
        self.processor = from_directory("AutoImageProcessor", folder, backend="pil")
        self.model = model_from_directory("GroundingDinoForObjectDetection", folder)
        #: Word pieces of the names of each prompt.
        self._parts: list[list[list[int]]] = []
        self._columns: list[int | None] = []

    def set_categories(self, names: Sequence[str], synonyms: dict[str, tuple[str, ...]]) -> list[str]:
        """Group the names into prompts; names longer than a prompt cannot be scored."""
        room = int(self.model.config.max_text_len) - 2  # Without the first and the last token.
        places: dict[str, int] = {}
        self._parts, free = [], 0
        for name in dict.fromkeys(name.lower() for name in names):
            pieces = self.tokenizer(name, add_special_tokens=False)["input_ids"]
            length = len(pieces) + 1  # A full stop follows every name.
            if not pieces or length > room:
                continue
            if length > free or len(self._parts[-1]) == _NAMES:
                self._parts.append([])
                free = room
            self._parts[-1].append(pieces)
            places[name] = len(places)
            free -= length
        self._columns = [places.get(name.lower()) for name in names]
        if not places:
            raise ModelError(f"{self.title}: none of the categories can be read ({listed(names)}); give shorter names")
        return [name for name, column in zip(names, self._columns, strict=True) if column is None]

    @torch.inference_mode()
    def score(self, pictures: list[Image.Image]) -> Scores:
        inputs = self.processor(images=pictures, return_tensors="pt")
        parts = [self._score_prompt(inputs, len(pictures), part) for part in self._parts]
        return select_columns(torch.cat(parts, 1), self._columns)

    def _score_prompt(self, inputs: Any, count: int, names: list[list[int]]) -> Tensor:
        stop = self.tokenizer.convert_tokens_to_ids(".")
        ids, spans = [self.tokenizer.cls_token_id], []
        for pieces in names:
            spans.append(range(len(ids), len(ids) + len(pieces)))
            ids += [*pieces, stop]
        row = torch.tensor([[*ids, self.tokenizer.sep_token_id]] * count)
        output = self.model(
            pixel_values=inputs["pixel_values"],
            pixel_mask=inputs.get("pixel_mask"),
            input_ids=row,
            attention_mask=torch.ones_like(row),
            token_type_ids=torch.zeros_like(row),
        )
        probabilities = output.logits.sigmoid()  # [B, boxes, pieces]
        return torch.stack([probabilities[..., list(span)].mean(-1).amax(1) for span in spans], 1)
