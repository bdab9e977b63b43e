"""Which graphs keep their accuracy in 8 bits, which are stored in half precision, and how activations are measured."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from anytag.export.onnx import fix_activation_scales, fold_constants, quantize_dynamic, quantize_static, store_half
from anytag.export.sample_pictures import normalized
from anytag.export.tied_weights import share_tied_weights
from anytag.nn.model import RecognitionModel

Samples = Callable[[], Iterable[dict[str, Any]]]


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


def make_official_static(path: Path, pixels: NDArray[np.uint8], samples: Samples) -> str:
    """The same with scales of activations that are measured once and stay: also OpenVINO multiplies those in 8 bits.

    Args:
        path: The graph; changed in place.
        pixels: Pictures ``[n, R, R, 3]``, inputs of the image encoder.
        samples: Makes inputs of the recognition decoder.

    Returns:
        What its weights are now.
    """
    if path.stem == "image_encoder":
        # OpenVINO cannot take the projection, whose input is put together from two parts: a thousandth of the work.
        quantize_static(path, ({"pixels": row[None]} for row in pixels), keep=lambda name: "/image_projection/" in name)
        return "int8, fixed scales"
    if path.stem == "recognition_decoder":
        fold_constants(path)
        quantize_static(path, samples(), keep=lambda name: "/score/" in name)
        return "int8, fixed scales"
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


def noise_samples(model: RecognitionModel, asked: Mapping[str, torch.Tensor], count: int = 24) -> list[dict[str, Any]]:
    """Inputs of the recognition decoder: the whole vocabulary, asked of noise whose spectrum falls as photographs' do.

    Lite's activations on 60 photographs were up to 1.2 times as large as on such noise, in attention's output up to
    1.8 times.

    Args:
        model: The model.
        asked: What of the decoder's inputs does not depend on the picture.
        count: Pictures.
    """
    side, random = model.config.image_encoder.resolution, np.random.default_rng(0)
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None])
    amplitude = 1 / np.maximum(frequency, 1 / side)
    spectra = random.normal(size=(count, 3, *amplitude.shape)) + 1j * random.normal(size=(count, 3, *amplitude.shape))
    noise = np.fft.irfft2(amplitude * spectra, s=(side, side))
    noise /= noise.std(axis=(1, 2, 3), keepdims=True)
    pixels = np.clip(127 + 60 * noise, 0, 255).transpose(0, 2, 3, 1).astype(np.float32)
    return list(decoder_samples(model, asked, pixels))


@torch.no_grad()
def decoder_samples(
    model: RecognitionModel, asked: Mapping[str, torch.Tensor], pixels: NDArray[Any]
) -> Iterator[dict[str, Any]]:
    """Inputs of the recognition decoder: the whole vocabulary, asked of pictures ``[n, R, R, 3]``.

    Args:
        model: The model.
        asked: What of the decoder's inputs does not depend on the picture.
        pixels: The pictures, 0 to 255.
    """
    arrays = {name: tensor.numpy() for name, tensor in asked.items()}
    for picture in normalized(model.config.image_encoder, pixels):
        yield {"features": model.encode(picture)[0].numpy(), **arrays}
