"""``anytag vocabulary``: build, show and search tag vocabularies."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Annotated

from rich.progress import TimeElapsedColumn
from typer import Argument, Exit, Option

from anytag.cli._commands import add_command, new_group, refuse
from anytag.cli._describe import describe
from anytag.cli._inputs import CaptionsPerPicture, Kinds, Parser, ParserProcesses
from anytag.cli._lists import read_kinds
from anytag.cli._output import echo, log, printable, progress_bar, write_json, write_table
from anytag.datasets.caption_files import open_captions
from anytag.datasets.webdataset import read_shard
from anytag.errors import AnytagError, UsageError
from anytag.foundations.wording import counted
from anytag.language.parsing.parser import CaptionParser, ParsedTag, load_parser
from anytag.language.tags.known_names import untrained_names
from anytag.language.tags.vocabulary_builder import CaptionTags, build_vocabulary
from anytag.model.directory import SHIPPED_MODEL
from anytag.model.vocabulary import TagVocabulary, VocabularyTag
from anytag.recognition import TAG_KINDS

#: Words that are in many captions of any English data set, and in other languages in none.
_ENGLISH = frozenset(("the", "and", "with"))

#: Captions from which on their language is judged, and the least share with such a word.
_JUDGED, _LEAST_ENGLISH = 20, 0.05


def read_captions(path: Path, captions_per_picture: int = 1) -> Iterator[tuple[str, ...]]:
    """Yield the captions of every picture of a source.

    The source is a WebDataset shard (``.tar``, packed or not) or a text file, plain or gzip, with one caption per line.

    Raises:
        UsageError: If the file cannot be read.
    """
    if _is_shard(path):
        yield from (sample.captions for sample in read_shard(path))
        return
    with open_captions(path) as lines:
        while group := tuple(islice(lines, captions_per_picture)):
            yield tuple(line.strip() for line in group)


def _is_shard(path: Path) -> bool:
    return ".tar" in path.suffixes or path.suffix == ".tgz"


def parse_pictures(
    pictures: Iterable[tuple[str, ...]], parser: CaptionParser, workers: int = 1
) -> Iterator[list[ParsedTag]]:
    """Yield all tags of every picture, in order."""
    sizes: list[int] = []

    def captions() -> Iterator[str]:
        for group in pictures:
            sizes.append(len(group))
            yield from group

    # The parser reads ahead of what it returns, so sizes are known before they are needed.
    parsed, place = parser.parse_many(captions(), workers=workers), 0
    for first in parsed:
        while sizes[place] == 0:
            place += 1
            yield []
        yield [*first, *(tag for _ in range(sizes[place] - 1) for tag in next(parsed))]
        place += 1
    yield from ([] for _ in sizes[place:])


def build(
    sources: Annotated[list[Path], Argument(help="Text files or gzip, one caption per line, and WebDataset shards.")],
    out: Annotated[Path | None, Option("--out", "-o", help="Where to write the vocabulary.")] = None,
    min_support: Annotated[int, Option(min=1, help="Lowest number of pictures of a tag.")] = 8,
    max_tags: Annotated[int | None, Option(min=1, help="Highest number of tags from captions.")] = None,
    imagenet: Annotated[bool, Option(help="Include the 1,000 ImageNet classes.")] = True,
    captions_per_picture: CaptionsPerPicture = 1,
    parser: Parser = "auto",
    workers: ParserProcesses = 1,
    json_: Annotated[bool, Option("--json", help="Write a summary as JSON.")] = False,
) -> None:
    """Build a vocabulary from the tags of captions.

    Synonyms and plurals are merged; ImageNet's classes and all tags that others imply are added.

    Example: anytag vocabulary build shards/*.tar captions.txt.gz --min-support 20 --out vocabulary.json
    """
    if folders := [str(path) for path in sources if path.is_dir()]:
        raise UsageError(
            f"{folders[0]} is a folder; give shards or files of captions, or make a vocabulary of any other data "
            "with 'anytag engine parse'"
        )
    if missing := [str(path) for path in sources if not path.is_file()]:
        raise UsageError(f"no such file: {', '.join(missing)}")
    if out is None:
        raise UsageError("--out is missing: the file to write the vocabulary to, such as --out vocabulary.json")
    if all(map(_is_shard, sources)):
        refuse(("--captions-per-picture",), "is about text files; shards know which captions belong together")
    _check_target(out, sources)
    loaded = load_parser(parser)
    with progress_bar(TimeElapsedColumn()) as progress:
        task = progress.add_task("reading", total=len(sources))

        count = english = 0

        def pictures() -> Iterator[tuple[str, ...]]:
            nonlocal count, english
            for path in sources:
                progress.update(task, description=printable(path.name))
                for captions in read_captions(path, captions_per_picture):
                    count += sum(bool(caption.strip()) for caption in captions)
                    english += sum(not _ENGLISH.isdisjoint(caption.lower().split()) for caption in captions)
                    yield captions
                progress.advance(task)

        parsed, reports = parse_pictures(pictures(), loaded, workers), list[CaptionTags]()
        vocabulary = build_vocabulary(parsed, min_support, max_tags, imagenet, reports.append)
    [report] = reports
    if not count:
        raise UsageError(f"no caption in {', '.join(map(str, sources))}, so nothing was written")
    if not report.kept:
        advice = (
            f"{report.rare:,} of their tags are in fewer than {counted(min_support, 'picture')}; lower --min-support"
            if report.rare
            else "captions are English sentences, one per line, in UTF-8"
        )
        raise UsageError(f"no tag of the {count:,} captions is kept, so nothing was written: {advice}")
    if count >= _JUDGED and english < _LEAST_ENGLISH * count:
        log(
            f"warning: only {english:,} of {count:,} captions contain 'the', 'and' or 'with'; tags are read from "
            "English sentences, and from no other language"
        )
    vocabulary.save(out)
    _print_summary(vocabulary, out, report, min_support, json_)


def _check_target(out: Path, sources: Sequence[Path]) -> None:
    """Refuse to overwrite anything but a vocabulary."""
    if not out.parent.is_dir():
        raise UsageError(f"{out.parent}: no such folder to write the vocabulary to")
    if not out.exists():
        return
    if any(out.samefile(source) for source in sources):
        raise UsageError(f"{out}: the captions are read from there; give another --out")
    try:
        TagVocabulary.load(out)
    except (AnytagError, OSError):
        raise UsageError(f"{out}: exists and is not a vocabulary, so it is not replaced; give another --out") from None


def show(
    path: Annotated[Path | None, Argument(help="Vocabulary or model directory. (default: the shipped model)")] = None,
    kind: Kinds = None,
    limit: Annotated[int | None, Option(min=1, help="At most this many tags.")] = None,
    json_: Annotated[bool, Option("--json", help="Write JSON lines, one per tag.")] = False,
) -> None:
    """List the tags of a vocabulary, most frequent first.

    Example: anytag vocabulary show vocabulary.json --kind scene --limit 20
    """
    vocabulary = load_vocabulary(path)
    kinds = read_kinds(kind) or TAG_KINDS
    tags = (tag for tag in vocabulary if tag.kind in kinds)
    _print_tags(vocabulary, list(islice(sorted(tags, key=lambda tag: (-tag.support, tag.id)), limit)), json_)


def search(
    text: Annotated[str, Argument(help="Part of a name or an alias.")],
    path: Annotated[
        Path | None, Option("--vocabulary", "-v", help="Vocabulary or model directory. (default: the shipped model)")
    ] = None,
    limit: Annotated[int, Option(min=1, help="At most this many tags.")] = 20,
    json_: Annotated[bool, Option("--json", help="Write JSON lines, one per tag.")] = False,
) -> None:
    """Find tags by part of a name or an alias; exit code 1 if there are none.

    Names of RAM's list that are not tags are listed, too: they can be used as categories.

    Example: anytag vocabulary search bike --vocabulary vocabulary.json
    """
    vocabulary = load_vocabulary(path)
    found = vocabulary.search(text, limit)
    _print_tags(vocabulary, found, json_)
    others = untrained_names(text, vocabulary, limit)
    if found:
        if others:
            log(f"anytag vocabulary search: not trained; ask with --categories: {', '.join(others)}")
        return
    categories = shlex.quote(", ".join(others) if others else text)
    log(
        f"anytag vocabulary search: no tag has a name like {text!r}; categories need not be tags: "
        f"anytag tag PICTURE --categories {categories}"
    )
    raise Exit(1)


def load_vocabulary(path: Path | None) -> TagVocabulary:
    """Load the vocabulary of a file, of a model directory or, for ``None``, of the shipped model.

    Raises:
        UsageError: If no path is given and no model ships with the package.
        VocabularyError: If the file is missing or not a vocabulary.
    """
    if path is None:
        path = SHIPPED_MODEL / "vocabulary.json"
        if not path.is_file():
            raise UsageError("no model ships with this build; name a vocabulary file or a model directory")
    return TagVocabulary.load(path / "vocabulary.json" if path.is_dir() else path)


def _print_tags(vocabulary: TagVocabulary, tags: list[VocabularyTag], as_json: bool) -> None:
    if as_json:
        for tag in tags:
            write_json(vocabulary.describe(tag))
        return
    if not tags:
        return
    rows = [
        (
            str(tag.id),
            tag.name,
            tag.kind,
            f"{tag.support:,}",
            ", ".join(vocabulary[i].name for i in tag.implies),
            ", ".join(tag.aliases),
        )
        for tag in tags
    ]
    write_table(rows, ("id", "name", "kind", "support", "implies", "aliases"), right=(0, 3))


def _print_summary(
    vocabulary: TagVocabulary, out: Path, captions: CaptionTags, min_support: int, as_json: bool
) -> None:
    kinds: dict[str, int] = {kind: sum(tag.kind == kind for tag in vocabulary) for kind in TAG_KINDS}
    imagenet = sum("imagenet" in tag.sources and "captions" not in tag.sources for tag in vocabulary)
    implied = sum("implied" in tag.sources for tag in vocabulary)
    if as_json:
        dropped = {"rare": captions.rare, "surplus": captions.surplus, "unfit": captions.unfit}
        sources = {"captions": captions.kept, "imagenet": imagenet, "implied": implied}
        write_json({"path": str(out), "tags": len(vocabulary), **kinds, "sources": sources, "left_out": dropped})
        return
    echo(
        f"{out}: {counted(len(vocabulary), 'tag')} ({', '.join(counted(count, kind) for kind, count in kinds.items())})"
    )
    left_out = [
        (captions.rare, f"are in fewer than {min_support} of the {captions.pictures:,} pictures (--min-support)"),
        (captions.surplus, "are beyond --max-tags"),
        (captions.unfit, "are not good tags by themselves"),
    ]
    why = "; ".join(f"{count:,} {reason}" for count, reason in left_out if count)
    echo(f"  {captions.kept:,} of the {captions.named:,} that the captions name" + (f"; {why}" if why else ""))
    if imagenet:
        echo(f"  {imagenet:,} more of ImageNet's 1,000 classes (--no-imagenet leaves them out)")
    if implied:
        echo(f"  {implied:,} that follow from those, such as {_example(vocabulary)}")


def _example(vocabulary: TagVocabulary) -> str:
    """Return an example of a tag that another one implies."""
    implied = {tag.id for tag in vocabulary if "implied" in tag.sources}
    first = next(tag for tag in vocabulary if tag.id not in implied and implied.intersection(tag.implies))
    return f"{vocabulary[min(implied.intersection(first.implies))].name!r} from {first.name!r}"


app = new_group("Build, show and search tag vocabularies.")
add_command(app, build, one="")
add_command(app, show, one="")
add_command(app, search, one="1 nothing found, ")
add_command(app, describe, one="")
