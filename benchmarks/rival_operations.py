"""Estimate the time of three large baseline models from their operations; we did not run them at full size.

Operations of vision networks are counted by PyTorch, without weights; those of language models, Q-Former and Grounding
DINO's transformer from their matrices: two operations per weight and position, plus attention. Seconds assume the speed
of CLIP's image encoder in ``rival_times.json``; hours are for OpenImages-common's 57,224 pictures. Captioners take
longer than this, because every word reads all weights again.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from _common import RESULTS, machine, table, write_result
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from transformers.models.florence2.modeling_florence2 import Florence2VisionBackbone

PICTURES, CLASSES = 57_224, 214

#: Number of names per pass of Grounding DINO; word pieces of a caption.
NAMES, CAPTION = 20, 12

#: Positions of Grounding DINO's four levels for 800 x 1066 pixels, and pieces of its text.
POSITIONS, PIECES = sum(-(-800 // step) * -(-1066 // step) for step in (8, 16, 32, 64)), 62


def seen(build: Callable[[], nn.Module], height: int, width: int) -> float:
    """Operations of a network on one picture."""
    with torch.device("meta"), torch.inference_mode():
        network = build().eval()
        with FlopCounterMode(display=False) as counter:
            network(torch.empty(1, 3, height, width))
    return float(counter.get_total_flops())


def layers(count: int, width: int, inner: int, positions: float, keys: float, crossed: float = 0) -> float:
    """Count the operations of transformer layers.

    Args:
        count: Number of layers.
        width: Width of the model.
        inner: Width of the feed-forward part.
        positions: Number of positions, over all beams.
        keys: Number of positions that each attends to.
        crossed: Positions of another sequence for cross-attention; 0 for none.
    """
    weights = (4 + (2 if crossed else 0)) * width**2 + 2 * width * inner
    both = 2 * (keys + crossed) * width
    return 2 * count * (positions * (weights + both) + 2 * crossed * width**2)


def grounding() -> float:
    """Grounding DINO's transformer, once: enhancer with fusion, and decoder with 900 queries."""
    width, fused, inner = 256, 1024, 2048
    # Values, offsets (8 heads, 4 levels, 4 points, 2 axes), weights, output; then the feed-forward part.
    deformable = 2 * width**2 + width * 8 * 4 * 4 * 3 + 2 * width * inner
    fusion = 4 * width * fused + 3 * PIECES * fused  # Pictures' and texts' queries, values, outputs; both attentions.
    decoder = 900 * (8 * width**2 + 2 * width * inner + 2 * 900 * width) + POSITIONS * width**2
    return 2 * 6 * (POSITIONS * (deformable + fusion) + decoder)


def estimates() -> dict[str, float]:
    """Operations per picture."""
    swin = transformers.SwinConfig(
        image_size=384, embed_dim=128, depths=[2, 2, 18, 2], num_heads=[4, 8, 16, 32], window_size=12
    )
    times = -(-CLASSES // NAMES)
    florence, opt = 585.0, 33.0 + CAPTION
    return {
        "BLIP-2 (OPT-2.7B) captions, five beams": seen(
            lambda: transformers.Blip2VisionModel(transformers.Blip2Config().vision_config), 224, 224
        )
        + layers(12, 768, 3072, 32, 32)
        + layers(6, 768, 0, 32, 257, 257)
        + layers(32, 2560, 10_240, 5 * opt, opt / 2)
        + 2 * 5 * CAPTION * 2560 * 50_272,
        "Florence-2 base captions, three beams": seen(
            lambda: Florence2VisionBackbone(transformers.Florence2VisionConfig(projection_dim=768)), 768, 768
        )
        + layers(6, 768, 3072, florence, florence)
        + layers(6, 768, 3072, 3 * CAPTION, CAPTION / 2, florence)
        + 2 * 3 * CAPTION * 768 * 51_289,
        f"Grounding DINO on Swin-B, {times} times": times
        * (seen(lambda: transformers.SwinModel(swin), 800, 1066) + grounding()),
    }


def main() -> None:
    """Count the operations and print the estimates."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=RESULTS / "rival_operations.json")
    options = parser.parse_args()
    measured = json.loads((RESULTS / "rival_times.json").read_text())["rows"]["CLIP ViT-B/16, 224 px (DiHT, MKT)"]
    tower = seen(lambda: transformers.CLIPVisionModel(transformers.CLIPVisionConfig(patch_size=16)), 224, 224)
    pace = tower / measured["seconds"]
    rows: dict[str, Any] = {}
    for name, operations in estimates().items():
        seconds = operations / pace
        rows[name] = {
            "teraflop": round(operations / 1e12, 2),
            "seconds": round(seconds, 1),
            "hours": round(seconds * PICTURES / 3600),
        }
    table("estimated", ("rival", "TFLOP", "seconds", "hours"), [(name, *row.values()) for name, row in rows.items()])
    write_result(options.out, {"machine": machine(), "gigaflops_a_second": pace / 1e9, "rows": rows})


if __name__ == "__main__":
    main()
