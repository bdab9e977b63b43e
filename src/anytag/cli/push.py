"""``anytag push``: upload a model directory to the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from anytag.cli._output import echo


def push(
    model: Annotated[Path, Argument(help="Model directory.")],
    repository: Annotated[str, Argument(help="Repository: owner/name; created if missing.")],
    private: Annotated[bool, Option("--private", help="Create a private repository.")] = False,
    message: Annotated[str | None, Option(help="Commit message. (default: the model's name)")] = None,
) -> None:
    """Upload a model, for use as --model owner/name and anytag.load("owner/name"). Needs a token in HF_TOKEN.

    Example: anytag push lite-onnx me/my-tags --private
    """
    from anytag.model.publishing import push_model

    echo(push_model(model, repository, private, message))
