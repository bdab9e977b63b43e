"""What the runs read: cached features and annotations, the engine's pictures, held-out tags."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from _claims_config import ClaimsConfig, Setting
from _claims_held_out import draw_held_out
from _claims_tokens import with_tokens
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor

from anytag.data_engine.manifest import Manifest
from anytag.datasets.bad_samples import JsonLinesLog
from anytag.datasets.shard_names import expand_shards
from anytag.errors import DataError, SampleError
from anytag.foundations.atomic_files import save_array
from anytag.language.parsing.parsed_captions import ParsedCaptions
from anytag.language.parsing.parser import load_parser
from anytag.language.tags.vocabulary_builder import imagenet_tag_ids
from anytag.nn.efficientnet_lite import load_imagenet_lite
from anytag.nn.text_encoder import embed_texts, load_sentence_encoder, sentence_encoder_folder
from anytag.training.families.batches import SampleTags
from anytag.training.families.data_sources import open_data
from anytag.training.families.feature_cache import CachedShard
from anytag.training.families.initialization import Start, begin
from anytag.training.lite.batches import CaptionRecord, PictureRecord, TrainingPairs
from anytag.training.lite.data import LiteData, prepare
from anytag.training.recipes.config import LiteConfig

Report = Callable[[str], None]

#: Of captions, in word pieces.
LIMIT = LiteConfig().caption_tokens


@dataclass
class ClaimsData:
    """Everything that is the same for all runs. The image encoder is frozen in all of them.

    Args:
        config: The settings.
        data: Folder that the recipe's patterns are relative to.
        cache: Folder for features, and for all that the claims keep.
        report: Receives progress.
    """

    config: ClaimsConfig
    data: Path
    cache: Path
    report: Report = print
    prepared: LiteData = field(init=False)
    start: Start = field(init=False)
    tags: SampleTags = field(init=False)

    def __post_init__(self) -> None:
        config = self.config.training
        self.cache.mkdir(parents=True, exist_ok=True)
        parser = ParsedCaptions(load_parser(config.parser), self.cache)  # type: ignore[arg-type]
        given = open_data(config, self.data, None, JsonLinesLog(self.cache / "bad-samples.jsonl"))
        self.start = begin(config, given, self.cache, None, parser)
        given.tags = self.tags = SampleTags(self.start.vocabulary, parser)
        encoder = load_imagenet_lite(variant=self.start.config.image_encoder.name)
        encoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        # Some settings align pictures with captions, whose embeddings are wanted then.
        aligned = config.model_copy(update={"objective": config.objective.model_copy(update={"alignment": 1.0})})
        self.prepared = prepare(aligned, self.start, given, self.cache, encoder, self.report)
        self.start.vocabulary = self.prepared.vocabulary

    @property
    def vocabulary_file(self) -> Path:
        """The runs' tags, for the data engine."""
        path = self.cache / "claims" / "vocabulary.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        self.start.vocabulary.save(path)
        return path

    @property
    def label_embeddings(self) -> Tensor:
        """``[T, D]``, text embeddings of the tags."""
        assert self.start.label_embeddings is not None
        return self.start.label_embeddings

    @cached_property
    def shards(self) -> list[CachedShard]:
        """The training shards with tokens for maps, in the order of ``prepared.pairs``."""
        return self._with_tokens(self.prepared.shards)

    @cached_property
    def engine_shards(self) -> list[CachedShard]:
        """Those that the data engine works on, in the order of its manifests' parts."""
        shards = {shard.name.partition("-")[2]: shard for shard in self.prepared.shards}
        files = expand_shards([self.data / pattern for pattern in self.config.engine])
        return self._with_tokens([shards[Path(file).stem] for file in files])

    def _with_tokens(self, shards: Sequence[CachedShard]) -> list[CachedShard]:
        encoder = load_imagenet_lite(variant=self.start.config.image_encoder.name)
        encoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return with_tokens(shards, encoder, self.cache / "claims" / "tokens", self.report)

    @cached_property
    def validation_captions(self) -> tuple[list[str], list[tuple[int, ...]], Tensor]:
        """Captions of all validation pictures: text, ids of the tags that they name, embedding."""
        captions = [c for s in self.prepared.held_out for record in s.records for c in record["captions"]]
        tags = [self.tags.ids.of_caption(caption) or () for caption in captions]
        return captions, tags, self._embedded(captions, "validation-embeddings.npy")

    def _embedded(self, texts: Sequence[str], name: str) -> Tensor:
        path = self.cache / "claims" / name
        if not path.exists():
            folder = sentence_encoder_folder()
            tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
            tokenizer.no_padding()
            tokenizer.no_truncation()
            made = embed_texts(load_sentence_encoder(folder), tokenizer, list(texts))
            path.parent.mkdir(parents=True, exist_ok=True)
            save_array(path, made.numpy().astype(np.float16))
        return torch.from_numpy(np.load(path).astype(np.float32))

    @cached_property
    def truth(self) -> NDArray[np.bool_]:
        """``[N, T]`` for all validation pictures: tags that their captions name, and what these imply."""
        samples = [sample for shard in self.prepared.held_out for sample in shard.samples()]
        truth = np.zeros((len(samples), len(self.prepared.vocabulary)), np.bool_)
        for row, sample in zip(truth, samples, strict=True):
            row[sorted(self.tags.of_picture(sample, "picture") or ())] = True
        return truth

    def held_out(self, seed: int) -> NDArray[np.int64]:
        """The hidden tags of a seed. The categories of mean average precision are not among them."""
        found = [self.prepared.vocabulary.find(name) for name in self.config.categories]
        kept = {tag.id for tag in found if tag is not None}
        support = self.truth.sum(0)
        return draw_held_out(support, self.config.held_out, self.config.held_out_support, seed, kept)

    @cached_property
    def classes(self) -> list[int | None]:
        """The tag of each ImageNet class."""
        return imagenet_tag_ids(self.prepared.vocabulary)

    @cached_property
    def teacher(self) -> Tensor:
        """``[pictures, D]``: what the ImageNet classifier says of every training picture, in the tags' text space.

        The mean of its classes' text embeddings, weighted by their probabilities, at length 1 (ConSE, Norouzi et al.,
        2014). That is what CLIP's picture embedding is to RAM: the picture, in the space that queries come from.
        """
        known = torch.tensor([place for place, tag in enumerate(self.classes) if tag is not None])
        tags = torch.tensor([tag for tag in self.classes if tag is not None])
        embeddings = self.label_embeddings[tags]
        parts = []
        for shard in self.shards:
            probabilities = torch.from_numpy(shard.logits.astype(np.float32)).softmax(-1)
            parts.append(torch.nn.functional.normalize(probabilities[:, known] @ embeddings, dim=-1))
        return torch.cat(parts)

    def pairs(self, setting: Setting, manifests: Path) -> TrainingPairs:
        """The training pictures of a setting, with tokens for maps; ``manifests`` holds those of the data engine."""
        if setting.manifest is None:
            kept = self.prepared.pairs
            return TrainingPairs(self.shards, kept.pictures, kept.caption_embeddings)
        return manifest_pairs(Manifest.load(manifests / setting.manifest), self.engine_shards, self.prepared)


def manifest_pairs(
    manifest: Manifest, shards: Sequence[CachedShard], prepared: LiteData, limit: int = LIMIT
) -> TrainingPairs:
    """The pictures of a manifest with their cached features.

    Captions keep the tags that they name, except those that were removed from the picture. They have no embeddings: the
    engine's settings learn no alignment.

    Args:
        manifest: With a part a shard; its vocabulary must be the run's.
        shards: Cached features.
        prepared: Tokenizer and vocabulary.
        limit: Captions are cut there, in word pieces.

    Raises:
        DataError: If manifest and cache do not describe the same pictures.
    """
    encode = prepared.prompts.tokenizer.encode_caption
    kept: list[CachedShard] = []
    pictures: list[PictureRecord] = []
    start = 0
    for part in range(manifest.parts):
        shard, rows = shards[part], []
        for record in manifest.read(part):
            if isinstance(record, SampleError):
                raise DataError(f"{manifest.folder}: {record}")
            if shard.records[record.row]["id"] != record.id:
                raise DataError(f"{manifest.folder}: row {record.row} of {shard.name} is not {record.id}; parse again")
            if not record.captions:
                continue
            rows.append(record.row)
            ids = record.tag_ids()
            captions = [
                CaptionRecord(encode(c.text, limit), tuple(i for i in c.tags if i in ids)) for c in record.captions
            ]
            tags = np.array(sorted(prepared.vocabulary.with_implied(ids)), np.int64)
            pictures.append(PictureRecord(tags, captions, range(start, start + len(captions))))
            start += len(captions)
        records = [shard.records[row] for row in rows]
        # Features of a whole shard stay on disk.
        maps = [view if len(rows) == len(view) else view[rows] for view in shard.maps]
        kept.append(CachedShard(shard.name, records, maps, shard.logits[rows]))
    return TrainingPairs(kept, pictures, torch.zeros(start, 1))
