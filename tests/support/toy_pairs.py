"""Colored squares with tags and captions, and models tiny enough to learn them at once.

Run as a script it trains with the data in one folder in another one, slowly enough to be killed, or one step alone,
with one thread or as many as its last argument says (sums differ in their last bits with the number of threads).
"""

from __future__ import annotations

import json
import random
import sys
import time
from pathlib import Path

import torch
from PIL import Image, ImageDraw

from anytag.model.config import (
    CaptionerConfig,
    ImageEncoderConfig,
    LabelQueryConfig,
    ModelConfig,
    RecognitionConfig,
    SwinConfig,
)
from anytag.nn.momentum import MomentumConfig
from anytag.training.recipes.config import (
    AugmentationConfig,
    RamConfig,
    RamPlusConfig,
    StreamConfig,
    Tag2TextConfig,
    TeacherConfig,
    TrainingConfig,
    TrainingStage,
    VocabularyConfig,
)

COLORS = {"red": (220, 30, 30), "green": (30, 190, 30), "blue": (40, 40, 230), "yellow": (230, 220, 30)}
SHAPES = ("square", "circle")
SIDE, WIDTH, TEXTS = 32, 24, 10


def picture(color, shape, draw):
    """A shape of a color somewhere on a gray ground."""
    made = Image.new("RGB", (40, 40), (draw.randrange(90, 150),) * 3)
    left, upper, size = draw.randrange(2, 12), draw.randrange(2, 12), draw.randrange(18, 26)
    paint = ImageDraw.Draw(made)
    (paint.rectangle if shape == "square" else paint.ellipse)((left, upper, left + size, upper + size), COLORS[color])
    return made


def write_pictures(folder, count=24, seed=0, colors=tuple(COLORS), tags=True, captions=True):
    """``pictures/*.png`` and ``pairs.jsonl``, a row a picture; the rows."""
    draw = random.Random(seed)
    (folder / "pictures").mkdir(parents=True, exist_ok=True)
    rows = []
    for number in range(count):
        color, shape = colors[number % len(colors)], draw.choice(SHAPES)
        name = f"pictures/{seed}-{number:03d}.png"
        picture(color, shape, draw).save(folder / name)
        row = {"image": name}
        if tags:
            row["tags"] = [color, shape]
        if captions:
            row["captions"] = [f"a {color} {shape} on a wall", f"there is a {shape}"]
        rows.append(row)
    write_rows(folder / "pairs.jsonl", rows)
    return rows


def write_rows(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def model_config(family, dropout=0.1):
    """A Swin of two stages and as little as possible of everything else."""
    kinds = {"tag2text": "learned", "ram": "embedded", "ram_plus": "described"}
    projected = family != "tag2text"
    captioner = CaptionerConfig(
        layers=1,
        interaction_layers=2,
        heads=2,
        inner=24,
        positions=40,
        picture_memory=False,
        shared_words=True,
        tokenizer="bert",
        guides="all",
        tag_length=40,
        mask_padding=False,
        prompt="a picture of ",
        dropout=dropout,
    )
    return ModelConfig(
        family=family,
        width=16,
        feature_width=TEXTS if projected else WIDTH,
        image_encoder=ImageEncoderConfig(
            name="swin",
            swin=SwinConfig(width=12, depths=(1, 1), heads=(2, 2), window=4, drop_path=0.0),
            projection="linear" if projected else "none",
            resolution=SIDE,
            width=WIDTH,
            tokens=17,
            classes=0,
        ),
        recognition=RecognitionConfig(
            layers=2, heads=2, inner=24, dropout=dropout, score="shared" if projected else "per_tag"
        ),
        labels=LabelQueryConfig(
            kind=kinds[family], width=TEXTS if projected else 16, offsets=False, descriptions=3 if projected else 1
        ),
        captioner=None if family == "ram_plus" else captioner,
        default_threshold=0.5,
    )


OBJECTIVES = {
    "tag2text": Tag2TextConfig(),
    "ram": RamConfig(distillation=0.0),
    "ram_plus": RamPlusConfig(distillation=0.0),
}


def config(family="tag2text", **changes):
    """A run of a few steps."""
    settings = {
        "name": f"toy-{family}",
        "model": model_config(family),
        "sources": ("pairs.jsonl",),
        "objective": OBJECTIVES[family],
        "momentum": MomentumConfig(queue=16),
        "alignment_width": 8,
        "augmentation": AugmentationConfig(crop=(0.6, 1.0)),
        "teacher": TeacherConfig(clip=None if family == "tag2text" else "clip"),
        "stages": (TrainingStage(name="all", epochs=2, learning_rate=3e-3, encoder_learning_rate=3e-3, warmup=2),),
        "batch_size": 8,
        "precision": "float32",
        "ema_decay": 0.0,
        "log_every": 2,
        "save_every": 2,
        "validate_every": 100,
        "vocabulary": VocabularyConfig(read="tags"),
    }
    return TrainingConfig(**(settings | changes))


#: Tags alone, all eight pictures in every step, and nothing drawn by a process for itself.
WHOLE_BATCHES = {
    "model": model_config("tag2text", dropout=0.0),
    "objective": Tag2TextConfig(captioning=0.0, contrast=0.0, matching=0.0),
    "stages": (TrainingStage(name="all", epochs=3, learning_rate=3e-3, encoder_learning_rate=3e-3),),
    "tags": "given",
    "parser": "none",
    "log_every": 1,
}


if __name__ == "__main__":
    from anytag.training.families import setup
    from anytag.training.run import train

    pairs, run, what = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    torch.set_num_threads(int(sys.argv[4]) if len(sys.argv) > 4 else 1)
    if what == "slowly":

        class SlowBatches(setup.StreamBatches):
            def draw(self, *arguments):
                time.sleep(0.15)
                return super().draw(*arguments)

        setup.StreamBatches = SlowBatches
        train(config(), pairs, run, lambda line: print(line, flush=True))
    elif what == "uneven":  # Tags alone, of which the second process never sees any.
        stage = TrainingStage(name="head", epochs=1, learning_rate=3e-3)
        tags = Tag2TextConfig(captioning=0.0, contrast=0.0, matching=0.0)
        changes = {"objective": tags, "stages": (stage,), "tags": "given", "parser": "none"}
        settings = config(parallel="ddp", stream=StreamConfig(shuffle=False), **changes)
        train(settings, pairs, run, lambda line: print(line, flush=True))
    elif what == "whole":
        train(config(parallel="ddp", **WHOLE_BATCHES), pairs, run, lambda line: print(line, flush=True))
    else:  # One step of several processes.
        train(config(parallel=what), pairs, run, print, stop_after=0.0)
