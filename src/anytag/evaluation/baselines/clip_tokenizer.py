"""CLIP's tokenizer for checkpoints that come without one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor

from anytag.checkpoints.clip import build_tokenizer
from anytag.errors import ModelError


class ClipTokens:
    """Texts to ids ``[T, L]``, cut off at the model's length, padded with 0 to it behind the end token.

    The official code of DiHT and MKT pads to the full length, too; nothing depends on it.

    Args:
        tokenizer: CLIP's; a text starts and ends with its own tokens.
        length: Longest text in pieces.
    """

    def __init__(self, tokenizer: Tokenizer, length: int):
        self._tokenizer, self.length = tokenizer, length
        tokenizer.enable_truncation(length)
        tokenizer.no_padding()

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Ids of the texts."""
        rows = [encoded.ids for encoded in self._tokenizer.encode_batch(list(texts))]
        ids = torch.zeros(len(rows), self.length, dtype=torch.long)
        for row, pieces in zip(ids, rows, strict=True):
            row[: len(pieces)] = torch.tensor(pieces)
        return ids


def read_tokens(folder: Path, text_config: Any) -> ClipTokens:
    """CLIP's tokenizer of a directory: ``tokenizer.json``, or ``vocab.json`` with ``merges.txt``.

    Raises:
        ModelError: If there is none, or it is that of another model.
    """
    whole, vocabulary, merges = (folder / name for name in ("tokenizer.json", "vocab.json", "merges.txt"))
    if whole.is_file():
        tokenizer = Tokenizer.from_file(str(whole))
    elif vocabulary.is_file() and merges.is_file():
        tokenizer = build_tokenizer(vocabulary, merges)
    else:
        raise ModelError(
            f"{folder}: there is neither tokenizer.json nor vocab.json with merges.txt; give a CLIP directory as "
            "tokenizer="
        )
    if tokenizer.get_vocab_size() > text_config.vocab_size:
        raise ModelError(
            f"{folder}: the tokenizer has {tokenizer.get_vocab_size()} pieces, the checkpoint {text_config.vocab_size}"
        )
    return ClipTokens(tokenizer, int(text_config.max_position_embeddings))
