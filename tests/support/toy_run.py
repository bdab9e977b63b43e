"""A training loop over a toy network. Run as a script it trains in the folder that it is given, slow enough to kill."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import torch
from torch import nn

from anytag.training.engine.config import LoopConfig, LoopStage
from anytag.training.engine.loop import TrainingLoop

torch.set_num_threads(1)


def config(**changes):
    settings = {
        "stages": (
            LoopStage(name="frozen", epochs=1, learning_rate=1e-2, warmup=2),
            LoopStage(name="whole", epochs=2, learning_rate=5e-3, encoder_learning_rate=1e-3, warmup=2),
        ),
        "save_every": 5,
        "log_every": 4,
        "validate_every": 10,
        "precision": "float32",
        "seed": 3,
    }
    return LoopConfig(**(settings | changes))


class Stopped(Exception):
    """As if the process had been killed."""


class ToyNetwork(nn.Module):
    """With an image encoder, for two groups of parameters, and dropout, for randomness."""

    def __init__(self, dropout=0.5):
        super().__init__()
        torch.manual_seed(0)
        self.image_encoder = nn.Linear(4, 4)
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(4, 1))

    def forward(self, x):
        return self.head(self.image_encoder(x))


def step(model, number, stage, share):
    generator = torch.Generator().manual_seed(number)
    x = torch.randn(8, 4, generator=generator)[share.rows(8)]
    loss = (model(x) - x.sum(1, keepdim=True)).square().mean()
    return loss, {"square": float(loss.detach()), "number": float(number)}


def validate(model, final):
    model.eval()
    with torch.no_grad():
        return {"mean": float(model(torch.ones(1, 4))), "final": float(final)}


def make(folder, settings=None, step=step, steps_per_epoch=8, lines=None, model=None, **more):
    """A loop like that of a new process."""
    folder.mkdir(exist_ok=True)
    report = (lambda line: None) if lines is None else lines.append
    model = model or ToyNetwork()
    return TrainingLoop(settings or config(), model, step, validate, steps_per_epoch, folder, report, **more)


def records(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def weights(loop):
    return [*loop.model.state_dict().values(), *loop.average.state_dict().values()]


def assert_same(first, second):
    assert len(first) == len(second)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def stopping(at):
    """A step function that fails at a step, as if the process had been killed there."""

    def stopped(model, number, stage, share):
        if number == at:
            raise Stopped
        return step(model, number, stage, share)

    return stopped


if __name__ == "__main__":

    def slow_step(model, number, stage, share):
        time.sleep(0.05)
        return step(model, number, stage, share)

    loop = make(Path(sys.argv[1]), step=slow_step)
    print("resumed" if loop.resume() else "fresh", flush=True)
    loop.run()
