"""Distributed training with PyTorch's DDP and FSDP2, in the processes that ``torchrun`` starts.

A strategy defines how the processes share a run; the loop treats all three alike. The step function is the forward
pass of a module (:class:`LossModule`), so that DDP's and FSDP's hooks run whatever parts of the model it calls.
"""

from __future__ import annotations

import atexit
import copy
import gc
import inspect
import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from typing import Any, Literal

import torch
from torch import Tensor, distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.parallel import DistributedDataParallel

from anytag.errors import UsageError
from anytag.nn.devices import find_device
from anytag.training.engine.activation_checkpointing import large_blocks

#: How long processes wait while the first one prepares data or validates. Other collectives keep PyTorch's timeouts, so
#: that a process that hangs ends the run.
PATIENCE = timedelta(hours=6)


@dataclass(frozen=True)
class Share:
    """The part of a step's batch for one call of the step function.

    A batch is divided among the processes, and each process's part among its micro-batches.

    Attributes:
        rank: Number of the process.
        world: Number of processes.
        micro: Number of the micro-batch.
        micros: Micro-batches of each process.
        device: Device of the model.
    """

    rank: int = 0
    world: int = 1
    micro: int = 0
    micros: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def index(self) -> int:
        return self.rank * self.micros + self.micro

    @property
    def count(self) -> int:
        return self.world * self.micros

    def rows(self, size: int) -> slice:
        """The share's rows of a batch of ``size``."""
        return slice(self.index * size // self.count, (self.index + 1) * size // self.count)


class LossModule(nn.Module):
    """A step function as the forward pass of a module: it is called with the model and the module's arguments."""

    def __init__(self, model: nn.Module, step: Callable[..., tuple[Tensor, dict[str, float]]]):
        super().__init__()
        self.model, self.step = model, step

    def forward(self, *args: Any) -> tuple[Tensor, dict[str, float]]:
        return self.step(self.model, *args)


class Strategy:
    """Training in a single process; base of the other strategies.

    Attributes:
        rank: Number of this process; only the first, 0, writes and reports.
        world: Number of processes.
        is_sharded: Whether each process holds only a part of the weights.
    """

    rank, world, is_sharded = 0, 1, False

    def device_of(self, model: nn.Module) -> torch.device:
        """Device on which to train the model."""
        return next(model.parameters()).device

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def wait(self) -> None:
        """Wait until every process is here."""

    def prepare(self, losses: LossModule, average: nn.Module | None) -> None:
        """Set up the model, once, before the optimizer is created. All processes get the first one's weights.

        Args:
            losses: Holds the model.
            average: A copy of the model.
        """
        self.losses: nn.Module = losses

    def enter(self) -> None:
        """Prepare for a stage, which may train other parameters."""

    def forward(self, *args: Any) -> tuple[Tensor, dict[str, float]]:
        """Call the step function."""
        return self.losses(*args)

    def accumulating(self, last: bool) -> AbstractContextManager[Any]:
        """Context for forward and backward pass of a micro-batch; gradients are synchronized with the last one."""
        return nullcontext()

    def clip(self, parameters: Iterable[nn.Parameter], limit: float) -> float:
        """Clip gradients to a total norm, and return the norm before."""
        return float(nn.utils.clip_grad_norm_(parameters, limit))

    def means(self, values: list[float]) -> list[float]:
        """Means of each value over the processes."""
        return values

    def gathered(self, value: Any) -> list[Any]:
        """Values of all processes, in every process."""
        return [value]

    def whole(self, model: nn.Module) -> nn.Module:
        """Return the unsharded model; only the first process's can be called and saved."""
        return model


class _Processes(Strategy):
    def __init__(self, device: torch.device):
        self.rank, self.world, self.device = distributed.get_rank(), distributed.get_world_size(), device

    def device_of(self, model: nn.Module) -> torch.device:
        return self.device

    def wait(self) -> None:
        _wait()

    def prepare(self, losses: LossModule, average: nn.Module | None) -> None:
        with torch.no_grad():
            for module in (losses, average):
                for tensor in () if module is None else module.state_dict().values():
                    if tensor.numel():
                        distributed.broadcast(tensor, 0)
        super().prepare(losses, average)

    def means(self, values: list[float]) -> list[float]:
        total = torch.tensor(values, dtype=torch.float32 if self.device.type == "mps" else torch.float64)
        total = total.to(self.device)
        distributed.all_reduce(total)
        return (total / self.world).tolist()

    def gathered(self, value: Any) -> list[Any]:
        values: list[Any] = [None] * self.world
        distributed.all_gather_object(values, value)
        return values


class DataParallel(_Processes):
    """DDP: every process holds the whole model, and gradients are averaged."""

    _engine: DistributedDataParallel | None = None

    def enter(self) -> None:
        # DDP fixes the trained parameters when it is created.
        self._engine = None
        gc.collect()  # Frees the old engine's hooks; it may be part of a reference cycle.
        # Steps and processes may lack parts of the loss (captions, texts). Buffers are synchronized by their owners.
        known = inspect.signature(DistributedDataParallel).parameters
        buffers = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
        settings: dict[str, Any] = {buffers: False, "find_unused_parameters": True, "init_sync": False}
        # PyTorch warns about this in steps that have all parts.
        warnings.filterwarnings("ignore", message="find_unused_parameters=True was specified")
        self._engine = DistributedDataParallel(self.losses, **settings)

    def forward(self, *args: Any) -> tuple[Tensor, dict[str, float]]:
        assert self._engine is not None
        return self._engine(*args)

    def accumulating(self, last: bool) -> AbstractContextManager[Any]:
        assert self._engine is not None
        return nullcontext() if last else self._engine.no_sync()


class FullyShardedDataParallel(_Processes):
    """FSDP2: weights, gradients, optimizer and average are sharded among the processes.

    A block's weights are whole only during its computation. All processes must use the same parts of the model in a
    step; otherwise they wait for each other.
    """

    is_sharded = True
    #: Scalars cannot be sharded: every process holds them, and their gradients are averaged here.
    _scalars: list[nn.Parameter]

    def prepare(self, losses: LossModule, average: nn.Module | None) -> None:
        super().prepare(losses, average)
        # For :meth:`whole`, a copy that is never sharded.
        self._plain = copy.deepcopy(losses.model) if self.is_first else None
        mesh = init_device_mesh(self.device.type, (self.world,))
        # Keys and values are views, which are never changed in place.
        warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view tensor")
        self._scalars = [parameter for parameter in losses.parameters() if parameter.dim() == 0]
        for root in (losses, average):
            if root is None:
                continue
            whole = {parameter for parameter in root.parameters() if parameter.dim() == 0}
            for block in large_blocks(root):
                fully_shard(block, mesh=mesh, ignored_params=whole)
                if hasattr(block, "keys_values"):
                    register_fsdp_forward_method(block, "keys_values")
            fully_shard(root, mesh=mesh, ignored_params=whole)

    def accumulating(self, last: bool) -> AbstractContextManager[Any]:
        assert isinstance(self.losses, FSDPModule)
        self.losses.set_requires_gradient_sync(last)
        return nullcontext()

    def clip(self, parameters: Iterable[nn.Parameter], limit: float) -> float:
        self._average_scalars()
        learned = [parameter for parameter in parameters if parameter.grad is not None]
        sharded = [parameter for parameter in learned if isinstance(parameter, DTensor)]
        scalars = [parameter for parameter in learned if not isinstance(parameter, DTensor)]
        norm = nn.utils.get_total_norm([p.grad for p in sharded if p.grad is not None])
        norm = norm.full_tensor() if isinstance(norm, DTensor) else norm
        norm = torch.hypot(norm, nn.utils.get_total_norm([p.grad for p in scalars if p.grad is not None]).to(norm))
        nn.utils.clip_grads_with_norm_(sharded, limit, norm)
        nn.utils.clip_grads_with_norm_(scalars, limit, norm)
        return float(norm)

    @torch.no_grad()
    def whole(self, model: nn.Module) -> nn.Module:
        plain = {} if self._plain is None else self._plain.state_dict()
        for name, tensor in model.state_dict().items():
            full = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
            if name in plain:
                plain[name].copy_(full)
        return model if self._plain is None else self._plain

    def _average_scalars(self) -> None:
        for scalar in self._scalars:
            # Every process takes part, even if the scalar had no part in its loss.
            gradient = torch.zeros_like(scalar) if scalar.grad is None else scalar.grad
            both = torch.stack([gradient.detach(), torch.full_like(gradient, scalar.grad is not None)])
            distributed.all_reduce(both)
            scalar.grad = both[0] / self.world if both[1] else None


def find_place(asked: str | None, only: str | None = None) -> torch.device:
    """Choose the device on which this process trains.

    Args:
        asked: The user's choice (``cpu``, ``cuda:1``); ``None``: an accelerator, if there is one.
        only: The only kind of device that is supported.

    Raises:
        UsageError: If the user's choice is not supported.
        ModelError: If there is no such device.
    """
    several = "WORLD_SIZE" in os.environ and distributed.is_available()
    if only is not None and asked not in (None, only):
        raise UsageError(f"device {asked!r}: this recipe trains on {only} only; leave the device out")
    if several and asked is not None and ":" in asked:
        raise UsageError(f"device {asked!r}: under torchrun every process takes one of its own; leave the number out")
    name = asked or only
    if name is None:
        accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
        name = "cpu" if accelerator is None else accelerator.type
    if several and name != "cpu":
        name = f"{name}:{os.environ.get('LOCAL_RANK', 0)}"
    return find_device(name)


def connect(parallel: Literal["auto", "ddp", "fsdp"] = "auto", place: torch.device | None = None) -> Strategy:
    """Return the strategy for the processes that ``torchrun`` started, or for a single process.

    ``parallel`` is that of :class:`~anytag.training.engine.config.LoopConfig`, ``place`` comes from :func:`find_place`.
    """
    if "WORLD_SIZE" not in os.environ or not distributed.is_available():
        return Strategy()
    own = place or find_place(None)
    if own.type != "cpu":
        torch.accelerator.set_device_index(own.index)
    if not distributed.is_initialized():
        distributed.init_process_group("gloo" if own.type == "cpu" else None)
        atexit.register(_leave)
    _patient_group()  # Now, since all processes have to create it together.
    return FullyShardedDataParallel(own) if parallel == "fsdp" else DataParallel(own)


@contextmanager
def first_process_first() -> Iterator[None]:
    """Run the block in the first process before the others, which then find its files on disk."""
    several = distributed.is_available() and distributed.is_initialized()
    is_first = not several or distributed.get_rank() == 0
    if not is_first:
        _wait()
    yield
    if several and is_first:
        _wait()


def placed_like(value: Tensor, model: Tensor) -> Tensor:
    """Shard a whole tensor like another one, if that is sharded."""
    value = value.to(model.device)
    if isinstance(value, DTensor) or not isinstance(model, DTensor):
        return value
    return distribute_tensor(value, model.device_mesh, model.placements, src_data_rank=None)


def local_part(tensor: Tensor) -> Tensor:
    """This process's part of a tensor."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def _wait() -> None:
    distributed.barrier(_patient_group())


@cache
def _patient_group() -> Any:
    return distributed.new_group(backend="gloo", timeout=PATIENCE)


def _leave() -> None:
    if distributed.is_initialized():
        distributed.destroy_process_group()
