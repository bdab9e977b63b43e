"""``anytag convert``: an official checkpoint to a model directory."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from anytag.cli._commands import refuse
from anytag.cli._output import tell
from anytag.cli._shared import reporting
from anytag.errors import needs_extra


def convert(
    checkpoint: Annotated[Path, typer.Argument(help="The official .pth file.")],
    family: Annotated[Literal["tag2text", "ram", "ram_plus"], typer.Option(help="Which model it is.")],
    tags: Annotated[Path, typer.Option(help="Its tag list, one name per line.")],
    out: Annotated[Path, typer.Option(help="Model directory to write.")],
    tags_zh: Annotated[Path | None, typer.Option(help="The tag list in Chinese.")] = None,
    thresholds: Annotated[Path | None, typer.Option(help="Thresholds, one number per line.")] = None,
    clip: Annotated[
        Path | None, typer.Option(help="Folder of CLIP ViT-B/16; its text encoder is added, for new categories.")
    ] = None,
    resolution: Annotated[
        int | None, typer.Option(help="Pictures' side in pixels, if not the checkpoint's: position tables are resized.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="What the model is called. (default: the file's name)")] = None,
    image_size: Annotated[
        int | None,
        typer.Option(min=1, help="Side of the checkpoint's pictures, where its tables do not say."),
    ] = None,
    recognition_heads: Annotated[int, typer.Option(min=1, help="Heads of the recognition decoder.")] = 4,
    text_heads: Annotated[
        int | None, typer.Option(min=1, help="Heads of the text parts. (default: one for every 64 channels)")
    ] = None,
    prompt: Annotated[str, typer.Option(help="What every caption starts with.")] = "a picture of ",
    tag_length: Annotated[int, typer.Option(min=0, help="Word pieces that tag lists are padded to.")] = 40,
) -> None:
    """Turn an official Tag2Text, RAM or RAM++ checkpoint into a model directory, every parameter accounted for.

    Example: anytag convert ram_swin_large_14m.pth --family ram --tags ram_tag_list.txt --out ram
    """
    with reporting("convert"):
        with needs_extra("Converting", "train"):
            import torch  # noqa: F401
        from anytag.checkpoints.convert import convert_checkpoint
        from anytag.checkpoints.official_keys import Geometry

        if family == "ram_plus":
            refuse(
                ("--text-heads", "--prompt", "--tag-length"), "is about captions, and RAM++ writes none; leave it out"
            )
        convert_checkpoint(
            checkpoint,
            out,
            family=family,
            tags=tags,
            tags_zh=tags_zh,
            thresholds=thresholds,
            clip=clip,
            resolution=resolution,
            name=name,
            geometry=Geometry(image_size, recognition_heads, text_heads, prompt, tag_length),
            report=tell,
        )
