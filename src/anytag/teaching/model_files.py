"""Write the model directory of a model that was taught tags."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from anytag.errors import ModelError
from anytag.foundations.log_odds import EDGE, log_odds
from anytag.inference.evidence import EVIDENCE_FILE, PREDICTORS
from anytag.inference.open_evidence import shared_weights
from anytag.inference.recognizer import Recognizer
from anytag.inference.taught_tags import TaughtTags
from anytag.model.directory import TAUGHT_FILE, ModelDirectory, write_config
from anytag.model.vocabulary import TagVocabulary, VocabularyTag
from anytag.teaching.classifier import TagClassifier
from anytag.teaching.negatives import Negatives

#: Files with arrays that have one row for each tag, and the names of these arrays; any of them may be missing.
_ROWS = {
    "label_queries.safetensors": ("queries", "projected", "weights", "biases", "descriptions", "text_embeddings"),
    "model.safetensors": (
        *("label_queries.weight", "label_queries.embeddings", "label_queries.offsets.weight"),
        *("recognition_decoder.score.weight", "recognition_decoder.score.bias"),
    ),
}


def make_taught_tags(
    classifiers: Mapping[int, TagClassifier], negatives: Negatives, directory: ModelDirectory
) -> TaughtTags:
    """Turn classifiers of coordinates into linear layers over inputs, on the model's scale of logits.

    A classifier's zero becomes the logit of the tag's threshold. Tags that the model was taught before are kept.

    Args:
        classifiers: By tag id; ids beyond the model's vocabulary are new.
        negatives: Define the coordinates.
        directory: The model.
    """
    config, vocabulary, before = directory.config, directory.vocabulary, TaughtTags.load(directory)
    own = (
        set() if before is None else {int(id) for id, known in zip(before.ids, before.known, strict=True) if not known}
    )
    ids = sorted(classifiers)
    weights, biases = [], []
    for id in ids:
        tag = vocabulary[id] if id < len(vocabulary) else None
        threshold = config.default_threshold if tag is None or tag.threshold is None else tag.threshold
        edge = (0.0 if tag is None else tag.shift) + float(log_odds(threshold, EDGE)) / config.score_slope
        weights.append(negatives.projection @ classifiers[id].weights / config.score_slope)
        biases.append(edge + classifiers[id].bias / config.score_slope - negatives.center @ weights[-1])
    known = [id < len(vocabulary) and id not in own for id in ids]
    if before is not None:
        stay = [row for row, id in enumerate(before.ids.tolist()) if id not in classifiers]
        ids += before.ids[stay].tolist()
        weights, biases = [*weights, *before.weights[stay]], [*biases, *before.biases[stay]]
        known += before.known[stay].tolist()
    return TaughtTags(
        np.array(ids, np.int64), np.stack(weights).astype(np.float32), np.array(biases, np.float32), np.array(known)
    )


def with_new_tags(
    vocabulary: TagVocabulary,
    tags: Iterable[VocabularyTag],
    classifiers: Mapping[int, TagClassifier] | None = None,
    negatives: int = 0,
) -> TagVocabulary:
    """Append new tags to a vocabulary.

    Args:
        vocabulary: The model's.
        tags: Known and new tags.
        classifiers: By tag id, to note in the vocabulary where each threshold comes from.
        negatives: How many the tags were separated from.
    """
    new = {tag.id: tag for tag in tags if tag.id >= len(vocabulary)}
    for id, classifier in (classifiers or {}).items():
        if id in new:
            note = f"own pictures, {classifier.pictures:,} of it and {negatives:,} negatives"
            new[id] = replace(new[id], support=classifier.pictures, threshold_from=note)
    return TagVocabulary([*vocabulary, *(new[id] for id in sorted(new))])


def write_taught(
    folder: Path, recognizer: Recognizer, name: str, vocabulary: TagVocabulary, taught: TaughtTags, notes: Sequence[str]
) -> None:
    """Write the files of the model directory.

    Args:
        folder: An empty folder from :func:`~anytag.model.directory.new_model`.
        recognizer: The model that was taught.
        name: The new model's name.
        vocabulary: The new model's tags.
        taught: The taught tags.
        notes: One line on each taught tag, for the model card.
    """
    directory = recognizer.directory
    new = [tag for tag in vocabulary if tag.id >= len(directory.vocabulary)]
    directory.copy((name for name in directory.config.files if name != TAUGHT_FILE), folder)
    vocabulary.save(folder / "vocabulary.json")
    taught.save(str(folder))
    if new:
        for file, arrays in _ROWS.items():
            if directory.has(file):
                _grow(folder / file, arrays, len(directory.vocabulary), _text_queries(recognizer, new), len(new))
        if directory.config.evidence is not None:
            _grow_evidence(folder / EVIDENCE_FILE, directory, len(new))
    card = folder / "README.md"
    text = card.read_text(encoding="utf-8").rstrip() + "\n" if card.exists() else f"# {name}\n"
    lines = "".join(f"\n- {note}" for note in notes)
    card.write_text(
        f"{text}\n## Taught tags\nAdded by `anytag teach`; all other tags score as before.\n{lines}\n", encoding="utf-8"
    )
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    write_config(folder, directory.config.model_copy(update={"name": name, "files": {}}), files)


def _text_queries(recognizer: Recognizer, tags: Sequence[VocabularyTag]) -> dict[str, NDArray[Any]]:
    """The recognition decoder's query arrays of new tags; empty if the model reads no texts."""
    try:
        queries = recognizer.labels.texts.categories([tag.name for tag in tags])
    except ModelError:  # Taught tags have their own linear layers, so the decoder's queries do not matter.
        return {}
    return dict(getattr(queries, "arrays", {}))


def _grow(path: Path, names: Sequence[str], count: int, queries: Mapping[str, NDArray[Any]], more: int) -> None:
    """Append rows for new tags to arrays with a row for each tag: their queries, or else the mean of all rows."""
    arrays = load_file(path)
    for name in names:
        if name not in arrays or len(arrays[name]) != count:
            continue
        mean = arrays[name].astype(np.float32).mean(0, keepdims=True)
        rows = queries.get(name, np.repeat(mean, more, axis=0))
        arrays[name] = np.concatenate([arrays[name], rows.astype(arrays[name].dtype)])
    save_file(arrays, path)


def _grow_evidence(path: Path, directory: ModelDirectory, more: int) -> None:
    """Append rows for new tags to the evidence: the weights that texts outside the vocabulary share."""
    arrays = load_file(path)
    shared, bias = shared_weights(arrays)
    weights = np.zeros((more, len(PREDICTORS)), np.float32)
    weights[:, 0] = shared[0]
    rows = {
        "weights": weights,
        "biases": np.full(more, bias),
        "alone": np.column_stack([np.zeros(more), [bias] * more]),
        "decoder_range": np.zeros((more, 2)),  # Their linear layers replace the result.
    }
    for name, array in arrays.items():
        if len(array) == len(directory.vocabulary):
            added = rows.get(name, np.zeros((more, *array.shape[1:])))
            arrays[name] = np.concatenate([array, added.astype(array.dtype)])
    save_file(arrays, path)
