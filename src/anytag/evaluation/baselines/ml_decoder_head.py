"""ML-Decoder (Ridnik et al., 2023): each of a few queries attends to a picture and predicts a group of classes."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class _Layer(nn.Module):
    """A decoder layer without self-attention; names as in the official code."""

    def __init__(self, width: int, heads: int, inner: int, dropout: float):
        super().__init__()
        self.multihead_attn = nn.MultiheadAttention(width, heads, dropout=dropout, batch_first=True)
        self.linear1, self.linear2 = nn.Linear(width, inner), nn.Linear(inner, width)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))
        self.dropout = dropout

    def forward(self, queries: Tensor, memory: Tensor) -> Tensor:
        drop = lambda x: F.dropout(x, self.dropout, self.training)  # noqa: E731
        # The official code adds the queries to themselves where a decoder would add the output of self-attention.
        x = self.norm1(queries + drop(queries))
        x = self.norm2(x + drop(self.multihead_attn(x, memory, memory, need_weights=False)[0]))
        return self.norm3(x + drop(self.linear2(drop(F.relu(self.linear1(x))))))


class _Decoder(nn.Module):
    def __init__(self, classes: int, features: int, groups: int, width: int, heads: int, inner: int, dropout: float):
        super().__init__()
        self.layers = nn.ModuleList([_Layer(width, heads, inner, dropout)])
        self.embed_standart = nn.Linear(features, width)
        self.query_embed = nn.Embedding(groups, width)
        self.query_embed.requires_grad_(False)
        self.duplicate_pooling = nn.Parameter(torch.empty(groups, width, math.ceil(classes / groups)))
        self.duplicate_pooling_bias = nn.Parameter(torch.zeros(classes))
        nn.init.xavier_normal_(self.duplicate_pooling)


class MlDecoder(nn.Module):
    """The head: a picture's features to logits.

    Queries are fixed random vectors. With as many groups as classes every class has its own query ("full decoding").

    Args:
        features: Width of the picture's features.
        groups: Number of queries, at most as many as classes.
        inner: Width of the feed-forward's inner layer.
    """

    def __init__(
        self,
        classes: int,
        features: int,
        groups: int = 100,
        width: int = 768,
        heads: int = 8,
        inner: int = 2048,
        dropout: float = 0.1,
    ):
        super().__init__()
        self.classes = classes
        self.decoder = _Decoder(classes, features, min(groups, classes), width, heads, inner, dropout)

    def forward(self, features: Tensor) -> Tensor:
        """Map features ``[B, C, H, W]`` or tokens ``[B, N, C]`` to logits ``[B, classes]``."""
        tokens = features.flatten(2).transpose(1, 2) if features.dim() == 4 else features
        decoder = self.decoder
        memory = F.relu(decoder.embed_standart(tokens))
        hidden = decoder.query_embed.weight.expand(len(memory), -1, -1)
        for layer in decoder.layers:
            hidden = layer(hidden, memory)
        logits = torch.einsum("bgw,gwk->bgk", hidden, decoder.duplicate_pooling)
        return logits.flatten(1)[:, : self.classes] + decoder.duplicate_pooling_bias
