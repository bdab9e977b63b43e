"""BLIP-2 (Li et al., 2023) and Florence-2 (Xiao et al., 2024) as captioners; ``transformers`` layouts.

The papers do not state which BLIP-2 they used. Florence-2 is a current alternative: 0.25 billion weights, and better
captions than Tag2Text's.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from anytag.errors import UsageError
from anytag.evaluation.baselines.base import CaptioningBaseline

#: Florence-2's prompts by task.
_TASKS = {
    "caption": "What does the image describe?",
    "detailed_caption": "Describe in detail what is shown in the image.",
    "more_detailed_caption": "Describe with a paragraph what is shown in the image.",
}


class Blip2Baseline(CaptioningBaseline):
    """Captions of BLIP-2: beam 5, 8 to 30 pieces (LAVIS's defaults)."""

    title = "BLIP-2"
    cls_name = "Blip2ForConditionalGeneration"

    @torch.inference_mode()
    def write(self, pictures: Tensor) -> list[str]:
        ids = self.model.generate(
            pixel_values=pictures, num_beams=5, max_new_tokens=30, min_new_tokens=8, do_sample=False
        )
        return [text.strip() for text in self.tokenizer.batch_decode(ids, skip_special_tokens=True)]


class Florence2Baseline(CaptioningBaseline):
    """Captions of Florence-2, beam 3.

    Args:
        task: ``caption``, ``detailed_caption`` or ``more_detailed_caption``.

    Raises:
        UsageError: If there is no such task.
    """

    title = "Florence-2"
    cls_name = "Florence2ForConditionalGeneration"

    def __init__(self, path: str | Path, task: str = "caption"):
        if task not in _TASKS:
            raise UsageError(f"Florence-2 has no task {task!r} here; tasks are {', '.join(_TASKS)}")
        super().__init__(path, task)
        self.prompt = _TASKS[task]

    @torch.inference_mode()
    def write(self, pictures: Tensor) -> list[str]:
        features = self.model.get_image_features(pixel_values=pictures)
        count = (features if isinstance(features, Tensor) else features.pooler_output).shape[-2]
        prompt = self.tokenizer(self.prompt)["input_ids"]
        ids = torch.tensor([[self.model.config.image_token_id] * count + prompt] * len(pictures))
        options = {"num_beams": 3, "max_new_tokens": 60, "do_sample": False}
        written = self.model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), pixel_values=pictures, **options
        )
        return [text.strip() for text in self.tokenizer.batch_decode(written, skip_special_tokens=True)]
