"""Checkpoints of a run, written whole or not at all.

A single process writes ``checkpoint.pt``. Processes that shard the weights write a folder ``checkpoint-STEP``, each its
own part (``torch.distributed.checkpoint``). Any number of processes can resume from either.
"""

from __future__ import annotations

import json
import os
import pickle
import shutil
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.checkpoint.state_dict_loader import load as load_parts
from torch.distributed.checkpoint.state_dict_saver import save as save_parts

from anytag.datasets.stream import merge_states
from anytag.errors import AnytagError, ModelError, first_line
from anytag.foundations.atomic_files import write_text
from anytag.foundations.stand_in_files import stand_in
from anytag.training.engine.distributed import Strategy, placed_like
from anytag.training.engine.task import Batches

#: Keys: ``model``, ``average``, ``optimizer`` (by parameter name), ``step``, ``generators``.
State = dict[str, Any]


class SaveError(AnytagError):
    """A checkpoint could not be written; the one before it is still there."""

    kind = "save"


class RunState:
    """Saves and loads everything that a run needs to resume exactly.

    The checkpoint contains weights, average, optimizer, step and generators. The positions of all processes' batches,
    if they have any, are in a file ``positions-STEP.json``, which is written before the checkpoint of that step;
    earlier ones are removed after it. So a checkpoint always finds its positions, whenever the process ends.
    """

    def __init__(
        self,
        folder: Path,
        model: nn.Module,
        average: nn.Module | None,
        optimizer: torch.optim.Optimizer,
        strategy: Strategy,
        batches: Batches | None = None,
    ):
        self.folder, self.model, self.average = folder, model, average
        self.optimizer, self.strategy, self.batches = optimizer, strategy, batches

    @property
    def path(self) -> Path:
        """The newest checkpoint; ``checkpoint.pt`` if there is none."""
        found = self._folders()
        file = self.folder / "checkpoint.pt"
        if found and not (file.exists() and _step_of(file) >= _step_of(found[-1])):
            return found[-1]
        return file

    def save(self, step: int) -> None:
        """Replace the checkpoint.

        Raises:
            SaveError: In every process, if one of them cannot write; the previous checkpoint stays.
        """
        positions = self._save_positions(step)
        state = self._collect(step)
        target = self.folder / (f"checkpoint-{step:09d}" if self.strategy.is_sharded else "checkpoint.pt")
        part = target.with_name(target.name + ".part")
        failure = None
        try:
            with explained(target, step):
                if self.strategy.is_sharded:
                    _write_folder(state, part, self.strategy)
                elif self.strategy.is_first:
                    write_state(state, part)
        except SaveError as error:
            failure = error
        reasons = [reason for reason in self.strategy.gathered(failure and str(failure)) if reason]
        if self.strategy.is_first:
            if reasons:
                _remove(part)
            else:
                self._install(part, target)
        if reasons:
            raise failure or SaveError(reasons[0])
        self.strategy.wait()
        if self.strategy.is_first and positions is not None:
            for old in self.folder.glob("positions-*.json"):
                if old != positions:
                    _remove(old)

    def _save_positions(self, step: int) -> Path | None:
        """Write the positions of all processes' batches; ``None`` if they have none."""
        states = self.strategy.gathered(None if self.batches is None else self.batches.state())
        if not any(states):
            return None
        path, failure = self._positions(step), None
        if self.strategy.is_first:
            try:
                write_text(path, json.dumps(states))
            except OSError as error:
                failure = (
                    f"{path}: the places in the data at step {step} could not be written ({error}); the checkpoint "
                    "before is untouched. Make room, then go on with the same command."
                )
        # The others must not go on to a checkpoint that the first will not take part in.
        if reason := self.strategy.gathered(failure)[0]:
            raise SaveError(reason)
        return path

    def _positions(self, step: int) -> Path:
        return self.folder / f"positions-{step:09d}.json"

    def load(self) -> int | None:
        """Load the newest checkpoint with its positions, and return its step; ``None`` if there is no checkpoint.

        Raises:
            ModelError: If it cannot be read, or belongs to another model.
            UsageError: If the positions belong to other data.
        """
        path = self.path
        if not path.exists():
            return None
        try:
            state = self._read_folder(path) if path.is_dir() else self._read_file(path)
        except (KeyError, RuntimeError, CheckpointException, pickle.UnpicklingError, EOFError) as error:
            raise ModelError(
                f"{path} cannot be read as a checkpoint of this recipe's model ({first_line(error)}); go on with the "
                "recipe that the run began with or, if the file is damaged, begin a new run"
            ) from error
        self._compare(path, state["model"])
        try:
            self._apply(state)
        except (KeyError, RuntimeError) as error:
            raise ModelError(
                f"{path} is not a checkpoint of this recipe's model ({first_line(error)}); go on with the recipe and "
                "the settings that the run began with, or begin a new run"
            ) from error
        step = int(state["step"])
        if self.batches is not None and self.batches.state():
            self._load_positions(self.batches, self._positions(step))
        return step

    def _load_positions(self, batches: Batches, path: Path) -> None:
        try:
            states: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ModelError(f"{path}: the places in the data cannot be read ({error}); begin a new run") from error
        own = len(states) == self.strategy.world
        batches.restore(states[self.strategy.rank] if own else merge_states(states))

    def _compare(self, path: Path, stored: Mapping[str, Tensor]) -> None:
        """Raise a ModelError if names or shapes of the weights differ from the model's."""
        own = self.model.state_dict()
        other = [name for name in own.keys() & stored.keys() if own[name].shape != stored[name].shape]
        apart = sorted(own.keys() ^ stored.keys())
        if not other and not apart:
            return
        if other:
            # The first in the model's own order is the most telling.
            name = min(other, key=list(own).index)
            what = f"{name} is {_shape(stored[name])} there and {_shape(own[name])} in this recipe's model"
        else:
            what = f"{apart[0]} is in {'it' if apart[0] in stored else 'the model'} alone"
        more = f", and {len(other) + len(apart) - 1:,} weights more differ" if len(other) + len(apart) > 1 else ""
        raise ModelError(
            f"{path} is a checkpoint of another model: {what}{more}. Go on with the sizes, the vocabulary and the "
            "parts that the run began with, or begin a new run"
        )

    def _collect(self, step: int) -> State:
        states = self.strategy.gathered([state.numpy() for state in _generators()])
        return {
            "model": self.model.state_dict(),
            **({} if self.average is None else {"average": self.average.state_dict()}),
            "optimizer": {
                name: self.optimizer.state[parameter]
                for name, parameter in self.model.named_parameters()
                if parameter in self.optimizer.state
            },
            "step": torch.tensor(step),
            # One row a process, one entry a kind of device.
            "generators": {
                str(kind): torch.stack([torch.from_numpy(row[kind]) for row in states])
                for kind in range(len(states[0]))
            },
        }

    def _apply(self, state: State) -> None:
        """Apply a state whose tensors are whole, or sharded like this run's."""
        _load_into(self.model, state["model"])
        if self.average is not None:
            if "average" in state:
                _load_into(self.average, state["average"])
            else:
                _load_into(self.average.get_submodule("module"), state["model"])
        self.optimizer.state.clear()
        parameters = dict(self.model.named_parameters())
        for name, entries in state["optimizer"].items():
            parameter = parameters[name]
            self.optimizer.state[parameter] = {
                key: value.clone() if key == "step" else placed_like(value, parameter).clone()
                for key, value in entries.items()
            }
        _set_generators(state["generators"], self.strategy.rank)

    def _read_file(self, path: Path) -> State:
        state = read_state(path)
        if "param_groups" in state["optimizer"]:
            state["optimizer"] = self._named(state["optimizer"]["state"])
        if "generators" not in state:
            state["generators"] = {"0": state["rng"][None]}
        return state

    def _named(self, numbered: dict[int, Any]) -> dict[str, Any]:
        """Convert an optimizer's state from earlier versions, which numbered the parameters, group by group."""
        names = {id(parameter): name for name, parameter in self.model.named_parameters()}
        ordered = [names[id(parameter)] for group in self.optimizer.param_groups for parameter in group["params"]]
        return {ordered[number]: entries for number, entries in numbered.items()}

    def _read_folder(self, path: Path) -> State:
        """Read this process's part into tensors sharded like the run's; those of the optimizer are created first."""
        known = FileSystemReader(path).read_metadata().state_dict_metadata
        parameters = dict(self.model.named_parameters())
        state: State = {"model": self.model.state_dict(), "optimizer": {}, "generators": {}}
        if self.average is not None and any(key.startswith("average.") for key in known):
            state["average"] = self.average.state_dict()
        for key, stored in known.items():
            kind, _, rest = key.partition(".")
            if not isinstance(stored, TensorStorageMetadata):
                continue
            blank = torch.zeros(stored.size, dtype=stored.properties.dtype)
            if kind == "optimizer":
                name, _, entry = rest.rpartition(".")
                parameter = parameters[name]
                place = blank if entry == "step" else torch.zeros_like(parameter, requires_grad=False)
                state["optimizer"].setdefault(name, {})[entry] = place
            elif kind == "generators":
                state["generators"][rest] = blank
            elif kind == "step":
                state["step"] = blank
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="torch.distributed is disabled")  # One process is alone.
            load_parts(state, checkpoint_id=path, no_dist=self.strategy.world == 1)
        return state

    def _folders(self) -> list[Path]:
        """Complete checkpoint folders, the newest last."""
        return sorted(path for path in self.folder.glob("checkpoint-*") if path.suffix != ".part")

    def _install(self, part: Path, target: Path) -> None:
        """Move a new checkpoint into place, then remove earlier ones: a kill in between leaves both."""
        before = [path for path in (*self._folders(), self.folder / "checkpoint.pt") if path != target]
        if target.is_dir():  # A folder cannot be replaced atomically, and it is that of the same step.
            _remove(part)
            return
        part.replace(target)
        for path in before:
            _remove(path)


def write_state(state: State, part: Path) -> None:
    """Write a state and flush it to disk."""
    with part.open("wb") as handle:
        torch.save(state, handle)
        handle.flush()
        os.fsync(handle.fileno())


def _write_folder(state: State, part: Path, strategy: Strategy) -> None:
    if strategy.is_first:
        _remove(part)
    strategy.wait()
    save_parts(state, checkpoint_id=part, no_dist=strategy.world == 1)


@contextmanager
def explained(target: Path, step: int) -> Iterator[None]:
    """Convert errors while writing a checkpoint to :class:`SaveError`."""
    try:
        yield
    except (OSError, RuntimeError, CheckpointException) as error:
        raise SaveError(
            f"{target}: the checkpoint of step {step} could not be written ({_reason(error)}); the one before it is "
            "untouched. Make room, then go on with the same command."
        ) from error


def _reason(error: BaseException) -> BaseException:
    """The operating system's error behind one of PyTorch's."""
    if isinstance(error, CheckpointException):
        failures = [failure for failure, _ in error.failures.values()]
        return _reason(failures[0]) if failures else error
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, OSError):
        cause = cause.__cause__ or cause.__context__
    return cause or error


def _shape(tensor: Tensor) -> str:
    return " x ".join(map(str, tensor.shape)) or "one number"


def _load_into(module: nn.Module, values: dict[str, Tensor]) -> None:
    own = module.state_dict()
    module.load_state_dict({name: placed_like(v, own[name]) if name in own else v for name, v in values.items()})


def read_state(path: Path) -> State:
    """Read a state of :func:`write_state`, memory-mapped.

    Raises:
        ModelError: If the file is damaged, or not a state.
    """
    with path.open("rb"):
        pass  # A file without read permission is not called damaged.
    what = stand_in(path)
    if what is None and not zipfile.is_zipfile(path):  # PyTorch's own message would be about mmap.
        what = (
            f"damaged or cut off ({path.stat().st_size:,} bytes); copy it again or, if there is no other copy, begin a "
            "new run"
        )
    if what is not None:
        raise ModelError(f"{path}: {what}")
    state: State = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    return state


def _step_of(path: Path) -> int:
    if path.is_dir():
        return int(path.name.rpartition("-")[2])
    return int(read_state(path)["step"])


def _generators() -> list[Tensor]:
    """States of this process's random generators: the CPU's and, if there is one, the GPU's."""
    states = [torch.get_rng_state()]
    if torch.cuda.is_available():
        states.append(torch.cuda.get_rng_state())
    return states


def _set_generators(states: dict[str, Tensor], rank: int) -> None:
    """Restore this process's random generators; a process without a saved state keeps its own."""
    if rank >= len(states["0"]):
        return
    torch.set_rng_state(states["0"][rank].clone())
    if "1" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["1"][rank].clone())


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(FileNotFoundError):
            path.unlink()
