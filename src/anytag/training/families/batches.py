"""Training batches from samples of any source."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from anytag.datasets.samples import Sample
from anytag.datasets.stream import SampleStream
from anytag.language.label_texts.embedding_cache import TextEncoder
from anytag.language.parsing.parser import CaptionParser
from anytag.language.tags.tag_ids import Ids, TagIds
from anytag.language.tokenizers.bert_tokenizer import OfficialTokenizer
from anytag.language.tokenizers.pre_caption import pre_caption
from anytag.model.config import ImageEncoderConfig
from anytag.model.vocabulary import TagVocabulary
from anytag.nn.model import encoder_input
from anytag.pictures import Preprocessing
from anytag.training.engine.distributed import Share
from anytag.training.engine.task import Batches
from anytag.training.families.augmentation import augmented_pixels
from anytag.training.families.batch import Batch, caption_tensors
from anytag.training.recipes.config import AugmentationConfig, TrainingStage

#: Target tags of a picture: those of the drawn caption, all known tags, or those that the data list as tags.
TagSource = Literal["caption", "picture", "given"]

#: Normalized pixels ``[B, 3, R, R]`` and sample keys to embeddings ``[B, F]``; rows of unknown samples are 0.
PictureTeacher = Callable[[Tensor, Sequence[int]], Tensor]


@dataclass(frozen=True, slots=True)
class ImageInputs:
    """Image inputs of an example: pixels, or cached tokens; see :class:`Example`."""

    pixels: npt.NDArray[np.uint8] | None = None
    tokens: npt.NDArray[np.float16] | None = None


@dataclass(frozen=True, slots=True)
class Example:
    """A loaded sample.

    Attributes:
        pixels: ``[R, R, 3]``, 0 to 255; ``None`` if features are cached.
        tags: Ids of its target tags.
        tags_known: Whether the tags are known. If not, missing tags are not treated as negatives.
        caption: The drawn caption, cleaned; empty if the sample has none.
        guides: Ids of the caption's own tags, in the vocabulary's order.
        number: Identifies the picture: the same for all samples of it.
        key: Identifies the sample.
        labels: Ids of human labels; validation only.
        references: All captions of the picture; validation only.
        maps: Cached output of the lower image encoder, ``[H, W, C]``.
        tokens: Cached output of the whole image encoder, ``[N, C]``.
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


def sample_key(place: str) -> int:
    """Hash the place of a sample or picture to 0 … 2 ** 63 - 1; the same in every process and run."""
    return int.from_bytes(hashlib.blake2b(place.encode(), digest_size=8).digest(), "little") >> 1


class SampleTags:
    """Map a sample's tag names and captions to vocabulary ids.

    Names are looked up as they are, then in the caption parser's normal form. Captions are parsed unless the data
    list their tags; without a parser, other captions have no tags.
    """

    def __init__(self, vocabulary: TagVocabulary, parser: CaptionParser | None):
        self.vocabulary, self.ids = vocabulary, TagIds(vocabulary, parser)

    def of_captions(self, sample: Sample) -> list[Ids | None]:
        """Vocabulary ids for each of a sample's captions; see :meth:`of_caption`."""
        return [self.of_caption(sample, place) for place in range(len(sample.captions))]

    def of_caption(self, sample: Sample, place: int) -> Ids | None:
        """Vocabulary ids of a caption's own tags, in its order, without implied ones; ``None`` if unknown."""
        if sample.caption_tags:
            return tuple(sorted(self.ids.of_names(sample.caption_tags[place])))
        return self.ids.of_caption(sample.captions[place])

    def of_picture(
        self, sample: Sample, kind: TagSource, drawn: Ids | None = None, named: Sequence[Ids | None] | None = None
    ) -> set[int] | None:
        """Vocabulary ids of a picture's target tags, with implied ones; ``None`` if unknown.

        ``drawn`` are the ids of the drawn caption, ``named`` the result of :meth:`of_captions` if already computed.
        """
        if kind == "caption" and drawn is not None:
            return self.vocabulary.with_implied(set(drawn))
        found = self.ids.of_names(sample.tags) if sample.tags else None
        # If the data list the tags of every caption, their tags are the union already.
        if kind == "picture" and not (sample.tags and sample.caption_tags):
            for ids in self.of_captions(sample) if named is None else named:
                if ids is not None:
                    found = (found or set()) | set(ids)
        return None if found is None else self.vocabulary.with_implied(found)


class ExampleLoader:
    """Load a sample as an :class:`Example`, in the threads of a stream.

    Caption and view are drawn anew in every epoch, and depend on the seed, the epoch and the sample's place only.
    ``kind`` selects the target tags; captions are cut after ``words`` words.
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
        """Load the sample for an epoch.

        Raises:
            PictureError: If the picture cannot be read.
        """
        place = sample.source or sample.id
        draw = random.Random(f"{self.seed}/{epoch}/{place}")
        inputs = self.image_inputs(sample, draw)
        caption, drawn, named = "", None, None
        if sample.captions:
            chosen = draw.randrange(len(sample.captions))
            caption = pre_caption(sample.captions[chosen], self.words)
            # Parse each caption once: all of them, or only the drawn one.
            named = self.tags.of_captions(sample) if self.kind == "picture" else None
            drawn = named[chosen] if named is not None else self.tags.of_caption(sample, chosen)
        found = self.tags.of_picture(sample, self.kind, drawn, named)
        return Example(
            pixels=inputs.pixels,
            tokens=inputs.tokens,
            tags=tuple(sorted(found or ())),
            tags_known=found is not None,
            caption=caption,
            guides=tuple(sorted(drawn or ())),
            number=sample_key(str(sample.picture) if isinstance(sample.picture, Path) else place),
            key=sample_key(place),
        )

    def image_inputs(self, sample: Sample, draw: random.Random) -> ImageInputs:
        """Read and augment the picture.

        Raises:
            PictureError: If the picture cannot be read.
        """
        picture = self.preprocessing.read(sample.picture, sample.place)
        return ImageInputs(pixels=augmented_pixels(picture, self.preprocessing, self.augmentation, draw))


class Collator:
    """Collate examples into a batch.

    Without a tokenizer, captions are left out. The teacher embeds pictures for distillation, ``texts`` captions for
    alignment; for ``official`` see :func:`~anytag.training.families.batch.caption_tensors`.
    """

    def __init__(
        self,
        encoder: ImageEncoderConfig,
        vocabulary: TagVocabulary,
        tokenizer: OfficialTokenizer | None = None,
        teacher: PictureTeacher | None = None,
        texts: TextEncoder | None = None,
        device: torch.device | str = "cpu",
        official: bool = False,
    ):
        self.vocabulary, self.tokenizer, self.teacher, self.texts = vocabulary, tokenizer, teacher, texts
        self.encoder, self.device, self.official = encoder, torch.device(device), official

    def __call__(self, examples: Sequence[Example]) -> Batch:
        """Collate examples; the batch omits inputs that none of them has."""
        pixels = _stacked([example.pixels for example in examples])
        if pixels is not None:
            pixels = encoder_input(pixels.to(self.device), self.encoder).contiguous()
        maps = _stacked([example.maps for example in examples])
        tokens = _stacked([example.tokens for example in examples])
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
            # Rows without a caption become 0.
            embeddings = torch.from_numpy(found * np.array([[bool(caption)] for caption in captions]))
        return Batch(
            pixels=pixels,
            maps=None if maps is None else maps.float().permute(0, 3, 1, 2),
            tokens=None if tokens is None else tokens.float().to(self.device),
            tags=tags.to(self.device) if known.any() else None,
            tags_known=None if known.all() else known.to(self.device),
            picture_numbers=torch.tensor([example.number for example in examples], device=self.device),
            teacher=None if self.teacher is None or pixels is None else self.teacher(pixels, [e.key for e in examples]),
            text_embeddings=None if embeddings is None else embeddings.float().to(self.device),
            **{name: tensor.to(self.device) for name, tensor in words.items()},
        )


def _stacked(arrays: Sequence[npt.NDArray[Any] | None]) -> Tensor | None:
    found = [array for array in arrays if array is not None]
    return torch.from_numpy(np.stack(found)) if found else None


class StreamBatches(Batches):
    """Batches from an endless stream, ``batch_size`` examples over all processes and micro-batches.

    ``cached`` loads the examples of stages that read cached tokens.
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
        """Return the next batch.

        Raises:
            DataError: If too many samples cannot be read.
        """
        rows, load = share.rows(self.batch_size), self._loaders[stage.cached]
        if self.stream.load is not load:
            self.close()  # The examples read ahead are those of another stage.
            self.stream.load = load
        if self._examples is None:
            self._examples = iter(self.stream)
        return self.collate([next(self._examples) for _ in range(rows.stop - rows.start)])

    def state(self) -> dict[str, Any]:
        return self.stream.state()

    def restore(self, state: dict[str, Any]) -> None:
        self.close()
        self.stream.restore(state)

    def close(self) -> None:
        """Stop reading ahead; a later batch continues after the last one."""
        if self._examples is not None:
            self._examples.close()  # type: ignore[attr-defined]
            self._examples = None
