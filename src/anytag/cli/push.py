"""``anytag push``: a model directory to the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from anytag.cli._output import tell
from anytag.cli._shared import reporting


def push(
    model: Annotated[Path, typer.Argument(help="Model directory.")],
    repository: Annotated[str, typer.Argument(help="Where to: owner/name; created if missing.")],
    private: Annotated[bool, typer.Option("--private", help="Create a private repository.")] = False,
    message: Annotated[str | None, typer.Option(help="Commit message. (default: the model's name)")] = None,
) -> None:
    """Upload a model to where --model owner/name and anytag.load("owner/name") find it. Needs a token in HF_TOKEN.

    Example: anytag push lite-onnx me/my-tags --private
    """
    with reporting("push"):
        from anytag.model.publishing import push_model

        tell(push_model(model, repository, private, message))
