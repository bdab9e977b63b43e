"""Add captions and tags by the current model to the original ones (RAM, section 3.3)."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, cast

from pydantic import Field

from anytag.data_engine.manifest import ManifestCaption, ManifestTag, PartFormat, PictureRecord
from anytag.data_engine.models import PicturesStep, loaded, model_name
from anytag.data_engine.parse import as_tags, in_order, load_ids
from anytag.data_engine.work import Outcome, PartsStep
from anytag.errors import PictureError
from anytag.foundations.settings import Seed, Settings
from anytag.language.parsing.parser import load_parser
from anytag.language.tags.tag_ids import TagIds
from anytag.pictures import PictureSource
from anytag.recognition import Failure, Recognition, TagKind


class GenerateConfig(Settings):
    """What the model generates.

    Attributes:
        captions: ``guided`` by the tags that the model finds, ``plain`` (without tags), or ``none``. The paper does not
            say; guided ones name more of what is there (Tag2Text, table 5).
        threshold: Threshold of all tags, 0 to 1. ``None``: each tag's own, which balances precision and recall. The
            paper leaves it open.
        top: Most tags per picture. ``None``: all.
        kinds: Only tags of these kinds. ``None``: all.
        num_beams: Width of the beam search. ``None``: the model's default.
        sample: Sample captions instead of searching for the best: more varied, less accurate.
        seed: Seed of sampling.
    """

    captions: Literal["guided", "plain", "none"] = "guided"
    threshold: float | None = Field(default=None, ge=0, le=1)
    top: int | None = Field(default=None, ge=1)
    kinds: tuple[TagKind, ...] | None = None
    num_beams: int | None = Field(default=None, ge=1)
    sample: bool = False
    seed: Seed = 0


@dataclass(frozen=True)
class GenerateStep(PicturesStep, PartsStep):
    """Add a model's captions and tags to a manifest.

    A picture that cannot be read is counted, reported and dropped. Tags of the model that the manifest's vocabulary
    lacks are dropped and counted.
    """

    name: ClassVar[str] = "generate"

    config: GenerateConfig
    format: PartFormat = "jsonl"

    def settings(self) -> dict[str, Any]:
        return {"format": self.format, "model": model_name(self.model), "generate": self.config.model_dump()}

    def records(self, unit: int, outcome: Outcome) -> Iterator[PictureRecord]:
        ids = load_ids(self.manifest.vocabulary_path)
        parser, name = load_parser(), model_name(self.model)
        # Records whose pictures the recognizer has read ahead.
        waiting: deque[PictureRecord] = deque()

        def pictures() -> Iterator[tuple[str, PictureSource]]:
            for record, sample in self.pictures(unit, outcome):
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
            before, after = record.tag_ids(), made.tag_ids()
            outcome.counts.update(
                {"tags_new": len(after - before), "tags_before": len(before), "tags_after": len(after)}
            )
            if outcome.needs_example:
                outcome.examples.append(
                    {
                        "id": record.id,
                        "captions": [caption.text for caption in record.captions[:1]],
                        "generated": result.caption,
                        "new_tags": sorted({tag.name for tag in result.tags} - {tag.name for tag in record.tags}),
                    }
                )
            yield made
        outcome.counts.update(ids.unknown)

    def _recognize(self, pictures: Iterable[tuple[str, PictureSource]]) -> Iterator[Recognition | Failure]:
        recognizer, config = loaded(self.model), self.config
        # Pictures may come with a name for messages; see :data:`anytag.pictures.preprocessing.NamedSource`.
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
    """Return a model's tags with the manifest's ids, since its vocabulary may differ."""
    found = []
    for tag in result.tags:
        mapped = as_tags(ids.vocabulary, ids.of_kind(tag.name, tag.kind), "teacher")
        found += [replace(entry, score=round(tag.score, 4)) for entry in mapped]
    return found
