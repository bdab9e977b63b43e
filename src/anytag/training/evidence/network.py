"""The small network that predicts tags from a picture's mean token and class probabilities."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from anytag.foundations.atomic_files import whole_file
from anytag.foundations.report import Report
from anytag.training.evidence.likelihood import description_loss, log_omission
from anytag.training.evidence.optimization import mean_and_deviation, quantize_int8, train_epochs
from anytag.training.evidence.partial_labels import TRUE, UNKNOWN, PartialLabels
from anytag.training.evidence.predictions import Predictions
from anytag.training.recipes.evidence import NetworkConfig


class PictureNetwork(nn.Module):
    """One hidden layer that maps a picture to the log-odds of its tags.

    Args:
        mean: ``[I]``, of the inputs.
        deviation: ``[I]``, of the inputs.
        positives: ``[T]``, training pictures of each tag.
    """

    mean: Tensor
    deviation: Tensor
    positives: Tensor

    def __init__(self, mean: Tensor, deviation: Tensor, positives: Tensor, config: NetworkConfig):
        super().__init__()
        self.hidden, self.output = nn.Linear(len(mean), config.hidden), nn.Linear(config.hidden, len(positives))
        self.input_dropout, self.dropout = nn.Dropout(config.input_dropout), nn.Dropout(config.dropout)
        for name, values in (("mean", mean), ("deviation", deviation), ("positives", positives)):
            self.register_buffer(name, values)

    def forward(self, inputs: Tensor) -> Tensor:
        """Map standardized inputs ``[B, I]`` to log-odds ``[B, T]``."""
        odds: Tensor = self.output(self.dropout(torch.relu(self.hidden(self.input_dropout(inputs)))))
        return odds

    @torch.inference_mode()
    def predict(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Map inputs ``[N, I]`` to log-odds ``[N, T]``."""
        self.eval()
        scaled = (torch.from_numpy(inputs) - self.mean) / self.deviation
        return torch.cat([self(rows) for rows in scaled.split(256)]).numpy()

    def save(self, path: Path) -> None:
        """Write the network, whole or not at all."""
        with whole_file(path) as part:
            save_file({name: tensor.contiguous() for name, tensor in self.state_dict().items()}, part)

    @classmethod
    def load(cls, path: Path, config: NetworkConfig) -> PictureNetwork:
        """Read a network that :meth:`save` wrote."""
        state = load_file(path)
        network = cls(state["mean"], state["deviation"], state["positives"], config)
        network.load_state_dict(state)
        return network

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the network in int8, with one scale per row, for inputs that are not standardized."""
        state = {name: tensor.numpy() for name, tensor in self.state_dict().items()}
        hidden = state["hidden.weight"] / state["deviation"]
        bias = state["hidden.bias"] - hidden @ state["mean"]
        arrays: dict[str, NDArray[Any]] = {
            "hidden_bias": bias.astype(np.float32),
            "output_bias": state["output.bias"].astype(np.float32),
        }
        for name, matrix in (("hidden", hidden), ("output", state["output.weight"])):
            arrays[f"{name}_weight"], arrays[f"{name}_scale"] = quantize_int8(matrix)
        return arrays


def network_inputs(predictions: Predictions, least: float) -> NDArray[np.float32]:
    """Return the inputs of the network, ``[N, W + C]``, as in :class:`~anytag.inference.evidence.TagEvidence`."""
    return np.concatenate([predictions.means, np.maximum(predictions.classes, np.float32(least))], axis=1)


def fit_network(
    inputs: NDArray[np.float32],
    targets: PartialLabels,
    rates: NDArray[np.float64],
    config: NetworkConfig,
    seed: int,
    report: Report,
) -> PictureNetwork:
    """Train a network.

    Args:
        inputs: ``[N, I]``.
        rates: ``[T]``, probability that one caption names a tag that is there.
    """
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    mean, deviation = mean_and_deviation(inputs)
    scaled = torch.from_numpy((inputs - mean) / deviation)
    positives = (targets.values == TRUE).sum(0)
    shares = (positives + 0.5) / ((targets.values != UNKNOWN).sum(0) + 10)
    network = PictureNetwork(torch.from_numpy(mean), torch.from_numpy(deviation), torch.from_numpy(positives), config)
    with torch.no_grad():
        network.output.bias.copy_(torch.from_numpy(np.log(shares / (1 - shares))))
        network.output.weight.mul_(0.3)
    matrices = [parameter for parameter in network.parameters() if parameter.dim() > 1]
    biases = [parameter for parameter in network.parameters() if parameter.dim() == 1]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": config.weight_decay}, {"params": biases, "weight_decay": 0.0}],
        lr=config.learning_rate,
    )
    captions = torch.from_numpy(targets.captions)
    importance = torch.where(captions == 0, config.labeled_weight, 1.0)
    naming_rates = torch.from_numpy(rates.astype(np.float32))

    def loss(rows: NDArray[np.int64]) -> Tensor:
        known = torch.from_numpy(targets.values[rows])
        omitted = log_omission(captions[rows, None], naming_rates)
        losses = description_loss(network(scaled[rows]), known == TRUE, omitted) * (known != UNKNOWN)
        return (losses.sum(1) * importance[rows]).mean()

    train_epochs("network", optimizer, loss, len(inputs), config, random, report)
    return network
