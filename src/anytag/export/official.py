"""Export a model with PyTorch weights to ONNX graphs, for ONNX Runtime and OpenVINO."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Literal

import torch
from safetensors.torch import save_file

from anytag.errors import UsageError
from anytag.export.graphs import attention_spec, clip_text_spec, graph_specs
from anytag.export.model import all_files, refuse_to_overwrite
from anytag.export.onnx import check_parity, expected_outputs, export_graph, store_half
from anytag.export.sample_pictures import normalized, sample_pictures
from anytag.export.smaller import decoder_samples, make_official_smaller, make_official_static, noise_samples
from anytag.export.smoothing import smooth_activations
from anytag.foundations.report import Report
from anytag.model.directory import CURVES_FILE, TAUGHT_FILE, ModelDirectory, new_model, write_config
from anytag.nn.clip_text import ClipTextEncoder
from anytag.nn.weights import WEIGHTS_FILE, read_model
from anytag.pictures.sources import PictureSource

#: Pictures of noise for measuring the recognition decoder's activations, with the whole vocabulary each.
_NOISE_PICTURES = 4

Weights = Literal["float32", "float16", "int8"]


def export_official(
    source: Path,
    out: Path,
    weights: Weights = "float32",
    report: Report = print,
    graphs: Collection[str] | None = None,
    calibration: Iterable[PictureSource] | None = None,
) -> None:
    """Write a model directory for ONNX Runtime.

    Args:
        source: A model directory with PyTorch weights, as from ``anytag convert``.
        out: The new model directory; an exported model there is replaced, and survives if the process is killed.
        weights: ``float32``; ``float16``, which halves the files and computes in float32; or ``int8``, which also
            computes the matrix products of image encoder, recognition decoder and text decoder in 8 bits, with a scale
            per channel. Scores of tags stay independent of each other (:mod:`anytag.export.smaller`).
        report: Receives a line per graph: its size and its largest difference from PyTorch.
        graphs: Only these; ``None``: all.
        calibration: With ``int8``: photographs like those to be tagged, of which up to
            :data:`~anytag.export.sample_pictures.SAMPLE` are used. They determine fixed scales for the activations of
            image encoder and recognition decoder, which OpenVINO needs for 8-bit products. Activations of the image
            encoder are smoothed first (:mod:`anytag.export.smoothing`).

    Raises:
        UsageError: If ``out`` is ``source``, or contains something other than an exported model; if none of the
            photographs can be read, or they are given without ``int8``.
        ParityError: If a graph differs from its module.
    """
    refuse_to_overwrite(source, out)
    if calibration is not None and weights != "int8":
        raise UsageError(f"photographs for calibration are for int8, not for {weights}")
    directory = ModelDirectory(source)
    config = directory.config
    pixels = None if calibration is None else sample_pictures(config.image_encoder, calibration, report)
    vocabulary = directory.vocabulary
    model = read_model(config, len(vocabulary), directory.file(WEIGHTS_FILE))
    if pixels is not None:
        smooth_activations(model.image_encoder, normalized(config.image_encoder, pixels))
    with new_model(out) as part:
        (part / "onnx").mkdir()
        specs, clip = [*graph_specs(model, None), attention_spec(model)], config.labels.clip_text
        if clip is not None:
            specs.append(clip_text_spec(ClipTextEncoder.load(source, clip).model))
        with torch.no_grad():
            tensors = {name: tensor.contiguous() for name, tensor in model.label_inputs().items()}
        for spec in specs:
            if graphs is not None and spec.name not in graphs:
                continue
            path = part / "onnx" / f"{spec.name}.onnx"
            export_graph(spec, path)
            expected = expected_outputs(spec)
            line = f"{spec.name}: parity {check_parity(spec, path, expected=expected):.1e}"
            if weights != "float32":
                stored = "float16"
                if pixels is not None:
                    stored = make_official_static(path, pixels, lambda: decoder_samples(model, tensors, pixels))
                elif weights == "int8":
                    stored = make_official_smaller(path, lambda: noise_samples(model, tensors, _NOISE_PICTURES))
                else:
                    store_half(path)
                line += f", as {stored} {check_parity(spec, path, tolerance=float('inf'), expected=expected):.1e}"
            size = sum(file.stat().st_size for file in path.parent.glob(f"{path.name}*"))
            report(f"{line}, {size / 1e6:.1f} MB")
        if weights != "float32":
            tensors = {name: tensor.half() for name, tensor in tensors.items()}
        save_file(tensors, part / "label_queries.safetensors")
        kept = ("vocabulary.json", "tokenizer.json", "label_tokenizer.json", "README.md", CURVES_FILE, TAUGHT_FILE)
        directory.copy([name for name in kept if directory.has(name)], part)
        write_config(part, config, all_files(part))
    report(f"{out}: {sum((out / name).stat().st_size for name in all_files(out)) / 1e6:.1f} MB in all")
