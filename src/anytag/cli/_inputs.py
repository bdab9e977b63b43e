"""Options that several commands have in common."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from anytag.backends.base import BackendName, Precision
from anytag.cli._commands import refuse
from anytag.cli._lists import read_choice, read_names, read_pairs
from anytag.cli._overlays import is_overlay
from anytag.cli._stdin import PathList
from anytag.errors import UsageError
from anytag.inference.tag_choice import TagChoice
from anytag.language.parsing.parser import ParserName
from anytag.pictures import LeftOut, find_names

if TYPE_CHECKING:
    from anytag.inference.recognizer import Recognizer


Pictures = Annotated[
    list[str],
    typer.Argument(help="Files, folders or globs; - reads a list of paths from standard input.", show_default=False),
]
AcceptTruncated = Annotated[
    bool,
    typer.Option(
        "--accept-truncated",
        help="Recognize truncated files by the part that is there (not AVIF, HEIC, JPEG 2000 or JPEG XL).",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Write JSON lines, one per picture, in order.")]
Threshold = Annotated[
    float | None, typer.Option(help="One threshold for all tags, 0 to 1, instead of each tag's own; 0 keeps all.")
]
Top = Annotated[int | None, typer.Option(help="At most this many tags per picture.")]
Kinds = Annotated[
    list[str] | None,
    typer.Option("--kind", metavar="KINDS", help="Only tags of these kinds: object, scene, attribute, action."),
]
Categories = Annotated[
    list[str] | None,
    typer.Option(metavar="NAMES", help="Look for exactly these, comma-separated; any words will do (open set)."),
]
CategoriesFrom = Annotated[Path | None, typer.Option(metavar="FILE", help="The same from a file, one per line.")]
WithCaptions = Annotated[bool, typer.Option("--caption", help="Also write captions; takes longer.")]
ByContent = Annotated[
    bool, typer.Option("--by-content", help="Also know pictures by content, so that moved ones are not done again.")
]
Thumbnails = Annotated[
    bool | None,
    typer.Option(
        "--thumbnails/--no-thumbnails",
        help="Keep small pictures (about 12 kB each), so that pages of many come quickly; or remove them. "
        "(default: as the last time)",
        show_default=False,
    ),
]
RetryFailed = Annotated[bool, typer.Option("--retry-failed", help="Retry what failed before.")]
Model = Annotated[str | None, typer.Option(help="Model directory or hub id. (default: the shipped model)")]
Threads = Annotated[int | None, typer.Option(min=1, help="Threads of the runtime. (default: all processors)")]
Parser = Annotated[ParserName, typer.Option(help="Which caption parser.")]
ParserProcesses = Annotated[int, typer.Option(min=1, help="Processes to parse in.")]
CaptionsPerPicture = Annotated[int, typer.Option(min=1, help="Lines of a text file that belong to one picture.")]


@dataclass(frozen=True)
class WalkOptions:
    """How folders and lists of pictures are read."""

    null: Annotated[
        bool, typer.Option("--null", "-0", help="Paths on standard input end in NUL, as find -print0 writes them.")
    ] = False
    exclude: Annotated[
        list[str] | None,
        typer.Option(
            metavar="GLOBS",
            help="Leave out files and folders with these names, comma-separated: '*.gif', 'thumbs/', '*/raw/*'.",
        ),
    ] = None
    no_recursive: Annotated[bool, typer.Option("--no-recursive", help="Do not enter subfolders.")] = False
    follow_links: Annotated[bool, typer.Option("--follow-links", help="Also enter linked folders.")] = False


@dataclass(frozen=True)
class TagOptions:
    """Which of a model's tags are looked for, and what they are called."""

    allow: Annotated[
        list[str] | None,
        typer.Option(metavar="NAMES", help="Look only for these tags: comma-separated, or a file with one per line."),
    ] = None
    allow_from: Annotated[Path | None, typer.Option(metavar="FILE", help="Look only for the tags in this file.")] = None
    deny: Annotated[
        list[str] | None, typer.Option(metavar="NAMES", help="Look for none of these tags; also a list or a file.")
    ] = None
    deny_from: Annotated[Path | None, typer.Option(metavar="FILE", help="Look for none of the tags in this file.")] = (
        None
    )
    rename: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PAIRS",
            help="Your own names: 'dog=Hund,cat=Katze', or a file of such lines; ids work as tags, too.",
        ),
    ] = None
    rename_from: Annotated[Path | None, typer.Option(metavar="FILE", help="Your own names from this file.")] = None
    language: Annotated[
        str | None, typer.Option(help="Name tags in this language: de, es, fr, ja or zh (RAM: zh).")
    ] = None

    def read(self) -> TagChoice | None:
        """The choice that the options make; ``None`` if none of them is given.

        Raises:
            UsageError: If a list is malformed, or its file cannot be read.
        """
        choice = TagChoice(
            allow=read_choice(self.allow, self.allow_from, "--allow"),
            deny=read_choice(self.deny, self.deny_from, "--deny"),
            rename=read_pairs(self.rename, self.rename_from, "--rename"),
            language=self.language,
        )
        return None if choice == TagChoice() else choice


@dataclass(frozen=True)
class ModelOptions:
    """Which model recognizes, and what runs it."""

    model: Model = None
    backend: Annotated[
        BackendName | None,
        typer.Option("--backend", help="Runtime. (default: onnx, or torch for a model without ONNX files)"),
    ] = None
    device: Annotated[str, typer.Option(help="cpu or cuda; says what to install if CUDA is missing.")] = "cpu"
    precision: Annotated[Precision, typer.Option(help="bfloat16 is faster on new processors; not for onnx.")] = (
        "float32"
    )
    threads: Threads = None

    def open(
        self, tags: TagChoice | None = None, descriptions: Path | None = None, accept_truncated: bool = False
    ) -> Recognizer:
        """The recognizer that the options ask for; see :func:`anytag.load`."""
        from anytag.inference.recognizer import load  # Here, so that --help does not wait for it.

        return load(
            self.model,
            backend=self.backend,
            device=self.device,
            precision=self.precision,
            threads=self.threads,
            tags=tags,
            descriptions=descriptions,
            accept_truncated=accept_truncated,
        )


@dataclass(frozen=True)
class ModelOrServerOptions(ModelOptions):
    """The same, where a service can recognize instead."""

    server: Annotated[
        str | None, typer.Option(help="Address of a service (anytag serve) that recognizes instead of this machine.")
    ] = None

    def open(
        self, tags: TagChoice | None = None, descriptions: Path | None = None, accept_truncated: bool = False
    ) -> Recognizer:
        """The recognizer that the options ask for, here or by :func:`anytag.connect`.

        Raises:
            UsageError: If options of this machine's model come with a server.
        """
        if self.server is None:
            return super().open(tags, descriptions, accept_truncated)
        own = {f"--{one.name}".replace("_", "-") for group in (ModelOptions, TagOptions) for one in fields(group)}
        own = (own | {"--descriptions", "--accept-truncated"}) - {"--model"}
        refuse(own, "belongs to a model on this machine and has no effect on --server")
        from anytag.service.client import connect

        # It has the methods that commands use, and they take and give the same.
        return cast("Recognizer", connect(self.server, model=self.model))


@dataclass
class PictureInputs:
    """The pictures that a command was given.

    Attributes:
        paths: In order.
        total: How many, where that is known beforehand.
        left_out: What was not taken for a picture.
        overlays: How many pictures were left out because ``anytag locate`` wrote them.
    """

    paths: Iterable[str]
    total: int | None
    left_out: LeftOut = field(default_factory=LeftOut)
    overlays: int = 0

    def without_overlays(self) -> Iterator[str]:
        """The paths but for what ``anytag locate`` wrote, however it came among them: a shell's ``*.png`` names it."""
        for path in self.paths:
            if is_overlay(path):
                self.overlays += 1
            else:
                yield path

    def describe_left_out(self) -> str:
        """What was left out, in words; empty if nothing was."""
        maps = f"{self.overlays} written by anytag locate" if self.overlays else ""
        return ", ".join(part for part in (self.left_out.describe(), maps) if part)


def find_inputs(given: Sequence[str], walk: WalkOptions, ours: Container[str] = ()) -> PictureInputs:
    """The pictures that files, folders, globs or a list on standard input stand for.

    Args:
        given: Files, folders and globs, or ``-``.
        walk: How they are read.
        ours: Absolute paths of files that we wrote; they do not count as left out.

    Raises:
        UsageError: If ``-`` stands beside other inputs, nothing is found, or options do not fit.
    """
    if "-" in given:
        if len(given) > 1:
            raise UsageError("- reads the list of pictures from standard input; give nothing beside it")
        if walk.exclude or walk.no_recursive or walk.follow_links:
            raise UsageError("--exclude, --no-recursive and --follow-links are about folders; - takes a list as it is")
        return PictureInputs(PathList(walk.null), None)
    if walk.null:
        raise UsageError("--null is about the list on standard input; give - to read it")
    left_out = LeftOut(ours=ours)
    found = list(
        find_names(
            given,
            recursive=not walk.no_recursive,
            exclude=read_names(walk.exclude, None, "--exclude") or (),
            follow_links=walk.follow_links,
            left_out=left_out,
        )
    )
    # Those that are named outright are meant.
    named = set(given)
    pictures = [path for path in found if path in named or not is_overlay(path)]
    return PictureInputs(iter(pictures), len(pictures), left_out, len(found) - len(pictures))
