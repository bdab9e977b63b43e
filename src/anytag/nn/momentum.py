"""Momentum encoders and queues of embeddings for contrastive learning.

A momentum encoder is an exponential moving average of the trained one, so that embeddings of many batches can be
compared (MoCo, He et al., 2020; ALBEF section 3.2; BLIP section 3.1). All state is in buffers: it is saved with the
module and ignored by optimizers.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import cast

import torch
from pydantic import Field
from torch import Tensor, nn

from anytag.foundations.settings import Settings
from anytag.nn.alignment import TEMPERATURE_RANGE, AlignmentEncoder, Contrast, Keys, contrastive_loss
from anytag.nn.model import RecognitionModel

#: Picture numbers of empty slots of the queue, and of pictures without a number.
EMPTY, UNKNOWN = -2, -1


class MomentumConfig(Settings):
    """Settings of :class:`MomentumContrast`; the defaults are BLIP's.

    Attributes:
        momentum: Weight of the old value in the moving average.
        queue: Pairs of earlier batches to contrast with; 0: only the batch.
        soft_share: Final weight of the soft labels.
        ramp_epochs: Epochs over which that weight rises linearly from 0; 0: no ramp.
    """

    momentum: float = Field(default=0.995, ge=0, le=1)
    queue: int = Field(default=57_600, ge=0, le=1 << 24)
    soft_share: float = Field(default=0.4, ge=0, le=1)
    ramp_epochs: float = Field(default=2.0, ge=0)


class MomentumCopy(nn.Module):
    """A moving average of a module; its parameters are buffers.

    Args:
        leave_out: Submodules that are ``None`` in the copy.
    """

    def __init__(self, original: nn.Module, leave_out: Iterable[nn.Module] = ()):
        super().__init__()
        # The memo makes deepcopy believe that these parts were already copied, as None.
        self.module = copy.deepcopy(original, {id(part): None for part in leave_out})
        self.names = [name for name, _ in self.module.named_parameters()]
        for name in self.names:
            owner, _, leaf = name.rpartition(".")
            module = self.module.get_submodule(owner)
            value = module.get_parameter(leaf).detach()
            delattr(module, leaf)
            module.register_buffer(leaf, value)

    @torch.no_grad()
    def update(self, original: nn.Module, momentum: float) -> None:
        """Update the average: ``copy = momentum * copy + (1 - momentum) * original``."""
        parameters = dict(original.named_parameters())
        copies = [self.module.get_buffer(name) for name in self.names]
        torch._foreach_lerp_(copies, [_full(parameters[name]) for name in self.names], 1 - momentum)


class FeatureQueue(nn.Module):
    """A first-in, first-out queue of embeddings of pairs, with the numbers of their pictures.

    Batch sizes need not divide the queue's size; of a batch larger than the queue, the last rows are kept. Empty slots
    have the number :data:`EMPTY`; BLIP fills them with random vectors instead.
    """

    def __init__(self, size: int, width: int):
        super().__init__()
        self.size = size
        self.pictures = nn.Buffer(torch.zeros(size, width))
        self.texts = nn.Buffer(torch.zeros(size, width))
        self.numbers = nn.Buffer(torch.full((size,), EMPTY))
        #: The next slot to write.
        self.pointer = nn.Buffer(torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def put(self, pictures: Tensor, texts: Tensor, numbers: Tensor) -> None:
        """Add a batch of embeddings ``[B, width]`` with picture numbers ``[B]``, which may be :data:`UNKNOWN`."""
        if not self.size:
            return
        kept = torch.arange(max(0, len(numbers) - self.size), len(numbers), device=numbers.device)
        slots = (self.pointer + kept) % self.size
        self.pictures[slots] = pictures[kept].to(self.pictures.dtype)
        self.texts[slots] = texts[kept].to(self.texts.dtype)
        self.numbers[slots] = numbers[kept]
        self.pointer.copy_((self.pointer + len(numbers)) % self.size)

    def filled(self) -> tuple[Tensor, Tensor, Tensor]:
        """Pictures, texts and numbers of the slots that are not empty."""
        full = self.numbers != EMPTY
        return self.pictures[full], self.texts[full], self.numbers[full]


def soft_label_share(step: int, ramp_steps: float, share: float = 0.4) -> float:
    """Weight of the soft labels at a step (from 0): a linear ramp from 0 to ``share`` over ``ramp_steps`` (BLIP)."""
    return share if step >= ramp_steps else share * step / ramp_steps


class MomentumContrast(nn.Module):
    """Contrast a batch with momentum embeddings of itself and of the queue.

    In training mode a call updates the momentum encoders, counts a step and adds the batch to the queue; in evaluation
    mode it changes nothing. With ``torch.distributed``, every row is contrasted with the rows of all processes, and the
    queues stay identical, so all processes must call it equally often.

    Args:
        steps_per_epoch: Converts ``ramp_epochs`` to steps.
    """

    def __init__(
        self,
        model: RecognitionModel,
        encoder: AlignmentEncoder,
        config: MomentumConfig | None = None,
        steps_per_epoch: int = 1,
    ):
        super().__init__()
        self.config = config or MomentumConfig()
        self.ramp_steps = self.config.ramp_epochs * steps_per_epoch
        others = [part for name, part in model.named_children() if not name.startswith("image_")]
        self.picture_copy = MomentumCopy(model, others)
        judging = [encoder.match_score, encoder.memory_projection, *(layer.cross_attention for layer in encoder.layers)]
        self.encoder_copy = MomentumCopy(encoder, [part for part in judging if part is not None])
        self.queue = FeatureQueue(self.config.queue, encoder.picture_projection.out_features)
        #: Training steps so far.
        self.steps = nn.Buffer(torch.zeros((), dtype=torch.long))

    def forward(
        self,
        model: RecognitionModel,
        encoder: AlignmentEncoder,
        pixels: Tensor,
        features: Tensor,
        texts: Tensor,
        numbers: Tensor | None = None,
    ) -> tuple[Contrast, Keys]:
        """Compute the contrastive loss of a batch.

        Args:
            pixels: ``[B, 3, R, R]``.
            features: Their features from the model, ``[B, N, F]``.
            texts: ``[CLS] … [SEP]``, ``[B, T]``, padded with 0; B may be 0.
            numbers: ``[B]``, the number of each picture, from 0: all rows and queue entries of the same picture are
                positives (as in BLIP's retrieval training). ``None``: only a row's own text is.
        """
        share = soft_label_share(int(self.steps), self.ramp_steps, self.config.soft_share)
        if numbers is None:
            numbers = torch.full((len(texts),), UNKNOWN, device=texts.device)
        temperature: Tensor = encoder.temperature
        if self.training:
            encoder.clamp_temperature()
            self.picture_copy.update(model, self.config.momentum)
            self.encoder_copy.update(encoder, self.config.momentum)
            self.steps.add_(1)
        else:
            temperature = temperature.clamp(*TEMPERATURE_RANGE)
        if len(texts):
            embedded = encoder.embed_pictures(features), encoder.embed_texts(texts)
            slow = self._embed_with_copies(pixels, texts)
        else:
            nothing = self.queue.pictures.new_zeros(0, self.queue.pictures.shape[1])
            embedded = slow = nothing, nothing
        pictures, words, known, first = _gathered(*slow, numbers)
        before = self.queue.filled()
        columns = torch.cat([known, before[2]])
        rows = torch.arange(len(texts), device=texts.device)
        positives = (numbers[:, None] == columns) & (numbers[:, None] >= 0)
        positives[rows, first + rows] = True
        keys = Keys(torch.cat([pictures, before[0]]), torch.cat([words, before[1]]), positives, first)
        contrast = contrastive_loss(*embedded, keys, temperature, share)
        if self.training:
            self.queue.put(pictures, words, known)
        return contrast, keys

    @torch.no_grad()
    def _embed_with_copies(self, pixels: Tensor, texts: Tensor) -> tuple[Tensor, Tensor]:
        model = cast(RecognitionModel, self.picture_copy.module)
        encoder = cast(AlignmentEncoder, self.encoder_copy.module)
        features = model.features(model.image_encoder(pixels))
        return encoder.embed_pictures(features), encoder.embed_texts(texts)


def _full(parameter: Tensor) -> Tensor:
    """Gather a parameter that may be sharded (FSDP); a collective operation."""
    full = getattr(parameter, "full_tensor", None)
    return parameter if full is None else full()


def _gathered(pictures: Tensor, texts: Tensor, numbers: Tensor) -> tuple[Tensor, Tensor, Tensor, int]:
    """Concatenate the rows of all processes; also return where this process's rows start. Batch sizes may differ."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return pictures, texts, numbers, 0
    processes = torch.distributed.get_world_size()
    sizes = [numbers.new_zeros(1) for _ in range(processes)]
    torch.distributed.all_gather(sizes, numbers.new_tensor([len(numbers)]))
    counts = [int(size) for size in sizes]

    def gather(rows: Tensor) -> Tensor:
        padded = rows.new_zeros(max(counts), *rows.shape[1:])
        padded[: len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in counts]
        torch.distributed.all_gather(parts, padded)
        return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])

    first = sum(counts[: torch.distributed.get_rank()])
    return gather(pictures), gather(texts), gather(numbers), first
