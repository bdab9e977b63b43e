"""Splits of the pictures: for comparing variants, and for reporting."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from anytag.datasets.samples import Sample
from anytag.datasets.webdataset import read_shard

#: COCO shards, and remainders of ``world`` ids when divided by 8.
SPLITS = {"choose": ("coco20k/coco20k-000019.tar", 1), "report": ("coco_report/*.tar", 0)}


def coco_samples(data: Path, split: str) -> Iterator[Sample]:
    """COCO scenes with captions and labels."""
    shards, _ = SPLITS[split]
    return (sample for path in sorted(data.glob(shards)) for sample in read_shard(path))


def world_samples(data: Path, split: str) -> Iterator[Sample]:
    """Photographs of one thing each."""
    _, remainder = SPLITS[split]
    samples = (sample for path in sorted(data.glob("world/*.tar")) for sample in read_shard(path))
    return (sample for sample in samples if int(sample.id) % 8 == remainder)
