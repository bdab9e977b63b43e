"""The transformer layer of all text parts.

It is BERT's post-norm layer (Devlin et al., 2019). Recognition decoders have cross-attention and feed-forward only,
interaction encoders and text decoders also self-attention, label text encoders no cross-attention. The number of heads
is an argument of each call, because Tag2Text shares weights between parts with different numbers of heads.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anytag.nn.attention import attend

KeysValues = tuple[Tensor, Tensor]


class Attention(nn.Module):
    """Multi-head attention with residual connection and layer normalization.

    Args:
        attention_dropout: Dropout of the attention weights; ``None``: ``dropout``. PyTorch's fused CPU kernels support
            none.
    """

    def __init__(
        self,
        width: int,
        memory_width: int | None = None,
        dropout: float = 0.1,
        norm_eps: float = 1e-12,
        attention_dropout: float | None = None,
    ):
        super().__init__()
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(memory_width or width, width)
        self.value = nn.Linear(memory_width or width, width)
        self.output = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width, eps=norm_eps)
        self.dropout = dropout
        self.attention_dropout = dropout if attention_dropout is None else attention_dropout

    def keys_values(self, memory: Tensor, heads: int) -> KeysValues:
        """Keys and values of a memory ``[B, N, M]``, ``[B, heads, N, width / heads]`` each."""
        return _split(self.key(memory), heads), _split(self.value(memory), heads)

    def forward(
        self,
        hidden: Tensor,
        memory: KeysValues,
        heads: int,
        mask: Tensor | None = None,
        causal: bool = False,
        queries: Tensor | None = None,
    ) -> Tensor:
        """Attend from ``hidden`` to ``memory``.

        Args:
            hidden: ``[B, T, width]``; also the residual.
            memory: From :meth:`keys_values`.
            mask: Added to the logits, or boolean (true: may attend), broadcast to ``[B, heads, T, N]``.
            causal: Position t attends to the first t + 1 positions of the memory only.
            queries: ``query(hidden)``, if already computed.

        Returns:
            ``[B, T, width]``.
        """
        q = _split(self.query(hidden) if queries is None else queries, heads)
        attended = attend(q, *memory, mask, causal=causal, dropout=self.attention_dropout, training=self.training)
        attended = self.output(attended.transpose(1, 2).reshape(*hidden.shape[:2], -1))
        return self.norm(hidden + F.dropout(attended, self.dropout, self.training))


class FeedForward(nn.Module):
    """Two linear layers with GELU between them, residual and layer normalization."""

    def __init__(self, width: int, inner: int, dropout: float = 0.1, norm_eps: float = 1e-12):
        super().__init__()
        self.inner = nn.Linear(width, inner)
        self.output = nn.Linear(inner, width)
        self.norm = nn.LayerNorm(width, eps=norm_eps)
        self.dropout = dropout

    def forward(self, hidden: Tensor) -> Tensor:
        """Map ``[..., width]`` to the same shape."""
        out = self.output(F.gelu(self.inner(hidden)))
        return self.norm(hidden + F.dropout(out, self.dropout, self.training))


class TransformerLayer(nn.Module):
    """Feed-forward with optional self-attention and cross-attention.

    With ``shared``, cross-attention and feed-forward are those of another layer.
    """

    #: Typed as if always present, because callers know which parts a layer has.
    self_attention: Attention
    cross_attention: Attention
    feed_forward: FeedForward

    def __init__(
        self,
        width: int,
        inner: int,
        self_attention: bool = True,
        memory_width: int | None = None,
        dropout: float = 0.1,
        norm_eps: float = 1e-12,
        shared: TransformerLayer | None = None,
        attention_dropout: float | None = None,
    ):
        super().__init__()
        own = Attention(width, None, dropout, norm_eps, attention_dropout) if self_attention else None
        self.self_attention = own  # type: ignore[assignment]
        if shared is not None:
            self.cross_attention, self.feed_forward = shared.cross_attention, shared.feed_forward
        else:
            cross = Attention(width, memory_width, dropout, norm_eps, attention_dropout) if memory_width else None
            self.cross_attention = cross  # type: ignore[assignment]
            self.feed_forward = FeedForward(width, inner, dropout, norm_eps)


if TYPE_CHECKING:

    class TransformerLayers(nn.ModuleList):
        """A ``ModuleList`` that tells type checkers what it contains."""

        def __iter__(self) -> Iterator[TransformerLayer]: ...

        def __getitem__(self, place: int) -> TransformerLayer: ...  # type: ignore[override]

else:
    TransformerLayers = nn.ModuleList


class TextEmbedding(nn.Module):
    """Sum of word, position and, if ``types`` > 0, BERT's token type embeddings, with layer normalization."""

    def __init__(
        self,
        vocabulary: int,
        width: int,
        positions: int,
        types: int = 0,
        dropout: float = 0.1,
        norm_eps: float = 1e-12,
    ):
        super().__init__()
        self.words = nn.Embedding(vocabulary, width, padding_idx=0)
        self.positions = nn.Embedding(positions, width)
        self.types = nn.Embedding(types, width) if types else None
        self.norm = nn.LayerNorm(width, eps=norm_eps)
        self.dropout = dropout

    def forward(self, ids: Tensor, start: Tensor | int = 0) -> Tensor:
        """Map ids ``[B, T]`` at positions from ``start`` to ``[B, T, width]``."""
        positions = torch.arange(ids.shape[1], device=ids.device) + start
        hidden = self.words(ids) + self.positions(positions)
        if self.types is not None:
            hidden = hidden + self.types.weight[0]
        return F.dropout(self.norm(hidden), self.dropout, self.training)


def _split(hidden: Tensor, heads: int) -> Tensor:
    """Map ``[B, T, width]`` to ``[B, heads, T, width / heads]``."""
    return hidden.reshape(*hidden.shape[:2], heads, -1).transpose(1, 2)
