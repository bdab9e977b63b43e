"""Compare scores and tag sets of all precisions and runtimes, with the shipped model's weights on photographs."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from _families import CALIBRATION, open_backend, photographs

from anytag.backends.base import Encoded
from anytag.backends.onnx import OnnxBackend
from anytag.datasets.webdataset import read_shard
from anytag.inference.recognizer import Recognizer
from anytag.model.directory import ModelDirectory, find_model, write_config

#: Not used for training. Thresholds were fitted on half of the pictures, and are the same for all variants.
SHARDS = ("coco20k/coco20k-000019.tar", "flickr8k/flickr8k-dev-000000.tar")


#: We have no trained transformer of these families, and lite's image encoder stays in floating point. So we also add as
#: much noise to its features as int8 adds to RAM's (mean difference relative to mean size).
NOISE = {f"float32, features off by {share:.1%}": share for share in (0.01, 0.035)}


class _Noisy:
    """A backend that adds noise to the features."""

    def __init__(self, backend: Any, share: float):
        self._backend, self._share, self._random = backend, share, np.random.default_rng(0)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def encode(self, pixels: Any) -> Encoded:
        """Features with normal noise, whose mean absolute value is 0.8 standard deviations."""
        exact = self._backend.encode(pixels)
        noise = self._random.normal(size=exact.features.shape).astype(np.float32)
        off = self._share * np.abs(exact.features).mean() / np.sqrt(2 / np.pi)
        return Encoded(exact.features + np.float32(off) * noise, exact.classes)


def make_lite(folder: Path) -> ModelDirectory:
    """Make the shipped model with PyTorch weights from its graphs, unless it exists."""
    if (folder / "config.json").exists():
        return ModelDirectory(folder)
    from safetensors.torch import save_file

    from anytag.checkpoints.exported import read_exported
    from anytag.nn.weights import WEIGHTS_FILE, write_weights
    from anytag.training.families.label_embeddings import embed_tags, find_texts

    shipped = find_model(None)
    texts, _ = find_texts(None, shipped)
    folder.mkdir(parents=True, exist_ok=True)
    embeddings = embed_tags(list(shipped.vocabulary), shipped.config.labels, texts, folder)
    assert embeddings is not None
    model = read_exported(shipped, embeddings)
    names = model.state_dict().keys()
    buffers = {name: tensor for name, tensor in model.named_buffers() if name in names}
    write_weights(
        {name: tensor.detach() for name, tensor in [*model.named_parameters(), *buffers.items()]}, folder / WEIGHTS_FILE
    )
    save_file({"text_embeddings": embeddings.contiguous()}, folder / "label_queries.safetensors")
    shipped.vocabulary.save(folder / "vocabulary.json")
    listed = ["vocabulary.json", "label_queries.safetensors", WEIGHTS_FILE]
    for name in shipped.config.files:  # Including the evidence.
        if name not in listed and not name.startswith("onnx/"):
            (folder / name).write_bytes(shipped.file(name).read_bytes())
            listed.append(name)
    write_config(folder, shipped.config.model_copy(update={"files": {}}), listed)
    return ModelDirectory(folder)


def make_lite_graphs(source: ModelDirectory, weights: str) -> ModelDirectory:
    """Make its graphs in ``float32``, ``int8`` or ``fixed-int8``."""
    from anytag.export.model import export_model

    out = source.path.with_name(f"{source.path.name}-onnx-{weights}")
    if not (out / "config.json").exists():
        export_model(source.path, out, small=weights == "int8")
        if weights == "fixed-int8":
            _fix_scales(ModelDirectory(out))
    return ModelDirectory(out)


def _fix_scales(graphs: ModelDirectory) -> None:
    """Quantize the recognition decoder like an official model's; the convolutional image encoder stays in float."""
    from anytag.export.smaller import make_official_static

    backend, pixels = OnnxBackend(graphs, 1), photographs(graphs, CALIBRATION, seed=1)
    queries = backend.vocabulary_queries().arrays
    features = backend.encode(pixels).features
    make_official_static(
        graphs.path / "onnx" / "recognition_decoder.onnx",
        pixels,
        lambda: ({"features": row[None], **queries} for row in features),
    )
    names = [path.relative_to(graphs.path).as_posix() for path in graphs.path.rglob("*.*") if path.is_file()]
    listed = [name for name in names if name != "config.json"]
    write_config(graphs.path, graphs.config.model_copy(update={"files": {}}), listed)


def agreement(folder: Path, data: Path, variants: list[str], pictures: int, threads: int) -> dict[str, Any]:
    """Compare every variant's scores and tag sets with those of PyTorch in float32.

    Args:
        folder: The folder of :func:`make_lite`.
        data: The folder with the shards.
        variants: Names in ``_families.VARIANTS``.
        pictures: Number of pictures from each shard.
        threads: Threads of the runtimes.
    """
    source = make_lite(folder)
    shown = [picture for shard in SHARDS for picture in _pictures_of(data / shard, pictures)]
    truth = _scores(source, "torch float32", shown, threads)
    limits = np.array(
        [source.config.default_threshold if t.threshold is None else t.threshold for t in source.vocabulary]
    )
    found = {}
    for variant in (*variants, *NOISE):
        scores = truth if variant == "torch float32" else _scores(source, variant, shown, threads)
        difference, a, b = np.abs(scores - truth), truth >= limits, scores >= limits
        found[variant] = {
            "pictures": len(shown),
            "largest_score_difference": float(difference.max()),
            "mean_score_difference": float(difference.mean()),
            "tags": float(b.sum(1).mean()),
            "tag_set_f1": float(2 * (a & b).sum() / (a.sum() + b.sum())),
            "equal_tag_sets": float((a == b).all(1).mean()),
        }
    return found


def _scores(source: ModelDirectory, variant: str, shown: list[bytes], threads: int) -> Any:
    """``[pictures, tags]`` in the vocabulary's order."""
    if variant in NOISE:
        backend: Any = _Noisy(open_backend(source, "torch float32", threads, make_lite_graphs), NOISE[variant])
    else:
        backend = open_backend(source, variant, threads, make_lite_graphs)
    recognizer = Recognizer(source, backend)
    scores = np.zeros((len(shown), len(source.vocabulary)))
    for row, seen in enumerate(recognizer.tag(shown, threshold=0)):
        for tag in seen.tags:  # type: ignore[union-attr]
            scores[row, tag.id] = tag.score
    return scores


def _pictures_of(shard: Path, count: int) -> list[bytes]:
    return [sample.picture_bytes() for sample in islice(read_shard(shard), count)]
