"""Rivals small enough for tests, in exactly the layouts in which they are published; random weights."""

from __future__ import annotations

import json

import torch
from fixtures_clip import tokenizer_files
from PIL import Image
from torch import nn

from anytag.evaluation.baselines.ml_decoder_head import MlDecoder
from anytag.evaluation.baselines.tresnet import TResNet, TResNetConfig


def pictures(count=3, size=(50, 40)):
    """Pictures of noise, from dark to light."""
    generator = torch.Generator().manual_seed(7)
    noise = torch.rand(count, size[1], size[0], 3, generator=generator) * 100
    light = torch.linspace(0, 150, count)[:, None, None, None] * torch.tensor([1.0, 0.5, 0.8])
    return [Image.fromarray(p) for p in (noise + light).to(torch.uint8).numpy()]


def disturb(model, seed=0):
    """Random weights of a size at which nothing is constant."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
        for name, buffer in model.named_buffers():
            if name.endswith("running_var"):
                buffer.copy_(torch.rand(buffer.shape, generator=generator) + 0.5)
            elif name.endswith("running_mean"):
                buffer.copy_(torch.randn(buffer.shape, generator=generator) * 0.1)
    return model.eval()


def preprocessor(folder, side, crop=False, **changes):
    """``preprocessor_config.json`` as CLIP (crop) or BLIP (squash) has it."""
    record = {
        "do_normalize": True,
        "image_mean": [0.48145466, 0.4578275, 0.40821073],
        "image_std": [0.26862954, 0.26130258, 0.27577711],
        "resample": 3,
        "size": {"shortest_edge": side} if crop else {"height": side, "width": side},
        "do_center_crop": crop,
        **({"crop_size": {"height": side, "width": side}} if crop else {}),
        **changes,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(record), encoding="utf-8")


def word_tokenizer(folder, words, special=("[PAD]", "[UNK]", "[BOS]", "[EOS]"), wrapped=True):
    """A fast tokenizer of whole words; gives its size."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: number for number, word in enumerate((*special, *words))}
    plain = Tokenizer(models.WordLevel(vocabulary, unk_token=special[1]))
    plain.pre_tokenizer = pre_tokenizers.Whitespace()
    if wrapped:
        start, end = special[2:4]
        plain.post_processor = processors.TemplateProcessing(
            single=f"{start} $A {end}", special_tokens=[(start, vocabulary[start]), (end, vocabulary[end])]
        )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=plain,
        pad_token=special[0],
        unk_token=special[1],
        bos_token=special[2],
        eos_token=special[3],
        cls_token=special[2],
        sep_token=special[3],
    )
    fast.save_pretrained(folder)
    return len(vocabulary)


class OpenAiBlock(nn.Module):
    """A layer of OpenAI's CLIP by the names of its weights, written with PyTorch's own attention."""

    def __init__(self, width, heads, quick):
        super().__init__()
        self.attn = nn.MultiheadAttention(width, heads)
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mlp = nn.ModuleDict({"c_fc": nn.Linear(width, 4 * width), "c_proj": nn.Linear(4 * width, width)})
        self.quick = quick

    def forward(self, x, mask=None):
        y = self.ln_1(x)
        x = x + self.attn(y, y, y, need_weights=False, attn_mask=mask)[0]
        y = self.mlp["c_fc"](self.ln_2(x))
        y = y * torch.sigmoid(1.702 * y) if self.quick else nn.functional.gelu(y)
        return x + self.mlp["c_proj"](y)


def _layers(width, heads, quick):
    return nn.ModuleDict({"resblocks": nn.ModuleList(OpenAiBlock(width, heads, quick) for _ in range(2))})


class OpenAiPictures(nn.Module):
    """The picture's tower in OpenAI's layout."""

    def __init__(self, width=64, embedding=24, side=16, patch=4, quick=True, projection="proj"):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, patch, patch, bias=False)
        self.class_embedding = nn.Parameter(torch.randn(width))
        self.positional_embedding = nn.Parameter(torch.randn((side // patch) ** 2 + 1, width))
        self.ln_pre, self.ln_post = nn.LayerNorm(width), nn.LayerNorm(width)
        self.transformer = _layers(width, 1, quick)
        setattr(self, projection, nn.Parameter(torch.randn(width, embedding)))
        self.projected = projection

    def forward(self, pixels):
        """All tokens, projected: ``[B, 1 + N, embedding]``."""
        x = self.conv1(pixels).flatten(2).transpose(1, 2)
        x = torch.cat([self.class_embedding.expand(len(x), 1, -1), x], 1) + self.positional_embedding
        x = self.ln_pre(x).transpose(0, 1)
        for block in self.transformer["resblocks"]:
            x = block(x)
        return self.ln_post(x.transpose(0, 1)) @ getattr(self, self.projected)


class OpenAiTexts(nn.Module):
    """The text's tower in OpenAI's layout; the text is read off at its highest id."""

    def __init__(self, pieces, width=64, embedding=24, length=16, quick=True):
        super().__init__()
        self.token_embedding = nn.Embedding(pieces, width)
        self.positional_embedding = nn.Parameter(torch.randn(length, width))
        self.transformer = _layers(width, 1, quick)
        self.ln_final = nn.LayerNorm(width)
        self.text_projection = nn.Parameter(torch.randn(width, embedding))

    def forward(self, ids):
        """``[T, embedding]``."""
        x = (self.token_embedding(ids) + self.positional_embedding[: ids.shape[1]]).transpose(0, 1)
        mask = torch.full((len(x), len(x)), float("-inf")).triu(1)
        for block in self.transformer["resblocks"]:
            x = block(x, mask)
        x = self.ln_final(x.transpose(0, 1))
        return x[torch.arange(len(x)), ids.argmax(-1)] @ self.text_projection


class Diht(OpenAiTexts):
    """DiHT: both towers, the picture's below ``visual``, exact GELU."""

    def __init__(self, pieces):
        super().__init__(pieces, quick=False)
        self.visual = OpenAiPictures(quick=False)
        self.logit_scale = nn.Parameter(torch.tensor(2.0))


def save_diht(folder):
    """``tiny.ckpt`` and CLIP's tokenizer; gives the model."""
    model = disturb(Diht(tokenizer_files(folder)))
    torch.save(model.state_dict(), folder / "tiny.ckpt")
    return model


def save_mkt(folder):
    """Both checkpoints of MKT and CLIP's tokenizer; gives both models."""
    pieces = tokenizer_files(folder)
    picture = OpenAiPictures(side=28, patch=4, projection="projection_dist")
    picture.projection = nn.ModuleDict({"fc1": nn.Linear(64, 24), "fc2": nn.Linear(24, 24)})
    text = OpenAiTexts(pieces)
    disturb(picture), disturb(text, 1)
    torch.save(picture.state_dict(), folder / "first.pth")
    # The second stage was trained in parallel, which leaves a prefix.
    torch.save({f"module.{name}": t for name, t in text.state_dict().items()}, folder / "second.pth")
    return picture, text


#: What the small ML-Decoder knows.
ML_DECODER_CLASSES = ("Dog", "Cat", "Traffic_light", "Hat", "Tree")


class SmallMlDecoder(TResNet):
    """As the official code builds it."""

    def __init__(self, bottlenecks=False):
        super().__init__(TResNetConfig((1, 2, 2, 1), 8, bottlenecks))
        self.head = MlDecoder(5, self.features, groups=2, width=16, inner=24)


def save_ml_decoder(folder, bottlenecks=False, **more):
    """``tiny.pth``; gives the model."""
    model = disturb(SmallMlDecoder(bottlenecks))
    # Random blocks make all pictures alike; so that they differ, what is learned of them weighs more.
    with torch.no_grad():
        model.head.decoder.layers[0].multihead_attn.out_proj.weight *= 30
        model.head.decoder.duplicate_pooling *= 3
    record = {"model": model.state_dict(), "idx_to_class": dict(enumerate(ML_DECODER_CLASSES)), **more}
    torch.save(record, folder / "tiny.pth")
    return model
