"""Two processes of a training run; ``torchrun`` starts this script with a folder and the name of a scenario."""

from __future__ import annotations

import json
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import torch
import toy_run
from fixtures_official import SIDE, small_model
from torch import nn
from toy_objectives import TOKENIZER, small_batch
from toy_run import Stopped

from anytag.nn.alignment import AlignmentEncoder
from anytag.nn.momentum import MomentumConfig, MomentumContrast
from anytag.nn.transformer import Attention, FeedForward
from anytag.training.engine.config import LoopConfig
from anytag.training.engine.distributed import connect, local_part
from anytag.training.engine.loop import TrainingLoop
from anytag.training.families.objectives import Tag2TextObjective
from anytag.training.families.task import FamilyTask
from anytag.training.recipes.config import Tag2TextConfig, TrainingStage

torch.set_num_threads(1)

#: Rows of a batch.
ROWS = 8


class Network(nn.Module):
    """Something of everything: an encoder, blocks called in two ways, odd sizes, a scalar, a part used now and then."""

    def __init__(self, dropout=0.0):
        super().__init__()
        torch.manual_seed(0)
        self.image_encoder = nn.Linear(4, 6)
        self.attention = Attention(6, dropout=dropout)
        self.feed_forward = FeedForward(6, 10, dropout=dropout)
        self.head = nn.Linear(6, 1)
        self.seldom = nn.Linear(6, 1)
        self.scale = nn.Parameter(torch.tensor(0.7))
        self.fixed = nn.Parameter(torch.randn(3, 6), requires_grad=False)
        self.counter = nn.Buffer(torch.zeros(3))

    def forward(self, x, number=0):
        hidden = self.image_encoder(x)[:, None] * self.fixed
        memory = self.attention.keys_values(hidden, 2)
        hidden = self.feed_forward(self.attention(hidden, memory, 2))[:, 0]
        head = self.seldom if number % 5 == 4 else self.head
        return head(hidden) * self.scale


def config(**changes):
    return toy_run.config(**({"batch_size": ROWS, "ema_decay": 0.9, "divergence_factor": 0.0} | changes))


def batch(number):
    x = torch.randn(ROWS, 4, generator=torch.Generator().manual_seed(number))
    return x, x.sum(1, keepdim=True)


class Step:
    """The mean square over a share of a batch; keeps what it was, and stops where it is told to."""

    def __init__(self, stop=None, kill=None):
        self.losses, self.stop, self.kill = {}, stop, kill

    def __call__(self, model, number, stage, share):
        if number == self.stop:
            raise Stopped
        if number == self.kill and share.rank == 1 and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
            os.kill(os.getpid(), signal.SIGKILL)
        x, target = (whole[share.rows(ROWS)] for whole in batch(number))
        loss = (model(x, number) - target).square().mean()
        value = float(loss.detach())
        self.losses[number] = self.losses.get(number, 0.0) + value / share.micros
        return loss, {"square": value}


def make(folder, step, dropout=0.0, **changes):
    folder.mkdir(parents=True, exist_ok=True)
    return TrainingLoop(config(**changes), Network(dropout), step, toy_run.validate, 8, folder, lambda line: None)


def run(folder, stop=None, kill=None, dropout=0.0, **changes):
    """Start or resume; writes losses (means over processes), weights and average to the folder."""
    step = Step(stop, kill)
    loop = make(folder, step, dropout, **changes)
    resumed = loop.resume()
    try:
        loop.run()
    except Stopped:
        return
    losses = loop.strategy.gathered(step.losses)
    weights = {"average": loop.averaged().state_dict()}
    weights["average"] = {name: tensor.clone() for name, tensor in weights["average"].items()}
    weights["model"] = loop.strategy.whole(loop.model).state_dict()
    if loop.strategy.is_first:
        means = {number: sum(own[number] for own in losses) / len(losses) for number in losses[0]}
        held = {name: local_part(p).numel() for name, p in loop.model.named_parameters()}
        record = {"losses": means, "resumed": resumed, "held": held, "world": loop.strategy.world}
        (folder / "result.json").write_text(json.dumps(record))
        torch.save(weights, folder / "weights.pt")


def published(folder, parallel, **changes):
    """Tag2Text with all its losses; every process has pictures of its own. Losses of processes, and their queues."""
    folder.mkdir(exist_ok=True)
    model = small_model("tag2text").train()
    encoder = AlignmentEncoder(model.text_decoder, model.config.features, 6, TOKENIZER.tags_id)
    contrast = MomentumContrast(model, encoder, MomentumConfig(queue=7), 3)
    task = FamilyTask(model, Tag2TextObjective(Tag2TextConfig(), TOKENIZER, encoder, contrast))
    losses = []

    def step(model, number, stage, share):
        generator = torch.Generator().manual_seed(10 * number + share.rank)
        loss, parts = model(replace(small_batch(), pixels=torch.randn(3, 3, SIDE, SIDE, generator=generator)))
        losses.append([float(loss.detach()), *parts.values()])
        return loss, parts

    stage = TrainingStage(name="s", epochs=1, learning_rate=1e-3, encoder_learning_rate=1e-3)
    settings = LoopConfig(stages=(stage,), parallel=parallel, precision="float32", validate_every=100, **changes)
    loop = TrainingLoop(settings, task, step, lambda *_: {}, 4, folder, lambda line: None)
    loop.run()
    queues = loop.strategy.gathered(contrast.queue.state_dict())
    losses = loop.strategy.gathered(losses)
    weights = loop.strategy.whole(loop.model).state_dict()
    if loop.strategy.is_first:
        torch.save({"losses": losses, "queues": queues, "weights": weights}, folder / "result.pt")


def everything(folder):
    """All that one start of two processes can show."""
    for parallel in ("ddp", "fsdp"):
        run(folder / parallel, parallel=parallel)
        run(folder / f"{parallel}-accumulated", parallel=parallel, accumulate=2)
        run(folder / f"{parallel}-stopped", stop=12, parallel=parallel)
        run(folder / f"{parallel}-of-one", parallel=parallel)
    published(folder / "ddp-published", "ddp")
    published(folder / "fsdp-published", "fsdp", activation_checkpointing=True)
    run(folder / "dropout", dropout=0.3)
    connect().wait()


if __name__ == "__main__":
    connect()
    if sys.argv[2] == "everything":
        everything(Path(sys.argv[1]))
    else:
        run(Path(sys.argv[1]), kill=int(sys.argv[2]), dropout=0.3)
