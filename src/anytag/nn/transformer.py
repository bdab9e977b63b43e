"""The one transformer layer that every text part is made of.

BERT's layer (Devlin et al., 2019): attention, residual, layer normalization after it. Which of self-attention,
cross-attention and feed-forward a layer has decides what it is for: the recognition decoder runs cross-attention
and feed-forward only, the interaction encoder and the text decoder all three, a label text encoder no
cross-attention. Head counts belong to the caller, because Tag2Text shares weights between parts that split them
into different numbers of heads.
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
    """Multi-head attention with its residual connection and layer normalization.

    Args:
        width: Width of the hidden states.
        memory_width: Width of what is attended to, if it differs.
        dropout: Of the output.
        norm_eps: Of the layer normalization.
        attention_dropout: Of the attention weights; ``None``: the same. PyTorch's fast kernels know none on a CPU.
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
        """What :meth:`forward` attends to, ``[B, N, M]`` to twice ``[B, heads, N, width / heads]``."""
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
            heads: Number of heads.
            mask: Added to the attention logits (or boolean, true = may look), broadcast to ``[B, heads, T, N]``.
            causal: Position t may look at the first t + 1 positions of the memory only.
            queries: ``query(hidden)`` if it is known already.

        Returns:
            ``[B, T, width]``.
        """
        q = _split(self.query(hidden) if queries is None else queries, heads)
        seen = attend(q, *memory, mask, causal=causal, dropout=self.attention_dropout, training=self.training)
        seen = self.output(seen.transpose(1, 2).reshape(*hidden.shape[:2], -1))
        return self.norm(hidden + F.dropout(seen, self.dropout, self.training))


class FeedForward(nn.Module):
    """Two linear layers with GELU between them, residual and layer normalization."""

    def __init__(self, width: int, inner: int, dropout: float = 0.1, norm_eps: float = 1e-12):
        super().__init__()
        self.inner = nn.Linear(width, inner)
        self.output = nn.Linear(inner, width)
        self.norm = nn.LayerNorm(width, eps=norm_eps)
        self.dropout = dropout

    def forward(self, hidden: Tensor) -> Tensor:
        """``[..., width]`` to the same shape."""
        out = self.output(F.gelu(self.inner(hidden)))
        return self.norm(hidden + F.dropout(out, self.dropout, self.training))


class TransformerLayer(nn.Module):
    """Self-attention, cross-attention and feed-forward, of which the first two may be absent.

    ``cross_attention`` and ``feed_forward`` may be handed in, to share them with another part.
    """

    #: Typed as if they were always there: whoever runs a layer knows what it is made of.
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
        """A stack of layers, for type checkers: a plain ``ModuleList`` forgets what it holds."""

        def __iter__(self) -> Iterator[TransformerLayer]:
            """The layers, lowest first."""

        def __getitem__(self, place: int) -> TransformerLayer:  # type: ignore[override]
            """One of them."""

else:
    TransformerLayers = nn.ModuleList


class TextEmbedding(nn.Module):
    """Word and learned position embeddings (and BERT's token types, if any), normalized."""

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
        """Ids ``[B, T]``, the first of which stands at position ``start``, to ``[B, T, width]``."""
        positions = torch.arange(ids.shape[1], device=ids.device) + start
        hidden = self.words(ids) + self.positions(positions)
        if self.types is not None:
            hidden = hidden + self.types.weight[0]
        return F.dropout(self.norm(hidden), self.dropout, self.training)


def _split(hidden: Tensor, heads: int) -> Tensor:
    """``[B, T, width]`` to ``[B, heads, T, width / heads]``."""
    return hidden.reshape(*hidden.shape[:2], heads, -1).transpose(1, 2)
