"""CLIP's tokenizer for checkpoints that come without one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from anytag.checkpoints.clip import open_tokenizer
from anytag.errors import ModelError


class ClipTokenizer:
    """Convert texts to ids ``[T, L]``, truncated to the model's length and padded with 0 after the end token.

    The official code of DiHT and MKT pads to the full length, too; nothing depends on it.

    Args:
        folder: A directory with CLIP's tokenizer.

    Raises:
        ModelError: If there is no tokenizer, or it belongs to another model.
    """

    def __init__(self, folder: Path, text_config: Any):
        self.length = int(text_config.max_position_embeddings)
        self._tokenizer = open_tokenizer(folder, self.length)
        pieces = self._tokenizer.get_vocab_size()
        if pieces > text_config.vocab_size:
            raise ModelError(f"{folder}: the tokenizer has {pieces} pieces, the checkpoint {text_config.vocab_size}")

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Tokenize texts."""
        ids = torch.zeros(len(texts), self.length, dtype=torch.long)
        for row, encoded in zip(ids, self._tokenizer.encode_batch(list(texts)), strict=True):
            row[: len(encoded.ids)] = torch.tensor(encoded.ids)
        return ids
