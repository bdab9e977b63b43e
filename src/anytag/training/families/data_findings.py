"""What of a run's data cannot be learned from, found before the first step: nothing is left out without a word."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from anytag.datasets.samples import Sample
from anytag.datasets.sources import SampleSource, spread
from anytag.datasets.webdataset import ShardSource, has_end
from anytag.errors import SampleError
from anytag.foundations.wording import counted
from anytag.training.families.batches import SampleTags, TagSource

#: Samples of a source that are looked at; of larger ones, so many that are evenly spread.
LOOKED_AT = 10_000

#: From this share of a source's captions without any tag on, something is wrong with them.
_SILENT = 0.5

_SHOWN = 3


@dataclass
class SourceFindings:
    """What was found in a source.

    Attributes:
        identity: The source's.
        samples: How many were looked at.
        unreadable: Those that cannot be read, by what is wrong, with the first examples.
        bare: Those without captions, tags and boxes.
        unknown: Names of tags that the vocabulary does not have, and in how many samples.
        untagged: Those that name something, but nothing that the vocabulary has.
        captions: How many captions were looked at.
        silent: Captions in which the parser found none of the vocabulary's tags.
        unended: Shards without the mark that ends an archive.
        usable: Samples that can be read and have captions, tags or boxes.
        pictures: Their pictures, by file or by content.
        tags: Ids of tags, and how many samples each is true of, with what tags imply.
        tag_counts: How many tags each sample has that has any.
    """

    identity: str
    samples: int = 0
    unreadable: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)
    bare: int = 0
    unknown: Counter[str] = field(default_factory=Counter)
    untagged: int = 0
    captions: int = 0
    silent: int = 0
    unended: list[str] = field(default_factory=list)
    usable: int = 0
    pictures: set[str] = field(default_factory=set)
    tags: Counter[int] = field(default_factory=Counter)
    tag_counts: list[int] = field(default_factory=list)

    def lines(self) -> list[str]:
        """Sentences for people; none if all is well."""
        found = []
        if count := sum(self.unreadable.values()):
            kinds = ", ".join(f"{number:,} {kind}" for kind, number in self.unreadable.most_common())
            found.append(f"{count:,} of {self.samples:,} samples cannot be read ({kinds}), such as {self._first()}")
        if self.unended:
            found.append(
                f"the mark that ends an archive is missing in {counted(len(self.unended), 'shard')}, probably cut off "
                f"({', '.join(self.unended[:_SHOWN])}); copy again what is cut off"
            )
        if self.bare:
            found.append(
                f"{self.bare:,} of {self.samples:,} samples have neither captions nor tags; the keys that are "
                "understood are caption, captions, tags and boxes"
            )
        if self.unknown:
            names = ", ".join(f"{name!r} ({count:,})" for name, count in self.unknown.most_common(_SHOWN))
            more = f" and {len(self.unknown) - _SHOWN:,} more" if len(self.unknown) > _SHOWN else ""
            found.append(f"the vocabulary does not have {names}{more}")
        if self.untagged:
            found.append(f"{self.untagged:,} of {self.samples:,} samples name no tag that the vocabulary has")
        if self.captions and self.silent > _SILENT * self.captions:
            found.append(
                f"in {self.silent:,} of {self.captions:,} captions the parser finds no tag; it understands English only"
            )
        return [f"{self.identity}: {line}" for line in found]

    def _first(self) -> str:
        return "; ".join(self.examples)


def look_at(
    source: SampleSource, tags: SampleTags, kind: TagSource = "picture", by_content: bool = False
) -> SourceFindings:
    """Look at a source's samples, and not into its pictures.

    Args:
        source: Training data.
        tags: Which tags of the vocabulary samples have.
        kind: Which of them the pictures are taught.
        by_content: Read files to see which pictures are the same; else files of other names are other pictures.
    """
    findings = SourceFindings(source.identity)
    for problem in source.problems:
        _unreadable(findings, problem.kind, str(problem))
        findings.samples += 1
    if isinstance(source, ShardSource):
        findings.unended = [path.name for path in source.paths if not has_end(path)]
    for item in spread(source, LOOKED_AT):
        findings.samples += 1
        if isinstance(item, SampleError):
            _unreadable(findings, item.kind, str(item))
        elif isinstance(item.picture, Path) and not item.picture.is_file():
            _unreadable(findings, "not_found", f"{item.place}: no such file")
        else:
            _note(findings, item, tags, kind, by_content)
    return findings


def _unreadable(findings: SourceFindings, kind: str, example: str) -> None:
    findings.unreadable[kind.replace("_", " ")] += 1
    if len(findings.examples) < _SHOWN:
        findings.examples.append(example)


def _note(findings: SourceFindings, sample: Sample, tags: SampleTags, kind: TagSource, by_content: bool) -> None:
    if not (sample.captions or sample.tags or sample.boxes):
        findings.bare += 1
        return
    findings.usable += 1
    findings.pictures.add(picture_key(sample, by_content))
    findings.unknown.update(list(dict.fromkeys(t.name for t in sample.tags if not tags.ids.of_names([t]))))
    named = bool(tags.ids.of_names(sample.tags))
    parsed = tags.of_captions(sample)
    findings.captions += sum(ids is not None for ids in parsed)
    findings.silent += sum(ids is not None and not ids for ids in parsed)
    if not named and not any(parsed) and (sample.tags or any(ids is not None for ids in parsed)):
        findings.untagged += 1
    if true := tags.of_picture(sample, "given" if kind == "given" else "picture", named=parsed):
        findings.tags.update(true)
        findings.tag_counts.append(len(true))


def shared_pictures(
    training: Sequence[SampleSource], validation: Sequence[SampleSource], most: int, by_content: bool = False
) -> int:
    """How many of the first validation pictures are training pictures as well, by file or by content.

    Args:
        training: Of indexed sources, as many samples as are looked at.
        validation: Likewise.
        most: Validation pictures to look at.
        by_content: Look into files, too.
    """
    wanted: dict[str, int] = {}
    for source in validation:
        for item in spread(source, LOOKED_AT):
            if len(wanted) >= most:
                break
            if isinstance(item, Sample):
                wanted[picture_key(item, by_content)] = 0
    if not wanted:
        return 0
    for source in training:
        for item in spread(source, LOOKED_AT):
            if isinstance(item, Sample) and (key := picture_key(item, by_content)) in wanted:
                wanted[key] += 1
    return sum(count > 0 for count in wanted.values())


def picture_key(sample: Sample, by_content: bool = False) -> str:
    """The same for samples of the same picture: its file, or its content where it has no file of its own.

    Args:
        sample: Whose picture.
        by_content: Look into files, too.
    """
    content: bytes | Path | None = sample.picture
    if isinstance(content, Path):
        path = str(content.resolve())
        content = _content(content) if by_content else None
        if content is None:
            return path
    assert content is not None
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:  # Whoever reads the picture says so.
        return None
