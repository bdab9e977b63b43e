"""DiHT (Radenovic et al., 2023): CLIP's architecture with the exact GELU, from its published ``.ckpt`` file.

The file is a plain state dict in OpenAI's layout, the picture's tower below ``visual`` (facebookresearch/diht,
``diht/model.py``). Its weights may not be used commercially (CC BY-NC 4.0). It brings no tokenizer: CLIP's is
taken from a directory that has one.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from anytag.errors import ModelError
from anytag.evaluation.baselines.base import Baseline, PictureForm, read_checkpoint
from anytag.evaluation.baselines.clip_tokenizer import ClipTokens, read_tokens
from anytag.evaluation.baselines.contrast import TEXTS, _pooled
from anytag.evaluation.baselines.openai_layout import build_clip, picture_weights, text_weights
from anytag.evaluation.baselines.prompts import ENSEMBLE, sentences
from anytag.evaluation.systems import Paradigm, Scores


class DihtBaseline(Baseline):
    """Cosine of a picture and the mean of a category's prompts.

    Args:
        path: ``diht_*.ckpt``.
        tokenizer: A directory with CLIP's tokenizer.
        prompts: Templates.

    Raises:
        ModelError: If the file is no DiHT, or the tokenizer is missing.
    """

    title = "DiHT"
    paradigm: Paradigm = "alignment"

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
            raise ModelError(f"{source}: lacks {error}; this is no DiHT checkpoint") from None
        self.model = build_clip(weights, "gelu", source)
        side = int(self.model.config.vision_config.image_size)
        super().__init__(source, PictureForm(side, side, shorter=side), f"{len(prompts)} prompts")
        self.tokens: ClipTokens = read_tokens(Path(tokenizer), self.model.config.text_config)
        self.prompts = prompts
        self._texts: Tensor | None = None

    def ask(self, names: Sequence[str], synonyms: dict[str, tuple[str, ...]]) -> list[str]:
        """Embed every category's prompts."""
        made = dict.fromkeys(names)
        flat = [text for name in made for text in sentences(name, self.prompts)]
        embedded = self.embed_texts(flat).unflatten(0, (len(made), -1)).mean(1)
        rows = dict(zip(made, F.normalize(embedded, dim=-1), strict=True))
        self._texts = torch.stack([rows[name] for name in names])
        return []

    def ask_texts(self, texts: Sequence[str]) -> None:
        """Ask for whole texts instead of categories, for retrieval."""
        self._texts = self.embed_texts(texts)

    @torch.inference_mode()
    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """Unit vectors ``[T, D]``."""
        parts = []
        for start in range(0, len(texts), TEXTS):
            ids = self.tokens(texts[start : start + TEXTS])
            parts.append(F.normalize(_pooled(self.model.get_text_features(input_ids=ids)), dim=-1))
        return torch.cat(parts)

    @torch.inference_mode()
    def score(self, pictures: Tensor) -> Scores:
        """Cosines ``[B, C]``."""
        assert self._texts is not None, "ask for categories first"
        embedded = F.normalize(_pooled(self.model.get_image_features(pixel_values=pictures)), dim=-1)
        found: Scores = (embedded @ self._texts.T).numpy()
        return found
