"""Tag metrics: average precision of human-labeled categories, and F1 against the tags of captions."""

from __future__ import annotations

from typing import Any

import numpy as np
from _common import table
from _scoring import ScoredShard, kind_columns
from numpy.typing import NDArray

from anytag.evaluation.ranking import RankedScores, average_precisions
from anytag.inference.label_set import LabelSet
from anytag.model.vocabulary import TagVocabulary

#: The human-labeled COCO categories in the validation shard.
CATEGORIES = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light",
    "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse",
)  # fmt: skip

#: Ways to score a category; the first is the package's.
_VARIANTS = {
    "shipped": "recognition decoder and the encoder's classifier, the category's own tag (shipped behavior)",
    "decoder_alone": "recognition decoder alone, the category's own tag",
    "max_over_implying": "as shipped, but the highest score of the tag and of all tags that imply it",
}


def category_figures(shard: ScoredShard, vocabulary: TagVocabulary) -> dict[str, Any]:
    """Mean average precision over the categories on all pictures of the shard, in three variants."""
    tags = [vocabulary.find(name) for name in CATEGORIES]
    missing = [name for name, tag in zip(CATEGORIES, tags, strict=True) if tag is None]
    ids = [tag.id for tag in tags if tag is not None]
    if missing or len(set(ids)) < len(ids):
        raise SystemExit(f"categories must be distinct tags of the vocabulary; missing: {missing}")
    truth = np.array([[name in sample.labels for name in CATEGORIES] for sample in shard.samples])
    columns = {
        "shipped": shard.scores[:, ids],
        "decoder_alone": shard.decoder_scores[:, ids],
        "max_over_implying": np.stack([shard.scores[:, implying(vocabulary, id)].max(1) for id in ids], axis=1),
    }
    found = {name: average_precisions(scores, truth) for name, scores in columns.items()}
    figures = {
        "pictures": len(shard.samples),
        "variants": _VARIANTS,
        "map": {name: float(np.nanmean(values)) for name, values in found.items()},
        "categories": {
            category: {
                "tag": vocabulary[id].name,
                "positives": int(truth[:, place].sum()),
                **{name: float(values[place]) for name, values in found.items()},
            }
            for place, (category, id) in enumerate(zip(CATEGORIES, ids, strict=True))
        },
    }
    empty = [name for name, entry in figures["categories"].items() if not entry["positives"]]
    if empty:
        figures["left_out_for_want_of_positives"] = empty
    return figures


def implying(vocabulary: TagVocabulary, id: int) -> NDArray[np.int64]:
    """The tag and all tags that imply it."""
    return np.array([tag.id for tag in vocabulary if id in vocabulary.with_implied([tag.id])], np.int64)


def found_figures(shard: ScoredShard, labels: LabelSet) -> dict[str, Any]:
    """Micro precision, recall and F1 at the shipped thresholds, on pictures not used to fit them."""
    named = shard.named[shard.judged]
    columns = {"all": np.arange(len(labels.names)), **kind_columns(labels)}
    return {
        "pictures": int(shard.judged.sum()),
        "captions_a_picture": float(np.mean([len(sample.captions) for sample in shard.samples])),
        "shipped": _by_kind(shard.scores[shard.judged] >= labels.thresholds, named, columns),
        "decoder_alone": _by_kind(shard.decoder_scores[shard.judged] >= labels.thresholds, named, columns),
    }


def _by_kind(
    found: NDArray[np.bool_], named: NDArray[np.bool_], columns: dict[str, NDArray[np.int64]]
) -> dict[str, dict[str, float]]:
    figures = {}
    for kind, places in columns.items():
        counts = RankedScores(found[:, places].astype(np.float32), named[:, places]).counts(0.5)
        figures[kind] = dict(zip(("precision", "recall", "f1"), counts.micro, strict=True)) | {
            "found_a_picture": float(found[:, places].sum(1).mean()),
            "named_a_picture": float(named[:, places].sum(1).mean()),
        }
    return figures


def print_tags(categories: dict[str, Any], found: dict[str, dict[str, Any]]) -> None:
    """Print the tables."""
    names = list(_VARIANTS)
    rows = [
        [category, entry["tag"], entry["positives"], *(entry[name] for name in names)]
        for category, entry in categories["categories"].items()
    ]
    rows.append(["mean", "", sum(row[2] for row in rows), *(categories["map"][name] for name in names)])
    title = f"Average precision, {categories['pictures']} COCO pictures (the package does what stands under 'shipped')"
    table(title, ["category", "tag", "positives", *names], rows)
    for name, figures in found.items():
        columns = ["precision", "recall", "f1", "found_a_picture", "named_a_picture"]
        rows = [[kind, *(entry[c] for c in columns)] for kind, entry in figures["shipped"].items()]
        alone = figures["decoder_alone"]["all"]
        rows.append(["all, decoder alone", *(alone[c] for c in columns)])
        title = (
            f"Tags found at shipped thresholds against tags in the captions, {name}: micro-averaged over the "
            f"{figures['pictures']} pictures that thresholds were not fitted on"
        )
        table(title, ["kind", "precision", "recall", "F1", "found/picture", "named/picture"], rows)
