"""Tags from an object detector: a class counts with its surest box (the papers' "object detector" column, and table 3).

Any detector of ``transformers`` with classes of its own (DETR, RT-DETR), or Grounding DINO, which is asked for names.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from anytag.checkpoints.weight_files import read_settings
from anytag.errors import ModelError
from anytag.evaluation.baselines.base import (
    Baseline,
    FixedClassesBaseline,
    columns_of,
    from_directory,
    model_from_directory,
)
from anytag.evaluation.systems import Paradigm, Scores
from anytag.foundations.wording import shown

#: Detectors whose classes exclude each other, with "no object" for the last.
_SOFTMAX = {"detr", "yolos", "table-transformer"}

#: Names that Grounding DINO is asked for at a time, as far as they fit into the 256 pieces that it reads.
_NAMES = 20


class DetectorBaseline(FixedClassesBaseline):
    """The surest box of each class.

    Args:
        path: A directory of a ``transformers`` detector with a fixed set of classes.

    Raises:
        ModelError: If the directory holds none.
    """

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
        """``[B, C]``, NaN for what it does not detect."""
        inputs = self.processor(images=pictures, return_tensors="pt")
        logits = self.model(**{name: inputs[name] for name in ("pixel_values", "pixel_mask") if name in inputs}).logits
        return self.asked((logits.softmax(-1)[..., :-1] if self.family in _SOFTMAX else logits.sigmoid()).amax(1))


class GroundingDinoBaseline(Baseline):
    """The surest box of each name that it is asked for.

    Names go in by the twenty, with full stops between them, which keep them from seeing each other. A box's score for a
    name is the mean over the name's word pieces.

    Args:
        path: A directory of ``GroundingDinoForObjectDetection``.

    Raises:
        ModelError: If the directory holds none.
    """

    title = "Grounding DINO"
    paradigm: Paradigm = "detection"

    def __init__(self, path: str | Path):
        folder = Path(path)
        super().__init__(folder, None)
        self.tokenizer = from_directory("AutoTokenizer", folder)
        self.processor = from_directory("AutoImageProcessor", folder, backend="pil")
        self.model = model_from_directory("GroundingDinoForObjectDetection", folder)
        #: Word pieces of names that are asked for together.
        self._parts: list[list[list[int]]] = []
        self._columns: list[int | None] = []

    def ask(self, names: Sequence[str], synonyms: dict[str, tuple[str, ...]]) -> list[str]:
        """Any name can be asked for that is not longer than what it reads."""
        room = int(self.model.config.max_text_len) - 2  # It begins and ends with a mark.
        places: dict[str, int] = {}
        self._parts, free = [], 0
        for name in dict.fromkeys(name.lower() for name in names):
            pieces = self.tokenizer(name, add_special_tokens=False)["input_ids"]
            length = len(pieces) + 1  # A full stop stands behind every name.
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
            raise ModelError(f"{self.title}: none of the categories can be read ({shown(names)}); give shorter names")
        return [name for name, column in zip(names, self._columns, strict=True) if column is None]

    @torch.inference_mode()
    def score(self, pictures: list[Image.Image]) -> Scores:
        seen = self.processor(images=pictures, return_tensors="pt")
        parts = [self._some(seen, len(pictures), part) for part in self._parts]
        return columns_of(np.concatenate(parts, 1), self._columns)

    def _some(self, seen: Any, count: int, pieces: list[list[int]]) -> Scores:
        stop = self.tokenizer.convert_tokens_to_ids(".")
        ids, spans = [self.tokenizer.cls_token_id], []
        for own in pieces:
            spans.append(range(len(ids), len(ids) + len(own)))
            ids += [*own, stop]
        row = torch.tensor([[*ids, self.tokenizer.sep_token_id]] * count)
        output = self.model(
            pixel_values=seen["pixel_values"],
            pixel_mask=seen.get("pixel_mask"),
            input_ids=row,
            attention_mask=torch.ones_like(row),
            token_type_ids=torch.zeros_like(row),
        )
        probabilities = output.logits.sigmoid()  # [B, boxes, pieces]
        scores = torch.stack([probabilities[..., list(span)].mean(-1).amax(1) for span in spans], 1)
        return np.asarray(scores.numpy(), np.float32)
