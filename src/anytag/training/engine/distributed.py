"""One run in several processes, as ``torchrun`` starts them: PyTorch's DDP and FSDP2.

A strategy knows how the processes share a run; the loop does the same with each of the three. What the step function
computes is the forward pass of a module (:class:`LossModule`), so that the engines' hooks run whatever parts of the
model it calls.
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

#: The first process prepares data and validates alone; the others wait for so long. Other exchanges keep PyTorch's own
#: limits, so that a process that hangs ends a run.
PATIENCE = timedelta(hours=6)


@dataclass(frozen=True)
class Share:
    """The part of a step's batch that one call of the step function learns from.

    A batch is divided among the processes, and what a process gets among its micro-batches.

    Attributes:
        rank: Number of the process.
        world: Processes there are.
        micro: Number of the micro-batch.
        micros: Micro-batches there are in each process.
        device: Where the model is.
    """

    rank: int = 0
    world: int = 1
    micro: int = 0
    micros: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def index(self) -> int:
        """Number of the share, from 0."""
        return self.rank * self.micros + self.micro

    @property
    def count(self) -> int:
        """Shares there are."""
        return self.world * self.micros

    def rows(self, size: int) -> slice:
        """The share's rows of a batch of so many."""
        return slice(self.index * size // self.count, (self.index + 1) * size // self.count)


class LossModule(nn.Module):
    """A step function as the forward pass of a module that holds the model.

    Args:
        model: What is trained.
        step: Called with the model and whatever the module is called with.
    """

    def __init__(self, model: nn.Module, step: Callable[..., tuple[Tensor, dict[str, float]]]):
        super().__init__()
        self.model, self.step = model, step

    def forward(self, *args: Any) -> tuple[Tensor, dict[str, float]]:
        """The loss and its parts."""
        return self.step(self.model, *args)


class Strategy:
    """One process alone; the other strategies build on it.

    Attributes:
        rank: Number of this process; the first, 0, alone writes and reports.
        world: Processes there are.
        is_sharded: Whether a process holds a part of the weights only.
    """

    rank, world, is_sharded = 0, 1, False

    def device_of(self, model: nn.Module) -> torch.device:
        """Where the model is to be: alone, where it is already."""
        return next(model.parameters()).device

    @property
    def is_first(self) -> bool:
        """Whether this process writes and reports."""
        return self.rank == 0

    def wait(self) -> None:
        """Until every process is here."""

    def share(self, micro: int, micros: int, device: torch.device) -> Share:
        """What this process learns from in a micro-batch."""
        return Share(self.rank, self.world, micro, micros, device)

    def prepare(self, losses: LossModule, average: nn.Module | None) -> None:
        """Take charge of the model, once, before there is an optimizer. All processes get the first one's weights.

        Args:
            losses: Holds the model.
            average: A copy of the model, of the same parts in the same order.
        """
        self.losses: nn.Module = losses

    def enter(self) -> None:
        """A stage begins: other parameters may learn from here on."""

    def forward(self, *args: Any) -> tuple[Tensor, dict[str, float]]:
        """Call the step function."""
        return self.losses(*args)

    def accumulating(self, last: bool) -> AbstractContextManager[Any]:
        """Forward and backward pass of a micro-batch happen in here; gradients are exchanged with the last one."""
        return nullcontext()

    def clip(self, parameters: Iterable[nn.Parameter], limit: float) -> float:
        """Scale gradients down to a norm; the norm that they had."""
        return float(nn.utils.clip_grad_norm_(parameters, limit))

    def means(self, values: list[float]) -> list[float]:
        """The same over all processes, each value for itself."""
        return values

    def gathered(self, value: Any) -> list[Any]:
        """Every process's value, for all processes."""
        return [value]

    def whole(self, model: nn.Module) -> nn.Module:
        """A model that can be called and saved: in the first process; elsewhere it need not be whole."""
        return model


class _Processes(Strategy):
    """What strategies of several processes share."""

    def __init__(self, device: torch.device):
        self.rank, self.world, self.device = distributed.get_rank(), distributed.get_world_size(), device

    def device_of(self, model: nn.Module) -> torch.device:
        return self.device

    def wait(self) -> None:
        _wait()

    def prepare(self, losses: LossModule, average: nn.Module | None) -> None:
        """Give all processes the first one's weights."""
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
    """Every process holds the whole model; gradients are averaged (DDP)."""

    _engine: DistributedDataParallel | None = None

    def enter(self) -> None:
        """DDP settles which parameters learn when it is made."""
        self._engine = None
        gc.collect()  # The old engine's hooks go with it, and it may be part of a circle.
        # What a step leaves out (captions, texts) may differ between steps and between processes. Buffers are kept
        # alike by those who change them.
        known = inspect.signature(DistributedDataParallel).parameters
        buffers = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
        settings: dict[str, Any] = {buffers: False, "find_unused_parameters": True, "init_sync": False}
        # Most steps leave nothing out, and PyTorch advises against what the others need.
        warnings.filterwarnings("ignore", message="find_unused_parameters=True was specified")
        self._engine = DistributedDataParallel(self.losses, **settings)

    def forward(self, *args: Any) -> tuple[Tensor, dict[str, float]]:
        """Call the step function through DDP."""
        assert self._engine is not None
        return self._engine(*args)

    def accumulating(self, last: bool) -> AbstractContextManager[Any]:
        """Gradients are averaged with the last micro-batch."""
        assert self._engine is not None
        return nullcontext() if last else self._engine.no_sync()


class FullyShardedDataParallel(_Processes):
    """Weights, gradients, optimizer and average are divided among the processes (FSDP2).

    A block's weights are whole only while it is at work. All processes must use the same parts of the model in a
    step; otherwise they wait for each other.
    """

    is_sharded = True
    #: Scalars cannot be divided: every process holds them, and averages their gradients itself.
    _scalars: list[nn.Parameter]

    def prepare(self, losses: LossModule, average: nn.Module | None) -> None:
        """Divide model and average."""
        super().prepare(losses, average)
        # To hand out a whole model there must be one that was never divided.
        self._plain = copy.deepcopy(losses.model) if self.is_first else None
        mesh = init_device_mesh(self.device.type, (self.world,))
        # Keys and values are views; nobody changes them in place.
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
        """Gradients are divided and averaged with the last micro-batch."""
        assert isinstance(self.losses, FSDPModule)
        self.losses.set_requires_gradient_sync(last)
        return nullcontext()

    def clip(self, parameters: Iterable[nn.Parameter], limit: float) -> float:
        """The norm is that of all processes' parts."""
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
        """Put the parts together, in the first process."""
        plain = {} if self._plain is None else self._plain.state_dict()
        for name, tensor in model.state_dict().items():
            full = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
            if name in plain:
                plain[name].copy_(full)
        return model if self._plain is None else self._plain

    def _average_scalars(self) -> None:
        for scalar in self._scalars:
            # Every process takes part in the exchange, even if a scalar had no part in its loss.
            gradient = torch.zeros_like(scalar) if scalar.grad is None else scalar.grad
            both = torch.stack([gradient.detach(), torch.full_like(gradient, scalar.grad is not None)])
            distributed.all_reduce(both)
            scalar.grad = both[0] / self.world if both[1] else None


def find_place(asked: str | None, only: str | None = None) -> torch.device:
    """Where this process trains.

    Args:
        asked: What the user asks for (``cpu``, ``cuda:1``); ``None``: an accelerator, if there is one.
        only: The one kind of device that will do.

    Raises:
        UsageError: If what is asked for will not do.
        ModelError: If there is no such device here.
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
    """The strategy for the processes that there are: ``torchrun`` says so in the environment.

    Args:
        parallel: How several processes share a run; without ``torchrun`` there is one, and nothing to share.
        place: From :func:`find_place`; ``None``: an accelerator, if there is one.
    """
    if "WORLD_SIZE" not in os.environ or not distributed.is_available():
        return Strategy()
    own = place or find_place(None)
    if own.type != "cpu":
        torch.accelerator.set_device_index(own.index)
    if not distributed.is_initialized():
        distributed.init_process_group("gloo" if own.type == "cpu" else None)
        atexit.register(_leave)
    _patient_group()  # Now, while all processes are here to make it.
    return FullyShardedDataParallel(own) if parallel == "fsdp" else DataParallel(own)


@contextmanager
def first_process_first() -> Iterator[None]:
    """The first process goes ahead, the others follow: they find on disk what it has made."""
    several = distributed.is_available() and distributed.is_initialized()
    is_first = not several or distributed.get_rank() == 0
    if not is_first:
        _wait()
    yield
    if several and is_first:
        _wait()


def placed_like(value: Tensor, model: Tensor) -> Tensor:
    """A whole tensor, divided as another one is, or as it is."""
    value = value.to(model.device)
    if isinstance(value, DTensor) or not isinstance(model, DTensor):
        return value
    return distribute_tensor(value, model.device_mesh, model.placements, src_data_rank=None)


def local_part(tensor: Tensor) -> Tensor:
    """What this process holds of a tensor."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def _wait() -> None:
    """Until every process is here, with patience."""
    distributed.barrier(_patient_group())


@cache
def _patient_group() -> Any:
    return distributed.new_group(backend="gloo", timeout=PATIENCE)


def _leave() -> None:
    if distributed.is_initialized():
        distributed.destroy_process_group()
