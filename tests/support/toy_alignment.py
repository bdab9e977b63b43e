"""A small alignment encoder on a text decoder, and texts for it."""

from __future__ import annotations

import torch
from torch import nn

from anytag.nn.alignment import AlignmentEncoder
from anytag.nn.captioner import TextDecoder
from anytag.nn.transformer import TextEmbedding

ENC = 29
TEXTS = torch.tensor([[2, 5, 6, 3, 0], [2, 7, 8, 9, 3], [2, 4, 3, 0, 0]])


def parts(feature_width=8, seed=0):
    """A text decoder and an alignment encoder on it, one module, so that they are copied and saved together."""
    torch.manual_seed(seed)
    decoder = TextDecoder(TextEmbedding(30, 8, 12), 8, layers=2, heads=2, inner=12, memory_width=8)
    encoder = AlignmentEncoder(decoder, feature_width, embedding=4, match_id=ENC)
    for parameter in (*decoder.parameters(), *encoder.parameters()):
        if parameter.ndim == 2:
            nn.init.normal_(parameter, std=0.4)
    return nn.ModuleDict({"decoder": decoder, "encoder": encoder}).eval()


def close(a, b, atol=1e-6):
    torch.testing.assert_close(a, b, rtol=0, atol=atol)
