"""``anytag train``: run a training recipe."""

from __future__ import annotations

import os
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from anytag.cli._commands import refuse
from anytag.cli._output import echo
from anytag.errors import UsageError, needs_extra
from anytag.foundations.cpu_count import available_processors
from anytag.foundations.folder_locks import only_writer
from anytag.foundations.thread_waiting import spin_briefly


def train(
    recipe: Annotated[str, Argument(help="Python file with a function recipe(), or FILE.py:FUNCTION.")],
    data: Annotated[Path, Option(help="Folder that file names in the recipe are relative to.")],
    run: Annotated[Path, Option(help="Run folder; an existing one continues where it stopped.")],
    cache: Annotated[
        Path | None, Option(help="Folder for reusable files, such as cached features. (default: in the run folder)")
    ] = None,
    set_: Annotated[list[str] | None, Option("--set", help="Change a setting: key=value; repeatable.")] = None,
    threads: Annotated[int | None, Option(min=1, help="Threads. (default: all processors)")] = None,
    stop_after: Annotated[float | None, Option(min=0, help="Stop after this many minutes, with a checkpoint.")] = None,
    device: Annotated[str | None, Option(help="cpu, cuda, cuda:1, mps. (default: an accelerator, if any)")] = None,
    dry_run: Annotated[bool, Option("--dry-run", help="Only report on the data, and draw five samples.")] = False,
    out: Annotated[
        Path | None, Option(help="With --dry-run: PNG to draw the samples in. (default: samples.png in the run folder)")
    ] = None,
) -> None:
    """Train a model from pictures with captions or tags; after a kill, the same command continues.

    Example: anytag train recipes/official.py:ram_4m --data data --run runs/ram --set seed=1

    Example: anytag train recipes/small.py:ram --data data --run runs/small --dry-run
    """
    spins = spin_briefly()
    with needs_extra("Training", "train"):
        import torch
    from anytag.nn.spinning import spinning_while_idle
    from anytag.training.dry_run import dry_run as rehearse
    from anytag.training.engine.allocator import keep_freed_memory
    from anytag.training.engine.config import Overrides
    from anytag.training.evidence.run import fit_recipe
    from anytag.training.recipes.config import TrainingConfig
    from anytag.training.recipes.evidence import EvidenceTraining
    from anytag.training.recipes.joint_embedding import JointEmbeddingTraining
    from anytag.training.recipes.loading import load_recipe
    from anytag.training.run import train as run_training
    from anytag.training.run_record import check_folders

    keep_freed_memory()
    if threads or "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(threads or available_processors())
    config = Overrides(set_ or []).apply(load_recipe(recipe))
    if out is not None and not dry_run:
        raise UsageError("--out is where --dry-run draws samples; the model goes into the run folder")
    if (dry_run or device) and not isinstance(config, TrainingConfig):
        option = "--dry-run" if dry_run else "--device"
        raise UsageError(f"{option} is for recipes that train a network; this one takes minutes on a processor")
    if dry_run or not isinstance(config, TrainingConfig):
        refuse(("--stop-after",), "is for recipes that train a network, and has no effect here; leave it out")
    with spinning_while_idle() if spins else nullcontext():
        if dry_run:
            assert isinstance(config, TrainingConfig)
            check_folders(data, run)
            with only_writer(run, "another run trains", "give another run folder"):
                picture = rehearse(config, data, run, echo, cache, out, device)
            echo(f"five samples as the network sees them: {picture}" if picture else "no picture can be read")
            return
        if isinstance(config, EvidenceTraining | JointEmbeddingTraining):
            fit_recipe(config, data, run, echo, cache, threads, set_ or [])
            echo(f"done: {run / 'model'}")
            return
        finished = run_training(config, data, run, echo, stop_after and stop_after * 60, cache, set_ or [], device)
        if os.environ.get("RANK", "0") == "0":  # Only one of torchrun's processes.
            echo(f"done: {run / 'model'}" if finished else f"stopped; go on with the same command ({run})")
