"""BLIP (Li et al., 2022): alignment by contrast (ITC) or by matching (ITM), and captioning; ``transformers`` layouts.

ITC compares 256-d vectors; ITM reads every category together with every picture, which takes a pass for each (RAM++
reports more than a thousand times the time). Captions begin with "a picture of", which is cut off again, beam 3, 5 to
20 pieces: the official defaults.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from anytag.evaluation.baselines.base import (
    Baseline,
    CaptioningBaseline,
    from_directory,
    model_from_directory,
    read_form,
)
from anytag.evaluation.baselines.dual_encoder import TEXTS
from anytag.evaluation.baselines.prompts import ENSEMBLE, PLAIN, sentences
from anytag.evaluation.systems import Paradigm, Scores

#: Longest text in pieces.
_LENGTH = 35


class BlipAlignmentBaseline(Baseline):
    """Contrast or matching of pictures and prompts.

    Args:
        path: A directory of ``BlipForImageTextRetrieval``.
        head: ``itc`` or ``itm``.
        prompts: Templates; ``None``: the ensemble for contrast, one sentence for matching.

    Raises:
        ModelError: If the directory holds no such model.
    """

    paradigm: Paradigm = "alignment"

    def __init__(self, path: str | Path, head: Literal["itc", "itm"] = "itc", prompts: tuple[str, ...] | None = None):
        folder = Path(path)
        self.prompts = prompts or (ENSEMBLE if head == "itc" else PLAIN)
        super().__init__(folder, read_form(folder), f"{head} {self.prompts}")
        self.head, self.title = head, f"BLIP ({head.upper()})"
        self.model = model_from_directory("BlipForImageTextRetrieval", folder)
        self.tokenizer = from_directory("AutoTokenizer", folder)
        self._texts: Tensor | None = None
        self._ids: list[dict[str, Tensor]] = []
        self._columns: list[int] = []

    @torch.inference_mode()
    def ask(self, names: Sequence[str], synonyms: dict[str, tuple[str, ...]]) -> list[str]:
        """Embed the prompts, or keep their ids for matching."""
        made = list(dict.fromkeys(names))
        self._columns = [made.index(name) for name in names]
        flat = [text for name in made for text in sentences(name, self.prompts)]
        self._ids = [self._tokens(flat[start : start + TEXTS]) for start in range(0, len(flat), TEXTS)]
        if self.head == "itc":
            parts = [F.normalize(self.model.text_proj(self._read(ids)[:, 0]), dim=-1) for ids in self._ids]
            averaged = torch.cat(parts).unflatten(0, (len(made), -1)).mean(1)
            self._texts = F.normalize(averaged, dim=-1)[self._columns]
        return []

    def ask_texts(self, texts: Sequence[str]) -> None:
        """Ask for whole texts instead of categories, for retrieval."""
        self.prompts = ("{}",)
        self.ask(texts, {})

    def _tokens(self, texts: list[str]) -> dict[str, Tensor]:
        ids = self.tokenizer(texts, return_tensors="pt", padding=True, truncation=True, max_length=_LENGTH)
        return {"input_ids": ids["input_ids"], "attention_mask": ids["attention_mask"]}

    def _read(self, ids: dict[str, Tensor], seen: Tensor | None = None) -> Tensor:
        options: dict[str, Any] = {}
        if seen is not None:
            options["encoder_hidden_states"] = seen
            options["encoder_attention_mask"] = torch.ones(seen.shape[:2], dtype=torch.long)
        hidden: Tensor = self.model.text_encoder(**ids, **options).last_hidden_state
        return hidden

    def _fits(self, ids: dict[str, Tensor], picture: Tensor) -> Tensor:
        read = self._read(ids, picture.expand(len(ids["input_ids"]), -1, -1))
        fits: Tensor = self.model.itm_head(read[:, 0]).softmax(-1)[:, 1]
        return fits

    @torch.inference_mode()
    def score(self, pictures: Tensor) -> Scores:
        """Cosines, or probabilities that a prompt fits, ``[B, C]``."""
        seen = self.model.vision_model(pixel_values=pictures).last_hidden_state
        if self.head == "itc":
            assert self._texts is not None, "ask for categories first"
            pooled = F.normalize(self.model.vision_proj(seen[:, 0]), dim=-1)
            cosines: Scores = (pooled @ self._texts.T).numpy()
            return cosines
        rows = []
        for picture in seen:
            fits = torch.cat([self._fits(ids, picture) for ids in self._ids])
            rows.append(fits.unflatten(0, (-1, len(self.prompts))).mean(1)[self._columns])
        found: Scores = torch.stack(rows).numpy()
        return found


class BlipCaptioningBaseline(CaptioningBaseline):
    """Captions of BLIP."""

    title = "BLIP"
    cls_name = "BlipForConditionalGeneration"
    prompt = "a picture of "

    @torch.inference_mode()
    def write(self, pictures: Tensor) -> list[str]:
        start = self.tokenizer([self.prompt] * len(pictures), return_tensors="pt")["input_ids"]
        ids = self.model.generate(
            pixel_values=pictures, input_ids=start, num_beams=3, max_length=20, min_length=5, do_sample=False
        )
        texts = self.tokenizer.batch_decode(ids, skip_special_tokens=True)
        return [text.removeprefix(self.prompt.strip()).strip() for text in texts]
