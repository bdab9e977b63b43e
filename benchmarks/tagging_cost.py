"""Compare the cost of a recognition decoder on a model's existing features with an object detector.

Tag2Text claims at most 5 million additional weights and some 40 ms for tagging, and at least 42 million and some 153 ms
for a detector, on unspecified hardware. Here both run at the papers' sizes with random weights, which are as fast as
trained ones: Swin-B at 384 px with 3,429 tags, and DETR with ResNet-50 at 800 x 1066 px. They take turns, and processor
time of one thread is measured, so other programs hardly matter.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from _common import machine, parse_timing, write_result
from torch import nn

from anytag.model.config import ModelConfig, SwinConfig
from anytag.model.families import encoder_of, tag2text
from anytag.nn.model import RecognitionModel

TAGS = 3429


def tagger_config(tiny: bool) -> tuple[ModelConfig, int]:
    """Tag2Text without its captioner, and its number of tags."""
    config = tag2text().model_copy(update={"captioner": None})
    if not tiny:
        return config, TAGS
    encoder = encoder_of(SwinConfig(width=16, depths=(1, 1, 1, 1), heads=(1, 1, 2, 2), window=3), 96, False)
    update = {
        "image_encoder": encoder,
        "feature_width": encoder.width,
        "width": 32,
        "labels": config.labels.model_copy(update={"width": 32}),
        "recognition": config.recognition.model_copy(update={"heads": 2, "inner": 64}),
    }
    return config.model_copy(update=update), 50


def build_detector(tiny: bool) -> tuple[nn.Module, tuple[int, int]]:
    """DETR on ResNet-50, and the height and width of its pictures."""
    from transformers import DetrConfig, DetrForObjectDetection, ResNetConfig

    sizes: dict[str, Any] = {}
    backbone: dict[str, Any] = {"out_features": ["stage4"]}
    if tiny:
        backbone |= {"embedding_size": 4, "hidden_sizes": [4, 8, 8, 16], "depths": [1, 1, 1, 1], "layer_type": "basic"}
        sizes = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "num_queries": 5}
        sizes |= {f"{part}_attention_heads": 2 for part in ("encoder", "decoder")}
        sizes |= {f"{part}_ffn_dim": 24 for part in ("encoder", "decoder")}
    config = DetrConfig(
        use_timm_backbone=False,
        use_pretrained_backbone=False,
        backbone=None,
        backbone_config=ResNetConfig(**backbone),
        num_labels=91,
        **sizes,
    )
    return DetrForObjectDetection(config).eval().requires_grad_(False), ((64, 96) if tiny else (800, 1066))


def count(*modules: nn.Module) -> int:
    """Number of weights, counting shared ones once."""
    return sum(p.numel() for p in {id(p): p for module in modules for p in module.parameters()}.values())


@torch.inference_mode()
def measure(tiny: bool, rounds: int) -> dict[str, Any]:
    """Weights and milliseconds of both."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    config, tags = tagger_config(tiny)
    tagger, side = RecognitionModel(config, tags).eval().requires_grad_(False), config.image_encoder.resolution
    detector, (height, width) = build_detector(tiny)
    picture, large = torch.randn(1, 3, side, side), torch.randn(1, 3, height, width)
    features = tagger.features(tagger.image_encoder(picture))
    arms: dict[str, Callable[[], Any]] = {
        "image encoder": lambda: tagger.features(tagger.image_encoder(picture)),
        "tagging head": lambda: tagger.recognize(features),
        "detector": lambda: detector(pixel_values=large),
    }
    taken: dict[str, list[float]] = {name: [] for name in arms}
    for number in range(rounds + 1):
        for name, run in arms.items():
            start = time.process_time()
            run()
            if number:  # The first round allocates memory.
                taken[name].append(1000 * (time.process_time() - start))
    milliseconds = {name: statistics.median(values) for name, values in taken.items()}
    milliseconds["tagging in all"] = milliseconds["image encoder"] + milliseconds["tagging head"]
    queries = count(tagger.label_queries, tagger.recognition_decoder.score)
    return {
        "machine": machine(),
        "sizes": {"tags": tags, "picture": side, "detector_picture": [height, width]},
        "rounds": rounds,
        "weights": {
            "tagging, decoder layers shared with the interaction encoder (as in Tag2Text)": queries,
            "tagging, decoder layers of its own": count(tagger.label_queries, tagger.recognition_decoder),
            "detector": count(detector),
        },
        "milliseconds": {name: round(value, 1) for name, value in milliseconds.items()},
        "ratio": {
            "detector to tagging head": round(milliseconds["detector"] / milliseconds["tagging head"], 2),
            "detector to tagging in all": round(milliseconds["detector"] / milliseconds["tagging in all"], 2),
        },
    }


def main() -> None:
    options = parse_timing(__doc__, 5, "tagging_cost.json")
    result = measure(options.tiny, options.rounds)
    for name, value in result["weights"].items():
        print(f"{name}: {value / 1e6:.2f} million weights")
    for name, value in result["milliseconds"].items():
        print(f"{name}: {value:.0f} ms")
    print(", ".join(f"{name}: {value}" for name, value in result["ratio"].items()))
    if not options.tiny:
        write_result(options.out, result)


if __name__ == "__main__":
    main()
