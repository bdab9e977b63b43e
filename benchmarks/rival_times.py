"""Measure the time per picture of each baseline model at its published size, with random weights.

Processor time of one thread, one picture at a time, without reading the file. Random weights are as fast as trained
ones. BLIP's matching processes each of 214 categories with the picture: measured for 8 of them, and scaled up. Its
captions have 20 word pieces, its maximum. CLIP stands for DiHT and MKT, whose networks are the same. Hours are for
OpenImages-common's 57,224 pictures.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from _common import machine, parse_timing, write_result
from tagging_cost import build_detector
from torch import nn

from anytag.evaluation.baselines.ml_decoder_head import MlDecoder
from anytag.evaluation.baselines.tresnet import TResNet, TResNetConfig

PICTURES, CLASSES = 57_224, 214

#: Categories per batch of BLIP's text encoder, and their word pieces.
TOGETHER, PIECES = 8, 9


def tower(family: str, side: int, tiny: bool) -> Callable[[], Any]:
    """The image encoder of a base-size dual encoder with patches of 16 pixels."""
    import transformers

    small = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    config = getattr(transformers, f"{family}VisionConfig")(image_size=side, patch_size=16, **(small if tiny else {}))
    model = getattr(transformers, f"{family}VisionModel")(config).eval()
    picture = torch.randn(1, 3, side, side)
    return lambda: model(pixel_values=picture)


def blip(cls_name: str, tiny: bool) -> nn.Module:
    """A base-size BLIP at 384 pixels."""
    import transformers

    small = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    text = {**small, "encoder_hidden_size": 32} if tiny else {"encoder_hidden_size": 768, "num_attention_heads": 12}
    vision = {"image_size": 384, "patch_size": 16, **(small if tiny else {})}
    config = transformers.BlipConfig(text_config=text, vision_config=vision)
    model: nn.Module = getattr(transformers, cls_name)(config).eval()
    return model


def blip_contrast(tiny: bool) -> Callable[[], Any]:
    """The image encoder and its projection."""
    model: Any = blip("BlipForImageTextRetrieval", tiny)
    picture = torch.randn(1, 3, 384, 384)
    return lambda: model.vision_proj(model.vision_model(pixel_values=picture).last_hidden_state[:, 0])


def blip_matching(tiny: bool) -> Callable[[], Any]:
    """Match a few categories with an encoded picture."""
    model: Any = blip("BlipForImageTextRetrieval", tiny)
    seen = model.vision_model(pixel_values=torch.randn(1, 3, 384, 384)).last_hidden_state
    ids = torch.randint(1, 30_000, (TOGETHER, PIECES))
    options = {
        "encoder_hidden_states": seen.expand(TOGETHER, -1, -1),
        "encoder_attention_mask": torch.ones(TOGETHER, seen.shape[1], dtype=torch.long),
    }
    return lambda: model.itm_head(
        model.text_encoder(input_ids=ids, attention_mask=torch.ones_like(ids), **options).last_hidden_state[:, 0]
    )


def blip_captions(tiny: bool) -> Callable[[], Any]:
    """Write a caption with three beams and 20 word pieces."""
    model: Any = blip("BlipForConditionalGeneration", tiny)
    picture, start = torch.randn(1, 3, 384, 384), torch.tensor([[101, 1037, 3861, 1997]])
    options = {"num_beams": 3, "max_length": 20, "min_length": 20, "do_sample": False}
    return lambda: model.generate(pixel_values=picture, input_ids=start, **options)


def ml_decoder(tiny: bool) -> Callable[[], Any]:
    """TResNet-M with 200 groups for 9,605 classes."""
    body = TResNet(TResNetConfig(depths=(1, 1, 1, 1), width=8) if tiny else TResNetConfig()).eval()
    head = MlDecoder(50 if tiny else 9_605, body.features, groups=200, width=64 if tiny else 768).eval()
    picture = torch.rand(1, 3, 224, 224)
    return lambda: head(body(picture))


def detector(tiny: bool) -> Callable[[], Any]:
    """DETR on ResNet-50."""
    model, (height, width) = build_detector(tiny)
    picture = torch.randn(1, 3, height, width)
    return lambda: model(pixel_values=picture)


ROWS: dict[str, Callable[[bool], Callable[[], Any]]] = {
    "CLIP ViT-B/16, 224 px (DiHT, MKT)": lambda tiny: tower("CLIP", 224, tiny),
    "SigLIP 2 B/16, 256 px": lambda tiny: tower("Siglip", 256, tiny),
    "BLIP-ITC, 384 px": blip_contrast,
    "BLIP-ITM, 384 px": blip_matching,
    "BLIP captions, 384 px": blip_captions,
    "ML-Decoder on TResNet-M, 224 px": ml_decoder,
    "DETR on ResNet-50, 800 x 1066 px": detector,
}


@torch.inference_mode()
def measure(tiny: bool, rounds: int) -> dict[str, Any]:
    """Seconds per picture and hours per benchmark, by row."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    rows: dict[str, dict[str, float]] = {}
    for name, build in ROWS.items():
        run = build(tiny)
        taken = []
        for number in range(rounds + 1):
            start = time.process_time()
            run()
            if number:  # The first round allocates memory.
                taken.append(time.process_time() - start)
        seconds = statistics.median(taken)
        if build is blip_matching:
            seconds = seconds * CLASSES / TOGETHER + rows["BLIP-ITC, 384 px"]["seconds"]
        rows[name] = {"seconds": round(seconds, 3), "hours": round(seconds * PICTURES / 3600, 1)}
    return {"machine": machine(), "pictures": PICTURES, "rounds": rounds, "rows": rows}


def main() -> None:
    options = parse_timing(__doc__, 3, "rival_times.json")
    result = measure(options.tiny, options.rounds)
    for name, row in result["rows"].items():
        print(f"{name}: {row['seconds']:.2f} s per picture, {row['hours']:.0f} hours", flush=True)
    if not options.tiny:
        write_result(options.out, result)


if __name__ == "__main__":
    main()
