"""The gold set and how a parser is scored against it; used by the tests and by ``benchmarks/parser.py``."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from anytag.language.parsing.parser import CaptionParser

GOLD = Path(__file__).parents[1] / "language" / "gold_captions.jsonl"
#: Objects and scenes are counted together: where the line runs between them is a matter of taste.
GROUPS = {"object": "object", "scene": "object", "attribute": "attribute", "action": "action"}
SPLITS = ("development", "held_out")


@dataclass(frozen=True)
class Score:
    """Precision, recall and F1, and how many tags they rest on."""

    precision: float
    recall: float
    f1: float
    gold: int
    found: int


def load(split: str) -> list[dict]:
    """The annotated captions of a split."""
    records = [json.loads(line) for line in GOLD.read_text(encoding="utf-8").splitlines()]
    return [record for record in records if record["split"] == split]


def score(parser: CaptionParser, split: str) -> dict[str, Score]:
    """Scores of a parser on a split, by kind, counted over all captions together."""
    records = load(split)
    counts = {kind: [0, 0, 0] for kind in ("object", "attribute", "action")}
    for record, tags in zip(records, parser.parse_many(r["caption"] for r in records), strict=True):
        gold = {(tag["name"], GROUPS[tag["kind"]]) for tag in record["tags"]}
        found = {(tag.name, GROUPS[tag.kind]) for tag in tags}
        for kind, count in counts.items():
            count[0] += sum(k == kind for _, k in gold & found)
            count[1] += sum(k == kind for _, k in found)
            count[2] += sum(k == kind for _, k in gold)
    return {
        kind: Score(hit / found, hit / gold, 2 * hit / (found + gold), gold, found)
        for kind, (hit, found, gold) in counts.items()
    }
