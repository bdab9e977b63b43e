"""``anytag pull``: download and convert the official models."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from rich.progress import DownloadColumn, TimeRemainingColumn, TransferSpeedColumn
from typer import Argument, Option

from anytag.cli._commands import refuse_all_but
from anytag.cli._output import echo, open_console, printable, progress_bar, styled, write_table
from anytag.errors import MissingExtraError, UsageError
from anytag.foundations.cache_folder import cache_folder
from anytag.model.directory import pulled_model, refuse_existing

if TYPE_CHECKING:
    from anytag.checkpoints.official import FileReport, OfficialFile


def pull(
    name: Annotated[str | None, Argument(help="tag2text, ram or ram_plus. (default: list the models)")] = None,
    out: Annotated[
        Path | None,
        Option(help="Model directory to write. (default: in the user's cache, where --model NAME finds it)"),
    ] = None,
    cache: Annotated[Path | None, Option(help="Folder for downloads. (default: ~/.cache/anytag/official)")] = None,
    offline: Annotated[bool, Option("--offline", help="Never use the network; take files from --cache.")] = False,
    clip: Annotated[
        str | None,
        Option(
            help="CLIP ViT-B/16, which lets ram and ram_plus recognize new categories: a folder, or "
            "openai/clip-vit-base-patch16 to download it."
        ),
    ] = None,
    keep: Annotated[bool, Option("--keep", help="Keep the downloaded checkpoint; --offline always does.")] = False,
) -> None:
    """Download an official checkpoint and convert it to a model directory; if interrupted, repeat the command.

    HF_ENDPOINT names a mirror of huggingface.co, HF_TOKEN your token for it.

    Example: anytag pull ram_plus --clip openai/clip-vit-base-patch16 && anytag tag photo.jpg --model ram_plus
    """
    from anytag.checkpoints.official import find_official, resolve

    if name is None:
        refuse_all_but((), "needs the name of a model: tag2text, ram or ram_plus")
        _list_models()
        return
    model = find_official(name)
    folder, target = cache or cache_folder("official"), out or pulled_model(name)
    # Before gigabytes are downloaded for nothing.
    convert = load_converter()
    refuse_existing(target)
    clip_folder = None if clip is None else find_clip(clip, model.name, offline)
    with _progress() as report:
        files = resolve(model.name, folder, offline, report=report)
    convert(
        files["checkpoint"],
        target,
        family=model.name,
        tags=files["tags"],
        tags_zh=files.get("tags_zh"),
        thresholds=files.get("thresholds"),
        clip=clip_folder,
        report=echo,
    )
    if not keep and not offline:
        files["checkpoint"].unlink()
    echo(f"done: {target}" if out else f"done: {target}; use it with --model {name}")


def find_clip(clip: str, family: str, offline: bool) -> Path:
    """Return the folder of a CLIP model, downloaded if it is a repository (``owner/name``) on the Hugging Face hub.

    Raises:
        UsageError: If the family does not use CLIP, or there is no such folder.
        ModelError: If the hub cannot provide it.
    """
    from anytag.checkpoints.official import refuse_clip

    refuse_clip(family)
    folder = Path(clip)
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise UsageError(f"{folder}: has no config.json, so it is not a CLIP model; give the folder of one")
        return folder
    if offline or clip.count("/") != 1 or clip.startswith((".", "/", "~")):
        raise UsageError(f"{clip}: no such folder; --clip takes the folder of a CLIP ViT-B/16")
    from anytag.model.directory import hub_folder

    texts = ("config.json", "tokenizer.json", "vocab.json", "merges.txt")
    folder = Path(hub_folder(clip, (*texts, "*.safetensors", "*.safetensors.index.json")))
    if not any(folder.glob("*.safetensors")):
        folder = Path(hub_folder(clip, (*texts, "pytorch_model.bin")))
    return folder


def load_converter() -> Callable[..., object]:
    """Return the function that converts a checkpoint to a model directory.

    Raises:
        MissingExtraError: If PyTorch is not installed.
    """
    if importlib.util.find_spec("torch") is None:
        raise MissingExtraError("Converting official checkpoints", "train")
    from anytag.checkpoints.convert import convert_checkpoint

    return convert_checkpoint


def _list_models() -> None:
    from anytag.checkpoints.official import MODELS

    rows = [(model.name, model.title, f"{model.about / 1e9:.2f} GB", model.summary) for model in MODELS.values()]
    write_table(rows, ("name", "model", "download", "what it is"))
    needs = "PyTorch" if importlib.util.find_spec("torch") else "PyTorch (pip install 'anytag[train]')"
    echo("")
    echo(
        f"Converting needs {needs}, and disk space for another half of the download. "
        "The checkpoint is removed afterwards, unless you pass --keep."
    )


@contextmanager
def _progress() -> Iterator[FileReport]:
    """Show a bar per file on stderr, with rate and time left; a line per file where there is no terminal."""
    console = open_console(stderr=True)
    with progress_bar(DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn(), count=False) as bar:
        tasks = {}

        def report(file: OfficialFile, done: int, total: int | None, rate: float) -> None:
            if file.name not in tasks:
                there = done == total and not rate
                state = "already there" if there else f"{(total or file.about) / 1e6:,.1f} MB"
                console.print(styled(f"{file.name}: {state}"))
                tasks[file.name] = bar.add_task(printable(file.name), total=total, completed=done)
            bar.update(tasks[file.name], total=total or file.about, completed=done)

        yield report
