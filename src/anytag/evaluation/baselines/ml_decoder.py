"""ML-Decoder (Ridnik et al., 2023) on TResNet, from its published checkpoints (OpenImages, COCO).

Pictures are stretched to a square and divided by 255, without mean and deviation (Alibaba-MIIL/ML_Decoder,
``infer.py``). Sizes are inferred from the weights, class names from ``idx_to_class`` in the file. The model is
supervised and scores only its own 9,605 (or 80) classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from anytag.errors import ModelError
from anytag.evaluation.baselines.base import (
    FixedClassesBaseline,
    PictureTransform,
    load_strictly,
    read_checkpoint,
    select_columns,
)
from anytag.evaluation.baselines.ml_decoder_head import MlDecoder
from anytag.evaluation.baselines.tresnet import TResNet, read_sizes
from anytag.evaluation.systems import Paradigm, Scores
from anytag.foundations.wording import counted
from anytag.pictures import Normalization

_PLAIN = Normalization((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


class MlDecoderNetwork(TResNet):
    """TResNet with an ML-Decoder as its head."""

    def __init__(self, state: Mapping[str, Tensor]):
        super().__init__(read_sizes(state))
        pooling = state["head.decoder.duplicate_pooling"]
        self.head: nn.Module = MlDecoder(
            classes=len(state["head.decoder.duplicate_pooling_bias"]),
            features=self.features,
            groups=pooling.shape[0],
            width=pooling.shape[1],
            inner=len(state["head.decoder.layers.0.linear1.weight"]),
        )

    def forward(self, pixels: Tensor) -> Tensor:
        logits: Tensor = self.head(super().forward(pixels))
        return logits


class MlDecoderBaseline(FixedClassesBaseline):
    """Probabilities of the classes that it was trained on.

    Args:
        classes: Names of its classes; ``None``: those of the checkpoint.
        side: Side of the square, in pixels: 224 for the OpenImages checkpoint, 448 for COCO's TResNet-L.

    Raises:
        ModelError: If the file is not an ML-Decoder on TResNet, or contains no class names.
    """

    title = "ML-Decoder"
    paradigm: Paradigm = "tagging"

    def __init__(self, path: str | Path, classes: Sequence[str] | None = None, side: int = 224):
        source = Path(path)
        state, rest = read_checkpoint(source)
        try:
            self.model = MlDecoderNetwork(state)
        except (KeyError, IndexError) as error:
            raise ModelError(f"{source}: lacks {error}; this is not an ML-Decoder on TResNet") from None
        load_strictly(self.model, state, source)
        transform = PictureTransform(side, side, normalization=_PLAIN, resampling=Image.Resampling.BICUBIC)
        names = list(classes) if classes is not None else _names(rest.get("idx_to_class"))
        count = len(state["head.decoder.duplicate_pooling_bias"])
        if len(names) != count:
            raise ModelError(
                f"{source}: names of {counted(len(names), 'class')} for {counted(count, 'output')}; "
                "give them as classes="
            )
        super().__init__(source, transform, f"{side} {names}")
        self.places = {name.lower().replace("_", " "): place for place, name in reversed(list(enumerate(names)))}

    @torch.inference_mode()
    def score(self, pictures: Tensor) -> Scores:
        """Return probabilities ``[B, C]``; NaN for classes that it was not trained on."""
        return select_columns(self.model(pictures).sigmoid(), self._columns)


def _names(record: Any) -> list[str]:
    if isinstance(record, dict):
        return [str(record[key]) for key in sorted(record, key=int)]
    return [str(name) for name in record] if isinstance(record, list | tuple) else []
