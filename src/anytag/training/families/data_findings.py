"""Problems of a run's training data, found before the first step."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from anytag.datasets.samples import Sample
from anytag.datasets.sources import SampleSource, spread
from anytag.datasets.webdataset import ShardSource, has_end
from anytag.errors import SampleError
from anytag.foundations.wording import counted
from anytag.training.families.batches import SampleTags, TagSource

#: Samples checked per source, evenly spread.
CHECKED = 10_000

#: Share of captions without any tag above which there is a warning.
_SILENT = 0.5

_SHOWN = 3


@dataclass
class SourceFindings:
    """Statistics and problems of a source.

    Attributes:
        samples: Number of samples checked.
        unreadable: Number of unreadable samples, by kind of error.
        examples: The first error messages.
        bare: Number of samples without captions, tags and boxes.
        unknown: Tag names that are not in the vocabulary, with the number of their samples.
        untagged: Number of samples with names or captions, but no tag of the vocabulary.
        captions: Number of captions checked.
        silent: Number of captions in which the parser found no tag of the vocabulary.
        unended: Shards without the end-of-archive mark.
        usable: Number of readable samples with captions, tags or boxes.
        pictures: Their pictures, by file or by content.
        tags: Number of samples per tag id, implied tags included.
        tag_counts: Number of tags of each sample that has any.
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
        """Describe the problems in sentences."""
        found = []
        if count := sum(self.unreadable.values()):
            kinds = ", ".join(f"{number:,} {kind}" for kind, number in self.unreadable.most_common())
            examples = "; ".join(self.examples)
            found.append(f"{count:,} of {self.samples:,} samples cannot be read ({kinds}), such as {examples}")
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

    def add_unreadable(self, kind: str, message: str) -> None:
        self.samples += 1
        self.unreadable[kind.replace("_", " ")] += 1
        if len(self.examples) < _SHOWN:
            self.examples.append(message)

    def add(self, sample: Sample, tags: SampleTags, kind: TagSource, by_content: bool) -> None:
        self.samples += 1
        if not (sample.captions or sample.tags or sample.boxes):
            self.bare += 1
            return
        self.usable += 1
        self.pictures.add(picture_key(sample, by_content))
        self.unknown.update(list(dict.fromkeys(t.name for t in sample.tags if not tags.ids.of_names([t]))))
        named = bool(tags.ids.of_names(sample.tags))
        parsed = tags.of_captions(sample)
        known = [ids for ids in parsed if ids is not None]
        self.captions += len(known)
        self.silent += sum(not ids for ids in known)
        if not named and not any(known) and (sample.tags or known):
            self.untagged += 1
        if targets := tags.of_picture(sample, "given" if kind == "given" else "picture", named=parsed):
            self.tags.update(targets)
            self.tag_counts.append(len(targets))


def check_source(
    source: SampleSource, tags: SampleTags, kind: TagSource = "picture", by_content: bool = False
) -> SourceFindings:
    """Check a source's samples, without decoding its pictures.

    Pictures are compared by the content of their files if ``by_content``, else by path.
    """
    findings = SourceFindings(source.identity)
    for problem in source.problems:
        findings.add_unreadable(problem.kind, str(problem))
    if isinstance(source, ShardSource):
        findings.unended = [path.name for path in source.paths if not has_end(path)]
    for item in spread(source, CHECKED):
        if isinstance(item, SampleError):
            findings.add_unreadable(item.kind, str(item))
        elif isinstance(item.picture, Path) and not item.picture.is_file():
            findings.add_unreadable("not_found", f"{item.place}: no such file")
        else:
            findings.add(item, tags, kind, by_content)
    return findings


def shared_pictures(
    training: Sequence[SampleSource], validation: Sequence[SampleSource], most: int, by_content: bool = False
) -> int:
    """Count the validation pictures, of the first ``most``, that are training pictures as well.

    Of each source, up to :data:`CHECKED` samples are compared; ``by_content`` as in :func:`check_source`.
    """
    wanted: set[str] = set()
    for item in _checked(validation):
        if len(wanted) >= most:
            break
        wanted.add(picture_key(item, by_content))
    if not wanted:
        return 0
    return len({key for item in _checked(training) if (key := picture_key(item, by_content)) in wanted})


def _checked(sources: Sequence[SampleSource]) -> Iterator[Sample]:
    return (item for source in sources for item in spread(source, CHECKED) if isinstance(item, Sample))


def picture_key(sample: Sample, by_content: bool = False) -> str:
    """Identify a sample's picture: by its file, or by its content if it has none or for ``by_content``."""
    content = sample.picture
    if isinstance(content, Path):
        path = content
        if by_content:
            with suppress(OSError):  # Reading the picture reports it.
                content = path.read_bytes()
        if isinstance(content, Path):
            return str(path.resolve())
    return hashlib.blake2b(content, digest_size=16).hexdigest()
