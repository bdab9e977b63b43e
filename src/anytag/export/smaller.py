"""Which graphs keep their accuracy in 8 bits, which are stored in half precision, and how activations are measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from anytag.export.onnx import fix_activation_scales, fold_constants, quantize_dynamic, store_half
from anytag.export.tied_weights import share_tied_weights
from anytag.nn.model import RecognitionModel

Samples = Callable[[], list[dict[str, Any]]]


def make_smaller(path: Path, samples: Samples) -> str:
    """Shrink one of lite's graphs as far as its results allow.

    Args:
        path: The graph; changed in place.
        samples: Makes inputs of the recognition decoder.

    Returns:
        What its weights are now.
    """
    if path.stem == "label_encoder":  # The largest part, and the least sensitive one.
        quantize_dynamic(path)
    elif path.stem == "recognition_decoder":
        _quantize_recognition(path, samples)
    elif path.stem == "text_decoder":
        _quantize_writing(path)
    else:
        store_half(path)
        return "float16"
    return "int8"


def make_official_smaller(path: Path, samples: Samples) -> str:
    """The same for a graph of an official model, whose image encoder is a transformer and does most of the work.

    An image encoder's activations get their scales as they come: it sees one picture at a time. Texts go through the
    text encoder and the label projection together, so these stay in floating point.
    """
    if path.stem == "image_encoder":
        fold_constants(path)
        quantize_dynamic(path, operators=["MatMul", "Gemm"])
        return "int8"
    return make_smaller(path, samples)


def _quantize_recognition(path: Path, samples: Samples) -> None:
    # Thousands of queries a picture take half of the time, and 8 bits a quarter of that away. The last layer's one
    # column of weights costs nothing, and in floating point it halves the error.
    fold_constants(path)
    quantize_dynamic(path, keep=lambda name: "/score/" in name, operators=["MatMul"])
    # A tag's score must not depend on what else is asked for.
    fix_activation_scales(path, samples())


def _quantize_writing(path: Path) -> None:
    # Writing takes a quarter less time. The interaction encoder runs once a caption and would gain next to nothing.
    fold_constants(path)
    quantize_dynamic(path, operators=["MatMul", "Gemm"])
    share_tied_weights(path)
    store_half(path, smallest=100_000)  # Word embeddings; the scales of 8-bit weights stay as they are.


@torch.no_grad()
def noise_samples(model: RecognitionModel, asked: Mapping[str, torch.Tensor], count: int = 24) -> list[dict[str, Any]]:
    """Inputs of the recognition decoder: the whole vocabulary, asked of noise whose spectrum falls as photographs' do.

    Lite's activations on 60 photographs were up to 1.2 times as large as on such noise, in attention's output up to
    1.8 times.

    Args:
        model: The model.
        asked: What of the decoder's inputs does not depend on the picture.
        count: Pictures.
    """
    config = model.config.image_encoder
    side, random = config.resolution, np.random.default_rng(0)
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None])
    amplitude = 1 / np.maximum(frequency, 1 / side)
    spectra = random.normal(size=(count, 3, *amplitude.shape)) + 1j * random.normal(size=(count, 3, *amplitude.shape))
    noise = np.fft.irfft2(amplitude * spectra, s=(side, side))
    noise /= noise.std(axis=(1, 2, 3), keepdims=True)
    pixels = torch.from_numpy(np.clip(127 + 60 * noise, 0, 255).astype(np.float32))
    mean, std = (torch.tensor(values)[:, None, None] for values in (config.mean, config.std))
    features = torch.cat([model.encode((picture - mean) / std)[0] for picture in pixels.split(1)])
    arrays = {name: tensor.numpy() for name, tensor in asked.items()}
    return [{"features": picture.numpy(), **arrays} for picture in features.split(1)]
