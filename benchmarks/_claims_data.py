"""Data of the runs: cached features and annotations, the data engine's pictures, held-out tags."""

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
from anytag.training.families.initialization import InitialModel, initialize_model
from anytag.training.lite.batches import CaptionRecord, PictureRecord, TrainingPairs
from anytag.training.lite.data import LiteData, prepare
from anytag.training.recipes.config import LiteConfig

Report = Callable[[str], None]

#: Maximum length of captions in word pieces.
LIMIT = LiteConfig().caption_tokens


@dataclass
class ClaimsData:
    """Data shared by all runs, whose image encoder is frozen.

    Args:
        config: The settings.
        data: Base folder of the recipe's patterns.
        cache: Folder for features and all other cached data.
    """

    config: ClaimsConfig
    data: Path
    cache: Path
    report: Report = print
    prepared: LiteData = field(init=False)
    start: InitialModel = field(init=False)
    tags: SampleTags = field(init=False)

    def __post_init__(self) -> None:
        config = self.config.training
        self.cache.mkdir(parents=True, exist_ok=True)
        parser = ParsedCaptions(load_parser(config.parser), self.cache)  # type: ignore[arg-type]
        given = open_data(config, self.data, None, JsonLinesLog(self.cache / "bad-samples.jsonl"))
        self.start = initialize_model(config, given, self.cache, None, parser)
        given.tags = self.tags = SampleTags(self.start.vocabulary, parser)
        encoder = load_imagenet_lite(variant=self.start.config.image_encoder.name)
        encoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        # Settings that align pictures with captions need the captions' embeddings.
        aligned = config.model_copy(update={"objective": config.objective.model_copy(update={"alignment": 1.0})})
        self.prepared = prepare(aligned, self.start, given, self.cache, encoder, self.report)
        self.start.vocabulary = self.prepared.vocabulary

    @property
    def vocabulary_file(self) -> Path:
        """The runs' vocabulary, for the data engine."""
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
        """The data engine's shards, in the order of its manifests' parts."""
        shards = {shard.name.partition("-")[2]: shard for shard in self.prepared.shards}
        files = expand_shards([self.data / pattern for pattern in self.config.engine])
        return self._with_tokens([shards[Path(file).stem] for file in files])

    def _with_tokens(self, shards: Sequence[CachedShard]) -> list[CachedShard]:
        encoder = load_imagenet_lite(variant=self.start.config.image_encoder.name)
        encoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return with_tokens(shards, encoder, self.cache / "claims" / "tokens", self.report)

    @cached_property
    def validation_captions(self) -> tuple[list[str], list[tuple[int, ...]], Tensor]:
        """Captions of all validation pictures: text, tag ids, embedding."""
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
        """``[N, T]``: tags in the captions of all validation pictures, and their implications."""
        samples = [sample for shard in self.prepared.held_out for sample in shard.samples()]
        truth = np.zeros((len(samples), len(self.prepared.vocabulary)), np.bool_)
        for row, sample in zip(truth, samples, strict=True):
            row[sorted(self.tags.of_picture(sample, "picture") or ())] = True
        return truth

    def held_out(self, seed: int) -> NDArray[np.int64]:
        """The hidden tags of a seed, which never include the categories of mean average precision."""
        found = [self.prepared.vocabulary.find(name) for name in self.config.categories]
        kept = {tag.id for tag in found if tag is not None}
        support = self.truth.sum(0)
        return draw_held_out(support, self.config.held_out, self.config.held_out_support, seed, kept)

    @cached_property
    def classes(self) -> list[int | None]:
        """Tag id of each ImageNet class."""
        return imagenet_tag_ids(self.prepared.vocabulary)

    @cached_property
    def teacher(self) -> Tensor:
        """``[pictures, D]``: the ImageNet classifier's predictions for every training picture, in the tags' text space.

        The mean of its classes' text embeddings, weighted by their probabilities, at length 1 (ConSE, Norouzi et al.,
        2014). It plays the role of CLIP's picture embedding in RAM: the picture in the space of the queries.
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
    """Load the pictures of a manifest with their cached features.

    Captions keep their tags, except those removed from the picture. They have no embeddings, because the
    engine's settings do not train alignment.

    Args:
        manifest: A manifest with one part per shard and the run's vocabulary.
        shards: Shards of cached features.
        prepared: Tokenizer and vocabulary.
        limit: Maximum length of captions in word pieces.

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
