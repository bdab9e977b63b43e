"""From samples of any source to the batches that objectives learn from."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from anytag.datasets.samples import Sample
from anytag.datasets.stream import SampleStream
from anytag.language.parsing.parser import CaptionParser
from anytag.language.tags.tag_ids import Ids, TagIds
from anytag.language.tokenizers.bert_tokenizer import OfficialTokenizer
from anytag.language.tokenizers.pre_caption import pre_caption
from anytag.model.config import ImageEncoderConfig
from anytag.model.vocabulary import TagVocabulary
from anytag.nn.model import encoder_input
from anytag.pictures import Preprocessing
from anytag.training.engine.distributed import Share
from anytag.training.families.augmentation import augmented_pixels
from anytag.training.families.batch import Batch, caption_tensors
from anytag.training.recipes.config import AugmentationConfig, TrainingStage

#: Which tags a picture is taught: those of the caption that was drawn, all that is known of it, or those that the data
#: give by name, whatever captions say.
TagSource = Literal["caption", "picture", "given"]


@dataclass(frozen=True, slots=True)
class Example:
    """A sample, ready to be put into a batch.

    Attributes:
        pixels: ``[R, R, 3]``, 0 to 255; ``None`` where there are maps.
        tags: Ids that are true of it.
        tags_known: Whether anybody knows its tags; else nothing can be said of those that are missing.
        caption: The caption that was drawn, cleaned; empty if the sample has none.
        guides: Ids of the tags that this caption names itself, in the vocabulary's order.
        number: Tells pictures apart: the same for samples of the same picture.
        key: The same, of the sample.
        labels: Ids of human labels, where validation has read them.
        references: All captions of the picture, where validation has read them.
        maps: What the lower image encoder makes of the picture, ``[H, W, C]``, where that was cached.
        tokens: What the whole image encoder makes of it, ``[N, C]``, where that was.
    """

    pixels: npt.NDArray[np.uint8] | None
    tags: Ids
    tags_known: bool
    caption: str
    guides: Ids
    number: int
    key: int
    labels: Ids = ()
    references: tuple[str, ...] = ()
    maps: npt.NDArray[np.float16] | None = None
    tokens: npt.NDArray[np.float16] | None = None


@dataclass(frozen=True, slots=True)
class Seen:
    """What an example has of its picture: pixels, or tokens from a cache; see :class:`Example`."""

    pixels: npt.NDArray[np.uint8] | None = None
    tokens: npt.NDArray[np.float16] | None = None


class PictureTeacher(Protocol):
    """What says how a picture is to be embedded: CLIP itself, or what it said before."""

    def __call__(self, pixels: Tensor, keys: Sequence[int]) -> Tensor:
        """Embeddings ``[B, F]`` of normalized pixels ``[B, 3, R, R]``; a row of zeros where nothing is known."""


class TextTeacher(Protocol):
    """What embeds captions: CLIP's text encoder."""

    def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Unit vectors ``[len(texts), D]``."""


def sample_key(place: str) -> int:
    """A number from 0 to 2 ** 63 - 1 for the place of a sample or picture; the same in every process and run."""
    return int.from_bytes(hashlib.blake2b(place.encode(), digest_size=8).digest(), "little") >> 1


class SampleTags:
    """Which tags of a vocabulary a sample has.

    A name of the data is looked up as it stands, then as the caption parser's names are. Captions whose tags the data
    do not give are parsed.

    Args:
        vocabulary: Whose ids are wanted.
        parser: Reads captions; ``None``: captions without given tags have none.
    """

    def __init__(self, vocabulary: TagVocabulary, parser: CaptionParser | None):
        self.vocabulary, self.ids = vocabulary, TagIds(vocabulary, parser)

    def of_caption(self, sample: Sample, place: int) -> Ids | None:
        """Ids that a caption names itself, in its order, nothing implied added; ``None`` if nobody knows."""
        if sample.caption_tags:
            return tuple(sorted(self.ids.of_names(sample.caption_tags[place])))
        return self.ids.of_caption(sample.captions[place])

    def of_captions(self, sample: Sample) -> list[Ids | None]:
        """The same of each of its captions."""
        return [self.of_caption(sample, place) for place in range(len(sample.captions))]

    def of_picture(
        self, sample: Sample, kind: TagSource, drawn: Ids | None = None, named: Sequence[Ids | None] | None = None
    ) -> set[int] | None:
        """Ids that are true of a picture, with what they imply; ``None`` if nobody knows any.

        Args:
            sample: The picture.
            kind: Which of them.
            drawn: Ids of the caption that was drawn, for ``caption``.
            named: From :meth:`of_captions`, where they are at hand.
        """
        if kind == "caption" and drawn is not None:
            return self.vocabulary.with_implied(set(drawn))
        found = self.ids.of_names(sample.tags) if sample.tags else None
        # Where the data say what every caption names, their tags are the union already.
        if kind == "picture" and not (sample.tags and sample.caption_tags):
            for ids in self.of_captions(sample) if named is None else named:
                if ids is not None:
                    found = (found or set()) | set(ids)
        return None if found is None else self.vocabulary.with_implied(found)


class ExampleLoader:
    """Makes a :class:`Example` of a sample; runs in the threads of a stream.

    Caption and view are drawn anew in every epoch, from nothing but the seed, the epoch and the sample's place.

    Args:
        tags: Which tags samples have.
        preprocessing: How the encoder wants its pictures.
        augmentation: What views are drawn.
        kind: Which tags a picture is taught.
        words: Longest caption, in words.
        seed: Of all draws.
    """

    def __init__(
        self,
        tags: SampleTags,
        preprocessing: Preprocessing,
        augmentation: AugmentationConfig,
        kind: TagSource = "picture",
        words: int = 30,
        seed: int = 0,
    ):
        self.tags, self.preprocessing, self.augmentation = tags, preprocessing, augmentation
        self.kind, self.words, self.seed = kind, words, seed

    def __call__(self, sample: Sample, epoch: int) -> Example:
        """The sample in an epoch.

        Raises:
            PictureError: If the picture cannot be read.
        """
        place = sample.source or sample.id
        draw = random.Random(f"{self.seed}/{epoch}/{place}")
        seen = self.see(sample, draw)
        caption, drawn, named = "", None, None
        if sample.captions:
            chosen = draw.randrange(len(sample.captions))
            caption = pre_caption(sample.captions[chosen], self.words)
            # Of all captions where all are wanted, so that none is parsed twice.
            named = self.tags.of_captions(sample) if self.kind == "picture" else None
            drawn = named[chosen] if named is not None else self.tags.of_caption(sample, chosen)
        found = self.tags.of_picture(sample, self.kind, drawn, named)
        return Example(
            pixels=seen.pixels,
            tokens=seen.tokens,
            tags=tuple(sorted(found or ())),
            tags_known=found is not None,
            caption=caption,
            guides=tuple(sorted(drawn or ())),
            number=sample_key(str(sample.picture) if isinstance(sample.picture, Path) else place),
            key=sample_key(place),
        )

    def see(self, sample: Sample, draw: random.Random) -> Seen:
        """A view of the picture.

        Raises:
            PictureError: If the picture cannot be read.
        """
        picture = self.preprocessing.read(sample.picture, sample.place)
        return Seen(pixels=augmented_pixels(picture, self.preprocessing, self.augmentation, draw))


class Collator:
    """Puts examples into a batch.

    Args:
        encoder: How pixels are normalized.
        vocabulary: Names of guides.
        tokenizer: Of captions; ``None``: the model reads and writes none.
        teacher: Embeds pictures, or nothing does.
        texts: Embeds captions, or nothing does.
        device: Where batches go.
        official: Captions without their prompt, see :func:`~anytag.training.families.batch.caption_tensors`.
    """

    def __init__(
        self,
        encoder: ImageEncoderConfig,
        vocabulary: TagVocabulary,
        tokenizer: OfficialTokenizer | None = None,
        teacher: PictureTeacher | None = None,
        texts: TextTeacher | None = None,
        device: torch.device | str = "cpu",
        official: bool = False,
    ):
        self.vocabulary, self.tokenizer, self.teacher, self.texts = vocabulary, tokenizer, teacher, texts
        self.encoder, self.device, self.official = encoder, torch.device(device), official

    def __call__(self, examples: Sequence[Example]) -> Batch:
        """The batch of some examples; what none of them has is not in it."""
        pixels, maps, tokens = self._pixels(examples), _maps(examples), _tokens(examples)
        known = torch.tensor([example.tags_known for example in examples])
        tags = torch.zeros(len(examples), len(self.vocabulary))
        for row, example in zip(tags, examples, strict=True):
            row[list(example.tags)] = 1
        captions = [example.caption for example in examples]
        words: dict[str, Tensor] = {}
        if self.tokenizer is not None and any(captions):
            guides = [[self.vocabulary[id].name for id in example.guides] for example in examples]
            words = caption_tensors(self.tokenizer, captions, guides, official=self.official)
        embeddings = None
        if self.texts is not None and any(captions):
            found = self.texts.embed([caption or "." for caption in captions])
            # A row of zeros says that there is no caption.
            embeddings = torch.from_numpy(found * np.array([[bool(caption)] for caption in captions]))
        return Batch(
            pixels=pixels,
            maps=maps,
            tokens=None if tokens is None else tokens.to(self.device),
            tags=tags.to(self.device) if known.any() else None,
            tags_known=None if known.all() else known.to(self.device),
            picture_numbers=torch.tensor([example.number for example in examples], device=self.device),
            teacher=None if self.teacher is None or pixels is None else self.teacher(pixels, [e.key for e in examples]),
            text_embeddings=None if embeddings is None else embeddings.float().to(self.device),
            **{name: tensor.to(self.device) for name, tensor in words.items()},
        )

    def _pixels(self, examples: Sequence[Example]) -> Tensor | None:
        found = [example.pixels for example in examples if example.pixels is not None]
        if not found:
            return None
        return encoder_input(torch.from_numpy(np.stack(found)).to(self.device), self.encoder).contiguous()


def _maps(examples: Sequence[Example]) -> Tensor | None:
    found = [example.maps for example in examples if example.maps is not None]
    return torch.from_numpy(np.stack(found)).float().permute(0, 3, 1, 2) if found else None


def _tokens(examples: Sequence[Example]) -> Tensor | None:
    found = [example.tokens for example in examples if example.tokens is not None]
    return torch.from_numpy(np.stack(found)).float() if found else None


class StreamBatches:
    """Batches of one process, one after the other, from a stream that never ends.

    Args:
        stream: Gives examples.
        collate: Makes a batch of them.
        batch_size: Of all processes and micro-batches together.
        cached: Makes examples of samples for stages that read tokens from a cache.
    """

    def __init__(
        self,
        stream: SampleStream[Example],
        collate: Collator,
        batch_size: int,
        cached: Callable[[Sample, int], Example] | None = None,
    ):
        self.stream, self.collate, self.batch_size = stream, collate, batch_size
        self._loaders = {"nothing": stream.load, "tokens": cached or stream.load}
        self._examples: Iterator[Example] | None = None

    def draw(self, step: int, stage: TrainingStage, share: Share) -> Batch:
        """The next batch, of as many examples as the share has.

        Raises:
            DataError: If too much cannot be read.
        """
        rows, load = share.rows(self.batch_size), self._loaders[stage.cached]
        if self.stream.load is not load:
            self.close()  # What was read ahead was for the stage before.
            self.stream.load = load
        if self._examples is None:
            self._examples = iter(self.stream)
        return self.collate([next(self._examples) for _ in range(rows.stop - rows.start)])

    def state(self) -> dict[str, Any]:
        """The place behind the last batch, JSON-able, whatever was read ahead."""
        return self.stream.state()

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a state.

        Raises:
            UsageError: If it belongs to other data or settings.
        """
        self.close()
        self.stream.restore(state)

    def close(self) -> None:
        """Stop reading ahead; the next batch begins again behind the last."""
        if self._examples is not None:
            self._examples.close()  # type: ignore[attr-defined]
            self._examples = None
