"""Multiply-adds and parameters of the official sizes, counted on networks without memory."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from anytag.model import families
from anytag.nn.weights import empty_model


def count_operations() -> dict[str, dict[str, float]]:
    """Multiply-adds (10^9) and parameters of the official sizes, counted on networks without memory."""

    def counted(work: Any) -> float:
        with torch.inference_mode(), FlopCounterMode(display=False) as counter:
            work()
        return float(counter.get_total_flops()) / 2e9

    found = {}
    for swin in ("base", "large"):
        for resolution in (224, 384):
            model = empty_model(families.ram(swin, resolution), 4585).to("meta").eval()
            with torch.device("meta"):
                pixels = torch.empty(1, 3, resolution, resolution)
                features = torch.empty(1, (resolution // 32) ** 2 + 1, 512)
                tags, words = torch.ones(1, 40, dtype=torch.long), torch.ones(1, 16, dtype=torch.long)
                memory = torch.empty(1, 40, 768)
            captioner = [*model.interaction_encoder.parameters(), *model.text_decoder.parameters()]
            # Shared layers count as tagging.
            shared = {id(parameter) for parameter in model.recognition_decoder.parameters()}
            own = sum(parameter.numel() for parameter in captioner if id(parameter) not in shared)
            found[f"swin_{swin}_{resolution}"] = {
                "image": counted(lambda m=model, x=pixels: m.encode(x)),
                "tags": counted(lambda m=model, f=features: m.recognize(f)),
                "fuse": counted(lambda m=model, f=features, t=tags: m.fuse(t, f)),
                "decode": counted(lambda m=model, w=words, k=memory: m.text_decoder(w, m.text_decoder.memory(k))),
                "teacher": transformer(12, 768, 197) + 196 * 768 * 768 / 1e9,
                "text": transformer(12, 512, 77),
                "parameters_tagging": sum(parameter.numel() for parameter in model.parameters()) - own,
                "parameters_captioning": own,
            }
    return found


def transformer(layers: int, width: int, tokens: int) -> float:
    """Multiply-adds (10^9) of a plain transformer: 12 w² per token and layer, and attention's two products."""
    return layers * (12 * width**2 * tokens + 2 * width * tokens**2) / 1e9
