r"""The papers' claims, reproduced at small scale.

    python benchmarks/claims.py guidance|joint|queries|engine|alignment --data DATA --cache CACHE \
        --seeds 0 1 2 --minutes 10 --out benchmarks/results/claims.json
    python benchmarks/claims.py table

``DATA`` contains ``coco20k/`` and ``flickr8k/``. ``CACHE`` is for features, runs and manifests. You may link another
run's cached shards into it (``coco20k-*``, ``flickr8k-*``, with two views of 260 px), and ``parsed-train.jsonl``,
``parsed-validation.jsonl`` and ``caption-embeddings.npy`` of the same shards, but not ``vocabulary.json`` or
``tokenizer.json``, which depend on the settings.

Every run takes the same number of steps, which is measured once for ``--minutes`` on idle cores and stored with the
results, so that other programs do not affect them; ``--steps`` sets it instead. Arms with a result are not run again,
and a stopped run continues. Human categories of the pictures are used for validation only.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from _claims_config import CLAIMS, SETTINGS, ClaimsConfig, Setting, default_config
from _claims_table import missing, render
from _common import RESULTS, add_data_argument, machine, rounded

from anytag.foundations.atomic_files import write_text


def read_record(path: Path, config: ClaimsConfig) -> dict[str, Any]:
    """Existing results.

    Raises:
        SystemExit: If they were measured with other settings.
    """
    settings = config_record(config)
    if not path.exists():
        return {"machine": machine(), "settings": settings, "budgets": {}, "engine": [], "results": []}
    record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if record["settings"] != settings:
        raise SystemExit(f"{path}: contains results of other settings; choose another file with --out")
    return record


def config_record(config: ClaimsConfig) -> dict[str, Any]:
    """Settings that differ from the defaults, so that a new option at its default does not invalidate results."""
    return config.model_dump(mode="json", exclude_defaults=True)


def write_record(path: Path, record: dict[str, Any]) -> None:
    """Write the results atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(rounded(record, 5), indent=1, allow_nan=False) + "\n")


def steps_of(setting: Setting, steps: int, step_seconds: dict[str, float]) -> int:
    """Number of steps of a setting's run."""
    if not setting.same_time:
        return steps
    return round(steps * step_seconds["joint"] / step_seconds["alone"])


class Runs:
    """Train and measure every setting once."""

    def __init__(self, config: ClaimsConfig, data: Path, cache: Path, record: dict[str, Any]):
        from _claims_data import ClaimsData
        from _claims_figures import Judge

        digest = hashlib.sha256(json.dumps(config_record(config), sort_keys=True).encode()).hexdigest()[:8]
        self.record, self.folder = record, cache / "claims" / digest
        self.data = ClaimsData(config, data, cache)
        self.judge = Judge(self.data)

    def budget(self, minutes: float, steps: int | None) -> int:
        """The common number of steps, measured once per record."""
        from _claims_training import measure_steps

        budgets = self.record["budgets"]
        if "step_seconds" not in budgets:
            budgets["step_seconds"] = measure_steps(self.data)
        if steps is not None:
            return steps
        kept = budgets.setdefault("minutes", {})
        kept.setdefault(f"{minutes:g}", max(1, round(minutes * 60 / budgets["step_seconds"]["joint"])))
        return int(kept[f"{minutes:g}"])

    def figures(self, name: str, seed: int, steps: int) -> dict[str, Any]:
        """Metrics of a setting's run, which is trained if necessary."""
        from _claims_training import train

        setting = SETTINGS[name]
        own = steps_of(setting, steps, self.record["budgets"]["step_seconds"])
        folder, work = self.folder / f"{name}-{seed}-{own}", self.folder / f"engine-{steps}"
        kept = folder / "figures.json"
        if kept.exists():
            found: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8"))
            return found
        if setting.manifest is not None:
            self._prepare_manifest(setting, work, steps)
        print(f"{name}, seed {seed}, {own} steps", flush=True)
        trained = train(self.data, setting, seed, own, folder, work)
        start = time.process_time()
        figures = self.judge(trained.model, setting, seed, name in ("alone", "aligned"))
        found = rounded(
            {
                "figures": figures | {"tags": trained.tags},
                "trained_steps": own,
                "seconds_training": trained.seconds,
                "seconds_judging": time.process_time() - start,
            },
            5,
        )
        write_text(kept, json.dumps(found) + "\n")
        if not (setting.manifest == "parsed" and seed == 0):  # The data engine's model starts from that one.
            (folder / "checkpoint.pt").unlink(missing_ok=True)
        return found

    def _prepare_manifest(self, setting: Setting, work: Path, steps: int) -> None:
        from _claims_engine import generate_and_clean, parse
        from _claims_training import train

        if not (work / "parsed" / "manifest.json").exists():
            parse(self.data, work)
        if setting.manifest == "parsed" or (work / "cleaned" / "manifest.json").exists():
            return
        parsed = SETTINGS["parsed"]
        trained = train(self.data, parsed, 0, steps, work.parent / f"parsed-0-{steps}", work)
        reports = generate_and_clean(self.data, trained.model, work)
        self.record["engine"].append(
            {"steps": steps, "reports": [{"step": r.step, "counts": dict(r.counts)} for r in reports]}
        )


def run_claim(runs: Runs, name: str, seeds: Sequence[int], steps: int, out: Path) -> None:
    """Run the missing parts of a claim, and save every result immediately."""
    for arm_name, seed in missing(runs.record, name, steps, seeds):
        arm = CLAIMS[name].arms[arm_name]
        found = runs.figures(arm.setting, seed, steps)
        figures = {column: found["figures"][key] for column, key in arm.figures.items()}
        entry = {"claim": name, "arm": arm_name, "seed": seed, "steps": steps, "setting": arm.setting}
        entry |= {key: value for key, value in found.items() if key != "figures"} | {"figures": figures}
        runs.record["results"].append(entry)
        write_record(out, runs.record)
        shown = ", ".join(f"{k} {v:.3f}" for k, v in figures.items() if v is not None)
        print(f"{name}: {arm_name}, seed {seed}: {shown}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, claim in CLAIMS.items():
        command = commands.add_parser(name, help=claim.title)
        add_data_argument(command)
        command.add_argument("--cache", type=Path, required=True, help="folder for features and runs")
        command.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
        command.add_argument(
            "--minutes", type=float, default=10.0, help="minutes of a run with captioning, on idle cores"
        )
        command.add_argument("--steps", type=int, help="number of steps, instead of --minutes")
        command.add_argument("--limit", type=int, help="quick run: fewer pictures for the engine and for validation")
        command.add_argument("--out", type=Path, default=RESULTS / "claims.json", help="results, as JSON")
    shown = commands.add_parser("table", help="results as Markdown")
    shown.add_argument("--out", type=Path, default=RESULTS / "claims.json", help="results, as JSON")
    shown.add_argument("--steps", type=int, help="the budget to show (default: the largest that is complete)")
    options = parser.parse_args()
    if options.command == "table":
        print(render(json.loads(options.out.read_text(encoding="utf-8")), options.steps), end="")
        return

    from anytag.training.engine.allocator import keep_freed_memory

    keep_freed_memory()
    config = default_config(options.limit)
    record = read_record(options.out, config)
    runs = Runs(config, options.data, options.cache, record)
    steps = runs.budget(options.minutes, options.steps)
    write_record(options.out, record)
    run_claim(runs, options.command, options.seeds, steps, options.out)
    print()
    print(render(record, steps))


if __name__ == "__main__":
    main()
