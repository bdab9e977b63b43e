"""The 30,522 word pieces of bert-base-uncased (Devlin et al., 2019), which the official captioners use."""

from __future__ import annotations

from functools import cache

from anytag.language.data_files import read_data


@cache
def bert_wordpieces() -> tuple[str, ...]:
    """Load the lines of BERT's ``vocab.txt``; a piece's index is its id."""
    return tuple(read_data("bert_wordpieces.txt.gz").splitlines())
