"""Measure the share of shown tags that are true, judged by people: ``python benchmarks/shown_tags.py``.

Uses a seeded sample of 200 pictures, 100 COCO scenes and 100 photographs of one thing each, either from those on which
nothing was fitted or chosen (``--split report``) or from those used to choose thresholds. ``shown_tags.json`` contains
the judgments, without the pictures. ``--sheets DIR`` draws pictures with tags that nobody has judged yet, without their
scores; ``--add FILE`` adds judgments, ``{picture: {tag: true or false}}``.
"""

from __future__ import annotations

import argparse
import io
import json
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from _cards import card, sheet
from _common import add_data_argument, add_model_arguments, machine, print_targets, table, target, write_result
from _splits import SPLITS, coco_samples, world_samples
from PIL import Image

from anytag.datasets.samples import Sample
from anytag.evaluation.bootstrap import bootstrap
from anytag.foundations.atomic_files import write_text
from anytag.inference.recognizer import load
from anytag.recognition import Recognition

JUDGED = Path(__file__).resolve().parent / "shown_tags.json"

#: Pictures from each set.
_COUNT = 100
_ON_A_SHEET, _ROUNDS = 8, 2000

Judgments = dict[str, dict[str, bool]]


def pictures(data: Path, split: str) -> Iterator[tuple[str, Sample]]:
    """The chosen pictures by name, always the same ones."""
    worlds = {"coco": coco_samples(data, split), "world": world_samples(data, split)}
    for world, samples in worlds.items():
        for sample in random.Random(0).sample(sorted(samples, key=lambda one: one.id), _COUNT):
            yield f"{world} {sample.id}", sample


def draw(folder: Path, open_ones: dict[str, list[tuple[str, Any]]], samples: dict[str, Sample]) -> None:
    """Draw sheets of pictures with the tags to judge."""
    folder.mkdir(parents=True, exist_ok=True)
    names = list(open_ones)
    for start in range(0, len(names), _ON_A_SHEET):
        cards = []
        for name in names[start : start + _ON_A_SHEET]:
            with Image.open(io.BytesIO(samples[name].picture_bytes())) as picture:
                cards.append(card(picture, name, open_ones[name], whole=True))
        sheet(cards).save(folder / f"sheet-{start // _ON_A_SHEET:02d}.png")
    write_text(folder / "tags.json", json.dumps({n: [tag for tag, _ in t] for n, t in open_ones.items()}, indent=1))


def figures(shown: dict[str, Recognition], judged: Judgments) -> dict[str, Any]:
    """Shares of shown tags that are true, with 95 % bootstrap intervals over pictures."""
    found: dict[str, Any] = {}
    for world in ("coco", "world", ""):
        names = [name for name in shown if name.startswith(world)]
        true = np.array([sum(judged[name].get(tag.name, False) for tag in shown[name].tags) for name in names])
        known = np.array([sum(tag.name in judged[name] for tag in shown[name].tags) for name in names])
        share = lambda rows, true=true, known=known: float(true[rows].sum() / known[rows].sum())  # noqa: E731
        found[world or "both"] = {
            "pictures": len(names),
            "tags": int(known.sum()),
            "not_judged": int(sum(len(shown[name].tags) for name in names) - known.sum()),
            "value": share(np.arange(len(names))),
            "interval": bootstrap(share, len(names), _ROUNDS),
        }
    wrong = Counter(
        tag.name for name, seen in shown.items() for tag in seen.tags if judged[name].get(tag.name) is False
    )
    return found | {"most_often_wrong": dict(wrong.most_common(25))}


def main() -> None:
    """Run the benchmark."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_data_argument(arguments)
    add_model_arguments(arguments, "shown_tags.json")
    arguments.add_argument("--split", choices=sorted(SPLITS), default="choose")
    arguments.add_argument("--sheets", type=Path, help="draw the tags that nobody has judged yet, and stop")
    arguments.add_argument("--add", type=Path, nargs="+", default=[], help="judgments to add to shown_tags.json")
    options = arguments.parse_args()
    judged: Judgments = json.loads(JUDGED.read_text(encoding="utf-8")) if JUDGED.exists() else {}
    for path in options.add:
        for name, answers in json.loads(path.read_text(encoding="utf-8")).items():
            judged.setdefault(name, {}).update(answers)
    if options.add:
        ordered = {name: dict(sorted(judged[name].items())) for name in sorted(judged)}
        write_text(JUDGED, json.dumps(ordered, ensure_ascii=False, indent=0) + "\n")
    samples = dict(pictures(options.data, options.split))
    recognizer = load(options.model)
    seen = recognizer.tag([sample.picture_bytes() for sample in samples.values()])
    shown = {name: one for name, one in zip(samples, seen, strict=True) if isinstance(one, Recognition)}
    missing = {
        name: [(tag.name, tag.kind) for tag in one.tags if tag.name not in judged.setdefault(name, {})]
        for name, one in shown.items()
    }
    if options.sheets is not None:
        draw(options.sheets, {name: tags for name, tags in missing.items() if tags}, samples)
        return
    measured = figures(shown, judged)
    rows = [
        [name, part["pictures"], part["tags"], part["not_judged"], part["value"], *part["interval"]]
        for name, part in measured.items()
        if "value" in part
    ]
    table("Tags shown that are true", ["pictures of", "pictures", "tags", "not judged", "true", "from", "to"], rows)
    targets = [target("tags shown that are true", measured["both"]["value"], 0.8, True)]
    print_targets(targets)
    described = {"split": options.split, "machine": machine(), "files": recognizer.directory.config.files}
    write_result(options.out, {**described, "figures": measured, "targets": targets})


if __name__ == "__main__":
    main()
