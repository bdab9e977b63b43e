"""Export a trained model to a model directory for ONNX Runtime."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, load_model, save_file

from anytag.errors import ModelError, UsageError
from anytag.export.graphs import attention_spec, graph_specs
from anytag.export.onnx import check_parity, export_graph
from anytag.export.smaller import make_smaller, noise_samples
from anytag.foundations.report import Report
from anytag.model.directory import CURVES_FILE, TAUGHT_FILE, ModelDirectory, new_model, write_config
from anytag.model.vocabulary import TagVocabulary
from anytag.nn.model import RecognitionModel
from anytag.nn.text_encoder import load_sentence_encoder, sentence_encoder_folder


def load_trained(folder: Path) -> tuple[RecognitionModel, TagVocabulary, torch.Tensor]:
    """Load model, vocabulary and label text embeddings from the ``model/`` folder of a training run.

    Raises:
        ModelError: If the folder is not a training run's model.
    """
    if not (folder / "model.safetensors").exists():
        raise ModelError(f"{folder}: no model.safetensors; give the model folder of a training run")
    directory = ModelDirectory(folder)
    vocabulary = directory.vocabulary
    model = RecognitionModel(directory.config, len(vocabulary))
    load_model(model, str(directory.file("model.safetensors")))
    embeddings = load_file(directory.file("label_queries.safetensors"))["text_embeddings"]
    return model.eval(), vocabulary, embeddings


def export_model(source: Path, out: Path, report: Report = print, small: bool = True) -> None:
    """Write a model directory for ONNX Runtime.

    Args:
        out: The model directory; an exported model there is replaced, and survives if the process is killed.
        report: Receives a line per graph: its size, and its largest difference from PyTorch before and after
            compression.
        small: Quantize label text encoder, recognition decoder and text decoder to 8 bits, and store other weights as
            float16 (computing in float32).

    Raises:
        UsageError: If ``out`` is the training run's folder, or contains something other than an exported model.
        ParityError: If a graph differs from its module.
        MissingExtraError: If the sentence encoder's package is not installed.
    """
    refuse_to_overwrite(source, out)
    model, vocabulary, embeddings = load_trained(source)
    with new_model(out) as part:
        (part / "onnx").mkdir()
        folder = sentence_encoder_folder()
        with torch.no_grad():
            labels = model.label_inputs(embeddings)
        for spec in [*graph_specs(model, load_sentence_encoder(folder)), attention_spec(model)]:
            path = part / "onnx" / f"{spec.name}.onnx"
            export_graph(spec, path)
            difference = check_parity(spec, path)
            stored = make_smaller(path, lambda: noise_samples(model, labels)) if small else "float32"
            kept = check_parity(spec, path, tolerance=1.0)
            report(f"{spec.name}: parity {difference:.1e}, as {stored} {kept:.1e}, {path.stat().st_size / 1e6:.1f} MB")
        halves = {name: tensor.half().contiguous() for name, tensor in labels.items()}
        save_file(halves, part / "label_queries.safetensors")
        vocabulary.save(part / "vocabulary.json")
        for name in ("tokenizer.json", "README.md", CURVES_FILE, TAUGHT_FILE):
            if (source / name).exists():
                shutil.copy(source / name, part / name)
        _label_tokenizer(folder, part / "label_tokenizer.json")
        write_config(part, model.config, all_files(part))
    report(f"{out}: {sum((out / name).stat().st_size for name in all_files(out)) / 1e6:.1f} MB in all")


def all_files(folder: Path) -> list[str]:
    """Names of all files of a model directory."""
    return [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]


def refuse_to_overwrite(source: Path, out: Path) -> None:
    """Refuse to export a model over itself, or over anything that is not an exported model.

    Raises:
        UsageError: If so.
    """
    if out.resolve() == source.resolve() or out.resolve() in source.resolve().parents:
        raise UsageError(f"{out}: holds the model to be exported; give another folder with --out")
    if out.is_file() or (out.is_dir() and any(out.iterdir()) and not (out / "onnx").is_dir()):
        raise UsageError(
            f"{out}: exists and is not an exported model, so it is not replaced; give a new folder with --out"
        )


def _label_tokenizer(folder: Path, out: Path) -> None:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(64)
    tokenizer.save(str(out), pretty=False)
