"""The papers' two tables in miniature: train every paradigm for every seed, judge once, and write both tables."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anytag.errors import UsageError
from anytag.evaluation.caption_tags import CategoryParser
from anytag.evaluation.captioning import score_captions
from anytag.evaluation.figures import SetFigures, fit_thresholds, set_figures, tagging_figures
from anytag.evaluation.ranking import RankedScores, standardized
from anytag.foundations.atomic_files import write_text
from anytag.foundations.report import Report
from anytag.training.miniature.config import CATEGORIES, PARADIGMS, MiniatureConfig
from anytag.training.miniature.data import Hidden, MiniatureData
from anytag.training.miniature.features import TokenEncoder
from anytag.training.miniature.run import Outcome, outcome

#: Judged pictures that a tag must be true of to be scored.
_LEAST = 5

#: Rows of the first table, in the papers' order.
SET_ROWS = (
    ("alignment", "Alignment (CLIP-style)"),
    ("alignment-standardized", "Alignment, scores standardized"),
    ("captioning", "Captioning (BLIP-style)"),
    ("tagging-captions", "Captioning, guided by tags (Tag2Text-style)"),
    ("tagging", "Tagging (Tag2Text-style)"),
)

#: Rows of the second table.
MAP_ROWS = (
    ("supervised", "Supervised head on human labels (ML-Decoder-style)"),
    ("transfer", "Knowledge transfer (MKT-style)"),
    ("alignment", "Alignment (CLIP-style)"),
    ("alignment-standardized", "Alignment, scores standardized"),
    ("tagging", "Tagging (Tag2Text-style)"),
)

#: Columns of both, and of the captions.
SET_COLUMNS = (("categories", "COCO, 18 human categories"), ("tags", "COCO, tags of captions"))
MAP_COLUMNS = (
    ("categories", "COCO, 18 human categories"),
    ("seen", "tags of captions, seen"),
    ("hidden", "tags of captions, hidden"),
    ("world-seen", "world, seen classes"),
    ("world-hidden", "world, hidden classes"),
)


@dataclass(frozen=True)
class SeedFigures:
    """What one seed gives.

    Attributes:
        sets: By row and column of the first table: precision, recall, F1.
        maps: By row and column of the second: mean average precision.
        chance: By column of the second: the mean share of positives, which is what guessing gives.
        captions: By paradigm that writes: CIDEr-D and BLEU-4 against one human caption.
    """

    sets: dict[str, dict[str, tuple[float, float, float]]]
    maps: dict[str, dict[str, float]]
    chance: dict[str, float]
    captions: dict[str, tuple[float, float]]


def _triple(figures: SetFigures) -> tuple[float, float, float]:
    return figures.f1, figures.precision, figures.recall


class _Judge:
    """Truth and columns of one seed."""

    def __init__(self, data: MiniatureData, hidden: Hidden):
        self.data = data
        self.truth = {
            "choose.categories": data.category_truth(data.choose),
            "judged.categories": data.category_truth(data.judged),
            "choose.tags": data.truth(data.choose),
            "judged.tags": data.truth(data.judged),
        }
        self.world, self.known = data.world_truth(data.world_judged)
        support = self.truth["judged.tags"].sum(0)
        is_hidden = np.isin(np.arange(len(support)), hidden.tags)
        self.seen = np.flatnonzero(~is_hidden & (support >= _LEAST))
        self.hidden = np.flatnonzero(is_hidden & (support >= _LEAST))
        left_out = np.isin(data.world_classes, hidden.classes)
        self.world_seen, self.world_hidden = np.flatnonzero(~left_out), np.flatnonzero(left_out)

    def sets(self, scores: Mapping[str, NDArray[np.float32]]) -> dict[str, tuple[float, float, float]]:
        """F1, precision, recall at the threshold that is best on the pictures for choosing."""
        found = {}
        for name, _ in SET_COLUMNS:
            if f"judged.{name}" not in scores:
                continue
            columns = self.seen if name == "tags" else np.arange(len(CATEGORIES))
            limit = fit_thresholds(
                scores[f"choose.{name}"][:, columns], self.truth[f"choose.{name}"][:, columns], "validation"
            )
            ranked = RankedScores(scores[f"judged.{name}"][:, columns], self.truth[f"judged.{name}"][:, columns])
            found[name] = _triple(set_figures(ranked.counts(limit.values)))
        return found

    def said(self, captions: Sequence[str]) -> dict[str, tuple[float, float, float]]:
        """The same of captions, which need no threshold: what they name is found."""
        vocabulary = self.data.vocabulary
        categories = CategoryParser(CATEGORIES, vocabulary=vocabulary)(captions)
        tags = np.zeros_like(self.truth["judged.tags"])
        for row, ids in zip(tags, self.data.tags(captions), strict=True):
            row[ids] = True
        return {
            name: _triple(set_figures(RankedScores(table.astype(np.float32), truth).counts(0.5)))
            for name, table, truth in (
                ("categories", categories, self.truth["judged.categories"]),
                ("tags", tags[:, self.seen], self.truth["judged.tags"][:, self.seen]),
            )
        }

    def maps(self, scores: Mapping[str, NDArray[np.float32]]) -> dict[str, float]:
        """Mean average precision by column."""
        found = {}
        if "judged.categories" in scores:
            found["categories"] = _map(scores["judged.categories"], self.truth["judged.categories"])
        if "judged.tags" in scores:
            for name, columns in (("seen", self.seen), ("hidden", self.hidden)):
                if len(columns):
                    found[name] = _map(scores["judged.tags"][:, columns], self.truth["judged.tags"][:, columns])
        if "world.world" in scores:
            for name, columns in (("world-seen", self.world_seen), ("world-hidden", self.world_hidden)):
                if self.world[:, columns].any():
                    found[name] = _map(
                        scores["world.world"][:, columns], self.world[:, columns], self.known[:, columns]
                    )
        return found

    def chance(self) -> dict[str, float]:
        """What scores that know nothing give: the mean share of positives."""

        def share(truth: NDArray[np.bool_], known: NDArray[np.bool_] | None = None) -> float:
            judged = np.ones_like(truth) if known is None else known
            kept = truth.any(0)
            return float((truth.sum(0)[kept] / np.maximum(judged.sum(0)[kept], 1)).mean()) if kept.any() else 0.0

        tags = self.truth["judged.tags"]
        return {
            "categories": share(self.truth["judged.categories"]),
            "seen": share(tags[:, self.seen]),
            "hidden": share(tags[:, self.hidden]),
            "world-seen": share(self.world[:, self.world_seen], self.known[:, self.world_seen]),
            "world-hidden": share(self.world[:, self.world_hidden], self.known[:, self.world_hidden]),
        }


def _map(scores: NDArray[np.float32], truth: NDArray[np.bool_], known: NDArray[np.bool_] | None = None) -> float:
    names = [str(column) for column in range(scores.shape[1])]
    return tagging_figures(scores, truth, names, known=known)[0].map_distinct


def seed_figures(data: MiniatureData, hidden: Hidden, outcomes: Mapping[str, Outcome]) -> SeedFigures:
    """Both tables of one seed, from whatever paradigms have run."""
    judge = _Judge(data, hidden)
    sets: dict[str, dict[str, tuple[float, float, float]]] = {}
    maps: dict[str, dict[str, float]] = {}
    captions = {}
    for paradigm, found in outcomes.items():
        if found.scores:
            maps[paradigm] = judge.maps(found.scores)
        if paradigm in ("alignment", "tagging"):
            sets[paradigm] = judge.sets(found.scores)
        if paradigm == "alignment":
            flat = {name: standardized(values) for name, values in found.scores.items()}
            sets["alignment-standardized"], maps["alignment-standardized"] = judge.sets(flat), judge.maps(flat)
        if "judged" in found.captions:
            sets["captioning" if paradigm == "captioning" else f"{paradigm}-captions"] = judge.said(
                found.captions["judged"]
            )
            references = [list(record["captions"]) for record in data.judged.records]
            scored = score_captions(found.captions["judged"], references)
            captions[paradigm] = (scored.cider, scored.bleu[3])
    return SeedFigures(sets, maps, judge.chance(), captions)


def run_suite(
    config: MiniatureConfig,
    data_folder: Path,
    folder: Path,
    report: Report = print,
    encoder: TokenEncoder | None = None,
) -> dict[int, SeedFigures]:
    """Train and judge what is missing; the tables are written anew after every seed.

    A second call goes on where the first was stopped.

    Args:
        config: The protocol; it is kept, and a folder of another one is refused.
        data_folder: Holds ``coco20k``, ``coco_report`` and ``world``.
        folder: For caches, runs, ``tables.md`` and ``results.json``.
        report: Receives progress.
        encoder: Makes tokens of pictures; ``None``: the ImageNet encoder.

    Raises:
        UsageError: If the folder holds runs of another protocol, or the data are not there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _keep_protocol(config, folder / "protocol.json")
    data = MiniatureData(config, data_folder, folder, report, encoder)
    figures: dict[int, SeedFigures] = {}
    runs: dict[str, dict[str, Any]] = {}
    for seed in config.seeds:
        outcomes: dict[str, Outcome] = {}
        for paradigm in PARADIGMS:
            found = outcomes[paradigm] = outcome(paradigm, seed, config, data, folder / "runs", report)
            runs[f"{paradigm}-{seed}"] = {
                "steps": found.steps,
                "seconds": round(found.seconds, 1),
                "parameters": found.parameters,
            }
        figures[seed] = seed_figures(data, data.hidden(seed), outcomes)
        record = {
            "protocol": config.model_dump(),
            "pictures": {"trained": len(data.captions), "judged": len(data.judged), "world": len(data.world_judged)},
            "vocabulary": len(data.vocabulary),
            "runs": runs,
            "seeds": {str(number): asdict(values) for number, values in figures.items()},
        }
        write_text(folder / "results.json", json.dumps(record, indent=1))
        write_text(folder / "tables.md", markdown(figures))
        report(f"seed {seed}: tables written to {folder / 'tables.md'}")
    return figures


def _keep_protocol(config: MiniatureConfig, file: Path) -> None:
    """Write the protocol beside its runs; runs of another one would be taken for its own."""
    now = config.model_dump(mode="json")
    if file.exists():
        try:
            kept = dict(json.loads(file.read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:
            raise UsageError(f"{file}: cannot be read ({error}); give another --out") from None
        if other := [name for name in {**now, **kept} if kept.get(name) != now.get(name)]:
            told = ", ".join(f"{name} is {kept.get(name)}, not {now.get(name)}" for name in other)
            raise UsageError(f"{file.parent}: holds runs of another protocol ({told}); give another --out")
    write_text(file, config.model_dump_json(indent=1))


def _cell(values: Sequence[float]) -> str:
    mean = 100 * float(np.mean(values))
    return f"{mean:.1f}" if len(values) < 2 else f"{mean:.1f} ± {100 * float(np.std(values, ddof=1)):.1f}"


def markdown(figures: Mapping[int, SeedFigures]) -> str:
    """Both tables in the papers' layout, means and deviations over seeds, in per cent; ✗ where a row has no figure."""
    seeds = list(figures.values())
    lines = [
        "| Evaluation paradigm | " + " | ".join(f"{title}: F1 | P | R" for _, title in SET_COLUMNS) + " |",
        "|---|" + "---|" * 3 * len(SET_COLUMNS),
    ]
    for row, title in SET_ROWS:
        cells = []
        for column, _ in SET_COLUMNS:
            found = [seed.sets[row][column] for seed in seeds if column in seed.sets.get(row, {})]
            cells += [_cell([triple[place] for triple in found]) if found else "✗" for place in range(3)]
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    lines += [
        "",
        "| Method (mean average precision) | " + " | ".join(title for _, title in MAP_COLUMNS) + " |",
        "|---|" + "---|" * len(MAP_COLUMNS),
    ]
    for row, title in MAP_ROWS:
        cells = []
        for column, _ in MAP_COLUMNS:
            values = [seed.maps[row][column] for seed in seeds if column in seed.maps.get(row, {})]
            cells.append(_cell(values) if values else "✗")
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    chance = [_cell([seed.chance[column] for seed in seeds]) for column, _ in MAP_COLUMNS]
    lines.append("| Chance | " + " | ".join(chance) + " |")
    lines += ["", "| Captions of the judged pictures, one human reference | CIDEr-D | BLEU-4 |", "|---|---|---|"]
    for paradigm, title in (("captioning", "Captioning (BLIP-style)"), ("tagging", "Guided by tags (Tag2Text-style)")):
        found_ = [seed.captions[paradigm] for seed in seeds if paradigm in seed.captions]
        if found_:
            lines.append(f"| {title} | {_cell([c for c, _ in found_])} | {_cell([b for _, b in found_])} |")
    return "\n".join(lines) + "\n"
