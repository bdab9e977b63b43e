"""Measure the overhead of ``anytag evaluate`` over a bare model: CLIP ViT-B/16, random weights, 214 categories.

The bare side reads the same pictures, prepares them the same way, and calls the ``transformers`` model on batches of
the same size. The model is the same on both sides and takes nearly all of the time, so its noise would hide the
difference. So it is timed alone, and everything else is timed on both sides, in turns, with a model that returns
immediately. The overhead is the difference of the latter relative to the whole bare time, the median over the rounds.
"""

from __future__ import annotations

import argparse
import io
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _common import RESULTS, machine, write_result
from PIL import Image

from anytag.evaluation.baselines.base import BATCH, PictureTransform
from anytag.evaluation.baselines.contrast import ContrastBaseline
from anytag.pictures import CLIP


def make_pictures(count: int) -> list[bytes]:
    """JPEGs of 640 x 480."""
    rng = np.random.default_rng(0)
    made = []
    for _ in range(count):
        small = Image.fromarray(rng.integers(0, 255, (48, 64, 3), dtype=np.uint8))
        out = io.BytesIO()
        small.resize((640, 480), Image.Resampling.BICUBIC).save(out, "JPEG", quality=90)
        made.append(out.getvalue())
    return made


def bare_baseline(model: object, transform: PictureTransform, texts: torch.Tensor) -> ContrastBaseline:
    """The baseline with a model that was not loaded from a directory."""
    baseline = object.__new__(ContrastBaseline)
    baseline.model, baseline.transform, baseline._texts = model, transform, texts
    return baseline


@torch.inference_mode()
def measure(count: int, rounds: int, tiny: bool) -> dict[str, Any]:
    """Processor seconds of the model, and of everything else on both sides, for a number of pictures."""
    from transformers import CLIPConfig, CLIPModel

    torch.set_num_threads(1)
    torch.manual_seed(0)
    vision = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2} if tiny else {}
    config = CLIPConfig(vision_config={"patch_size": 16, **vision}, text_config={"num_hidden_layers": 1})
    model = CLIPModel(config).eval()
    transform = PictureTransform(224, 224, shorter=224, normalization=CLIP)
    texts = torch.nn.functional.normalize(torch.randn(214, config.projection_dim), dim=-1)
    pictures, baseline = make_pictures(count), bare_baseline(model, transform, texts)

    def bare() -> None:
        for start in range(0, count, BATCH):
            few = [Image.open(io.BytesIO(content)).convert("RGB") for content in pictures[start : start + BATCH]]
            pixels = torch.from_numpy(np.stack([transform(picture) for picture in few]))
            found = model.get_image_features(pixel_values=pixels)
            pooled = found if isinstance(found, torch.Tensor) else found.pooler_output
            (torch.nn.functional.normalize(pooled, dim=-1) @ texts.T).numpy()

    def seconds_of(run: Callable[[], object]) -> float:
        begun = time.process_time()
        run()
        return time.process_time() - begun

    pixels = torch.from_numpy(np.stack([transform(Image.open(io.BytesIO(pictures[0])).convert("RGB"))] * BATCH))
    true_model, features = model.get_image_features, model.get_image_features(pixel_values=pixels)
    alone, overheads, sides = [], [], []
    for number in range(rounds + 1):
        seconds = seconds_of(lambda: [true_model(pixel_values=pixels) for _ in range(0, count, BATCH)])
        model.get_image_features = lambda pixel_values: features  # Returns immediately.
        arms = [bare, lambda: list(baseline.scores(pictures))]
        order = (0, 1) if number % 2 else (1, 0)
        taken = {arm: seconds_of(arms[arm]) for arm in order}
        theirs, ours = taken[0], taken[1]
        model.get_image_features = true_model
        if number:  # The first round allocates memory.
            alone.append(seconds)
            sides.append((theirs, ours))
            overheads.append((ours - theirs) / (theirs + seconds))
    bare_around, our_around = (statistics.median(side) for side in zip(*sides, strict=True))
    return {
        "machine": machine(),
        "pictures": count,
        "rounds": rounds,
        "processor_seconds": {
            "model": round(statistics.median(alone), 3),
            "around it, bare": round(bare_around, 4),
            "around it, baseline": round(our_around, 4),
        },
        "overhead": round(statistics.median(overheads), 4),
        "overhead_range": [round(min(overheads), 4), round(max(overheads), 4)],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pictures", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--tiny", action="store_true", help="try the command in seconds; the figures mean nothing")
    parser.add_argument("--out", type=Path, default=RESULTS / "baseline_overhead.json")
    options = parser.parse_args()
    result = measure(options.pictures, options.rounds, options.tiny)
    least, most = (100 * value for value in result["overhead_range"])
    print(f"{result['processor_seconds']}, overhead {100 * result['overhead']:.2f} % ({least:.2f} to {most:.2f})")
    if not options.tiny:
        write_result(options.out, result)


if __name__ == "__main__":
    main()
