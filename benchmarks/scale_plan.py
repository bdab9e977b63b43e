"""Plan training on many machines: ``python benchmarks/scale_plan.py [--write docs/scale.md]``.

Sizes, hours and costs for 14 million and a billion pairs, from rates measured by the other benchmarks
(``results/*.json``), operations counted on the official sizes (``--count`` counts them again; needs PyTorch) and
assumptions about rented machines: ``Assumptions`` in ``_scale_config.py``, which you can change there or with
``--assume utilization=0.4`` and ``--gpu B200:2250:4.5``. Prints Markdown tables.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from _common import RESULTS, machine, write_result
from _scale_config import (
    OPERATIONS,
    RAM,
    REPORTED_HOURS,
    RUNS,
    SHOWN,
    Assumptions,
    Gpu,
    Measured,
    Recipe,
    assumptions,
    read_measured,
)

from anytag.foundations.atomic_files import write_text

BEGIN, END = "<!-- tables of benchmarks/scale_plan.py: begin -->", "<!-- tables: end -->"


def multiply_adds(operations: Mapping[str, float], recipe: Recipe) -> dict[str, float]:
    """10^9 multiply-adds of every part per training picture; a backward pass costs two forward passes."""
    parts = {part: 3 * operations[part] * times for part, times in recipe.learned.items()}
    for part, times in recipe.frozen.items():
        parts[part] = parts.get(part, 0.0) + operations[part] * times
    return parts


def gpu_hours(pictures: float, multiply_adds_each: float, gpu: Gpu, utilization: float) -> float:
    """GPU hours for a number of pictures, with 10^9 multiply-adds (two operations each) per picture."""
    return pictures * multiply_adds_each * 2e9 / (gpu.tflops * 1e12 * utilization) / 3600


def core_hours(count: float, cpu_ms: float) -> float:
    """Hours of one processor core."""
    return count * cpu_ms / 3.6e6


def parameters(operations: Mapping[str, float], recipe: Recipe) -> float:
    """Number of trained parameters."""
    return sum(operations[f"parameters_{part}"] for part in recipe.parameters)


def size_rows(pairs: Sequence[float], assumed: Assumptions, measured: Measured) -> list[list[str]]:
    """Storage for each number of pairs."""
    large = measured.operations["swin_large_224"]
    shard = assumed.picture_bytes + assumed.caption_bytes
    each = {
        "pictures, 384 px": assumed.picture_bytes,
        "shards, with captions": shard,
        "a manifest of the engine (JSON lines)": assumed.manifest_bytes,
        "teacher's embeddings (512 × float16)": 1024,
        "RAM's features at 224 px (50 × 512 × float16)": 50 * 1024,
    }
    rows = [[name, *(size(count * bytes_each) for count in pairs)] for name, bytes_each in each.items()]
    rows.append(["number of shards", *(f"{count / assumed.shard_samples:,.0f}" for count in pairs)])
    # Weights, and Adam's two moments, in float32.
    checkpoint = parameters(large, RAM) * 12
    rows.append(["a checkpoint of RAM, Swin-L", *[size(checkpoint)] * len(pairs)])
    rows.append(
        [
            "storage per month: shards, two manifests, checkpoints",
            *(
                money(
                    (count * (shard + 2 * assumed.manifest_bytes) + assumed.kept_checkpoints * checkpoint)
                    / 1e12
                    * assumed.storage_price
                )
                for count in pairs
            ),
        ]
    )
    return rows


def engine_rows(pairs: Sequence[float], assumed: Assumptions, measured: Measured) -> list[list[str]]:
    """Core hours and cost of the data engine's steps on processors, with the shipped model."""
    rows = []
    for step, cpu_ms in measured.cpu_ms.items():
        row = [step, f"{cpu_ms:.3g} ms"]
        for count in pairs:
            hours = core_hours(count, cpu_ms)
            row += [f"{hours:,.0f}" if hours >= 1 else f"{hours:.1f}", money(hours * assumed.core_price)]
        rows.append(row)
    return rows


def large_engine_work(model: str, assumed: Assumptions, measured: Measured) -> dict[str, float]:
    """10^9 multiply-adds per picture for generating and cleaning with RAM at 384 px."""
    parts = measured.operations[model]
    tags = parts["image"] + parts["tags"]
    words = assumed.beams * assumed.generated_tokens / assumed.caption_tokens
    # Cleaning runs the model on crops: assume the same cost relative to tagging as with the shipped model.
    crops = measured.cpu_ms["clean"] / measured.cpu_ms["generate tags"]
    return {
        "generate tags and captions": tags + parts["fuse"] + parts["decode"] * words,
        "clean": tags * crops,
    }


def large_engine_rows(pairs: Sequence[float], assumed: Assumptions, measured: Measured) -> list[list[str]]:
    """Generating and cleaning with RAM at 384 px on the first GPU."""
    gpu = assumed.gpus[0]
    rows = []
    for swin in ("base", "large"):
        for step, operations in large_engine_work(f"swin_{swin}_384", assumed, measured).items():
            row = [f"{step}, Swin-{swin[0].upper()}", f"{operations:,.0f}"]
            for count in pairs:
                hours = gpu_hours(count, operations, gpu, assumed.utilization)
                row += [f"{hours:,.0f}", money(hours * gpu.price)]
            rows.append(row)
    return rows


def training_rows(assumed: Assumptions, measured: Measured) -> list[list[str]]:
    """Every run on every GPU, and on the first one at the share of its peak that RAM's authors reached."""
    rows, first, reached = [], assumed.gpus[0], reported_utilization(assumed, measured)
    for pairs, recipe, number in RUNS:
        each = sum(multiply_adds(measured.operations[recipe.model], recipe).values())
        row = [f"`{recipe.name}`", number_of(pairs), f"{recipe.epochs:g}", f"{each:,.0f}"]
        for gpu, share in (*((gpu, assumed.utilization) for gpu in assumed.gpus), (first, reached)):
            hours = gpu_hours(pairs * recipe.epochs, each, gpu, share)
            row += [f"{hours:,.0f}", f"{hours / number / 24:.1f} on {number}", money(hours * gpu.price)]
        rows.append(row)
    return rows


def whole_rows(assumed: Assumptions, measured: Measured) -> list[list[str]]:
    """Days on one machine with 8 of the first GPU: pre-train, run the data engine, train again.

    Reading is not added, because it happens while the GPUs work.
    """
    rows, gpu, shard = [], assumed.gpus[0], assumed.picture_bytes + assumed.caption_bytes
    for pairs, epochs in ((14e6, 5), (1e9, 1)):
        for swin in ("base", "large"):
            run = replace(RAM, model=f"swin_{swin}_224", epochs=epochs)
            each = sum(multiply_adds(measured.operations[run.model], run).values())
            training = gpu_hours(pairs * epochs, each, gpu, assumed.utilization) / 8 / 24
            work = large_engine_work(f"swin_{swin}_384", assumed, measured)
            engine = [gpu_hours(pairs, operations, gpu, assumed.utilization) / 8 / 24 for operations in work.values()]
            whole = 2 * training + sum(engine)
            reading = pairs * epochs * shard * 8 / (assumed.network_gbits * 1e9) / 86400
            row = [f"{number_of(pairs)}, Swin-{swin[0].upper()}", f"{reading:.2f}"]
            row += [f"{days:.1f} ({days / whole:.0%})" for days in (training, *engine, training)]
            rows.append([*row, f"{whole:.1f}", money(whole * 24 * 8 * gpu.price)])
    return rows


def share_rows(measured: Measured) -> list[list[str]]:
    """Share of each part of the network in the operations of a step."""
    shares = {run.name: multiply_adds(measured.operations[run.model], run) for run in SHOWN}
    names = {
        "image": "image encoder",
        "tags": "recognition decoder",
        "fuse": "interaction and alignment encoders",
        "decode": "text decoder",
        "teacher": "CLIP's image encoder (teacher)",
        "text": "CLIP's text encoder",
    }
    return [
        [label, *(f"{100 * parts.get(part, 0) / sum(parts.values()):.0f} %" for parts in shares.values())]
        for part, label in names.items()
    ]


def reported_utilization(assumed: Assumptions, measured: Measured) -> float:
    """Share of an A100's bfloat16 peak that RAM's authors reached, from their reported time."""
    each = sum(multiply_adds(measured.operations[RAM.model], RAM).values())
    return gpu_hours(14e6 * RAM.epochs, each, assumed.gpus[0], 1.0) / REPORTED_HOURS


def loading_rows(assumed: Assumptions, measured: Measured) -> list[list[str]]:
    """Processor cores needed to decode pictures for one GPU."""
    if measured.load_ms is None:
        return []
    rows = []
    for recipe in SHOWN:
        each = sum(multiply_adds(measured.operations[recipe.model], recipe).values())
        row = [f"`{recipe.name}`"]
        for gpu in assumed.gpus:
            rate = gpu.tflops * 1e12 * assumed.utilization / (each * 2e9)
            row += [f"{rate:,.0f}", f"{rate * measured.load_ms / 1000:.1f}"]
        rows.append(row)
    return rows


def size(count: float) -> str:
    """Format bytes with three digits and a decimal unit."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if count < 999.5 or unit == "TB":
            break
        count /= 1000
    return f"{count:,.0f} {unit}" if count >= 99.95 else f"{count:.3g} {unit}"


def money(dollars: float) -> str:
    """Format US dollars with two significant digits; ``< $1`` below one."""
    if dollars < 1:
        return "< $1"
    if dollars < 100:
        return f"${dollars:.0f}"
    return f"${float(f'{dollars:.2g}'):,.0f}"


def number_of(count: float) -> str:
    """Format a count in millions: ``14 M``, ``1,000 M``."""
    return f"{count / 1e6:,.0f} M"


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table with the first column left-aligned."""
    rule = ["---", *["---:"] * (len(header) - 1)]
    return "\n".join("| " + " | ".join(line) + " |" for line in (header, rule, *rows))


def report(assumed: Assumptions, measured: Measured, pairs: Sequence[float] = (14e6, 1e9)) -> str:
    """All tables."""
    heads = [f"{number_of(count)} pairs" for count in pairs]
    both = [part for head in heads for part in (head, "cost")]
    first = assumed.gpus[0].name
    reached = f"{reported_utilization(assumed, measured):.0%}"
    names = [*(gpu.name for gpu in assumed.gpus), f"{first}, {reached}:"]
    kinds = [part for name in names for part in (f"{name} hours", "days", "cost")]
    tables = [
        "### Storage\n\n" + markdown(["", *heads], size_rows(pairs, assumed, measured)),
        "### The data engine on processors, with the shipped model\n\nCore hours.\n\n"
        + markdown(["step", "measured each", *both], engine_rows(pairs, assumed, measured)),
        f"### The data engine on GPUs, with RAM at 384 px\n\n{first} hours.\n\n"
        + markdown(["step", "10⁹ multiply–adds", *both], large_engine_rows(pairs, assumed, measured)),
        f"### Training at {assumed.utilization:.0%} of the peak\n\n"
        + markdown(
            ["recipe", "pairs", "passes", "10⁹ multiply–adds per picture", *kinds], training_rows(assumed, measured)
        )
        + f"\n\nRAM's authors report 3 days on 8 A100 for `ram_14m`: {REPORTED_HOURS} hours, or {reached} of the "
        "peak in bfloat16. The last three columns assume that pace.",
        f"### A whole project on one machine with 8 {first}\n\nDays, and shares of the whole.\n\n"
        + markdown(
            ["", "reading the shards", "train", "generate", "clean", "train again", "days", "cost"],
            whole_rows(assumed, measured),
        ),
        "### Operations of training by part\n\n"
        + markdown(["part", *(f"`{recipe.name}`" for recipe in SHOWN)], share_rows(measured)),
    ]
    if rows := loading_rows(assumed, measured):
        header = [part for gpu in assumed.gpus for part in (f"pictures per second, {gpu.name}", "cores to feed it")]
        tables.append("### Loading beside one GPU\n\n" + markdown(["recipe", *header], rows))
    return "\n\n".join(tables)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--count", action="store_true", help=f"count operations again, into results/{OPERATIONS}")
    arguments.add_argument("--write", type=Path, help="write the tables into this page, between its two marks")
    arguments.add_argument("--assume", action="append", default=[], metavar="NAME=VALUE", help="change an assumption")
    arguments.add_argument(
        "--gpu", action="append", default=[], metavar="NAME:TFLOPS:PRICE", help="use this GPU instead"
    )
    options = arguments.parse_args()
    assumed = assumptions(options.assume, options.gpu)
    if options.count:
        from _scale_operations import count_operations

        write_result(RESULTS / OPERATIONS, {"machine": machine(), "models": count_operations()})
    tables = report(assumed, read_measured(RESULTS))
    if options.write is None:
        print(tables)
        return
    head, begin, rest = options.write.read_text(encoding="utf-8").partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{options.write}: lacks the marks {BEGIN} and {END}")
    write_text(options.write, f"{head}{BEGIN}\n\n{tables}\n\n{END}{tail}")


if __name__ == "__main__":
    main()
