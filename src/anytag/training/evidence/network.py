"""The small network that looks at a picture's mean token and at what the classifier says of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from anytag.foundations.atomic_files import whole_file
from anytag.foundations.report import Report
from anytag.training.evidence.eight_bits import in_eight_bits
from anytag.training.evidence.likelihood import description_loss, silence
from anytag.training.evidence.partial_labels import TRUE, UNKNOWN, PartialLabels
from anytag.training.evidence.predictions import Predictions
from anytag.training.recipes.evidence import NetworkConfig

_LEAST_DEVIATION = 1e-3


class PictureNetwork(nn.Module):
    """One hidden layer between a picture and the log-odds of its tags.

    Args:
        inputs: Width of what it reads.
        tags: How many there are.
        config: Sizes and dropout.
    """

    def __init__(self, inputs: int, tags: int, config: NetworkConfig):
        super().__init__()
        self.hidden, self.output = nn.Linear(inputs, config.hidden), nn.Linear(config.hidden, tags)
        self.input_dropout, self.dropout = nn.Dropout(config.input_dropout), nn.Dropout(config.dropout)

    def forward(self, inputs: Tensor) -> Tensor:
        """From ``[B, I]`` to ``[B, T]``."""
        odds: Tensor = self.output(self.dropout(torch.relu(self.hidden(self.input_dropout(inputs)))))
        return odds


@dataclass(frozen=True)
class Fitted:
    """A network that was trained, with the scale of its inputs.

    Attributes:
        network: Reads inputs of mean 0 and deviation 1.
        mean: ``[I]``.
        deviation: ``[I]``.
        positives: ``[T]``, pictures that showed it each tag.
    """

    network: PictureNetwork
    mean: NDArray[np.float32]
    deviation: NDArray[np.float32]
    positives: NDArray[np.int64]

    @torch.inference_mode()
    def __call__(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Log-odds ``[N, T]`` of inputs ``[N, I]`` as they are."""
        self.network.eval()
        scaled = torch.from_numpy((inputs - self.mean) / self.deviation)
        return torch.cat([self.network(rows) for rows in scaled.split(256)]).numpy()

    def save(self, path: Path) -> None:
        """Write it, whole or not at all."""
        scale = {"mean": self.mean, "deviation": self.deviation, "positives": self.positives}
        kept = {name: torch.from_numpy(array) for name, array in scale.items()} | self.network.state_dict()
        with whole_file(path) as part:
            save_file({name: tensor.contiguous() for name, tensor in kept.items()}, part)

    @classmethod
    def load(cls, path: Path, config: NetworkConfig) -> Fitted:
        """Read what :meth:`save` wrote of a network of that config."""
        kept = load_file(path)
        mean, deviation, positives = (kept.pop(name).numpy() for name in ("mean", "deviation", "positives"))
        network = PictureNetwork(len(mean), len(positives), config)
        network.load_state_dict(kept)
        return cls(network, mean, deviation, positives)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The network in 8 bits, a scale for each row; it reads inputs as they are."""
        state = {name: tensor.detach().numpy() for name, tensor in self.network.state_dict().items()}
        hidden = state["hidden.weight"] / self.deviation
        bias = state["hidden.bias"] - hidden @ self.mean
        made: dict[str, NDArray[Any]] = {
            "hidden_bias": bias.astype(np.float32),
            "output_bias": state["output.bias"].astype(np.float32),
        }
        for name, matrix in (("hidden", hidden), ("output", state["output.weight"])):
            made[f"{name}_weight"], made[f"{name}_scale"] = in_eight_bits(matrix)
        return made


def inputs_of(predictions: Predictions, least: float) -> NDArray[np.float32]:
    """What the network reads, ``[N, W + C]``, as :class:`~anytag.inference.evidence.TagEvidence` lays it out."""
    return np.concatenate([predictions.means, np.maximum(predictions.classes, np.float32(least))], axis=1)


def scale_of(inputs: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean and deviation ``[I]`` of inputs ``[N, I]``; the deviation is never 0."""
    return inputs.mean(0), inputs.std(0) + np.float32(_LEAST_DEVIATION)


def fit_network(
    inputs: NDArray[np.float32],
    targets: PartialLabels,
    rates: NDArray[np.float64],
    config: NetworkConfig,
    seed: int,
    report: Report,
) -> Fitted:
    """Train a network.

    Args:
        inputs: ``[N, I]``.
        targets: What is known of the pictures.
        rates: ``[T]``, how likely one caption is to name each tag that is there.
        config: How.
        seed: Of weights, order and dropout.
        report: Receives a line after each epoch.
    """
    torch.manual_seed(seed)
    order = np.random.default_rng(seed)
    mean, deviation = scale_of(inputs)
    scaled = torch.from_numpy((inputs - mean) / deviation)
    positives = (targets.values == TRUE).sum(0)
    shares = (positives + 0.5) / ((targets.values != UNKNOWN).sum(0) + 10)
    network = PictureNetwork(inputs.shape[1], targets.values.shape[1], config)
    with torch.no_grad():
        network.output.bias.copy_(torch.from_numpy(np.log(shares / (1 - shares))))
        network.output.weight.mul_(0.3)
    matrices = [parameter for parameter in network.parameters() if parameter.dim() > 1]
    biases = [parameter for parameter in network.parameters() if parameter.dim() == 1]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": config.weight_decay}, {"params": biases, "weight_decay": 0.0}],
        lr=config.learning_rate,
    )
    batch_size = min(config.batch_size, len(inputs))
    steps = len(inputs) // batch_size
    course = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, config.learning_rate, total_steps=config.epochs * steps + 1, pct_start=0.1
    )
    captions = torch.from_numpy(targets.captions)
    importance = torch.where(captions == 0, config.labeled_weight, 1.0)
    chances = torch.from_numpy(rates.astype(np.float32))
    for epoch in range(config.epochs):
        network.train()
        total, shuffled = 0.0, order.permutation(len(inputs))
        for step in range(steps):
            rows = shuffled[step * batch_size : (step + 1) * batch_size]
            known = torch.from_numpy(targets.values[rows])
            unsaid = silence(captions[rows, None], chances)
            each = description_loss(network(scaled[rows]), known == TRUE, unsaid) * (known != UNKNOWN)
            loss = (each.sum(1) * importance[rows]).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            course.step()
            total += loss.item()
        report(f"network: epoch {epoch + 1}/{config.epochs}, loss {total / steps:.3f}")
    return Fitted(network, mean, deviation, positives)
