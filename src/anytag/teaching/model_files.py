"""The model directory of a model that was taught tags: that of before, with a place for them."""

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
from anytag.teaching.discriminant import Discriminant
from anytag.teaching.negatives import Negatives

#: Files whose arrays have a row a tag, and these arrays; those that a file lacks do not matter.
_ROWS = {
    "label_queries.safetensors": ("queries", "projected", "weights", "biases", "descriptions", "text_embeddings"),
    "model.safetensors": (
        *("label_queries.weight", "label_queries.embeddings", "label_queries.offsets.weight"),
        *("recognition_decoder.score.weight", "recognition_decoder.score.bias"),
    ),
}


def taught_tags(lines: Mapping[int, Discriminant], negatives: Negatives, directory: ModelDirectory) -> TaughtTags:
    """Lines over coordinates as linear layers over inputs, on the model's scale of logits.

    A line's zero becomes the logit at which the tag's threshold is reached. What the model was taught before stays.

    Args:
        lines: By the tag's id; those behind the model's vocabulary are new.
        negatives: Whose coordinates the lines are in.
        directory: The model.
    """
    config, vocabulary, before = directory.config, directory.vocabulary, TaughtTags.load(directory)
    own = (
        set() if before is None else {int(id) for id, known in zip(before.ids, before.known, strict=True) if not known}
    )
    ids = sorted(lines)
    weights, biases = [], []
    for id in ids:
        tag = vocabulary[id] if id < len(vocabulary) else None
        threshold = config.default_threshold if tag is None or tag.threshold is None else tag.threshold
        edge = (0.0 if tag is None else tag.shift) + float(log_odds(threshold, EDGE)) / config.score_slope
        weights.append(negatives.projection @ lines[id].weights / config.score_slope)
        biases.append(edge + lines[id].bias / config.score_slope - negatives.center @ weights[-1])
    known = [id < len(vocabulary) and id not in own for id in ids]
    if before is not None:
        stay = [row for row, id in enumerate(before.ids.tolist()) if id not in lines]
        ids += before.ids[stay].tolist()
        weights, biases = [*weights, *before.weights[stay]], [*biases, *before.biases[stay]]
        known += before.known[stay].tolist()
    return TaughtTags(
        np.array(ids, np.int64), np.stack(weights).astype(np.float32), np.array(biases, np.float32), np.array(known)
    )


def with_taught(
    vocabulary: TagVocabulary,
    tags: Iterable[VocabularyTag],
    lines: Mapping[int, Discriminant] | None = None,
    negatives: int = 0,
) -> TagVocabulary:
    """A vocabulary with new tags behind those that were there, which stay as they are.

    Args:
        vocabulary: That of before.
        tags: Known ones and new ones.
        lines: What was learned of them, if it is to be noted.
        negatives: Pictures that they were separated from.
    """
    new = {tag.id: tag for tag in tags if tag.id >= len(vocabulary)}
    for id, line in (lines or {}).items():
        if id in new:
            note = f"own pictures, {line.pictures:,} of it and {negatives:,} negatives"
            new[id] = replace(new[id], support=line.pictures, threshold_from=note)
    return TagVocabulary([*vocabulary, *(new[id] for id in sorted(new))])


def write_taught(
    folder: Path, recognizer: Recognizer, name: str, vocabulary: TagVocabulary, taught: TaughtTags, notes: Sequence[str]
) -> None:
    """Write the files of the model directory.

    Args:
        folder: An empty one, of :func:`~anytag.model.directory.new_model`.
        recognizer: The model that was taught.
        name: Of the new one.
        vocabulary: Its tags.
        taught: Those that were taught.
        notes: What came of them, for the model card.
    """
    directory = recognizer.directory
    new = [tag for tag in vocabulary if tag.id >= len(directory.vocabulary)]
    directory.copy((name for name in directory.config.files if name != TAUGHT_FILE), folder)
    vocabulary.save(folder / "vocabulary.json")
    taught.save(str(folder))
    if new:
        for file, arrays in _ROWS.items():
            if directory.has(file):
                _grow(folder / file, arrays, len(directory.vocabulary), _fresh(recognizer, new), len(new))
        if directory.config.evidence is not None:
            _grow_evidence(folder / EVIDENCE_FILE, directory, len(new))
    card = folder / "README.md"
    text = card.read_text(encoding="utf-8").rstrip() + "\n" if card.exists() else f"# {name}\n"
    lines = "".join(f"\n- {note}" for note in notes)
    card.write_text(
        f"{text}\n## Taught afterwards\n`anytag teach`; everything else is as before.\n{lines}\n", encoding="utf-8"
    )
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    write_config(folder, directory.config.model_copy(update={"name": name, "files": {}}), files)


def _fresh(recognizer: Recognizer, tags: Sequence[VocabularyTag]) -> dict[str, NDArray[Any]]:
    """Arrays that the recognition decoder asks for tags with, as far as the model reads texts."""
    try:
        queries = recognizer.labels.texts.categories([tag.name for tag in tags])
    except ModelError:  # It knows no texts, and has no need to: taught tags are not read off the decoder.
        return {}
    return dict(getattr(queries, "arrays", {}))


def _grow(path: Path, names: Sequence[str], count: int, fresh: Mapping[str, NDArray[Any]], more: int) -> None:
    """Give arrays with a row a tag rows for new tags: those at hand, else the mean of the others."""
    arrays = load_file(path)
    for name in names:
        if name not in arrays or len(arrays[name]) != count:
            continue
        mean = arrays[name].astype(np.float32).mean(0, keepdims=True)
        rows = fresh.get(name, np.repeat(mean, more, axis=0))
        arrays[name] = np.concatenate([arrays[name], rows.astype(arrays[name].dtype)])
    save_file(arrays, path)


def _grow_evidence(path: Path, directory: ModelDirectory, more: int) -> None:
    """Rows of the evidence for new tags: as far as they are asked of it, they are like texts outside the vocabulary."""
    arrays = load_file(path)
    shared, bias = shared_weights(arrays)
    weights = np.zeros((more, len(PREDICTORS)), np.float32)
    weights[:, 0] = shared[0]
    rows = {
        "weights": weights,
        "biases": np.full(more, bias),
        "alone": np.column_stack([np.zeros(more), [bias] * more]),
        "decoder_range": np.zeros((more, 2)),  # What they are taught takes the place of all this.
    }
    for name, array in arrays.items():
        if len(array) == len(directory.vocabulary):
            added = rows.get(name, np.zeros((more, *array.shape[1:])))
            arrays[name] = np.concatenate([array, added.astype(array.dtype)])
    save_file(arrays, path)
