"""CLIP's tokenizer for checkpoints that come without one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor

from anytag.checkpoints.clip import open_tokenizer
from anytag.errors import ModelError


class ClipTokens:
    """Texts to ids ``[T, L]``, cut off at the model's length, padded with 0 to it behind the end token.

    The official code of DiHT and MKT pads to the full length, too; nothing depends on it.

    Args:
        tokenizer: CLIP's, which cuts texts off; they start and end with its own tokens.
        length: Longest text in pieces.
    """

    def __init__(self, tokenizer: Tokenizer, length: int):
        self._tokenizer, self.length = tokenizer, length

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Ids of the texts."""
        rows = [encoded.ids for encoded in self._tokenizer.encode_batch(list(texts))]
        ids = torch.zeros(len(rows), self.length, dtype=torch.long)
        for row, pieces in zip(ids, rows, strict=True):
            row[: len(pieces)] = torch.tensor(pieces)
        return ids


def read_tokens(folder: Path, text_config: Any) -> ClipTokens:
    """CLIP's tokenizer of a directory.

    Raises:
        ModelError: If there is none, or it is that of another model.
    """
    length = int(text_config.max_position_embeddings)
    tokenizer = open_tokenizer(folder, length)
    if tokenizer.get_vocab_size() > text_config.vocab_size:
        raise ModelError(
            f"{folder}: the tokenizer has {tokenizer.get_vocab_size()} pieces, the checkpoint {text_config.vocab_size}"
        )
    return ClipTokens(tokenizer, length)
