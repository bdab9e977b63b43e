"""Fuzz the service with requests from its OpenAPI document and damaged pictures: no crash, no 500, no hang.

    python benchmarks/service_fuzz.py --pictures 20000 --seconds 600

Case N of the pictures is that of ``benchmarks/mutated_pictures.py --only N``. Ctrl-C ends the pictures early and writes
the results so far.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import importlib.util
import re
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import _common
from _service import Reply, Service, ask, example
from mutated_pictures import case

#: Seconds after which a request counts as unanswered.
PATIENCE = 60.0

#: Pictures sent at the same time.
CLIENTS = 6


def fuzz_requests(service: Service, seconds: float, seed: int) -> dict[str, Any]:
    """Run Schemathesis over the OpenAPI document; no response may be a 500."""
    if importlib.util.find_spec("schemathesis") is None:
        raise SystemExit("schemathesis is not installed; it comes with: pip install -e '.[dev]'")
    program = [sys.executable, "-c", "import sys; from schemathesis.cli import schemathesis; sys.exit(schemathesis())"]
    asked = ["run", f"http://127.0.0.1:{service.port}/openapi.json", "--checks", "not_a_server_error", "--no-color"]
    limits = ["--max-time", str(round(seconds)), "--seed", str(seed), "--request-timeout", str(PATIENCE)]
    limits += ["--continue-on-failure", "--phases", "examples,coverage,fuzzing", "--generation-database", "none"]
    done = subprocess.run([*program, *asked, *limits], capture_output=True, text=True, check=False)
    log = Path(service.log.name).read_text()
    statuses = collections.Counter(re.findall(r'"status": (\d+)', log))
    return {"exit_code": done.returncode, "statuses": dict(statuses), "requests": sum(statuses.values()),
            "end": done.stdout[-1500:] if done.returncode else ""}  # fmt: skip


def fuzz_pictures(service: Service, count: int, seed: int) -> dict[str, Any]:
    """Send damaged pictures, one per request, from a few clients at once."""
    outcomes: collections.Counter[str] = collections.Counter()
    bad: list[dict[str, Any]] = []
    longest, most = 0.0, 0.0
    connections = threading.local()

    def send(number: int) -> tuple[int, str, str, Reply]:
        if not hasattr(connections, "mine"):
            connections.mine = service.connect(PATIENCE)
        name, damage, content = case(seed, number)
        return number, name, damage, ask(connections.mine, "POST", "/v1/tag", content or b" ")

    with ThreadPoolExecutor(CLIENTS) as pool, contextlib.suppress(KeyboardInterrupt):
        for start in range(0, count, 500):
            if not service.lives:
                break
            for number, name, damage, reply in pool.map(send, range(start, min(start + 500, count))):
                record = reply.json() or {}
                outcomes[f"{reply.status} {record.get('error', {}).get('kind', '')}".strip()] += 1
                longest = max(longest, reply.seconds)
                if number % 50 == 0 and service.lives:
                    most = max(most, service.megabytes())
                if reply.status not in (200, 413, 415, 422):
                    at = {"case": number, "file": name, "damage": damage}
                    bad.append({**at, "status": reply.status, "answer": record})
                    print(bad[-1], flush=True)
            print(f"{min(start + 500, count):,} pictures", flush=True)
    return {"outcomes": dict(outcomes), "bad": bad, "longest": longest, "most_mb": most}


def main() -> None:
    """Run the benchmark."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--pictures", type=int, default=20_000)
    arguments.add_argument("--seconds", type=float, default=600, help="seconds for requests from the OpenAPI document")
    arguments.add_argument("--seed", type=int, default=0)
    arguments.add_argument("--out", type=Path, default=_common.RESULTS / "service_fuzz.json")
    options = arguments.parse_args()
    machine = _common.machine()
    begun = time.perf_counter()
    with Service() as service:
        requests = fuzz_requests(service, options.seconds, options.seed)
        alive = service.lives and service.tag(example()).status == 200
    with Service() as service:
        pictures = fuzz_pictures(service, options.pictures, options.seed)
        alive = alive and service.lives and service.tag(example()).status == 200
    _common.table("Requests", ["status", "answers"], sorted(requests["statuses"].items()))
    _common.table("Damaged pictures", ["answer", "pictures"], sorted(pictures["outcomes"].items()))
    targets = [
        _common.target("answers of 500", requests["statuses"].get("500", 0), 0, at_least=False),
        _common.target("pictures with another end", len(pictures["bad"]), 0, at_least=False),
        _common.target("alive and well afterwards", float(alive), 1, at_least=True),
        _common.target("longest answer", pictures["longest"], PATIENCE, at_least=False, unit="s"),
    ]
    record = {
        "benchmark": "service_fuzz",
        "machine": machine,
        "seed": options.seed,
        "pictures": sum(pictures["outcomes"].values()),
        "seconds": options.seconds,
        "seconds_in_all": time.perf_counter() - begun,
        "from_openapi": requests,
        "damaged_pictures": pictures,
    }
    _common.write_targets(options.out, targets, record)


if __name__ == "__main__":
    main()
