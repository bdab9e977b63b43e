"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

from typer import Argument, Option

from anytag.backends.base import BackendName, Precision
from anytag.cli._commands import refuse
from anytag.cli._lists import read_choice, read_kinds, read_names, read_pairs
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
    Argument(help="Files, folders or globs; - reads a list of paths from standard input.", show_default=False),
]
Json = Annotated[bool, Option("--json", help="Write JSON lines, one per picture, in order.")]
Kinds = Annotated[
    list[str] | None,
    Option("--kind", metavar="KINDS", help="Only tags of these kinds: object, scene, attribute, action."),
]
Categories = Annotated[
    list[str] | None,
    Option(metavar="NAMES", help="Look for exactly these, comma-separated; any words work (open set)."),
]
CategoriesFrom = Annotated[Path | None, Option(metavar="FILE", help="Such categories from a file, one per line.")]
WithCaptions = Annotated[bool, Option("--caption", help="Also write captions; takes longer.")]
ByContent = Annotated[bool, Option("--by-content", help="Compare contents: moved pictures are not done again.")]
Thumbnails = Annotated[
    bool | None,
    Option(
        "--thumbnails/--no-thumbnails",
        help="Store thumbnails (about 12 kB each), so that pages load fast; or delete them. (default: as last time)",
        show_default=False,
    ),
]
RetryFailed = Annotated[bool, Option("--retry-failed", help="Retry what failed before.")]
Model = Annotated[str | None, Option(help="Model directory or hub id. (default: the shipped model)")]
Threads = Annotated[int | None, Option(min=1, help="Threads of the runtime. (default: all processors)")]
Parser = Annotated[ParserName, Option(help="Caption parser.")]
ParserProcesses = Annotated[int, Option(min=1, help="Number of processes.")]
CaptionsPerPicture = Annotated[int, Option(min=1, help="Lines of a text file per picture.")]


@dataclass(frozen=True)
class WalkOptions:
    """How folders and lists of pictures are read."""

    null: Annotated[bool, Option("--null", "-0", help="Paths on standard input end in NUL, as from find -print0.")] = (
        False
    )
    exclude: Annotated[
        list[str] | None,
        Option(
            metavar="GLOBS",
            help="Leave out files and folders with these names, comma-separated: '*.gif', 'thumbs/', '*/raw/*'.",
        ),
    ] = None
    no_recursive: Annotated[bool, Option("--no-recursive", help="Do not enter subfolders.")] = False
    follow_links: Annotated[bool, Option("--follow-links", help="Also enter linked folders.")] = False


@dataclass(frozen=True)
class SelectionOptions:
    """Which of the tags found are returned."""

    threshold: Annotated[float | None, Option(help="One threshold for all tags, from 0 (keeps all) to 1.")] = None
    top: Annotated[int | None, Option(help="At most this many tags per picture.")] = None
    kind: Kinds = None

    def read(self) -> dict[str, Any]:
        """Return arguments of the recognizer's methods."""
        return {"kinds": read_kinds(self.kind), "threshold": self.threshold, "top": self.top}


@dataclass(frozen=True)
class TagOptions:
    """Which of a model's tags are used, and their names."""

    allow: Annotated[
        list[str] | None,
        Option(metavar="NAMES", help="Look only for these tags: comma-separated, or a file with one per line."),
    ] = None
    allow_from: Annotated[Path | None, Option(metavar="FILE", help="Look only for the tags in this file.")] = None
    deny: Annotated[
        list[str] | None,
        Option(metavar="NAMES", help="Ignore these tags: comma-separated, or a file with one per line."),
    ] = None
    deny_from: Annotated[Path | None, Option(metavar="FILE", help="Ignore the tags in this file.")] = None
    rename: Annotated[
        list[str] | None,
        Option(metavar="PAIRS", help="Your own names: 'dog=Hund,cat=Katze', or a file of such lines; tags may be ids."),
    ] = None
    rename_from: Annotated[Path | None, Option(metavar="FILE", help="Your own names from this file.")] = None
    language: Annotated[str | None, Option(help="Name tags in this language: de, es, fr, ja or zh (RAM: zh).")] = None

    def read(self) -> TagChoice | None:
        """Return the choice of tags; ``None`` if no option is given.

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
    """The model, and the backend that runs it."""

    model: Model = None
    backend: Annotated[
        BackendName | None,
        Option("--backend", help="Runtime. (default: onnx, or torch for a model without ONNX files)"),
    ] = None
    device: Annotated[str, Option(help="cpu or cuda; prints what to install if CUDA is missing.")] = "cpu"
    precision: Annotated[Precision, Option(help="bfloat16 is faster on new processors; not for onnx.")] = "float32"
    threads: Threads = None

    def open(self, **more: Any) -> Recognizer:
        """Load the recognizer, with more arguments of :func:`anytag.load`."""
        from anytag.inference.recognizer import load  # Imported here to keep --help fast.

        options = {field.name: getattr(self, field.name) for field in fields(ModelOptions)}
        return load(**options, **more)


@dataclass(frozen=True)
class RecognizerOptions(ModelOptions):
    """A model that reads pictures of the user."""

    accept_truncated: Annotated[
        bool,
        Option(
            "--accept-truncated",
            help="Recognize the readable part of truncated files (not AVIF, HEIC, JPEG 2000 or JPEG XL).",
        ),
    ] = False

    def open(self, **more: Any) -> Recognizer:
        """Load the recognizer, with more arguments of :func:`anytag.load`."""
        return super().open(accept_truncated=self.accept_truncated, **more)


@dataclass(frozen=True)
class ModelOrServerOptions(RecognizerOptions):
    """Options of a model on this machine, or a service that recognizes instead."""

    server: Annotated[str | None, Option(help="Address of a service (anytag serve) to use instead of a model.")] = None

    def open(self, **more: Any) -> Recognizer:
        """Load the recognizer, or connect to a service; see :func:`anytag.connect`."""
        if self.server is None:
            return super().open(**more)
        own = {f"--{one.name}".replace("_", "-") for group in (RecognizerOptions, TagOptions) for one in fields(group)}
        own = (own | {"--descriptions"}) - {"--model"}
        refuse(own, "belongs to a model on this machine and has no effect on --server")
        from anytag.service.client import connect

        # It has the same methods as far as commands use them.
        return cast("Recognizer", connect(self.server, model=self.model))


@dataclass
class PictureInputs:
    """The pictures that a command was given; ``total`` is their number, if known."""

    paths: Iterable[str]
    total: int | None
    left_out: LeftOut = field(default_factory=LeftOut)
    overlays: int = 0

    def without_overlays(self) -> Iterator[str]:
        """Yield the paths without those that ``anytag locate`` wrote, which a shell's ``*.png`` would include."""
        for path in self.paths:
            if is_overlay(path):
                self.overlays += 1
            else:
                yield path

    def describe_left_out(self) -> str:
        """Describe what was left out; empty if nothing was."""
        overlays = f"{self.overlays} written by anytag locate" if self.overlays else ""
        return ", ".join(part for part in (self.left_out.describe(), overlays) if part)


def find_inputs(given: Sequence[str], walk: WalkOptions, ours: Container[str] = ()) -> PictureInputs:
    """Find the pictures that files, folders, globs or ``-`` for a list on standard input name.

    ``ours`` are absolute paths of files that anytag wrote, which are not counted as left out.

    Raises:
        UsageError: If ``-`` is given with other inputs, nothing is found, or options do not fit.
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
    # Overlays that are named explicitly are kept.
    named = set(given)
    pictures = [path for path in found if path in named or not is_overlay(path)]
    return PictureInputs(iter(pictures), len(pictures), left_out, len(found) - len(pictures))
