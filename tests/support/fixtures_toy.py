"""A model whose every number can be worked out by hand.

Its features are a picture's mean color (red, green, blue, each 0 to 1), a label query is a row of three weights, a
score is their product (0.000001 to 0.999999). Its captions repeat the tags that they are guided by.
"""

from __future__ import annotations

import json

import numpy as np
from PIL import Image

from anytag.backends.base import ArrayQueries, Encoded
from anytag.inference.joint_embedding import JOINT_EMBEDDING_FILE
from anytag.inference.recognizer import Recognizer
from anytag.language.tokenizers.tokenizer import build_caption_tokenizer
from anytag.model.config import (
    CaptionerConfig,
    DecodingConfig,
    ImageEncoderConfig,
    JointEmbeddingConfig,
    LabelQueryConfig,
    ModelConfig,
)
from anytag.model.directory import ModelDirectory, write_config
from anytag.model.vocabulary import TagVocabulary, VocabularyTag

TAGS = (
    VocabularyTag(0, "animal", "object", support=9),
    VocabularyTag(1, "dog", "object", aliases=("hound",), implies=(0,), support=5, threshold=0.5),
    VocabularyTag(2, "beach", "scene", aliases=("sea shore",), support=4, threshold=0.25),
    VocabularyTag(3, "run", "action", support=2, threshold=0.8),
    VocabularyTag(4, "red", "attribute", support=3, threshold=0.9),
)
#: Rows of weights on red, green and blue.
QUERIES = np.array([[0.7, 0, 0], [0.6, 0, 0], [0, 0.5, 0], [0, 0, 1], [1, 0, 0]], np.float32)
WORDS = ("animal", "dog", "beach", "run", "red", "hound", "sea", "shore", "a", "picture", "of", "and")


class ToyBackend:
    """Runs nothing; ``calls`` counts what was asked of it and ``guides`` keeps the tag lists of captions."""

    def __init__(self, directory: ModelDirectory, tokenizer):
        self.directory, self.tokenizer = directory, tokenizer
        self.encoded = 0
        self.texts = 0
        self.guides: list[list[int]] = []
        self.classes = np.empty((0,), np.float32)

    def encode(self, pixels):
        self.encoded += len(pixels)
        features = (pixels.reshape(len(pixels), 1, 16, 3).mean(2) / 255).astype(np.float32)
        return Encoded(features, np.tile(self.classes, (len(pixels), 1)).astype(np.float32))

    def recognize(self, features, labels):
        scores = np.clip(features[:, 0] @ labels.arrays["queries"].T.astype(np.float64), 1e-6, 1 - 1e-6)
        return np.log(scores) - np.log1p(-scores)

    def attention(self, features, labels):
        """Every label looks at the picture as a whole and at two by two cells, most at the lower left one."""
        return np.tile(np.array([0.6, 0, 0.1, 0.2, 0.1], np.float32), (len(features), len(labels), 1))

    def vocabulary_queries(self):
        return ArrayQueries({"queries": QUERIES, "projected": QUERIES})

    def text_queries(self, ids):
        """A free text's query: as much green as it has tokens, in tenths."""
        self.texts += len(ids)
        rows = np.zeros((len(ids), 3), np.float32)
        rows[:, 1] = (ids != 0).sum(1) / 10
        return ArrayQueries({"queries": rows, "projected": rows})

    def fuse(self, tag_ids, features, rows):
        guide = tag_ids[0].tolist()
        self.guides.append(guide)
        tokenizer = self.tokenizer
        lead = tokenizer.encode("a picture of")
        said = [*lead, *(i for i in guide if i not in tokenizer.special_ids), tokenizer.end_id]

        def step(ids, cache):
            place = int(cache["place"][0, 0]) if cache else 0
            logits = np.zeros((len(ids), len(tokenizer)), np.float32)
            logits[:, said[min(place, len(said) - 1)]] = 5
            return logits, {"place": np.full((len(ids), 1), place + 1)}

        return step


def write_toy_model(folder, tags=TAGS, classes=0, captioner=True):
    """A complete model directory without graphs."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    folder.mkdir(parents=True)
    TagVocabulary(tags).save(folder / "vocabulary.json")
    tokenizer = build_caption_tokenizer(["[UNK]", *map(chr, range(97, 123)), *WORDS], list(WORDS) * 9)
    tokenizer.save(folder / "tokenizer.json")
    labels = Tokenizer(models.WordLevel({"[PAD]": 0, "[UNK]": 1, "kart": 2}, unk_token="[UNK]"))
    labels.pre_tokenizer = pre_tokenizers.Whitespace()
    labels.save(str(folder / "label_tokenizer.json"))
    config = ModelConfig(
        name="toy",
        width=3,
        image_encoder=ImageEncoderConfig(resolution=4, width=3, tokens=1, classes=classes),
        labels=LabelQueryConfig(width=3),
        captioner=CaptionerConfig(vocabulary=len(tokenizer)) if captioner else None,
        decoding=DecodingConfig(num_beams=2, max_length=20, min_length=0),
        default_threshold=0.3,
        open_threshold=0.2,
        class_threshold=0.4,
    )
    write_config(folder, config, ["vocabulary.json", "tokenizer.json", "label_tokenizer.json"])
    return folder


def toy_recognizer(folder, batch_size=2, **options):
    """A recognizer of the toy model in a new folder."""
    from anytag.language.tokenizers.tokenizer import CaptionTokenizer

    directory = ModelDirectory(write_toy_model(folder, **options))
    backend = ToyBackend(directory, CaptionTokenizer.load(folder / "tokenizer.json"))
    backend.classes = np.zeros(directory.config.image_encoder.classes, np.float32)
    return Recognizer(directory, backend, batch_size, workers=1, recognize_blank=True)


def plain(color, size=(8, 8)):
    """A picture of one color."""
    return Image.new("RGB", size, color)


def plain_folder(folder):
    """A new folder with a red, a lime and a blue picture."""
    folder.mkdir()
    for name in ("red", "lime", "blue"):
        plain(name).save(folder / f"{name}.png")
    return folder


def edit_config(folder, **changes):
    """Change entries of a model's config.json."""
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def with_joint_embedding(recognizer, weight=0.5):
    """The toy recognizer with a space in which pictures are their colors, and texts what is asked with."""
    from safetensors.numpy import save_file

    directory = recognizer.directory
    eye = {"weight": np.eye(3, dtype=np.int8), "scale": np.ones(3, np.float32), "bias": np.zeros(3, np.float32)}
    arrays = {f"{side}_{name}": array for side in ("picture", "text") for name, array in eye.items()}
    save_file(arrays, directory.path / JOINT_EMBEDDING_FILE)
    config = directory.config.model_copy(update={"joint_embedding": JointEmbeddingConfig(tag_weight=weight)})
    write_config(directory.path, config, [*directory.config.files, JOINT_EMBEDDING_FILE])
    return Recognizer(ModelDirectory(directory.path), recognizer.backend, 2)
