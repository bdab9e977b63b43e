"""DiHT (Radenovic et al., 2023): CLIP's architecture with the exact GELU, from its published ``.ckpt`` file.

The file is a plain state dict in OpenAI's layout, with the image encoder below ``visual`` (facebookresearch/diht,
``diht/model.py``). Its weights may not be used commercially (CC BY-NC 4.0). It contains no tokenizer: CLIP's is read
from another directory.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from anytag.errors import ModelError
from anytag.evaluation.baselines.base import PictureTransform, read_checkpoint
from anytag.evaluation.baselines.dual_encoder import DualEncoderBaseline
from anytag.evaluation.baselines.openai_layout import ClipTokenizer, build_clip, picture_weights, text_weights
from anytag.evaluation.baselines.prompts import ENSEMBLE
from anytag.evaluation.systems import folder_identity


class DihtBaseline(DualEncoderBaseline):
    """Cosine of a picture and the mean embedding of a category's prompts.

    Args:
        path: ``diht_*.ckpt``.
        tokenizer: A directory with CLIP's tokenizer.

    Raises:
        ModelError: If the file is not a DiHT, or the tokenizer is missing.
    """

    title = "DiHT"

    def __init__(self, path: str | Path, tokenizer: str | Path, prompts: tuple[str, ...] = ENSEMBLE):
        source = Path(path)
        state, _ = read_checkpoint(source)
        picture = {name.removeprefix("visual."): t for name, t in state.items() if name.startswith("visual.")}
        text = {name: t for name, t in state.items() if not name.startswith("visual.")}
        try:
            weights = picture_weights(picture) | text_weights(text)
            weights["visual_projection.weight"] = picture["proj"].T
            weights["logit_scale"] = text["logit_scale"]
        except KeyError as error:
            raise ModelError(f"{source}: lacks {error}; this is not a DiHT checkpoint") from None
        model = build_clip(weights, "gelu", source)
        side = int(model.config.vision_config.image_size)
        transform = PictureTransform(side, side, shorter=side)
        super().__init__(source, transform, model, prompts, folder_identity(tokenizer))
        self.tokenizer = ClipTokenizer(Path(tokenizer), model.config.text_config)

    def text_features(self, texts: Sequence[str]) -> Any:
        return self.model.get_text_features(input_ids=self.tokenizer(texts))
