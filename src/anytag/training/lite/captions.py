"""Captioning with a ``lite`` model during training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from anytag.backends.base import Cache
from anytag.inference.generation import DecodingOptions, generate
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
    layers, heads = len(model.text_decoder.layers), model.text_decoder.heads
    width = model.config.width // heads
    for start in range(0, len(features), batch_size):
        part = features[start : start + batch_size]
        fused, mask = model.fuse(pad(tag_lists[start : start + batch_size]), part)
        fused, mask = (x.repeat_interleave(options.rows_per_picture, 0) for x in (fused, mask))
        memory = model.text_decoder.memory(fused)

        def step(ids: np.ndarray, cache: Cache, memory=memory, mask=mask) -> tuple[np.ndarray, Cache]:  # type: ignore[no-untyped-def]
            empty = torch.zeros(len(ids), heads, 0, width)
            past = [
                (torch.from_numpy(cache[f"k{i}"]), torch.from_numpy(cache[f"v{i}"])) if cache else (empty, empty)
                for i in range(layers)
            ]
            logits, grown = model.text_decoder.step(torch.from_numpy(ids), past, memory, mask)
            new = {f"k{i}": k.float().numpy() for i, (k, _) in enumerate(grown)}
            new |= {f"v{i}": v.float().numpy() for i, (_, v) in enumerate(grown)}
            return logits.float().numpy(), new

        prompt = np.array([tokenizer.start_id])
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
