"""Open a recipe's data: sources, official lists with the run's own tags, manifests, texts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from anytag.data_engine.training_source import open_manifest
from anytag.datasets.bad_samples import JsonLinesLog
from anytag.datasets.caption_files import open_captions
from anytag.datasets.opening import below, guess_kind, open_source, path_below
from anytag.datasets.samples import Sample, TagName
from anytag.datasets.sources import SampleSource
from anytag.datasets.webdataset import ShardSource
from anytag.errors import SampleError, UsageError
from anytag.language.tokenizers.tokenizer import clean_caption
from anytag.model.vocabulary import TagVocabulary
from anytag.training.families.batches import SampleTags
from anytag.training.recipes.config import SourceSpec, TrainingConfig


@dataclass
class RunData:
    """The data of a run.

    Attributes:
        folder: Folder that relative paths start at.
        sources: Training data, except shards of the validation data.
        validation: Data that are never trained on.
        texts: Captions without pictures, except those of validation pictures.
        tags: Maps samples to tag ids; set when the vocabulary is known.
        bad_samples: Receives a record for every unreadable sample.
    """

    folder: Path
    sources: list[SampleSource]
    validation: list[SampleSource]
    texts: list[str]
    bad_samples: JsonLinesLog
    tags: SampleTags = field(init=False)

    def captions(self) -> Iterator[str]:
        """Captions of the training data, with and without pictures."""
        for sample in readable_samples(self.sources):
            yield from sample.captions
        yield from self.texts


def open_data(
    config: TrainingConfig, folder: Path, vocabulary: TagVocabulary | None, bad_samples: JsonLinesLog
) -> RunData:
    """Open all data of a recipe, below a data folder; for the vocabulary see :func:`open_sources`.

    Raises:
        UsageError: If something cannot be opened, or nothing is left to train on.
    """
    validation = open_sources(config.validation, folder, vocabulary)
    held_out = [path for source in validation if isinstance(source, ShardSource) for path in source.paths]
    sources: list[SampleSource] = []
    for source in open_sources(config.sources, folder, vocabulary):
        kept = source.without(held_out) if isinstance(source, ShardSource) else source
        if kept is not None:
            sources.append(kept)
    if not sources:
        raise UsageError("all training shards are validation shards as well; nothing is left to train on")
    texts: list[str] = []
    if config.texts:
        held = {clean_caption(caption) for sample in readable_samples(validation) for caption in sample.captions}
        # Caption collections overlap: captions of validation pictures must not be trained on.
        texts = [line for line in read_texts(config.texts, folder) if clean_caption(line) not in held]
    return RunData(folder, sources, validation, texts, bad_samples)


def read_texts(patterns: Sequence[str], folder: Path) -> Iterator[str]:
    """Read the lines, except blank ones, of text files that match patterns under a folder, gzipped or not.

    Raises:
        UsageError: If a pattern matches nothing, or a file cannot be read.
    """
    for path in sorted({path for pattern in patterns for path in files_matching(pattern, folder)}):
        with open_captions(path, strict=True) as lines:
            yield from (line.strip() for line in lines if line.strip())


def files_matching(pattern: str, folder: Path) -> list[Path]:
    """Return the files under the data folder that match a pattern, sorted.

    Raises:
        UsageError: If there are none.
    """
    found = sorted(path for path in folder.glob(pattern) if path.is_file())
    if not found:
        raise UsageError(f"no file under {folder} matches {pattern!r}; does --data name the right folder?")
    return found


def readable_samples(sources: Iterable[SampleSource], problems: list[str] | None = None) -> Iterator[Sample]:
    """Iterate over the readable samples of sources; error messages of the others are added to ``problems``."""
    for source in sources:
        for part in range(source.parts):
            for item in source.read(part):
                if not isinstance(item, SampleError):
                    yield item
                elif problems is not None:
                    problems.append(str(item))


def open_sources(specs: Sequence[SourceSpec], data: Path, vocabulary: TagVocabulary | None) -> list[SampleSource]:
    """Open sources below a data folder; for specs see :data:`~anytag.training.recipes.config.SourceSpec`.

    The vocabulary names the ids in official lists that have no ``tag_list`` of their own. Unlike a plain list, it
    distinguishes tags of the same name by kind.

    Raises:
        UsageError: If one cannot be opened.
    """
    return [_open(spec, data, vocabulary) for spec in specs]


def find_path(path: str, data: Path) -> Path:
    """Resolve a path of a recipe: absolute or beginning with a dot, else under the data folder.

    Raises:
        UsageError: If it does not exist.
    """
    found = Path(path_below(path, data))
    if not found.exists():
        raise UsageError(f"{found}: no such file or folder; does --data name the right folder?")
    return found


def _open(spec: SourceSpec, data: Path, vocabulary: TagVocabulary | None) -> SampleSource:
    options = below(spec, data)
    manifest = options.pop("manifest", None)
    if vocabulary is not None and "tag_list" not in options and _is_official(options):
        options["tag_list"] = [TagName(tag.name, tag.kind) for tag in vocabulary]
    source = open_source(options)
    return source if manifest is None else open_manifest(manifest, source)


def _is_official(options: dict[str, Any]) -> bool:
    path = options.get("path")
    if "kind" in options or not isinstance(path, str):
        return options.get("kind") == "official"
    return Path(path).suffix.lower() == ".json" and Path(path).is_file() and guess_kind(path) == "official"
