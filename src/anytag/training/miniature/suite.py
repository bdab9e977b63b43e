"""The papers' two tables in miniature: train and evaluate every paradigm for every seed, and write both tables."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
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
from anytag.evaluation.tables import markdown_table
from anytag.foundations.atomic_files import write_text
from anytag.foundations.report import Report
from anytag.training.miniature.config import CATEGORIES, PARADIGMS, MiniatureConfig
from anytag.training.miniature.data import Hidden, MiniatureData
from anytag.training.miniature.features import TokenEncoder
from anytag.training.miniature.run import Outcome, outcome

#: Minimum number of positives of a scored tag.
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

#: Columns of both.
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
    """Figures of one seed.

    Attributes:
        sets: F1, precision and recall by row and column of the first table.
        maps: Mean average precision by row and column of the second.
        chance: Mean share of positives by column of the second: the result of guessing.
        captions: CIDEr-D and BLEU-4 against one human caption, by paradigm.
    """

    sets: dict[str, dict[str, tuple[float, float, float]]]
    maps: dict[str, dict[str, float]]
    chance: dict[str, float]
    captions: dict[str, tuple[float, float]]


def _triple(figures: SetFigures) -> tuple[float, float, float]:
    return figures.f1, figures.precision, figures.recall


class _Evaluator:
    """Annotations and columns of one seed."""

    def __init__(self, data: MiniatureData, hidden: Hidden):
        self.data = data
        self.truth = {
            "choose.categories": data.category_truth(data.choose),
            "judged.categories": data.category_truth(data.judged),
            "choose.tags": data.tag_table([record["captions"][0] for record in data.choose.records]),
            "judged.tags": data.tag_table([record["captions"][0] for record in data.judged.records]),
        }
        self.world, self.known = data.world_truth(data.world_judged)
        support = self.truth["judged.tags"].sum(0)
        is_hidden = np.isin(np.arange(len(support)), hidden.tags)
        self.seen = np.flatnonzero(~is_hidden & (support >= _LEAST))
        self.hidden = np.flatnonzero(is_hidden & (support >= _LEAST))
        left_out = np.isin(data.world_classes, hidden.classes)
        self.world_seen, self.world_hidden = np.flatnonzero(~left_out), np.flatnonzero(left_out)

    def sets(self, scores: Mapping[str, NDArray[np.float32]]) -> dict[str, tuple[float, float, float]]:
        """Compute F1, precision and recall at the threshold that is best on the validation pictures."""
        figures = {}
        for name, _ in SET_COLUMNS:
            if f"judged.{name}" not in scores:
                continue
            columns = self.seen if name == "tags" else np.arange(len(CATEGORIES))
            limit = fit_thresholds(
                scores[f"choose.{name}"][:, columns], self.truth[f"choose.{name}"][:, columns], "validation"
            )
            ranked = RankedScores(scores[f"judged.{name}"][:, columns], self.truth[f"judged.{name}"][:, columns])
            figures[name] = _triple(set_figures(ranked.counts(limit.values)))
        return figures

    def caption_sets(self, captions: Sequence[str]) -> dict[str, tuple[float, float, float]]:
        """Compute the same for captions, which need no threshold."""
        named = {
            "categories": (
                CategoryParser(CATEGORIES, vocabulary=self.data.vocabulary)(captions),
                self.truth["judged.categories"],
            ),
            "tags": (self.data.tag_table(captions)[:, self.seen], self.truth["judged.tags"][:, self.seen]),
        }
        return {
            name: _triple(set_figures(RankedScores(table.astype(np.float32), truth).counts(0.5)))
            for name, (table, truth) in named.items()
        }

    def _columns(self) -> Iterator[tuple[str, str, NDArray[np.int64], NDArray[np.bool_], NDArray[np.bool_]]]:
        """Yield each column of the second table: name, scores, classes, annotations, and which pairs are known."""
        categories, tags = self.truth["judged.categories"], self.truth["judged.tags"]
        yield "categories", "judged.categories", np.arange(len(CATEGORIES)), categories, np.ones_like(categories)
        for name, columns in (("seen", self.seen), ("hidden", self.hidden)):
            yield name, "judged.tags", columns, tags[:, columns], np.ones_like(tags[:, columns])
        for name, columns in (("world-seen", self.world_seen), ("world-hidden", self.world_hidden)):
            yield name, "world.world", columns, self.world[:, columns], self.known[:, columns]

    def maps(self, scores: Mapping[str, NDArray[np.float32]]) -> dict[str, float]:
        """Compute mean average precision by column."""
        figures = {}
        for name, key, columns, truth, known in self._columns():
            if key in scores and truth.any():
                names = [str(column) for column in columns]
                figures[name] = tagging_figures(scores[key][:, columns], truth, names, known=known)[0].map_distinct
        return figures

    def chance(self) -> dict[str, float]:
        """Compute the mean share of positives by column."""
        shares = {}
        for name, _, _, truth, known in self._columns():
            kept = truth.any(0)
            share = truth.sum(0)[kept] / np.maximum(known.sum(0)[kept], 1)
            shares[name] = float(share.mean()) if kept.any() else 0.0
        return shares


def seed_figures(data: MiniatureData, hidden: Hidden, outcomes: Mapping[str, Outcome]) -> SeedFigures:
    """Compute both tables of one seed."""
    evaluator = _Evaluator(data, hidden)
    sets: dict[str, dict[str, tuple[float, float, float]]] = {}
    maps: dict[str, dict[str, float]] = {}
    captions = {}
    for paradigm, predicted in outcomes.items():
        if predicted.scores:
            maps[paradigm] = evaluator.maps(predicted.scores)
        if paradigm in ("alignment", "tagging"):
            sets[paradigm] = evaluator.sets(predicted.scores)
        if paradigm == "alignment":
            flat = {name: standardized(values) for name, values in predicted.scores.items()}
            sets["alignment-standardized"], maps["alignment-standardized"] = evaluator.sets(flat), evaluator.maps(flat)
        if written := predicted.captions.get("judged"):
            row = "captioning" if paradigm == "captioning" else f"{paradigm}-captions"
            sets[row] = evaluator.caption_sets(written)
            scored = score_captions(written, [list(record["captions"]) for record in data.judged.records])
            captions[paradigm] = (scored.cider, scored.bleu[3])
    return SeedFigures(sets, maps, evaluator.chance(), captions)


def run_suite(
    config: MiniatureConfig,
    data_folder: Path,
    folder: Path,
    report: Report = print,
    encoder: TokenEncoder | None = None,
) -> dict[int, SeedFigures]:
    """Train and evaluate all runs; the tables are updated after every seed.

    A second call continues where the first was interrupted.

    Args:
        config: The protocol, which must match that of earlier runs in the folder.
        data_folder: Folder with ``coco20k``, ``coco_report`` and ``world``.
        folder: Folder for caches, runs, ``tables.md`` and ``results.json``.
        encoder: Encodes pictures; ``None``: the ImageNet encoder.

    Raises:
        UsageError: If the folder contains runs of another protocol, or the data are missing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _keep_protocol(config, folder / "protocol.json")
    data = MiniatureData(config, data_folder, folder, report, encoder)
    figures: dict[int, SeedFigures] = {}
    runs: dict[str, dict[str, Any]] = {}
    for seed in config.seeds:
        outcomes: dict[str, Outcome] = {}
        for paradigm in PARADIGMS:
            run = outcomes[paradigm] = outcome(paradigm, seed, data, folder / "runs", report)
            seconds = round(run.seconds, 1)
            runs[f"{paradigm}-{seed}"] = {"steps": run.steps, "seconds": seconds, "parameters": run.parameters}
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
    """Write the protocol beside its runs, or check that it matches."""
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
    if not values:
        return "✗"
    mean = 100 * float(np.mean(values))
    return f"{mean:.1f}" if len(values) < 2 else f"{mean:.1f} ± {100 * float(np.std(values, ddof=1)):.1f}"


def markdown(figures: Mapping[int, SeedFigures]) -> str:
    """Format both tables in the papers' layout: means and deviations over seeds, in per cent."""
    seeds = list(figures.values())
    sets = []
    for row, title in SET_ROWS:
        cells = [title]
        for column, _ in SET_COLUMNS:
            triples = [seed.sets[row][column] for seed in seeds if column in seed.sets.get(row, {})]
            cells += [_cell([triple[place] for triple in triples]) for place in range(3)]
        sets.append(cells)
    maps = []
    for row, title in MAP_ROWS:
        values = [[s.maps[row][column] for s in seeds if column in s.maps.get(row, {})] for column, _ in MAP_COLUMNS]
        maps.append([title, *map(_cell, values)])
    maps.append(["Chance", *(_cell([seed.chance[column] for seed in seeds]) for column, _ in MAP_COLUMNS)])
    captions = []
    for paradigm, title in (("captioning", "Captioning (BLIP-style)"), ("tagging", "Guided by tags (Tag2Text-style)")):
        if scores := [seed.captions[paradigm] for seed in seeds if paradigm in seed.captions]:
            captions.append([title, _cell([cider for cider, _ in scores]), _cell([bleu for _, bleu in scores])])
    set_titles = [name for _, title in SET_COLUMNS for name in (f"{title}: F1", "P", "R")]
    map_titles = [title for _, title in MAP_COLUMNS]
    tables = (
        markdown_table(["Evaluation paradigm", *set_titles], sets),
        markdown_table(["Method (mean average precision)", *map_titles], maps),
        markdown_table(["Captions of the judged pictures, one human reference", "CIDEr-D", "BLEU-4"], captions),
    )
    return "\n\n".join(tables) + "\n"
