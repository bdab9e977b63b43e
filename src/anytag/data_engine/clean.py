"""Cleaning, part two: learn what is typical of each tag, and decide which tags to remove."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from anytag.data_engine.clean_regions import RegionsStep
from anytag.data_engine.cleaning_config import CleaningConfig
from anytag.data_engine.clustering import centers_of_weight, distances, kmeans, outlier_cut
from anytag.data_engine.manifest import PartFormat, PictureRecord, RemovalReason, RemovedTag
from anytag.data_engine.work import Outcome, PartsStep, Step
from anytag.errors import SampleError

Rows = npt.NDArray[np.float64]

#: Removals per example in the report.
_SHOWN = 3


@dataclass(frozen=True)
class ClustersStep(Step):
    """Cluster the regions of all parts; a unit is a group of tags, in ``clusters-00000.safetensors``.

    It contains ``tags`` ``[t]`` with ``cuts`` ``[t]``, the distance from which a region is an outlier, and ``sizes``
    ``[t]``, their regions; ``centers`` ``[c, W]`` with ``owners`` ``[c]``, the tag of each.
    """

    name: ClassVar[str] = "cluster regions"
    noun: ClassVar[str] = "clusters"
    suffix: ClassVar[str] = "safetensors"

    folder: Path
    regions: RegionsStep
    config: CleaningConfig

    @property
    def units(self) -> int:
        return self.config.groups

    def settings(self) -> dict[str, Any]:
        return {"clusters": self.config.of_clusters()}

    def files(self, unit: int) -> list[Path]:
        return self.regions.outputs()

    def run(self, unit: int, output: Path) -> Outcome:
        from safetensors.numpy import save_file

        outcome, width = Outcome(), 0
        fitted: list[tuple[int, int, float, Rows]] = []
        for tag, size, points in self._tags(unit):
            width = points.shape[1]
            if size < self.config.min_regions:
                outcome.counts["tags_with_few_regions"] += 1
                continue
            centers, cut = fit_tag(points, self.config, tag)
            fitted.append((tag, size, cut, centers))
            outcome.counts.update({"tags_clustered": 1, "regions_clustered": size})
            if outcome.needs_example:
                name = self.regions.manifest.vocabulary[tag].name
                outcome.examples.append({"tag": name, "regions": size, "clusters": len(centers), "cut": round(cut, 4)})
        save_file(
            {
                "tags": np.array([tag for tag, *_ in fitted], np.int32),
                "sizes": np.array([size for _, size, *_ in fitted], np.int64),
                "cuts": np.array([cut for *_, cut, _ in fitted], np.float64),
                "owners": np.array([tag for tag, *_, centers in fitted for _ in centers], np.int32),
                "centers": np.concatenate([np.empty((0, width)), *(centers for *_, centers in fitted)]),
            },
            output,
        )
        return outcome

    def _tags(self, unit: int) -> Iterator[tuple[int, int, Rows]]:
        """Yield a group's tags with their number of regions, and the features ``[n, W]`` to fit."""
        from safetensors import safe_open

        paths = self.regions.outputs()
        sizes: dict[int, list[int]] = defaultdict(lambda: [0] * len(paths))
        for number, path in enumerate(paths):
            with safe_open(path, "np") as file:
                found, counts = np.unique(file.get_tensor("tags"), return_counts=True)
            for tag, count in zip(found.tolist(), counts.tolist(), strict=True):
                if tag % self.config.groups == unit:
                    sizes[tag][number] = count
        chosen = {tag: self._chosen(tag, sum(each)) for tag, each in sizes.items()}
        fitted: dict[int, list[Rows]] = defaultdict(list)
        before = dict.fromkeys(sizes, 0)
        for number, path in enumerate(paths):
            present = [tag for tag in sorted(sizes) if sizes[tag][number]]
            if not present:
                continue
            with safe_open(path, "np") as file:
                tags, features = file.get_tensor("tags"), file.get_slice("features")
                for tag in present:
                    first, count = int(np.searchsorted(tags, tag)), sizes[tag][number]
                    rows = chosen[tag]
                    wanted = rows[(rows >= before[tag]) & (rows < before[tag] + count)] - before[tag]
                    fitted[tag].append(as_points(features[first : first + count][wanted], self.config.normalize))
                    before[tag] += count
        for tag in sorted(sizes):
            yield tag, sum(sizes[tag]), np.concatenate(fitted.pop(tag))

    def _chosen(self, tag: int, size: int) -> npt.NDArray[np.int64]:
        """Return which of a tag's regions, in the order of parts and rows, to fit."""
        if size <= self.config.most_fitted:
            return np.arange(size)
        rng = np.random.default_rng((self.config.seed, tag))
        return np.sort(rng.choice(size, self.config.most_fitted, replace=False)).astype(np.int64)


def as_points(features: npt.NDArray[Any], normalize: bool) -> Rows:
    """Convert features ``[n, W]`` to points for clustering."""
    points: Rows = features.astype(np.float64)
    if normalize:
        points = points / np.maximum(np.sqrt((points**2).sum(1, keepdims=True)), 1e-12)
    return points


def fit_tag(points: Rows, config: CleaningConfig, tag: int) -> tuple[Rows, float]:
    """Cluster a tag's regions ``[n, W]``, seeded by its id, so that tags do not affect each other.

    Returns:
        Centers ``[k, W]``, and the distance from the nearest center beyond which a region is an outlier.
    """
    k = max(1, min(config.clusters, len(points) // config.regions_per_cluster))
    centers, owners = kmeans(points, k, np.random.default_rng((config.seed, tag, 1)), config.iterations)
    centers = centers_of_weight(centers, owners, config.smallest_cluster)
    return centers, outlier_cut(distances(points, centers).min(1), config.outlier_share)


@dataclass(frozen=True)
class RemovalStep(PartsStep):
    """Remove tags: the parts of a clean manifest. Nothing is ever added."""

    name: ClassVar[str] = "remove tags"

    folder: Path
    clusters: ClustersStep
    config: CleaningConfig
    format: PartFormat = "jsonl"

    @property
    def units(self) -> int:
        return self.clusters.regions.units

    def settings(self) -> dict[str, Any]:
        return {"format": self.format, "removal": self.config.of_removal()}

    def files(self, unit: int) -> list[Path]:
        regions = self.clusters.regions
        return [regions.manifest.part(unit), regions.output(unit), *self.clusters.outputs()]

    def records(self, unit: int, outcome: Outcome) -> Iterator[PictureRecord]:
        verdicts = self._verdicts(unit)
        for item in self.clusters.regions.manifest.read(unit):
            if isinstance(item, SampleError):
                continue  # The first step has counted it.
            made = remove_tags(item, verdicts.get(item.row, {}), self.config)
            removed = {entry.tag.id: entry for entry in made.removed[len(item.removed) :]}
            outcome.counts.update(
                {"pictures_out": 1, "tags_before": len(item.tag_ids()), "tags_after": len(made.tag_ids())}
            )
            outcome.counts.update(f"removed_{entry.reason}" for entry in removed.values())
            if removed and outcome.needs_example:
                reasons = [f"{entry.tag.name} ({entry.reason})" for entry in removed.values()][:_SHOWN]
                kept = sorted({tag.name for tag in made.tags})
                outcome.examples.append({"id": made.id, "removed": reasons, "kept": kept})
            yield made

    def _verdicts(self, unit: int) -> dict[int, dict[int, tuple[RemovalReason, float | None]]]:
        """Return, by row and tag, the reason for removal and the score or distance that decided."""
        from safetensors.numpy import load_file

        config = self.config
        found = load_file(self.clusters.regions.output(unit))
        tags, rows = found["tags"], found["rows"]
        verdicts: dict[int, dict[int, tuple[RemovalReason, float | None]]] = defaultdict(dict)
        if config.without_region == "drop":
            for tag, row in found["missing"].tolist():
                verdicts[row][tag] = ("no_region", None)
        if config.denial:
            limits = found["limits"].astype(np.float64) * config.denial_factor
            if config.denial_threshold is not None:
                limits = np.full(len(limits), config.denial_threshold)
            for index in np.flatnonzero(found["scores"] < limits):
                score = round(float(found["scores"][index]), 4)
                verdicts[int(rows[index])][int(tags[index])] = ("denied", score)
        # Last, so that "outlier", the paper's first check, is the reason for regions that fail both checks.
        for tag, (centers, cut) in self._clusters().items():
            first, last = np.searchsorted(tags, [tag, tag + 1])
            if first < last:
                gaps = distances(as_points(found["features"][first:last], config.normalize), centers).min(1)
                for index in np.flatnonzero(gaps > cut):
                    verdicts[int(rows[first + index])][tag] = ("outlier", round(float(gaps[index]), 4))
        return verdicts

    def _clusters(self) -> dict[int, tuple[Rows, float]]:
        """Return the centers and cut of each tag."""
        from safetensors.numpy import load_file

        clusters: dict[int, tuple[Rows, float]] = {}
        for path in self.clusters.outputs():
            found = load_file(path)
            for tag, cut in zip(found["tags"].tolist(), found["cuts"].tolist(), strict=True):
                clusters[tag] = (found["centers"][found["owners"] == tag], cut)
        return clusters


def remove_tags(
    record: PictureRecord, verdicts: dict[int, tuple[RemovalReason, float | None]], config: CleaningConfig
) -> PictureRecord:
    """Return a record without the tags in ``verdicts``, unless they are protected."""
    protected = {tag.id for tag in record.tags if tag.source in config.protected}
    removable = verdicts.keys() - protected
    removed = tuple(RemovedTag(tag, *verdicts[tag.id]) for tag in record.tags if tag.id in removable)
    return replace(
        record, tags=tuple(tag for tag in record.tags if tag.id not in removable), removed=(*record.removed, *removed)
    )
