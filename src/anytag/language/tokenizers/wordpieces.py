"""The 30,522 word pieces of bert-base-uncased (Devlin et al., 2019), which the official captioners speak in."""

from __future__ import annotations

import gzip
from functools import cache
from importlib.resources import files


@cache
def bert_wordpieces() -> tuple[str, ...]:
    """Lines of BERT's ``vocab.txt``; a piece's place is its id."""
    packed = (files("anytag.language") / "data" / "bert_wordpieces.txt.gz").read_bytes()
    return tuple(gzip.decompress(packed).decode("utf-8").splitlines())
