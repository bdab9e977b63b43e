"""Do reduced precisions change what is seen? The shipped model's weights, photographs, every way to run a model."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from _families import open_backend

from anytag.datasets.webdataset import read_shard
from anytag.inference.recognizer import Recognizer
from anytag.model.directory import ModelDirectory, find_model, write_config

#: Neither trained on; half of their pictures had a say in the thresholds, which are the same for all variants.
SHARDS = ("coco20k/coco20k-000019.tar", "flickr8k/flickr8k-dev-000000.tar")


def make_lite(folder: Path) -> ModelDirectory:
    """The shipped model with PyTorch weights, read back from its graphs, unless it is there already."""
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
    for name in ("tokenizer.json", "README.md"):
        (folder / name).write_bytes((shipped.path / name).read_bytes())
    listed = ["vocabulary.json", "label_queries.safetensors", "tokenizer.json", "README.md", WEIGHTS_FILE]
    write_config(folder, shipped.config.model_copy(update={"files": {}}), listed)
    return ModelDirectory(folder)


def make_lite_graphs(source: ModelDirectory, weights: str) -> ModelDirectory:
    """Its graphs, in ``float32`` or ``int8``, beside it."""
    from anytag.export.model import export_model

    out = source.path.with_name(f"{source.path.name}-onnx-{weights}")
    if not (out / "config.json").exists():
        export_model(source.path, out, small=weights == "int8")
    return ModelDirectory(out)


def agreement(folder: Path, data: Path, variants: list[str], pictures: int, threads: int) -> dict[str, Any]:
    """How far every variant's scores and tag sets are from those of PyTorch in float32.

    Args:
        folder: Of :func:`make_lite`.
        data: The folder with the shards.
        variants: Of ``_families.VARIANTS``.
        pictures: Of each shard.
        threads: Of the runtimes.
    """
    source = make_lite(folder)
    photographs = [picture for shard in SHARDS for picture in _photographs(data / shard, pictures)]
    truth = _scores(source, "torch float32", photographs, threads)
    limits = np.array(
        [source.config.default_threshold if t.threshold is None else t.threshold for t in source.vocabulary]
    )
    found = {}
    for variant in variants:
        scores = truth if variant == "torch float32" else _scores(source, variant, photographs, threads)
        difference, a, b = np.abs(scores - truth), truth >= limits, scores >= limits
        found[variant] = {
            "pictures": len(photographs),
            "largest_score_difference": float(difference.max()),
            "mean_score_difference": float(difference.mean()),
            "tags": float(b.sum(1).mean()),
            "tag_set_f1": float(2 * (a & b).sum() / (a.sum() + b.sum())),
            "equal_tag_sets": float((a == b).all(1).mean()),
        }
    return found


def _scores(source: ModelDirectory, variant: str, photographs: list[bytes], threads: int) -> Any:
    """``[pictures, tags]`` in the vocabulary's order."""
    recognizer = Recognizer(source, open_backend(source, variant, threads, make_lite_graphs))
    scores = np.zeros((len(photographs), len(source.vocabulary)))
    for row, seen in enumerate(recognizer.tag(photographs, threshold=0)):
        for tag in seen.tags:  # type: ignore[union-attr]
            scores[row, tag.id] = tag.score
    return scores


def _photographs(shard: Path, count: int) -> list[bytes]:
    return [sample.picture_bytes() for sample in islice(read_shard(shard), count)]
