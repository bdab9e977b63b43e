"""Official models for ONNX Runtime and OpenVINO: from a converted model directory to one with ONNX graphs."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Literal

import torch
from safetensors.torch import save_file

from anytag.errors import UsageError
from anytag.export.graphs import attention_spec, clip_text_spec, graph_specs
from anytag.export.onnx import check_parity, expected_outputs, export_graph, store_half
from anytag.export.sample_pictures import normalized, sample_pictures
from anytag.export.smaller import decoder_samples, make_official_smaller, make_official_static, noise_samples
from anytag.export.smoothing import smooth_activations
from anytag.foundations.report import Report
from anytag.model.directory import CURVES_FILE, TAUGHT_FILE, ModelDirectory, new_model, write_config
from anytag.nn.clip_text import ClipTextEncoder
from anytag.nn.label_queries import DescribedLabelQueries
from anytag.nn.model import RecognitionModel
from anytag.nn.recognition_decoder import PerTagScore
from anytag.nn.weights import WEIGHTS_FILE, read_model
from anytag.pictures.sources import PictureSource

#: Pictures of noise on which the recognition decoder's activations are measured, each with the whole vocabulary.
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
        source: A model directory with PyTorch weights, as ``anytag convert`` writes it.
        out: The new model directory; an exported model that is there is replaced, and a kill leaves it whole.
        weights: ``float32`` keeps them; ``float16`` halves the files and computes in float32; ``int8`` also computes
            the image encoder's, the recognition decoder's and the text decoder's matrix products in 8 bits, with a
            scale per channel. A tag's score does not depend on what else is asked for (:mod:`anytag.export.smaller`).
        report: Receives a line per graph: its size and its largest difference from PyTorch.
        graphs: Only these, if not all are needed.
        calibration: With ``int8``: photographs like those that will be tagged, of which up to
            :data:`~anytag.export.sample_pictures.SAMPLE` are looked at. Activations of the image encoder and of the
            recognition decoder then get scales that are measured on them and stay, which OpenVINO needs in order to
            multiply in 8 bits; the channels of what the image encoder multiplies are made alike first
            (:mod:`anytag.export.smoothing`).

    Raises:
        UsageError: If ``out`` is ``source``, or holds something that is not an exported model; if none of the
            photographs can be read, or they are given for weights of another kind.
        ParityError: If a graph differs from the module that it was made of.
    """
    if out.resolve() == source.resolve():
        raise UsageError(f"{out}: holds the model to be exported; give another folder with --out")
    if out.exists() and not (out / "onnx").is_dir() and (out.is_file() or any(out.iterdir())):
        raise UsageError(
            f"{out}: exists and is not an exported model, so it is not replaced; give a new folder with --out"
        )
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
        tensors = label_arrays(model)
        for spec in specs:
            if graphs is not None and spec.name not in graphs:
                continue
            path = part / "onnx" / f"{spec.name}.onnx"
            export_graph(spec, path)
            wanted = expected_outputs(spec)
            line = f"{spec.name}: parity {check_parity(spec, path, wanted=wanted):.1e}"
            if weights != "float32":
                stored = "float16"
                if pixels is not None:
                    stored = make_official_static(path, pixels, lambda: decoder_samples(model, tensors, pixels))
                elif weights == "int8":
                    stored = make_official_smaller(path, lambda: noise_samples(model, tensors, _NOISE_PICTURES))
                else:
                    store_half(path)
                line += f", as {stored} {check_parity(spec, path, tolerance=float('inf'), wanted=wanted):.1e}"
            size = sum(file.stat().st_size for file in path.parent.glob(f"{path.name}*"))
            report(f"{line}, {size / 1e6:.1f} MB")
        if weights != "float32":
            tensors = {name: tensor.half() for name, tensor in tensors.items()}
        save_file(tensors, part / "label_queries.safetensors")
        for name in (
            "vocabulary.json",
            "tokenizer.json",
            "label_tokenizer.json",
            "README.md",
            CURVES_FILE,
            TAUGHT_FILE,
        ):
            if directory.has(name):
                shutil.copy(directory.file(name), part / name)
        names = [path.relative_to(part).as_posix() for path in part.rglob("*") if path.is_file()]
        write_config(part, config, names)
    report(f"{out}: {sum(p.stat().st_size for p in out.rglob('*') if p.is_file()) / 1e6:.1f} MB in all")


@torch.no_grad()
def label_arrays(model: RecognitionModel) -> dict[str, torch.Tensor]:
    """What the recognition decoder asks for, with all that no picture changes, by the name of its input."""
    labels, decoder = model.label_queries, model.recognition_decoder
    if isinstance(labels, DescribedLabelQueries):
        return {"descriptions": labels.embeddings.contiguous()}
    queries = labels()
    arrays = {"queries": queries.contiguous(), "projected": decoder.project(queries).contiguous()}
    if isinstance(decoder.score, PerTagScore):
        arrays |= {"weights": decoder.score.weight.contiguous(), "biases": decoder.score.bias.contiguous()}
    return arrays
