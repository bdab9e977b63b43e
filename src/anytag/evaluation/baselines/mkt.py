"""MKT (He et al., 2023): CLIP ViT-B/16 fine-tuned to use patches, from its two published checkpoints.

sunanhe/MKT, ``inference.py``: a label's score is the mean of its similarity with the whole picture and of the mean
over its best 18 patches, each normalized to length 1 over the labels first. So a score depends on the other labels.
Texts are "There is a … in the scene". Pictures are resized to 256 (shorter side), center-cropped to 224 and normalized
with ImageNet's mean and deviation (not CLIP's).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from anytag.errors import ModelError
from anytag.evaluation.baselines.base import Baseline, PictureTransform, read_checkpoint
from anytag.evaluation.baselines.dual_encoder import TEXTS, pooled
from anytag.evaluation.baselines.openai_layout import ClipTokenizer, build_clip, picture_weights, text_weights
from anytag.evaluation.baselines.prompts import SCENE, sentences
from anytag.evaluation.systems import Paradigm, Scores, folder_identity
from anytag.pictures import IMAGENET

_BEST_PATCHES = 18

#: Weights that inference does not use: a head of an ablation.
_UNUSED = ("projection.fc1.", "projection.fc2.")


class MktBaseline(Baseline):
    """Similarity with the whole picture and with its best patches.

    Args:
        path: The image encoder's checkpoint (first stage).
        texts: The text encoder's checkpoint (second stage, with tuned prompts).
        tokenizer: A directory with CLIP's tokenizer.

    Raises:
        ModelError: If a file is not MKT's.
    """

    title = "MKT"
    paradigm: Paradigm = "alignment"

    def __init__(self, path: str | Path, texts: str | Path, tokenizer: str | Path):
        source, text_source = Path(path), Path(texts)
        picture, _ = read_checkpoint(source)
        text, _ = read_checkpoint(text_source)
        known = {name: t for name, t in picture.items() if not name.startswith(_UNUSED)}
        try:
            weights = picture_weights(known) | text_weights(text)
            weights["visual_projection.weight"] = known["projection_dist"].T
        except KeyError as error:
            raise ModelError(f"{source} and {text_source}: lack {error}; these are not MKT checkpoints") from None
        weights["logit_scale"] = torch.tensor(0.0)  # The checkpoint has none, and cosines do not depend on it.
        self.model = build_clip(weights, "quick_gelu", source)
        side = int(self.model.config.vision_config.image_size)
        transform = PictureTransform(side, side, shorter=int(side / (224 / 256)), normalization=IMAGENET)
        super().__init__(source, transform, f"{folder_identity(text_source)} {folder_identity(tokenizer)}")
        self.tokenizer = ClipTokenizer(Path(tokenizer), self.model.config.text_config)
        self._labels: Tensor | None = None

    @torch.inference_mode()
    def set_categories(self, names: Sequence[str], synonyms: dict[str, tuple[str, ...]]) -> list[str]:
        """Embed the labels without normalizing them, as in the official code."""
        parts = []
        for start in range(0, len(names), TEXTS):
            texts = [sentences(name, SCENE)[0] for name in names[start : start + TEXTS]]
            parts.append(pooled(self.model.get_text_features(input_ids=self.tokenizer(texts))))
        self._labels = torch.cat(parts)
        return []

    @torch.inference_mode()
    def score(self, pictures: Tensor) -> Scores:
        assert self._labels is not None, "set the categories first"
        vision = self.model.vision_model
        tokens = vision.post_layernorm(vision(pixel_values=pictures).last_hidden_state)
        projected = self.model.visual_projection(tokens)
        similar = projected[:, 1:] @ self._labels.T
        local = similar.topk(min(_BEST_PATCHES, similar.shape[1]), 1).values.mean(1)
        whole = projected[:, 0] @ self._labels.T
        local, whole = (part / part.norm(dim=-1, keepdim=True) for part in (local, whole))
        scores: Scores = ((local + whole) / 2).numpy()
        return scores
