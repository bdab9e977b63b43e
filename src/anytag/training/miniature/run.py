"""One run of the miniature: train a paradigm on the budget of pictures, then score the evaluation pictures."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from anytag.foundations.atomic_files import whole_file, write_text
from anytag.foundations.report import Report
from anytag.training.engine.config import LoopConfig, LoopStage
from anytag.training.engine.distributed import Share
from anytag.training.engine.loop import TrainingLoop
from anytag.training.miniature.config import Paradigm
from anytag.training.miniature.data import MiniatureData
from anytag.training.miniature.features import Features
from anytag.training.miniature.paradigms import Learner, make_learner

#: Steps between checkpoints and log lines.
_KEEP_EVERY = 100


@dataclass(frozen=True)
class Outcome:
    """Predictions of a run.

    Attributes:
        scores: By set of pictures (``choose``, ``judged``, ``world``) and of names, as far as there are any.
        captions: Captions of the judged pictures; empty if the paradigm writes none.
        seconds: Processor seconds of the process that finished training; not meaningful on a busy machine.
    """

    scores: dict[str, NDArray[np.float32]]
    captions: dict[str, list[str]]
    steps: int
    seconds: float
    parameters: int


class _Stage(LoopStage):
    """The only stage of a run."""

    def course(self, steps_per_epoch: int, steps: int) -> Callable[[int], float]:
        """Linear warm-up over a twentieth of the steps, then cosine decay."""
        warm = max(1, steps // 20)

        def factor(step: int) -> float:
            if step < warm:
                return (step + 1) / warm
            return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))

        return factor


def _batch_size(learner: Learner) -> int:
    return min(learner.batch_size, len(learner.rows))


def _rows(learner: Learner, seed: int, step: int) -> NDArray[np.int64]:
    size = _batch_size(learner)
    epoch, place = divmod(step, len(learner.rows) // size)
    order = np.random.default_rng((seed, 1, epoch)).permutation(learner.rows)
    return order[place * size : (place + 1) * size]


def train(
    learner: Learner, data: MiniatureData, *, seed: int, steps: int, folder: Path, report: Report = print
) -> float:
    """Train, or continue an interrupted training; return the processor seconds of this call."""
    config = data.config

    def step(model: nn.Module, number: int, stage: LoopStage, share: Share) -> tuple[Tensor, dict[str, float]]:
        # All random numbers depend on seed and step only, so that a resumed run continues exactly.
        rows = _rows(learner, seed, number)
        rng = np.random.default_rng((seed, 2, number))
        torch.manual_seed(seed * 1_000_003 + number)
        loss = learner.loss(rows, data.tokens(rows, rng.random(len(rows)) < 0.5), rng)
        return loss, {"loss": float(loss.detach())}

    def groups(model: nn.Module, how: LoopConfig) -> list[dict[str, Any]]:
        return [{"params": list(model.parameters()), "weight_decay": how.weight_decay, "part": "all"}]

    folder.mkdir(parents=True, exist_ok=True)
    steps_per_epoch = len(learner.rows) // _batch_size(learner)
    how = LoopConfig(
        stages=(_Stage(name="train", epochs=steps / steps_per_epoch, learning_rate=config.learning_rate),),
        seed=seed,
        batch_size=_batch_size(learner),
        weight_decay=config.weight_decay,
        betas=(0.9, 0.999),
        gradient_clip=1.0,
        ema_decay=0.0,
        save_every=_KEEP_EVERY,
        log_every=_KEEP_EVERY,
        validate_every=steps,
    )
    start = time.process_time()
    loop = TrainingLoop(
        how,
        learner.model,
        step,
        lambda *_: {},
        steps_per_epoch,
        folder,
        lambda line: report(f"{folder.name}: {line}"),
        groups,
    )
    if loop.resume():
        report(f"{folder.name}: resumed at step {loop.step}")
    loop.run()
    return time.process_time() - start


@torch.inference_mode()
def judge(
    learner: Learner, data: MiniatureData, size: int = 64
) -> tuple[dict[str, NDArray[np.float32]], dict[str, list[str]]]:
    """Predict scores and captions of every set of pictures; see :class:`Outcome`."""
    learner.model.eval()
    sets: dict[str, Features] = {"choose": data.choose, "judged": data.judged, "world": data.world_judged}
    scores: dict[str, NDArray[np.float32]] = {}
    captions: list[str] = []
    for which, features in sets.items():
        parts: dict[str, list[NDArray[np.float32]]] = {}
        for start in range(0, len(features), size):
            tokens = features.tokens(np.arange(start, min(start + size, len(features))))
            for name in ("world",) if which == "world" else ("categories", "tags"):
                predicted = learner.scores(tokens, name)
                if predicted is not None:
                    parts.setdefault(f"{which}.{name}", []).append(predicted.numpy().astype(np.float32))
            if which == "judged":
                captions += learner.captions(tokens)
        scores |= {name: np.concatenate(part) for name, part in parts.items()}
    return scores, {"judged": captions} if captions else {}


def outcome(paradigm: Paradigm, seed: int, data: MiniatureData, runs: Path, report: Report = print) -> Outcome:
    """Train and evaluate a run, or read the results of an earlier call."""
    folder = runs / f"{paradigm}-{seed}"
    scores_file, record_file = folder / "scores.npz", folder / "outcome.json"
    if not (scores_file.exists() and record_file.exists()):
        hidden = data.hidden(seed)
        aligned = _aligned(seed, data, runs) if paradigm == "transfer" else None
        learner = make_learner(paradigm, data, hidden, seed, aligned)
        steps = math.ceil(data.config.budget / _batch_size(learner))
        parameters = sum(p.numel() for p in learner.model.parameters() if p.requires_grad)
        seconds = train(learner, data, seed=seed, steps=steps, folder=folder, report=report)
        scores, captions = judge(learner, data)
        with whole_file(scores_file) as part, part.open("wb") as handle:
            np.savez(handle, **scores)  # type: ignore[arg-type]
        record = {"captions": captions, "steps": steps, "seconds": seconds, "parameters": parameters}
        write_text(record_file, json.dumps(record, ensure_ascii=False))
        report(f"{folder.name}: judged")
    record = json.loads(record_file.read_text(encoding="utf-8"))
    with np.load(scores_file) as file:
        return Outcome(scores={name: file[name] for name in file.files}, **record)


def _aligned(seed: int, data: MiniatureData, runs: Path) -> nn.Module:
    """Load the trained alignment model of a seed."""
    learner = make_learner("alignment", data, data.hidden(seed), seed)
    state = torch.load(runs / f"alignment-{seed}" / "checkpoint.pt", weights_only=True)
    learner.model.load_state_dict(state["model"])
    return learner.model
