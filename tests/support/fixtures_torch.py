"""Networks small enough for tests, and shards made on the fly; they need PyTorch."""

from __future__ import annotations

import io
import json
import tarfile

import numpy as np
import torch
from PIL import Image

from anytag.language.tokenizers.tokenizer import build_caption_tokenizer
from anytag.model.config import (
    CaptionerConfig,
    DecodingConfig,
    ImageEncoderConfig,
    LabelQueryConfig,
    ModelConfig,
    RecognitionConfig,
)
from anytag.nn.model import RecognitionModel

torch.set_num_threads(1)

#: 64 pixels are two by two at stride 32, and their mean.
TINY = ModelConfig(
    name="tiny",
    width=16,
    image_encoder=ImageEncoderConfig(name="efficientnet_lite0", resolution=64, tokens=5, classes=6),
    recognition=RecognitionConfig(layers=2, heads=2, inner=24, dropout=0.0),
    labels=LabelQueryConfig(width=24, inner=20),
    captioner=CaptionerConfig(layers=2, heads=2, inner=24, vocabulary=64, positions=16, dropout=0.0),
    decoding=DecodingConfig(num_beams=2, max_length=12, min_length=3),
)


def tiny_model(seed=0, tags=5, config=TINY):
    """A model of random weights, in eval mode; its offsets are random too."""
    torch.manual_seed(seed)
    model = RecognitionModel(config, tags)
    torch.nn.init.normal_(model.label_queries.offsets.weight)
    torch.nn.init.normal_(model.classifier.weight)
    return model.eval()


def tiny_tokenizer():
    """64 pieces: specials, letters and a few words."""
    words = ("dog", "cat", "run", "a", "the", "on", "of", "grass", "red", "big")
    return build_caption_tokenizer(["[UNK]", *map(chr, range(97, 123)), *words], list(words) * 9)


def write_shard(path, captions, labels=None, seed=0):
    """A WebDataset shard of small random JPEGs, one a tuple of captions."""
    rng = np.random.default_rng(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for number, group in enumerate(captions):
            stream = io.BytesIO()
            coarse = Image.fromarray(rng.integers(0, 256, (6, 8, 3), np.uint8))
            coarse.resize((64, 48), Image.Resampling.BICUBIC).save(stream, "JPEG")
            record = {"captions": list(group)} | ({"categories": list(labels[number])} if labels else {})
            for extension, content in (("jpg", stream.getvalue()), ("json", json.dumps(record).encode())):
                member = tarfile.TarInfo(f"{path.stem}-{number:04}.{extension}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return path
