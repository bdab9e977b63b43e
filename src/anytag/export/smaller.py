"""Choose which graphs are quantized to 8 bits and which are stored in half precision."""

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
    """Compress one of lite's graphs in place, as far as accuracy allows.

    Returns:
        The type of its weights.
    """
    if path.stem == "label_encoder":  # The largest and least sensitive part.
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
    """:func:`make_smaller` for an official model, whose image encoder is a transformer and takes most of the time.

    The image encoder's activations have dynamic scales, since it runs on one picture at a time. The text encoder and
    the label projection run on several texts at once, so they stay in floating point.
    """
    if path.stem == "image_encoder":
        fold_constants(path)
        quantize_dynamic(path, operators=["MatMul", "Gemm"])
        return "int8"
    return make_smaller(path, samples)


def make_official_static(path: Path, pixels: NDArray[np.uint8], samples: Samples) -> str:
    """:func:`make_smaller` with fixed scales of activations, so that OpenVINO also computes in 8 bits.

    Args:
        pixels: Pictures ``[n, R, R, 3]``, inputs of the image encoder.

    Returns:
        The type of its weights.
    """
    if path.stem == "image_encoder":
        # OpenVINO cannot quantize the projection, a thousandth of the work, because its input is a concatenation.
        quantize_static(path, ({"pixels": row[None]} for row in pixels), keep=lambda name: "/image_projection/" in name)
        return "int8, fixed scales"
    if path.stem == "recognition_decoder":
        fold_constants(path)
        quantize_static(path, samples(), keep=lambda name: "/score/" in name)
        return "int8, fixed scales"
    return make_smaller(path, samples)


def _quantize_recognition(path: Path, samples: Samples) -> None:
    # Thousands of queries per picture take half of the time; 8 bits save a quarter of it. The score layer's single
    # output costs nothing, and in floating point it halves the error.
    fold_constants(path)
    quantize_dynamic(path, keep=lambda name: "/score/" in name, operators=["MatMul"])
    # Scores of tags must not depend on each other.
    fix_activation_scales(path, samples())


def _quantize_writing(path: Path) -> None:
    # This saves a quarter of the decoding time. The interaction encoder runs only once per caption.
    fold_constants(path)
    quantize_dynamic(path, operators=["MatMul", "Gemm"])
    share_tied_weights(path)
    store_half(path, smallest=100_000)  # Word embeddings, but not the scales of 8-bit weights.


def noise_samples(model: RecognitionModel, labels: Mapping[str, torch.Tensor], count: int = 24) -> list[dict[str, Any]]:
    """Inputs of the recognition decoder: the whole vocabulary, and features of noise with a spectrum like photographs'.

    Lite's activations on 60 photographs were up to 1.2 times as large as on such noise, in attention's output up to
    1.8 times.

    Args:
        labels: Inputs of the decoder that do not depend on the picture.
    """
    side, random = model.config.image_encoder.resolution, np.random.default_rng(0)
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None])
    amplitude = 1 / np.maximum(frequency, 1 / side)
    spectra = random.normal(size=(count, 3, *amplitude.shape)) + 1j * random.normal(size=(count, 3, *amplitude.shape))
    noise = np.fft.irfft2(amplitude * spectra, s=(side, side))
    noise /= noise.std(axis=(1, 2, 3), keepdims=True)
    pixels = np.clip(127 + 60 * noise, 0, 255).transpose(0, 2, 3, 1).astype(np.float32)
    return list(decoder_samples(model, labels, pixels))


@torch.no_grad()
def decoder_samples(
    model: RecognitionModel, labels: Mapping[str, torch.Tensor], pixels: NDArray[Any]
) -> Iterator[dict[str, Any]]:
    """Inputs of the recognition decoder: the whole vocabulary, and features of pictures.

    Args:
        labels: Inputs of the decoder that do not depend on the picture.
        pixels: ``[n, R, R, 3]``, 0 to 255.
    """
    arrays = {name: tensor.numpy() for name, tensor in labels.items()}
    for picture in normalized(model.config.image_encoder, pixels):
        yield {"features": model.encode(picture)[0].numpy(), **arrays}
