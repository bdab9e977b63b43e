"""``anytag convert``: convert an official checkpoint to a model directory."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from typer import Argument, Option

from anytag.cli._commands import refuse
from anytag.cli._output import echo
from anytag.errors import needs_extra


def convert(
    checkpoint: Annotated[Path, Argument(help="The official .pth file.")],
    family: Annotated[Literal["tag2text", "ram", "ram_plus"], Option(help="Its family.")],
    tags: Annotated[Path, Option(help="Its tag list, one name per line.")],
    out: Annotated[Path, Option(help="Model directory to write.")],
    tags_zh: Annotated[Path | None, Option(help="The tag list in Chinese.")] = None,
    thresholds: Annotated[Path | None, Option(help="Thresholds, one number per line.")] = None,
    clip: Annotated[Path | None, Option(help="Folder of CLIP ViT-B/16, for new categories.")] = None,
    resolution: Annotated[
        int | None, Option(help="Picture size in pixels, if not the checkpoint's: position tables are resized.")
    ] = None,
    name: Annotated[str | None, Option(help="Name of the model. (default: the file's name)")] = None,
    image_size: Annotated[
        int | None, Option(min=1, help="Picture size of the checkpoint in pixels, if its tables do not determine it.")
    ] = None,
    recognition_heads: Annotated[int, Option(min=1, help="Attention heads of the recognition decoder.")] = 4,
    text_heads: Annotated[
        int | None, Option(min=1, help="Attention heads of the text parts. (default: one per 64 channels)")
    ] = None,
    prompt: Annotated[str, Option(help="Start of every caption.")] = "a picture of ",
    tag_length: Annotated[int, Option(min=0, help="Word pieces that tag lists are padded to.")] = 40,
) -> None:
    """Convert an official Tag2Text, RAM or RAM++ checkpoint to a model directory, every parameter accounted for.

    Example: anytag convert ram_swin_large_14m.pth --family ram --tags ram_tag_list.txt --out ram
    """
    with needs_extra("Converting", "train"):
        import torch  # noqa: F401
    from anytag.checkpoints.convert import convert_checkpoint
    from anytag.checkpoints.official_keys import Geometry

    if family == "ram_plus":
        refuse(("--text-heads", "--prompt", "--tag-length"), "is about captions, and RAM++ writes none; leave it out")
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
        report=echo,
    )
