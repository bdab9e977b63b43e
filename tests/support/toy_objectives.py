"""A small batch, and a Tag2Text with all losses."""

from __future__ import annotations

from dataclasses import replace

import torch
from fixtures_official import CLIP, SIDE, TAGS, small_model
from torch import nn

from anytag.language.tokenizers.bert_tokenizer import build_official_tokenizer
from anytag.nn.alignment import AlignmentEncoder
from anytag.nn.momentum import MomentumConfig, MomentumContrast
from anytag.training.families.batch import Batch, caption_tensors
from anytag.training.families.objectives import Tag2TextObjective
from anytag.training.recipes.config import Tag2TextConfig

WORDS = ("a", "picture", "of", "dog", "cat", "red", "car", "runs", "on", "grass", "the", "|", "big", "##s", "two")
TOKENIZER = build_official_tokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS])
#: Ids of the words, by hand: five special tokens come first, [DEC] and [ENC] last.
ID = {word: 5 + place for place, word in enumerate(WORDS)}
CLS, SEP, DEC, ENC = 2, 3, 20, 21
PROMPT = [DEC, ID["a"], ID["picture"], ID["of"]]
CAPTIONS = ("the dog runs on grass", "a big red car", "two dogs")
TAG_NAMES = (["dog", "grass"], ["red car"], ["dog"])


def small_batch(**changes) -> Batch:
    generator = torch.Generator().manual_seed(0)
    batch = Batch(
        pixels=torch.randn(3, 3, SIDE, SIDE, generator=generator),
        tags=(torch.rand(3, TAGS, generator=generator) < 0.4).float(),
        teacher=torch.randn(3, CLIP, generator=generator),
        text_embeddings=torch.randn(3, CLIP, generator=generator),
        **caption_tensors(TOKENIZER, CAPTIONS, TAG_NAMES),
    )
    return replace(batch, **changes)


def without(batch: Batch, *names: str) -> Batch:
    return replace(batch, **dict.fromkeys(names))


def rows_of(batch: Batch, rows: list[int]) -> Batch:
    return Batch(**{name: t if t is None else t[rows] for name, t in vars(batch).items()})


def aligned(seed=0, dropout=0.0, **settings):
    """A small Tag2Text with all losses, as one module."""
    model = small_model("tag2text", seed, dropout=dropout)
    encoder = AlignmentEncoder(model.text_decoder, model.config.features, embedding=4, match_id=ENC)
    momentum = MomentumConfig(momentum=0.9, queue=4)
    contrast = MomentumContrast(model, encoder, momentum, steps_per_epoch=2)
    objective = Tag2TextObjective(Tag2TextConfig(**settings), TOKENIZER, encoder, contrast)
    return nn.ModuleDict({"model": model, "objective": objective})


def losses(task, batch, seed):
    """Total loss and components, with hard negatives drawn from a seed."""
    torch.manual_seed(seed)
    return task["objective"](task["model"], batch)
