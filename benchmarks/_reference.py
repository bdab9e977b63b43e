"""The reference of the benchmark: the official models' computation, with our weights.

Written for the benchmark from a description of the official code. Every block partitions and merges windows and looks
up biases; attention takes four separate operations; labels are projected for every picture; RAM++ re-weights picture by
picture; a caption's tags are encoded once per beam, and their keys and values are recomputed at every step. Nothing is
cached between pictures.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from anytag.nn.model import RecognitionModel


def encode(model: RecognitionModel, pixels: Tensor) -> Tensor:
    """Pixels to features with the mean token first."""
    swin = model.image_encoder
    tokens = swin.embedding_norm(swin.embedding(pixels).flatten(2).transpose(1, 2))
    for stage, layer in enumerate(swin.layers):
        grid, window = swin.grids[stage], min(swin.window, swin.grids[stage])
        shift = window // 2 if window < grid else 0
        for number, block in enumerate(layer.blocks):
            tokens = _block(block, tokens, grid, window, shift if number % 2 else 0)
        if layer.merging is not None:
            square = tokens.reshape(len(tokens), grid, grid, -1)
            four = [square[:, a::2, b::2] for b in (0, 1) for a in (0, 1)]
            tokens = layer.merging.reduction(layer.merging.norm(torch.cat(four, -1).flatten(1, 2)))
    tokens = swin.norm(tokens)
    tokens = torch.cat([tokens.mean(1, keepdim=True), tokens], 1)
    return model.image_projection(tokens) if model.config.image_encoder.projection == "linear" else tokens


def _windows(square: Tensor, window: int) -> Tensor:
    batch, grid, _, width = square.shape
    side = grid // window
    cut = square.view(batch, side, window, side, window, width).permute(0, 1, 3, 2, 4, 5).contiguous()
    return cut.view(-1, window * window, width)


def _block(block: Any, tokens: Tensor, grid: int, window: int, shift: int) -> Tensor:
    batch, _, width = tokens.shape
    square = block.attention_norm(tokens).view(batch, grid, grid, width)
    if shift:
        square = torch.roll(square, (-shift, -shift), (1, 2))
    seen = _window_attention(
        block.attention, _windows(square, window), window, _mask(grid, window, shift, tokens.device)
    )
    side = grid // window
    square = seen.view(batch, side, side, window, window, width).permute(0, 1, 3, 2, 4, 5).contiguous()
    square = square.view(batch, grid, grid, width)
    if shift:
        square = torch.roll(square, (shift, shift), (1, 2))
    tokens = tokens + square.view(batch, grid * grid, width)
    feed_forward = block.feed_forward
    return tokens + feed_forward.output(F.gelu(feed_forward.inner(block.feed_forward_norm(tokens))))


@cache
def _mask(grid: int, window: int, shift: int, device: torch.device) -> Tensor | None:
    """Kept as a buffer in the official code, too."""
    if not shift:
        return None
    numbers = torch.zeros(1, grid, grid, 1, device=device)
    bands = (slice(0, -window), slice(-window, -shift), slice(-shift, None))
    for number, (rows, columns) in enumerate((a, b) for a in bands for b in bands):
        numbers[:, rows, columns] = number
    flat = _windows(numbers, window).squeeze(-1)
    return torch.where(flat[:, None] == flat[:, :, None], 0.0, -100.0)


@cache
def _pairs_of_cells(window: int, device: torch.device) -> Tensor:
    """Row of the position table for every pair of cells; a buffer in the official code."""
    cells = torch.arange(window * window, device=device)
    rows, columns = cells // window, cells % window
    index = (rows[:, None] - rows + window - 1) * (2 * window - 1) + columns[:, None] - columns + window - 1
    return index.view(-1)


def _window_attention(attention: Any, windows: Tensor, window: int, mask: Tensor | None) -> Tensor:
    count, area, width = windows.shape
    heads = attention.heads
    qkv = attention.query_key_value(windows).reshape(count, area, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
    query, key, value = qkv[0] * (width // heads) ** -0.5, qkv[1], qkv[2]
    logits = query @ key.transpose(-2, -1)
    index = _pairs_of_cells(window, windows.device)
    bias = attention.position_table[index].view(area, area, heads).permute(2, 0, 1).contiguous()
    logits = logits + bias[None]
    if mask is not None:
        logits = logits.view(-1, len(mask), heads, area, area) + mask[None, :, None]
        logits = logits.view(-1, heads, area, area)
    seen = (logits.softmax(-1) @ value).transpose(1, 2).reshape(count, area, width)
    return attention.output(seen)


def _attention(part: Any, hidden: Tensor, memory: Tensor, heads: int, mask: Tensor | None = None) -> Tensor:
    """BERT's, in separate operations, with residual and normalization."""

    def split(x: Tensor) -> Tensor:
        return x.view(*x.shape[:2], heads, -1).permute(0, 2, 1, 3)

    query, key, value = split(part.query(hidden)), split(part.key(memory)), split(part.value(memory))
    logits = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5
    if mask is not None:
        logits = logits + mask
    seen = (logits.softmax(-1) @ value).permute(0, 2, 1, 3).contiguous()
    return part.norm(part.output(seen.view(*hidden.shape)) + hidden)


def _feed_forward(part: Any, hidden: Tensor) -> Tensor:
    return part.norm(part.output(F.gelu(part.inner(hidden))) + hidden)


def recognize(model: RecognitionModel, features: Tensor) -> Tensor:
    """Logits ``[B, T]`` of the whole vocabulary."""
    labels, decoder = model.label_queries, model.recognition_decoder
    kind, batch = model.config.labels.kind, len(features)
    if kind == "learned":
        queries = labels.weight[None].expand(batch, -1, -1)
    elif kind == "embedded":
        queries = F.relu(labels.projection(labels.embeddings))[None].expand(batch, -1, -1)
    else:
        flat, count = labels.embeddings.flatten(0, 1), labels.embeddings.shape[1]
        picture = features[:, 0] / features[:, 0].norm(dim=-1, keepdim=True)
        weights = (labels.scale.exp() * picture @ flat.t()).view(batch, -1, count).softmax(2)
        mixed = features.new_empty(batch, len(labels.embeddings), flat.shape[1])
        for row in range(batch):
            product = weights[row].unsqueeze(-1) * flat.view(-1, count, flat.shape[1])
            mixed[row] = product.sum(1)
        queries = F.relu(labels.projection(mixed))
    hidden = queries
    for layer in decoder.layers:
        hidden = _feed_forward(layer.feed_forward, _attention(layer.cross_attention, hidden, features, decoder.heads))
    score = decoder.score
    if kind == "learned":
        return (score.weight[None] * hidden).sum(-1) + score.bias
    return score(hidden).squeeze(-1)


def caption_step(model: RecognitionModel, tag_ids: Tensor, features: Tensor, beams: int) -> Any:
    """The decoding step for :func:`anytag.inference.generation.generate`: self-attention is cached, nothing else is."""
    encoder, decoder = model.interaction_encoder, model.text_decoder
    features, tag_ids = features.repeat_interleave(beams, 0), tag_ids.repeat_interleave(beams, 0)
    mask = (1.0 - (tag_ids != 0)[:, None, None].float()) * -10000.0
    hidden = encoder.embedding(tag_ids)
    for layer in encoder.layers:
        hidden = _attention(layer.self_attention, hidden, hidden, encoder.heads, mask)
        hidden = _attention(layer.cross_attention, hidden, features, encoder.heads)
        hidden = _feed_forward(layer.feed_forward, hidden)
    memory, heads = hidden, decoder.heads

    def step(ids: Any, cache: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        tokens = torch.from_numpy(ids)
        before = cache["k0"].shape[2] if cache else 0
        hidden, kept = decoder.embedding(tokens, start=before), {}
        length = tokens.shape[1]
        causal = torch.arange(before + length) <= torch.arange(length)[:, None] + before
        bias = torch.where(causal, 0.0, -10000.0)[None, None]
        for number, layer in enumerate(decoder.layers):
            part = layer.self_attention
            key, value = part.keys_values(hidden, heads)
            if cache:
                key = torch.cat([torch.from_numpy(cache[f"k{number}"]), key], 2)
                value = torch.cat([torch.from_numpy(cache[f"v{number}"]), value], 2)
            kept[f"k{number}"], kept[f"v{number}"] = key.numpy(), value.numpy()
            query = part.query(hidden).view(*hidden.shape[:2], heads, -1).permute(0, 2, 1, 3)
            logits = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5 + bias
            seen = (logits.softmax(-1) @ value).permute(0, 2, 1, 3).contiguous()
            hidden = part.norm(part.output(seen.view(*hidden.shape)) + hidden)
            hidden = _attention(layer.cross_attention, hidden, memory, heads)
            hidden = _feed_forward(layer.feed_forward, hidden)
        return decoder.logits(hidden[:, -1]).numpy(), kept

    return step
