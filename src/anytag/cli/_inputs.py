"""Options that several commands have in common."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from anytag.errors import UsageError
from anytag.inference.tag_choice import TagChoice
from anytag.pictures import find_names, read_list

if TYPE_CHECKING:
    from anytag.inference.recognizer import Recognizer


class KindChoice(StrEnum):
    """Kinds of tags that can be asked for."""

    object = "object"
    scene = "scene"
    attribute = "attribute"
    action = "action"


class ParserChoice(StrEnum):
    """Caption parsers that can be asked for by name."""

    auto = "auto"
    light = "light"
    spacy = "spacy"


class BackendChoice(StrEnum):
    """Runtimes that can be asked for."""

    onnx = "onnx"
    torch = "torch"
    openvino = "openvino"


class PrecisionChoice(StrEnum):
    """Precisions of the backends torch and openvino."""

    float32 = "float32"
    bfloat16 = "bfloat16"


Pictures = Annotated[
    list[str],
    typer.Argument(help="Files, folders, globs; - reads a list of paths from standard input.", show_default=False),
]
Json = Annotated[bool, typer.Option("--json", help="Write JSON lines, one a picture, in order.")]
Threshold = Annotated[
    float | None, typer.Option(help="One threshold for all tags, 0 to 1, instead of each tag's own; 0 keeps all.")
]
Top = Annotated[int | None, typer.Option(help="At most that many tags a picture.")]
Kinds = Annotated[
    list[KindChoice] | None, typer.Option("--kind", help="Only tags of this kind; may be given several times.")
]
Model = Annotated[str | None, typer.Option(help="Model directory or hub id. (default: the shipped model)")]
BackendName = Annotated[
    BackendChoice | None,
    typer.Option("--backend", help="Runtime. (default: onnx, or torch for a model without ONNX files)"),
]
Device = Annotated[str, typer.Option(help="cpu or cuda.")]
Precision = Annotated[PrecisionChoice, typer.Option(help="bfloat16 is faster on new processors; not for onnx.")]
Allow = Annotated[Path | None, typer.Option(help="Look only for the tags of this file, one a line.")]
Deny = Annotated[Path | None, typer.Option(help="Look for no tag of this file.")]
Rename = Annotated[Path | None, typer.Option(help="Names of your own: lines of 'tag = new name'; a tag may be its id.")]
Language = Annotated[str | None, typer.Option(help="Name tags in this language, if the model knows it (RAM: zh).")]
Descriptions = Annotated[
    Path | None, typer.Option(help="Descriptions of your categories for RAM++ (anytag vocabulary describe).")
]
Threads = Annotated[int | None, typer.Option(min=1, help="Threads of the runtime. (default: all processors)")]


def tag_choice(allow: Path | None, deny: Path | None, rename: Path | None, language: str | None) -> TagChoice | None:
    """The choice that the options make; ``None`` if none of them is given."""
    choice = TagChoice(allow, deny, rename, language)
    return None if choice == TagChoice() else choice


def open_recognizer(
    model: str | None,
    backend: BackendChoice | None,
    device: str,
    precision: PrecisionChoice,
    threads: int | None,
    tags: TagChoice | None = None,
    descriptions: Path | None = None,
) -> Recognizer:
    """The recognizer that the options of a command ask for; see :func:`anytag.load`."""
    from anytag.inference.recognizer import load  # Here, so that --help does not wait for it.

    return load(
        model,
        backend=backend.value if backend else None,
        device=device,
        precision=precision.value,
        threads=threads,
        tags=tags,
        descriptions=descriptions,
    )


def sources(given: Sequence[str]) -> tuple[Iterable[str], int | None]:
    """The pictures' paths and, where it can be known beforehand, their number.

    Raises:
        UsageError: If ``-`` stands beside other inputs, or nothing is found.
    """
    if "-" in given:
        if len(given) > 1:
            raise UsageError("- reads the list of pictures from standard input; give nothing beside it")
        return (str(path) for path in read_list(sys.stdin)), None
    found = list(find_names(given))
    return iter(found), len(found)
