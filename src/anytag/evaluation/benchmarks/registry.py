"""All benchmarks by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from anytag.errors import UsageError
from anytag.evaluation.benchmarks import ade20k, captions, coco, hico, imagenet, nus_wide, openimages, own
from anytag.evaluation.benchmarks.benchmark import Benchmark, BenchmarkEntry, find_file

BENCHMARKS: dict[str, BenchmarkEntry] = {
    entry.key: entry
    for entry in (
        own.OPPO,
        openimages.COMMON,
        openimages.RARE,
        openimages.DELEAKED,
        openimages.VERIFIED,
        coco.COCO_80,
        coco.COCO_133,
        ade20k.ADE20K,
        ade20k.CLEAN,
        imagenet.ENTRY,
        hico.ENTRY,
        nus_wide.ENTRY,
        captions.COCO,
        captions.NOCAPS,
        captions.FLICKR_8K,
        captions.FLICKR_30K_CAPTIONS,
        captions.COCO_RETRIEVAL,
        captions.FLICKR_30K,
    )
}


def missing_files(entry: BenchmarkEntry, folder: Path) -> list[str]:
    """List the annotation files of a benchmark that are not in a folder."""
    if entry.key.startswith("ade20k"):
        return [] if ade20k.is_there(folder) else ["annotations/validation"]
    return [names[0] for names in entry.files if not any(find_file(folder, name) for name in names)]


def open_benchmark(
    name: str | Path,
    annotations: Path | None = None,
    pictures: Path | None = None,
    categories: Sequence[str] | None = None,
) -> Benchmark:
    """Open a benchmark by its name, or pictures with labels by their path.

    Args:
        name: One of :data:`BENCHMARKS`, or a folder, file or pattern of shards.
        annotations: Folder of a named benchmark's annotation files; ``None``: the current folder.
        pictures: Folder of its pictures; for a file of the user's own, the folder that its picture paths start at.
        categories: Restrict pictures of the user's own to these.

    Raises:
        BenchmarkError: If files are missing, damaged, or not the published ones.
        UsageError: If there is neither such a benchmark nor such a file.
    """
    entry = BENCHMARKS.get(str(name))
    if entry is not None:
        return entry.open(annotations or Path(), pictures)
    text = str(name)
    if not Path(text).exists() and not any(sign in text for sign in "*?[{"):
        raise UsageError(
            f"there is no benchmark {text!r}, and no file or folder of that name; benchmarks are: "
            f"{', '.join(BENCHMARKS)}"
        )
    return own.open_own(text, categories, pictures=pictures)


def open_validation(
    name: str | Path, benchmark: Benchmark, annotations: Path | None = None, pictures: Path | None = None
) -> Benchmark:
    """Open labeled pictures to fit a benchmark's thresholds on.

    Pictures of the user's own get the benchmark's classes: a class that none of them shows has no positives, and labels
    that are no class are left out, with a note.

    Args:
        benchmark: The tagging benchmark that thresholds are for.

    Raises:
        BenchmarkError: If files are missing or damaged.
        UsageError: If there is no such file, a named benchmark has other classes, or none of the classes occurs.
    """
    if str(name) not in BENCHMARKS:
        opened = open_benchmark(name, annotations, pictures, benchmark.names)
        if opened.task != "tagging":
            raise UsageError(f"{name}: has no labels, so no threshold can be fitted on it")
        return replace(opened, texts=benchmark.texts)
    opened = open_benchmark(name, annotations, pictures)
    if opened.texts != benchmark.texts:
        raise UsageError(f"{name} has other classes than {benchmark.title}, so its thresholds cannot be fitted on it")
    return opened
