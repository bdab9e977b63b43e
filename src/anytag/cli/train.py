"""``anytag train``: run a recipe."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from anytag.cli._output import tell
from anytag.cli._shared import reporting
from anytag.foundations.cpu_count import available_processors


def train(
    recipe: Annotated[str, typer.Argument(help="Python file with a function recipe(), or FILE.py:FUNCTION.")],
    data: Annotated[Path, typer.Option(help="Folder that the recipe's file names are relative to.")],
    run: Annotated[Path, typer.Option(help="Run folder; an existing one is taken up where it stopped.")],
    cache: Annotated[
        Path | None,
        typer.Option(help="Folder for what is made once, such as cached features. (default: in the run folder)"),
    ] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="Change a setting: key=value; repeatable.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads. (default: all processors)")] = None,
    stop_after: Annotated[
        float | None, typer.Option(min=0, help="Stop after that many minutes, with a checkpoint.")
    ] = None,
) -> None:
    """Train a model from pictures with captions or tags; killed at any moment, the same command goes on.

    Example: anytag train recipes/published.py:ram_4m --data data --run runs/ram --set seed=1
    """
    with reporting("train"):
        try:
            import torch
        except ImportError:
            from anytag.errors import MissingExtraError

            raise MissingExtraError("Training", "train") from None
        from anytag.training.engine.allocator import keep_freed_memory
        from anytag.training.engine.config import Overrides
        from anytag.training.evidence.fit import fit_evidence
        from anytag.training.evidence.joint_embedding import fit_joint_embedding
        from anytag.training.recipes.evidence import EvidenceTraining
        from anytag.training.recipes.joint_embedding import JointEmbeddingTraining
        from anytag.training.recipes.loading import load_recipe
        from anytag.training.run import train as run_training

        keep_freed_memory()
        if threads or "OMP_NUM_THREADS" not in os.environ:
            torch.set_num_threads(threads or available_processors())
        config = Overrides(set_ or []).apply(load_recipe(recipe))
        if isinstance(config, EvidenceTraining):
            fit_evidence(config, data, run, tell, cache, threads, set_ or [])
            tell(f"done: {run / 'model'}")
            return
        if isinstance(config, JointEmbeddingTraining):
            fit_joint_embedding(config, data, run, tell, cache, threads, set_ or [])
            tell(f"done: {run / 'model'}")
            return
        finished = run_training(config, data, run, tell, stop_after and stop_after * 60, cache, set_ or [])
        tell(f"done: {run / 'model'}" if finished else f"stopped; go on with the same command ({run})")
