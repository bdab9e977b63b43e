"""Measure the official families on a graphics card: ``python benchmarks/accelerator.py --device cuda --work DIR``.

RAM, RAM++ and Tag2Text at full size with random weights, one picture and 64 at a time: the reference computation in
eager PyTorch (``_reference.py``, float32), and our backend in float32 and bfloat16, in one run with the same weights.
Milliseconds are wall-clock medians after a warm-up, from pixels to logits, both in main memory. This needs PyTorch for
the card, 6 GB in ``--work`` and, for 64 pictures, about 24 GB on the card; what does not fit is reported and skipped.
The last lines of the output are rows for ``docs/tables.md``. ``--tiny --device cpu`` tries it in seconds.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import _reference
import numpy as np
import torch
from _common import RESULTS, cpu_model, machine, write_result
from _families import make_directory, photographs

from anytag.backends.torch import TorchBackend
from anytag.errors import ModelError
from anytag.model.directory import ModelDirectory
from anytag.nn.devices import find_device
from anytag.nn.weights import WEIGHTS_FILE, read_model

NAMES = {"ram": "RAM", "ram_plus": "RAM++", "tag2text": "Tag2Text"}

#: Unmeasured warm-up runs, in which kernels are chosen and memory is allocated.
_WARM_UP = 3

Run = Callable[[Any], Any]


def variants(directory: ModelDirectory, device: torch.device) -> dict[str, Run]:
    """Functions from pixels ``[B, R, R, 3]`` to logits ``[B, T]``, by name."""
    config = directory.config
    model = read_model(config, len(directory.vocabulary), directory.path / WEIGHTS_FILE).to(device)
    mean, std = (
        torch.tensor(values, device=device) for values in (config.image_encoder.mean, config.image_encoder.std)
    )

    @torch.inference_mode()
    def reference(pixels: Any) -> Any:
        normalized = ((torch.from_numpy(pixels).to(device).float() - mean) / std).permute(0, 3, 1, 2).contiguous()
        return _reference.recognize(model, _reference.encode(model, normalized)).cpu().numpy()

    found: dict[str, Run] = {"reference": reference}
    for precision in ("float32", "bfloat16"):
        backend = TorchBackend(directory, device=str(device), precision=precision)
        queries = backend.vocabulary_queries()
        found[precision] = lambda pixels, b=backend, q=queries: b.recognize(b.encode(pixels).features, q)
    return found


def measure(runs_of: dict[str, Run], pixels: Any, device: torch.device, runs: int) -> dict[str, dict[str, Any] | None]:
    """Milliseconds per picture, memory, and difference of logits to the reference; ``None`` for what does not fit."""
    rows: dict[str, dict[str, Any] | None] = {}
    truth = None
    for name, run in runs_of.items():
        try:
            rows[name], logits = _timed(run, pixels, device, runs)
        except torch.OutOfMemoryError:
            rows[name] = None
            torch.cuda.empty_cache()
            continue
        truth = logits if name == "reference" else truth
        apart = None if truth is None else float(np.abs(logits - truth).max())
        rows[name] |= {"largest_logit_difference": apart}  # type: ignore[operator]
    first = rows["reference"]
    for row in rows.values():
        if row is not None:
            row["faster"] = None if first is None else first["ms_per_picture"] / row["ms_per_picture"]
    return rows


def _timed(run: Run, pixels: Any, device: torch.device, runs: int) -> tuple[dict[str, Any], Any]:
    on_card = device.type == "cuda"
    if on_card:
        torch.cuda.reset_peak_memory_stats(device)
    seconds = []
    for number in range(_WARM_UP + runs):
        start = time.perf_counter()
        logits = run(pixels)  # The result is in main memory, so the card has finished.
        if number >= _WARM_UP:
            seconds.append(time.perf_counter() - start)
    row: dict[str, Any] = {"ms_per_picture": statistics.median(seconds) / len(pixels) * 1e3}
    if on_card:
        row["memory_mb"] = torch.cuda.max_memory_allocated(device) / 1e6
    return row, logits


def markdown(device: str, result: dict[str, dict[str, dict[str, dict[str, Any] | None]]]) -> str:
    """Rows for ``docs/tables.md``."""
    lines = []
    for family, batches in result.items():
        for batch, rows in batches.items():
            cells = [NAMES[family], device, batch]
            for row in rows.values():
                cells.append("does not fit" if row is None else f"{row['ms_per_picture']:.3g}")
            half = rows["bfloat16"] or {}
            faster, apart = half.get("faster"), half.get("largest_logit_difference")
            cells.append("" if faster is None else f"{faster:.2f}×")
            cells.append("" if apart is None else f"{apart:.1g}")
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="Folder for models with random weights.")
    parser.add_argument("--device", default="cuda", help="cuda, cuda:1, mps or xpu; cpu for a trial.")
    parser.add_argument("--only", nargs="*", choices=NAMES, default=list(NAMES), help="Families.")
    parser.add_argument("--batch", type=int, nargs="*", help="Batch sizes. (default: 1 64; tiny: 1 4)")
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--tiny", action="store_true", help="Use very small sizes, to try the benchmark.")
    parser.add_argument("--out", type=Path, default=RESULTS / "accelerator.json")
    given = parser.parse_args()
    try:
        device = find_device(given.device)
    except ModelError as error:
        raise SystemExit(str(error)) from None
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{cpu_model()}, {device.type}"
    result: dict[str, Any] = {}
    for family in given.only:
        directory = make_directory(family, given.work / family, given.tiny)
        runs_of = variants(directory, device)
        result[family] = {}
        for batch in given.batch or ([1, 4] if given.tiny else [1, 64]):
            pixels = photographs(directory, batch, seed=0)
            result[family][str(batch)] = measure(runs_of, pixels, device, given.runs)
        del runs_of
        if device.type == "cuda":
            torch.cuda.empty_cache()
    tf32 = torch.get_float32_matmul_precision()
    where = machine() | {"torch": torch.__version__, "device": name, "float32_products": tf32, "tiny": given.tiny}
    write_result(given.out, {"machine": where, **result})
    print(f"\n{markdown(name, result)}")


if __name__ == "__main__":
    main()
