"""Count the verbs that the caption parser mistakes for objects: ``python benchmarks/intransitive_verbs.py``.

Three hundred intransitive verbs after each of two hundred persons and animals, in five sentences
(``tests/support/clauses.py``). A caption is wrong if its verb is not an action, or is part of an object's name
("cat sleep"). Writes ``benchmarks/results/intransitive_verbs.json``; a minute on one core.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "support"))

from clauses import FRAMES, clauses  # noqa: E402

from anytag.foundations.atomic_files import write_text  # noqa: E402
from anytag.language.parsing.parser import CaptionParser, load_parser  # noqa: E402

RESULTS = Path(__file__).parent / "results" / "intransitive_verbs.json"


def measure(parser: CaptionParser, frame: str, step: int) -> dict[str, object]:
    """Count wrongly parsed captions of one sentence, and the verbs that fail most often."""
    asked, wrong = 0, Counter[str]()
    made = list(clauses(frame, step))
    for clause, tags in zip(made, parser.parse_many(clause.caption for clause in made), strict=True):
        asked += 1
        wrong[clause.verb] += bool(clause.faults(tags))
    worst = {verb: count for verb, count in wrong.most_common(5) if count}
    return {"sentence": frame, "captions": asked, "wrong": wrong.total(), "worst": worst}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--step", type=int, default=1, help="use only every Nth noun for each verb")
    arguments.add_argument("--out", type=Path, default=RESULTS)
    options = arguments.parse_args()
    rows = [measure(load_parser("light"), frame, options.step) for frame in FRAMES]
    for row in rows:
        print(f"{row['wrong']:>7,} of {row['captions']:,} wrong  {row['sentence']}")
    write_text(options.out, json.dumps({"step": options.step, "sentences": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
