"""CLIP directories small enough for tests, as `transformers` saves them."""

from __future__ import annotations

import json

#: Start and end come last, as in the real vocabulary.
START, END = "<|startoftext|>", "<|endoftext|>"


def byte_characters():
    """The 256 characters that stand for bytes in byte-level vocabularies (Radford et al., 2019)."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [chr(256 + number) for number in range(256 - len(printable))]
    return [chr(byte) for byte in printable] + others


def tokenizer_files(folder):
    """Write ``vocab.json`` and ``merges.txt``; gives the number of pieces."""
    letters = byte_characters()
    merges = ("h e", "o w", "ow l</w>", "a n</w>", "he n</w>")
    pieces = [*letters, *(f"{letter}</w>" for letter in letters), *(m.replace(" ", "") for m in merges), START, END]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]), encoding="utf-8")
    return len(vocabulary)


def text_sizes(pieces, **changes):
    """Sizes of a text encoder, as ``config.json`` gives them."""
    return {
        "vocab_size": pieces,
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 12,
        "projection_dim": 10,
        "bos_token_id": pieces - 2,
        "eos_token_id": pieces - 1,
        **changes,
    }


def save_text_model(folder, seed=0, **changes):
    """A ``CLIPTextModelWithProjection`` of random weights; saved, and given back."""
    import torch
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection

    pieces = tokenizer_files(folder)
    torch.manual_seed(seed)
    model = CLIPTextModelWithProjection(CLIPTextConfig(**text_sizes(pieces, **changes))).eval()
    _disturb(model)
    model.save_pretrained(folder)
    return model


def save_whole_model(folder, seed=0, **changes):
    """A ``CLIPModel`` of random weights; saved, and given back."""
    import torch
    from transformers import CLIPConfig, CLIPModel

    pieces = tokenizer_files(folder)
    image = {
        "hidden_size": 8,
        "intermediate_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 8,
        "patch_size": 4,
    }
    torch.manual_seed(seed)
    model = CLIPModel(CLIPConfig(text_config=text_sizes(pieces, **changes), vision_config=image, projection_dim=10))
    _disturb(model.eval())
    model.save_pretrained(folder)
    return model


def _disturb(model):
    """Weights large enough, and biases and norms other than 0 and 1, that a mix-up shows."""
    import torch

    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
