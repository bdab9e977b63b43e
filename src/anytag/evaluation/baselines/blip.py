"""BLIP (Li et al., 2022): alignment by contrast (ITC) or by matching (ITM), and captioning; ``transformers`` layouts.

ITC compares 256-d vectors; ITM reads every category together with every picture, which takes a pass for each (RAM++
reports more than a thousand times the time). Captions use the official defaults: beam 3, 5 to 20 word pieces, and the
prompt "a picture of", which is removed.
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
    read_transform,
)
from anytag.evaluation.baselines.dual_encoder import TEXTS
from anytag.evaluation.baselines.prompts import ENSEMBLE, PLAIN, sentences
from anytag.evaluation.systems import Paradigm, Scores

#: Maximum text length in word pieces.
_LENGTH = 35


class BlipAlignmentBaseline(Baseline):
    """Contrast (ITC) or matching (ITM) of pictures and prompts.

    Args:
        path: A directory of ``BlipForImageTextRetrieval``.
        head: ``itc`` or ``itm``.
        prompts: Templates; ``None``: the ensemble for contrast, one sentence for matching.
    """

    paradigm: Paradigm = "alignment"

    def __init__(self, path: str | Path, head: Literal["itc", "itm"] = "itc", prompts: tuple[str, ...] | None = None):
        folder = Path(path)
        self.prompts = prompts or (ENSEMBLE if head == "itc" else PLAIN)
        super().__init__(folder, read_transform(folder), f"{head} {self.prompts}")
        self.head, self.title = head, f"BLIP ({head.upper()})"
        self.model = model_from_directory("BlipForImageTextRetrieval", folder)
        self.tokenizer = from_directory("AutoTokenizer", folder)
        self._texts: Tensor | None = None
        self._ids: list[dict[str, Tensor]] = []
        self._columns: list[int] = []

    @torch.inference_mode()
    def set_categories(self, names: Sequence[str], synonyms: dict[str, tuple[str, ...]]) -> list[str]:
        """Embed the prompts, or keep their token ids for matching."""
        distinct = list(dict.fromkeys(names))
        self._columns = [distinct.index(name) for name in names]
        flat = [text for name in distinct for text in sentences(name, self.prompts)]
        self._ids = [self._tokenize(flat[start : start + TEXTS]) for start in range(0, len(flat), TEXTS)]
        if self.head == "itc":
            parts = [F.normalize(self.model.text_proj(self._encode_text(ids)[:, 0]), dim=-1) for ids in self._ids]
            averaged = torch.cat(parts).unflatten(0, (len(distinct), -1)).mean(1)
            self._texts = F.normalize(averaged, dim=-1)[self._columns]
        return []

    def set_texts(self, texts: Sequence[str]) -> None:
        """Compare pictures with whole texts instead of categories, for retrieval."""
        self.prompts = ("{}",)
        self.set_categories(texts, {})

    def _tokenize(self, texts: list[str]) -> dict[str, Tensor]:
        ids = self.tokenizer(texts, return_tensors="pt", padding=True, truncation=True, max_length=_LENGTH)
        return {"input_ids": ids["input_ids"], "attention_mask": ids["attention_mask"]}

    def _encode_text(self, ids: dict[str, Tensor], features: Tensor | None = None) -> Tensor:
        options: dict[str, Any] = {}
        if features is not None:
            options["encoder_hidden_states"] = features
            options["encoder_attention_mask"] = torch.ones(features.shape[:2], dtype=torch.long)
        hidden: Tensor = self.model.text_encoder(**ids, **options).last_hidden_state
        return hidden

    def _match(self, ids: dict[str, Tensor], features: Tensor) -> Tensor:
        hidden = self._encode_text(ids, features.expand(len(ids["input_ids"]), -1, -1))
        probabilities: Tensor = self.model.itm_head(hidden[:, 0]).softmax(-1)[:, 1]
        return probabilities

    @torch.inference_mode()
    def score(self, pictures: Tensor) -> Scores:
        """Compute cosines, or probabilities that a prompt matches, ``[B, C]``."""
        features = self.model.vision_model(pixel_values=pictures).last_hidden_state
        if self.head == "itc":
            assert self._texts is not None, "set the categories first"
            pooled = F.normalize(self.model.vision_proj(features[:, 0]), dim=-1)
            cosines: Scores = (pooled @ self._texts.T).numpy()
            return cosines
        rows = []
        for picture in features:
            matches = torch.cat([self._match(ids, picture) for ids in self._ids])
            rows.append(matches.unflatten(0, (-1, len(self.prompts))).mean(1)[self._columns])
        probabilities: Scores = torch.stack(rows).numpy()
        return probabilities


class BlipCaptioningBaseline(CaptioningBaseline):
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
