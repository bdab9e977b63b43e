"""Captioning with a ``lite`` model during training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from anytag.backends.torch import decoding_step
from anytag.inference.decoding_options import DecodingOptions
from anytag.inference.generation import generate
from anytag.language.tokenizers.tokenizer import CaptionTokenizer
from anytag.nn.model import RecognitionModel
from anytag.training.lite.batches import pad


@torch.inference_mode()
def caption_pictures(
    model: RecognitionModel,
    features: Tensor,
    tag_lists: Sequence[Sequence[int]],
    tokenizer: CaptionTokenizer,
    options: DecodingOptions,
    batch_size: int = 32,
) -> list[str]:
    """Caption features ``[B, N, width]``, guided by encoded tag lists."""
    captions = []
    prompt = np.array([tokenizer.start_id])
    for start in range(0, len(features), batch_size):
        part = features[start : start + batch_size]
        step = decoding_step(model, pad(tag_lists[start : start + batch_size]), part, options.rows_per_picture)
        results = generate(
            step,
            prompt,
            num_pictures=len(part),
            eos_id=tokenizer.end_id,
            pad_id=tokenizer.pad_id,
            options=options,
            banned=tokenizer.special_ids,
        )
        captions += [tokenizer.decode(result.tokens) for result in results]
    return captions
