"""``anytag batch``: recognize a whole library, in one run or many."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from typer import Argument, Exit, Option

from anytag.cli._commands import refuse, refuse_all_but
from anytag.cli._inputs import (
    ByContent,
    Categories,
    CategoriesFrom,
    RecognizerOptions,
    RetryFailed,
    SelectionOptions,
    TagOptions,
    Thumbnails,
    WalkOptions,
    WithCaptions,
    find_inputs,
)
from anytag.cli._lists import read_names
from anytag.cli._output import echo, log
from anytag.cli._shared import progress as progress_bar
from anytag.cli._watching import Watch, watch_sources
from anytag.errors import UsageError
from anytag.foundations.wording import counted
from anytag.library.batch import BatchCounts
from anytag.library.outputs import FAILURES, TABLES
from anytag.library.progress import Progress
from anytag.library.run import PROGRESS_FILE, BatchRun
from anytag.library.scan import Scan, expand_archive, is_archive
from anytag.writers.embedded import EmbeddedMetadata, exiftool
from anytag.writers.records import TagSelection, TagView
from anytag.writers.sidecars import SidecarWriter
from anytag.writers.text_sidecars import Existing, TagOrder, TextSidecars
from anytag.writers.xmp_sidecars import SidecarName, XmpSidecars

if TYPE_CHECKING:
    from anytag.library.cluster import RayCluster


class WriterChoice(StrEnum):
    jsonl = "jsonl"
    csv = "csv"
    parquet = "parquet"
    html = "html"
    txt = "txt"
    xmp = "xmp"
    coco = "coco"
    label_studio = "label-studio"
    fiftyone = "fiftyone"


def batch(
    sources: Annotated[
        list[str] | None,
        Argument(
            help="Files, folders, globs, shards (.tar), Parquet files; - reads a list of paths.", show_default=False
        ),
    ] = None,
    *,
    out: Annotated[Path | None, Option(help="Folder for results and progress; created if missing.")] = None,
    write: Annotated[
        list[WriterChoice] | None, Option(help="Output to write; may be given several times. (default: jsonl and html)")
    ] = None,
    embed: Annotated[
        bool,
        Option("--embed", help="Write XMP into the pictures themselves, and IPTC where a picture has it (exiftool)."),
    ] = False,
    embed_iptc: Annotated[
        bool, Option("--embed-iptc", help="Like --embed, with IPTC in every JPEG, TIFF and PSD, for older programs.")
    ] = False,
    caption: WithCaptions = False,
    walk: WalkOptions,
    categories: Categories = None,
    categories_from: CategoriesFrom = None,
    selection: SelectionOptions,
    tags: Annotated[TagSelection, Option(help="Write all tags, or leave out those that others imply.")] = "all",
    per_kind: Annotated[int | None, Option(min=1, help="Write at most this many tags of each kind.")] = None,
    tag_options: TagOptions,
    prefix: Annotated[str, Option(help="txt: words before the tags.")] = "",
    separator: Annotated[str, Option(help="txt: text between tags.")] = ", ",
    order: Annotated[TagOrder, Option(help="txt: order of tags.")] = "score",
    underscores: Annotated[bool, Option("--underscores", help="txt: hot_dog instead of hot dog.")] = False,
    append: Annotated[bool, Option("--append", help="txt: append tags to files that people wrote.")] = False,
    keep_existing: Annotated[bool, Option("--keep-existing", help="txt: leave files that people wrote alone.")] = False,
    xmp_name: Annotated[
        SidecarName, Option(help="xmp: name sidecars photo.jpg.xmp (full) or photo.xmp (stem).")
    ] = "full",
    by_content: ByContent = False,
    retry_failed: RetryFailed = False,
    thumbnails: Thumbnails = None,
    since: Annotated[
        datetime | None,
        Option(formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"], help="Only pictures changed since this time."),
    ] = None,
    limit: Annotated[int | None, Option(min=1, help="Recognize at most this many pictures now.")] = None,
    watch: Watch = None,
    dry_run: Annotated[bool, Option("--dry-run", help="Show what would be done, and change nothing.")] = False,
    status: Annotated[bool, Option("--status", help="Show what was done in an output folder so far.")] = False,
    engine: Annotated[
        Literal["local", "ray"], Option(help="Where the model runs: in this process, or on a Ray cluster (Ray Data).")
    ] = "local",
    workers: Annotated[
        int | None, Option(min=1, help="ray: number of models. (default: one per processor, or per GPU with cuda)")
    ] = None,
    cluster: Annotated[
        str | None,
        Option(help="ray: address of the cluster, auto for this machine's, or local for a new one. (default: local)"),
    ] = None,
    runtime: RecognizerOptions,
) -> None:
    """Recognize a whole library. The same command continues after a stop, and later does only what is new.

    Results go to --out: tags.jsonl, contact-sheet.html and others; with --write txt or xmp also next to the pictures.

    Example: anytag batch photos --out photo-tags --write html --write xmp
    """
    if status and sources:
        if out is not None or len(sources) > 1:
            raise UsageError("--status takes one output folder: anytag batch --status photo-tags")
        out = Path(sources[0])
    if out is None:
        raise UsageError("--out is missing: the folder for results and progress, such as --out photo-tags")
    if status:
        refuse_all_but(("--status", "--out"), "has no effect on --status; leave it out")
        _show_status(out)
        return
    if not sources:
        raise UsageError("name pictures, folders, shards or Parquet files, or --status")
    chosen = [choice.value for choice in write] if write else ["jsonl", "html"]
    if "txt" not in chosen:
        texts = ("--prefix", "--separator", "--order", "--underscores", "--append", "--keep-existing")
        refuse(texts, "is about text files; add --write txt, or leave it out")
    if "xmp" not in chosen:
        refuse(("--xmp-name",), "is about sidecars; add --write xmp, or leave it out")
    if dry_run:
        refuse(("--watch", "--thumbnails", "--no-thumbnails"), "has no effect on --dry-run; leave it out")
    if append and keep_existing:
        raise UsageError("--append and --keep-existing exclude each other")
    choice = tag_options.read()
    machines = _cluster(engine, workers, cluster, runtime)
    if machines is not None:
        runtime = replace(runtime, threads=runtime.threads or 1)  # Other workers use the other processors.
    recognizer = runtime.open(tags=choice)
    options = {"categories": read_names(categories, categories_from, "--categories"), **selection.read()}
    view = TagView(recognizer.vocabulary, tags, per_kind)
    sidecars: list[SidecarWriter | EmbeddedMetadata] = []
    if "txt" in chosen:
        existing: Existing = "append" if append else "keep" if keep_existing else "refuse"
        sidecars.append(TextSidecars(separator, prefix, existing, order, underscores, caption))
    if "xmp" in chosen:
        sidecars.append(XmpSidecars(view, xmp_name))
    if embed or embed_iptc:
        exiftool()  # Check now, not after the first picture.
        sidecars.append(EmbeddedMetadata(view, embed_iptc))
    tables = [name for name in dict.fromkeys(chosen) if name in TABLES]
    run = BatchRun(recognizer, options, caption, choice, view, sidecars, tables, out, machines)
    if dry_run:
        with run.open_copy() as progress:
            files, _, folders, left_out = _split(sources, walk, run.own_files(progress))
            scan = run.scan(progress, files, folders, by_content=by_content, since=_seconds(since))
            _log_scan(scan, progress, run.settings())
            if left_out:
                log(f"left out: {left_out}")
            if tables:
                log(f"would write {', '.join(TABLES[name][0] for name in tables)} to {out}")
            for path, lines in run.plan(progress, limit):
                echo(path)
                for line in lines:
                    echo(f"  {line}")
        return
    with run.open() as progress:
        done = BatchCounts()
        for number, (there, at_rest) in enumerate(watch_sources(sources, watch)):
            files, archives, folders, left_out = _split(there, walk, run.own_files(progress))
            if retry_failed and number == 0:
                progress.retry_failed()
            scan = run.scan(progress, files, folders, by_content=by_content, since=_seconds(since), at_rest=at_rest)
            if number and not archives and not (scan.to_do or scan.rearranged):
                continue
            if number == 0 or not archives:
                _log_scan(scan, progress, run.settings())
            total = None if archives else min(scan.to_do, limit or scan.to_do)
            try:
                with progress_bar(total) as advance:
                    done = run.recognize(progress, archives, limit, advance, thumbnails)
            except KeyboardInterrupt:
                log("stopped; run the same command to continue")
                raise
            if number and not (done.recognized or done.failed or scan.rearranged):
                continue
            _log_counts(done, run.write(progress), sidecars, out)
            if left_out:
                log(f"left out: {left_out}")
    if done.failed or done.sidecar_problems:
        raise Exit(1)


def _cluster(
    engine: Literal["local", "ray"], workers: int | None, address: str | None, runtime: RecognizerOptions
) -> RayCluster | None:
    """Return the cluster that the options ask for; ``None`` to run the model in this process."""
    if engine == "local":
        if workers is not None or address is not None:
            raise UsageError("--workers and --cluster only work with --engine ray")
        return None
    from anytag.library.cluster import RayCluster

    address = None if address == "local" else address
    gpus = 1 if runtime.device.startswith("cuda") else 0
    return RayCluster(workers, address, processors=runtime.threads or 1, gpus=gpus)


def _log_counts(
    done: BatchCounts, files: Sequence[Path], sidecars: Sequence[SidecarWriter | EmbeddedMetadata], out: Path
) -> None:
    summary = f"{done.recognized:,} recognized, {done.failed:,} failed"
    if any(not isinstance(one, EmbeddedMetadata) for one in sidecars):
        summary += f", {counted(done.sidecars, 'sidecar')} written"
    elif sidecars:
        summary += f", {counted(done.sidecars, 'picture')} written to"
    if done.sidecar_problems:
        summary += f", {done.sidecar_problems:,} not (see {out / FAILURES})"
    log(summary)
    for path in files:
        log(f"  {path}")


def _split(
    sources: Sequence[str], walk: WalkOptions, ours: Container[str]
) -> tuple[Iterator[Path], list[str], list[str], str]:
    """Return pictures, archives, folders to walk completely, and a description of what is left out."""
    archives = [name for source in sources if is_archive(source) for name in expand_archive(source)]
    others = [source for source in sources if not is_archive(source)]
    if archives and "-" in others:
        raise UsageError("- reads the list of pictures from standard input; give nothing beside it")
    whole = not any(vars(walk).values())
    folders = [source for source in others if whole and Path(source).is_dir()]
    if not others:
        return iter(()), archives, folders, ""
    found = find_inputs(others, walk, ours)
    return map(Path, found.paths), archives, folders, found.describe_left_out()


def _seconds(since: datetime | None) -> float | None:
    if since is None:
        return None
    try:
        return since.timestamp()
    except (ValueError, OverflowError, OSError):
        raise UsageError(f"--since: {since.date()} is not a time that files can have") from None


def _log_scan(scan: Scan, progress: Progress, settings: dict[str, Any]) -> None:
    """Print how the sources differ from what was done."""
    parts = [
        f"{count:,} {what}"
        for count, what in (
            (scan.new, "new"),
            (scan.changed, "changed"),
            (scan.redone, "to be done again"),
            (scan.left, "left from before"),
            (scan.moved, "moved"),
            (scan.copied, "known by content"),
            (scan.known, "done before"),
            (scan.failed_before, "failed before (--retry-failed tries them again)"),
            (scan.gone, "gone"),
            (scan.skipped, "older"),
            (scan.unfinished, "perhaps still being written"),
        )
        if count
    ]
    log(f"{counted(scan.found, 'picture')}: {', '.join(parts) or 'none to do'}")
    for number, count in scan.other_settings.items():
        before = progress.settings_content(number)
        changes = ", ".join(
            f"{name} {before.get(name)!r} -> {settings.get(name)!r}"
            for name in sorted(before.keys() | settings.keys())
            if before.get(name) != settings.get(name)
        )
        log(f"  {count:,} were done with other settings: {changes}")


def _show_status(out: Path) -> None:
    if not (out / PROGRESS_FILE).exists():
        raise UsageError(f"{out}: no batch has run here (no {PROGRESS_FILE})")
    progress = Progress(out / PROGRESS_FILE, read_only=True)
    counts = progress.counts()
    echo(f"{counts.get('done', 0):,} done, {counts.get('failed', 0):,} failed, {counts.get('pending', 0):,} to do")
    for settings, count in progress.done_with():
        echo(f"  {count:,} by {settings['model']} {settings['version']}" + (" with captions" * settings["caption"]))
    for kind, count in sorted(progress.failure_kinds().items()):
        echo(f"  {count:,} failed: {kind}")
    progress.close()
