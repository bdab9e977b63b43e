"""The current model writes captions and tags for every picture; the originals stay beside them (RAM, section 3.3)."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, cast

from pydantic import Field

from anytag.data_engine.inputs import digest_part
from anytag.data_engine.manifest import (
    Manifest,
    ManifestCaption,
    ManifestTag,
    PartFormat,
    PictureRecord,
)
from anytag.data_engine.models import Model, loaded, model_name, pictures_of
from anytag.data_engine.parse import as_tags, in_order, load_ids
from anytag.data_engine.work import Digest, Outcome, PartsStep
from anytag.datasets.sources import SampleSource
from anytag.errors import PictureError
from anytag.foundations.settings import Seed, Settings
from anytag.language.parsing.parser import load_parser
from anytag.language.tags.tag_ids import TagIds
from anytag.pictures import PictureSource
from anytag.recognition import Failure, Recognition, TagKind


class GenerateConfig(Settings):
    """What the model is asked for.

    Attributes:
        captions: ``guided`` by the tags that the model finds, ``plain`` (by none), or ``none`` at all. The paper does
            not say; guided ones name more of what is there (Tag2Text, table 5).
        threshold: One score from which on a tag counts, 0 to 1, for all tags. ``None``: each tag's own, which is where
            precision and recall balance. The paper leaves it open.
        top: At most so many tags a picture. ``None``: all.
        kinds: Only tags of these kinds. ``None``: all.
        num_beams: Width of the beam search. ``None``: the model's default.
        sample: Draw captions instead of searching for the best: more varied, less exact.
        seed: Of the drawing.
    """

    captions: Literal["guided", "plain", "none"] = "guided"
    threshold: float | None = Field(default=None, ge=0, le=1)
    top: int | None = Field(default=None, ge=1)
    kinds: tuple[TagKind, ...] | None = None
    num_beams: int | None = Field(default=None, ge=1)
    sample: bool = False
    seed: Seed = 0


@dataclass(frozen=True)
class GenerateStep(PartsStep):
    """Adds a model's captions and tags to a manifest.

    A picture that cannot be read is counted, reported and left out. A tag of the model's that the manifest's vocabulary
    does not know is left out; the report says how many.

    Attributes:
        folder: Where outputs go.
        manifest: The manifest so far.
        source: Its pictures.
        model: Writes.
        config: What it is asked for.
        format: Of the parts.
    """

    name: ClassVar[str] = "generate"

    folder: Path
    manifest: Manifest
    source: SampleSource
    model: Model
    config: GenerateConfig
    format: PartFormat = "jsonl"

    @property
    def units(self) -> int:
        return self.manifest.parts

    def settings(self) -> dict[str, Any]:
        return {"format": self.format, "model": model_name(self.model), "generate": self.config.model_dump()}

    def inputs(self, unit: int, known: Sequence[Digest] = ()) -> list[Digest]:
        paths = (self.manifest.part(unit), self.manifest.vocabulary_path)
        return [*Digest.of_all(paths, known), *digest_part(self.source, unit, known)]

    def records(self, unit: int, outcome: Outcome) -> Iterator[PictureRecord]:
        ids = load_ids(self.manifest.vocabulary_path)
        parser, name = load_parser(), model_name(self.model)
        # The recognizer reads ahead: records wait here until the results of their pictures come.
        waiting: deque[PictureRecord] = deque()

        def pictures() -> Iterator[tuple[str, PictureSource]]:
            for record, sample in pictures_of(self.manifest, self.source, unit, outcome):
                waiting.append(record)
                yield sample.place, sample.picture

        for result in self._recognize(pictures()):
            record = waiting.popleft()
            if isinstance(result, Failure):
                outcome.fail(PictureError(result.kind, result.path, result.message))
                continue
            captions, tags = list(record.captions), list(record.tags)
            found = _teacher_tags(result, ids)
            outcome.counts.update({"pictures_out": 1, "tags_teacher": len(found)})
            tags += found
            if result.caption and all(caption.text != result.caption for caption in captions):
                named = tuple(sorted(ids.of_parsed(parser.parse(result.caption))))
                captions.append(ManifestCaption(result.caption, "generated", name, named))
                tags += as_tags(ids.vocabulary, named, "generated")
                outcome.counts.update({"captions_generated": 1, "tags_generated": len(named)})
            made = replace(record, captions=tuple(captions), tags=in_order(tags))
            outcome.counts["tags_new"] += len(made.tag_ids() - record.tag_ids())
            outcome.counts["tags_before"] += len(record.tag_ids())
            outcome.counts["tags_after"] += len(made.tag_ids())
            outcome.show(lambda result=result, record=record: {  # type: ignore[misc]
                "id": record.id,
                "captions": [caption.text for caption in record.captions[:1]],
                "generated": result.caption,
                "new_tags": sorted({tag.name for tag in result.tags} - {tag.name for tag in record.tags}),
            })  # fmt: skip
            yield made
        outcome.counts.update(ids.unknown)

    def _recognize(self, pictures: Iterable[tuple[str, PictureSource]]) -> Iterator[Recognition | Failure]:
        recognizer, config = loaded(self.model), self.config
        # Pictures may come with a name for messages; see :data:`anytag.pictures.batching.NamedSource`.
        named = cast(Iterable[PictureSource], pictures)
        kinds = None if config.kinds is None else list(config.kinds)
        if config.captions == "none":
            return recognizer.tag(iter(named), threshold=config.threshold, top=config.top, kinds=kinds)
        return recognizer.caption(
            iter(named),
            tags=None if config.captions == "guided" else [],
            threshold=config.threshold,
            top=config.top,
            kinds=kinds,
            num_beams=config.num_beams,
            sample=config.sample,
            seed=config.seed if config.sample else None,
        )


def _teacher_tags(result: Recognition, ids: TagIds) -> list[ManifestTag]:
    """A model's tags under the manifest's ids, in which its own vocabulary need not agree."""
    found = []
    for tag in result.tags:
        mapped = as_tags(ids.vocabulary, ids.of_kind(tag.name, tag.kind), "teacher")
        found += [replace(entry, score=round(tag.score, 4)) for entry in mapped]
    return found
