"""Caption metrics: against human captions, guided and unguided, and how often a requested tag is mentioned."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from _common import table
from _scoring import ScoredShard

from anytag.backends.base import Encoded
from anytag.evaluation.captioning import score_captions
from anytag.inference.recognizer import Recognizer
from anytag.language.parsing.parser import CaptionParser
from anytag.language.tags.vocabulary_builder import TagMapper
from anytag.model.vocabulary import VocabularyTag
from anytag.recognition import TAG_KINDS

Tags = Sequence[VocabularyTag]


class Writer:
    """Write captions from precomputed features, as :meth:`Recognizer.caption` would."""

    def __init__(self, recognizer: Recognizer):
        self.recognizer = recognizer
        self.labels = recognizer.labels.all()
        self.options = recognizer.captioner.options()
        self._ask = recognizer.questions.caption()

    def write(self, shard: ScoredShard, row: int, tags: Tags, given: bool = True, agree: bool = True) -> str:
        """Caption one picture, guided by ``tags``; unless ``agree``, scores do not weight its words."""
        features, captioner = shard.features[row : row + 1], self.recognizer.captioner
        limits = self.labels.thresholds
        margins = captioner.margins(shard.scores[row : row + 1], self.labels, limits)[0] if agree else None
        return captioner.caption(features, tags, given, self.options, margins).text

    def guided(self, shard: ScoredShard, row: int) -> str:
        """Caption with the default settings: guided by predicted tags if the picture is familiar."""
        rows = slice(row, row + 1)
        [answer] = self._ask(Encoded(shard.features[rows], shard.classes[rows]), [shard.samples[row].source])
        return answer.caption or ""


def caption_figures(writer: Writer, shard: ScoredShard, free: Sequence[str], parser: CaptionParser) -> dict[str, Any]:
    """Score captions against the references; ``free`` are the unguided captions."""
    count = len(shard.samples)
    guided = [_progress("guided captions", row, count) or writer.guided(shard, row) for row in range(count)]
    alone = [
        _progress("captions of the text decoder alone", row, count) or writer.write(shard, row, [], agree=False)
        for row in range(count)
    ]
    judged = np.flatnonzero(shard.judged)
    figures: dict[str, Any] = {
        "pictures": count,
        "references": len(shard.samples[0].captions),
        "scores": {
            "guided by the tags found (default)": _scores(guided, shard.references),
            "unguided": _scores(free, shard.references),
            "unguided, and words not weighed by tags either": _scores(alone, shard.references),
        },
        "scores_where_nothing_was_fitted": {
            "guided by the tags found (default)": _scores(
                [guided[row] for row in judged], [shard.references[row] for row in judged]
            )
        },
    }
    # A caption guided by the first reference's tags must not be compared with that reference.
    rest = [captions[1:] for captions in shard.references]
    if all(rest):
        mapper, vocabulary = TagMapper(writer.recognizer.vocabulary), writer.recognizer.vocabulary
        oracle = []
        for row, captions in enumerate(shard.references):
            _progress("oracle captions", row, count)
            ids = vocabulary.most_specific(mapper(parser.parse(captions[0]), implied=False))
            oracle.append(writer.write(shard, row, [vocabulary[id] for id in sorted(ids)]))
        figures["scores_without_first_reference"] = {
            "guided by the tags found (default)": _scores(guided, rest),
            "unguided": _scores(free, rest),
            "guided by the first reference's tags (oracle)": _scores(oracle, rest),
        }
    figures["decoding"] = writer.recognizer.directory.config.decoding.model_dump()
    figures["examples"] = [
        {"id": shard.samples[row].id, "guided": guided[row], "unguided": free[row], "human": shard.references[row][0]}
        for row in range(min(5, count))
    ]
    return figures


def free_captions(writer: Writer, shard: ScoredShard, rows: Iterable[int]) -> dict[int, str]:
    """Write unguided captions."""
    rows = list(rows)
    return {
        row: _progress(f"free captions, {shard.name}", place, len(rows)) or writer.write(shard, row, [])
        for place, row in enumerate(rows)
    }


@dataclass(frozen=True)
class _Case:
    shard: ScoredShard
    row: int
    tag: VocabularyTag
    free: str
    steered: str
    covered: bool


def control_figures(
    writer: Writer,
    shards: Sequence[ScoredShard],
    known: dict[str, dict[int, str]],
    parser: CaptionParser,
    most: int,
    seed: int,
) -> dict[str, Any]:
    """How often a caption mentions a true tag on request that its unguided version left out.

    Args:
        writer: Caption writer.
        shards: Shards to sample pictures from.
        known: Existing unguided captions by shard and row.
        parser: Caption parser.
        most: Number of pictures to sample.
        seed: Seed for sampling pictures and tags.
    """
    random = np.random.default_rng(seed)
    places = [(shard, row) for shard in shards for row in range(len(shard.samples))]
    drawn = [places[i] for i in random.permutation(len(places))[:most]]
    vocabulary, captioner = writer.recognizer.vocabulary, writer.recognizer.captioner
    mapper = TagMapper(vocabulary)
    cases: list[_Case] = []
    for place, (shard, row) in enumerate(drawn):
        _progress("control", place, len(drawn))
        sample = shard.samples[row]
        ids = mapper((tag for caption in sample.captions for tag in parser.parse(caption)), implied=False)
        ids |= {tag.id for tag in map(vocabulary.find, sample.labels) if tag is not None}
        free = known.get(shard.name, {}).get(row) or writer.write(shard, row, [])
        true = [vocabulary[id] for id in sorted(ids)]
        # Two tags with the same name (train, to train) count together: the model gets only their names.
        said = {tag.name for tag in captioner.covered(free, true)}
        missing = [tag for tag in true if tag.name not in said]
        if missing:
            tag = missing[int(random.integers(len(missing)))]
            steered = writer.write(shard, row, [tag])
            cases.append(_Case(shard, row, tag, free, steered, bool(captioner.covered(steered, [tag]))))
    kinds = {kind: [case for case in cases if case.tag.kind == kind] for kind in TAG_KINDS}
    seen = [case for case in cases if case.tag.support > 0]
    return {
        "pictures_drawn": len(drawn),
        "nothing_left_out": len(drawn) - len(cases),
        "seed": seed,
        "all": _rate(cases),
        **{kind: _rate(chosen) for kind, chosen in kinds.items()},
        "by_set": {shard.name: _rate([c for c in cases if c.shard is shard]) for shard in shards},
        "tags_with_training_pictures": _rate(seen),
        "named_without_asking": 0.0,
        "price": {
            shard.name: _price([case for case in cases if case.shard is shard])
            for shard in shards
            if len(shard.samples[0].captions) > 1
        },
        "examples": [
            {"tag": c.tag.name, "free": c.free, "steered": c.steered, "covered": c.covered} for c in cases[:8]
        ],
    }


def _rate(cases: Sequence[_Case]) -> dict[str, Any]:
    """Share of successes, with Wilson's 95 % interval."""
    count, right = len(cases), sum(case.covered for case in cases)
    if not count:
        return {"cases": 0, "rate": None, "low": None, "high": None}
    z, p = 1.96, right / count
    middle, half = p + z * z / (2 * count), z * (p * (1 - p) / count + (z / (2 * count)) ** 2) ** 0.5
    scale = 1 + z * z / count
    return {"cases": count, "rate": p, "low": (middle - half) / scale, "high": (middle + half) / scale}


def _price(cases: Sequence[_Case]) -> dict[str, Any]:
    """CIDEr-D of these pictures before and after; not comparable to other figures, because the set is smaller."""
    if not cases:
        return {"pictures": 0}
    references = [case.shard.references[case.row] for case in cases]
    free = score_captions([case.free for case in cases], references).cider
    steered = score_captions([case.steered for case in cases], references).cider
    return {"pictures": len(cases), "cider_d_free": free, "cider_d_steered": steered, "change": steered - free}


def _scores(captions: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, float]:
    scores = score_captions(captions, references)
    return {
        **{f"bleu_{order}": value for order, value in enumerate(scores.bleu, 1)},
        "rouge_l": scores.rouge_l,
        "cider_d": scores.cider,
        "words": float(np.mean([len(caption.split()) for caption in captions])),
    }


def _progress(what: str, done: int, total: int) -> None:
    end = "\n" if done + 1 == total else ""
    if end or done % 10 == 0:
        print(f"\r{what}: {done + 1}/{total}", end=end, flush=True)


def print_captions(captions: dict[str, Any], control: dict[str, Any]) -> None:
    """Print the tables."""
    columns = ["bleu_1", "bleu_2", "bleu_3", "bleu_4", "rouge_l", "cider_d", "words"]
    for key, what in (
        ("scores", f"{captions['references']} references"),
        ("scores_without_first_reference", "without the first reference, which the oracle has read"),
    ):
        if key in captions:
            rows = [[name, *(entry[column] for column in columns)] for name, entry in captions[key].items()]
            table(f"Captions of {captions['pictures']} Flickr8k dev pictures, {what}", ["", *columns], rows)
    names = ["all", *TAG_KINDS, "tags_with_training_pictures"]
    entries = {**{name: control[name] for name in names}, **control["by_set"]}
    rows = [[name, e["cases"], e["rate"], e["low"], e["high"]] for name, e in entries.items()]
    title = (
        "Control: a true tag that the free caption leaves out is named when asked for "
        f"({control['pictures_drawn']} pictures drawn; nothing left out in {control['nothing_left_out']})"
    )
    table(title, ["", "cases", "rate", "95% from", "to"], rows)
    for name, price in control["price"].items():
        if price["pictures"]:
            before, after = price["cider_d_free"], price["cider_d_steered"]
            print(f"  CIDEr-D of these {price['pictures']} pictures of {name}: free {before:.3f}, steered {after:.3f}")
