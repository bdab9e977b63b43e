"""Slow copies of the encoders and what they said of earlier batches, for the image–text contrast.

A momentum copy follows its original at a distance, so that embeddings of many batches can be compared (MoCo, He et
al., 2020; ALBEF section 3.2; BLIP section 3.1). All state lies in buffers: it is saved and copied with the module it
belongs to, and no optimizer touches it.
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

#: Number of a slot of the queue that nothing was put into yet, and of a picture whose number nobody knows.
EMPTY, UNKNOWN = -2, -1


class MomentumConfig(Settings):
    """Settings of :class:`MomentumContrast`; the defaults are BLIP's.

    Attributes:
        momentum: Share that a copy keeps of itself at every step.
        queue: Pictures and texts of earlier batches to contrast with; 0: the batch alone.
        soft_share: Share of soft labels once they have their full weight.
        ramp_epochs: Epochs over which that share rises from 0 in a straight line; 0: it has it from the start.
    """

    momentum: float = Field(default=0.995, ge=0, le=1)
    queue: int = Field(default=57_600, ge=0, le=1 << 24)
    soft_share: float = Field(default=0.4, ge=0, le=1)
    ramp_epochs: float = Field(default=2.0, ge=0)


class MomentumCopy(nn.Module):
    """A module's slow copy; its parameters are buffers.

    Args:
        original: What is copied, and what every :meth:`update` is about.
        leave_out: Parts of it that the copy does without.

    Attributes:
        module: The copy.
    """

    def __init__(self, original: nn.Module, leave_out: Iterable[nn.Module] = ()):
        super().__init__()
        # A part that deepcopy believes to have copied already, as nothing, is nothing in the copy.
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
        """Move towards the original: ``copy = momentum * copy + (1 - momentum) * original``."""
        news = dict(original.named_parameters())
        copies = [self.module.get_buffer(name) for name in self.names]
        torch._foreach_lerp_(copies, [_whole(news[name]) for name in self.names], 1 - momentum)


class FeatureQueue(nn.Module):
    """The last so many pairs of embeddings, with the numbers of their pictures; the oldest make room.

    A batch whose size does not divide the queue's is laid around its end. Of a batch larger than the queue, the last
    rows remain. Slots never filled hold the number :data:`EMPTY`; BLIP fills them with random vectors instead.

    Args:
        size: Number of slots.
        width: Width of an embedding.
    """

    def __init__(self, size: int, width: int):
        super().__init__()
        self.size = size
        self.pictures = nn.Buffer(torch.zeros(size, width))
        self.texts = nn.Buffer(torch.zeros(size, width))
        self.numbers = nn.Buffer(torch.full((size,), EMPTY))
        #: The slot that is written next.
        self.pointer = nn.Buffer(torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def put(self, pictures: Tensor, texts: Tensor, numbers: Tensor) -> None:
        """Take in a batch: twice ``[B, width]``, and the pictures' numbers ``[B]``, which may be :data:`UNKNOWN`."""
        if not self.size:
            return
        kept = torch.arange(max(0, len(numbers) - self.size), len(numbers), device=numbers.device)
        slots = (self.pointer + kept) % self.size
        self.pictures[slots] = pictures[kept].to(self.pictures.dtype)
        self.texts[slots] = texts[kept].to(self.texts.dtype)
        self.numbers[slots] = numbers[kept]
        self.pointer.copy_((self.pointer + len(numbers)) % self.size)

    def filled(self) -> tuple[Tensor, Tensor, Tensor]:
        """Pictures, texts and numbers of the slots that hold something."""
        full = self.numbers != EMPTY
        return self.pictures[full], self.texts[full], self.numbers[full]


def soft_label_share(step: int, ramp_steps: float, share: float = 0.4) -> float:
    """Share of the soft labels at a step from 0: in a straight line from 0 to ``share`` over ``ramp_steps`` (BLIP)."""
    return share if step >= ramp_steps else share * step / ramp_steps


class MomentumContrast(nn.Module):
    """The contrast of a batch's pictures and texts with themselves and the queue, as momentum copies embed them.

    In training mode a call moves the copies, counts a step and puts the batch into the queue; in evaluation mode it
    changes nothing. Between processes of ``torch.distributed``, momentum embeddings are exchanged: every row is
    contrasted with all rows of all processes, and the queues stay alike. Each process must then call it equally often.

    Args:
        model: Gives a picture's features.
        encoder: Embeds pictures and texts.
        config: Settings.
        steps_per_epoch: Steps of an epoch, that the soft labels' ramp is told in.
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
        #: Training steps gone by.
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
        """The contrast of a batch.

        Args:
            model: The original of the copy.
            encoder: The original of the copy.
            pixels: ``[B, 3, R, R]``.
            features: The model's features of them, ``[B, N, F]``.
            texts: ``[CLS] … [SEP]``, ``[B, T]``, padded with 0; B may be 0.
            numbers: ``[B]``, a number from 0 for each picture of the data: rows and queue entries that have the same
                are all right answers (BLIP's retrieval training). ``None``: only a row's own text is.
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
            slow = self._embed_slowly(pixels, texts)
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
    def _embed_slowly(self, pixels: Tensor, texts: Tensor) -> tuple[Tensor, Tensor]:
        model = cast(RecognitionModel, self.picture_copy.module)
        encoder = cast(AlignmentEncoder, self.encoder_copy.module)
        features = model.features(model.image_encoder(pixels))
        return encoder.embed_pictures(features), encoder.embed_texts(texts)


def _whole(parameter: Tensor) -> Tensor:
    """A parameter that processes may have divided among them (FSDP), put together; they must all ask for it."""
    full = getattr(parameter, "full_tensor", None)
    return parameter if full is None else full()


def _gathered(pictures: Tensor, texts: Tensor, numbers: Tensor) -> tuple[Tensor, Tensor, Tensor, int]:
    """The same of all processes, in their order, and where this one's rows start; batches may differ in size."""
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
