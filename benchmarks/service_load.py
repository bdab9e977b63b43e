"""Measure the service under load: clients at full speed, then at half; its memory, and the cost of HTTP.

python benchmarks/service_load.py --clients 64 --seconds 120
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import statistics
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import _common
from _pictures import make_folder
from _service import Reply, Service, ask, percentile

import anytag

#: Targets.
RATE, HALF_P99, READY, IDLE = 0.9, 0.3, 2.0, 150.0


class Load:
    """Run clients against a service for some time.

    Args:
        service: The service.
        pictures: Pictures to send, in turns.
        clients: Number of concurrent clients.
        seconds: Duration.
        rate: Total requests per second. ``None``: each client sends the next request once the last is answered.
    """

    def __init__(
        self, service: Service, pictures: list[bytes], clients: int, seconds: float, rate: float | None = None
    ):
        self.service, self.pictures, self.clients, self.rate = service, pictures, clients, rate
        self.replies: list[Reply] = []
        self.memory: list[float] = []
        self.begun = time.perf_counter()
        self.end = self.begun + seconds
        threads = [threading.Thread(target=self._client, args=(number,)) for number in range(clients)]
        for thread in threads:
            thread.start()
        while time.perf_counter() < self.end:
            self.memory.append(service.megabytes())
            time.sleep(0.25)
        for thread in threads:
            thread.join()
        self.seconds = time.perf_counter() - self.begun

    def _client(self, number: int) -> None:
        turn, due = number, self.begun + (number / self.rate if self.rate else 0)
        with contextlib.closing(self.service.connect()) as connection:
            while True:
                if self.rate:  # At fixed times, so that slow answers do not reduce the rate.
                    time.sleep(max(0.0, due - time.perf_counter()))
                if time.perf_counter() >= self.end:
                    return
                reply = ask(connection, "POST", "/v1/tag", self.pictures[turn % len(self.pictures)])
                late = max(0.0, time.perf_counter() - reply.seconds - due) if self.rate else 0.0
                self.replies.append(Reply(reply.status, b"", reply.seconds + late))
                turn += self.clients
                due += self.clients / self.rate if self.rate else 0
                if reply.status == 429:
                    time.sleep(reply.retry_after)

    def figures(self) -> dict[str, Any]:
        """Rates, times and memory."""
        good = [reply.seconds for reply in self.replies if reply.status == 200]
        quarter = max(1, len(self.memory) // 4)
        return {
            "clients": self.clients,
            "seconds": self.seconds,
            "statuses": {str(k): v for k, v in collections.Counter(r.status for r in self.replies).items()},
            "rate": len(good) / self.seconds,
            "p50": percentile(good, 0.5),
            "p95": percentile(good, 0.95),
            "p99": percentile(good, 0.99),
            "memory_mb": {
                "second_quarter": statistics.median(self.memory[quarter : 2 * quarter] or self.memory),
                "last_quarter": statistics.median(self.memory[-quarter:]),
                "most": max(self.memory),
            },
        }


def rate_in_process(pictures: list[bytes], seconds: float) -> float:
    """Pictures per second of a recognizer in this process, with the service's two threads and batches of eight."""
    recognizer = anytag.load(threads=2)
    recognizer.tag(pictures[:8])
    done, begun = 0, time.perf_counter()
    while time.perf_counter() - begun < seconds:
        recognizer.tag(pictures)
        done += len(pictures)
    return done / (time.perf_counter() - begun)


def idle_memory() -> float | None:
    """Memory of the service after unloading its model."""
    with Service("--quiet", "--idle-unload", "1") as service:
        service.tag((_common.ROOT / "examples" / "cat.jpg").read_bytes())
        end = time.monotonic() + 30
        while time.monotonic() < end:
            if not service.ask("GET", "/v1/models").json()["models"][0]["loaded"]:
                time.sleep(1)
                return service.megabytes()
            time.sleep(0.2)
    return None


def main() -> None:
    """Run the benchmark."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--clients", type=int, default=64)
    arguments.add_argument("--seconds", type=float, default=120)
    arguments.add_argument("--pictures", type=int, default=32, help="number of different pictures, 640 by 480")
    arguments.add_argument("--seed", type=int, default=0)
    arguments.add_argument("--out", type=Path, default=_common.RESULTS / "service_load.json")
    options = arguments.parse_args()
    machine = _common.machine()
    with tempfile.TemporaryDirectory() as folder:
        paths = make_folder(Path(folder), options.pictures, seed=options.seed)
        pictures = [path.read_bytes() for path in paths]
    ready = []
    for _ in range(3):
        with Service("--quiet") as service:
            ready.append(service.seconds_to_ready)
    idle = idle_memory()
    # Measured before and after the load, because the machine's speed may change.
    before = rate_in_process(pictures, options.seconds / 8)
    with Service("--quiet", "--queue", str(max(64, options.clients))) as service:
        service.tag(pictures[0])
        full = Load(service, pictures, options.clients, options.seconds).figures()
        half = Load(service, pictures, options.clients, options.seconds / 2, full["rate"] / 2).figures()
    inside = (before + rate_in_process(pictures, options.seconds / 8)) / 2
    bad = sum(n for status, n in full["statuses"].items() if status not in ("200", "429"))
    bad += sum(n for status, n in half["statuses"].items() if status not in ("200", "429"))
    memory = full["memory_mb"]
    rows = [
        [name, f["rate"], f["p50"], f["p95"], f["p99"], str(f["statuses"])]
        for name, f in (("full", full), ("half", half))
    ]
    _common.table("Load", ["", "pictures/s", "p50 s", "p95 s", "p99 s", "statuses"], rows)
    targets = [
        _common.target("errors other than 429", bad, 0, at_least=False),
        _common.target("rate over HTTP / in process", full["rate"] / inside, RATE, at_least=True),
        _common.target("p99 at half load", half["p99"], HALF_P99, at_least=False, unit="s"),
        _common.target("growth of memory", memory["last_quarter"] / memory["second_quarter"], 1.05, at_least=False),
        _common.target("start to ready", statistics.median(ready), READY, at_least=False, unit="s"),
        _common.target("memory after unloading", idle, IDLE, at_least=False, unit="MB"),
    ]
    record = {
        "benchmark": "service_load",
        "machine": machine,
        "seed": options.seed,
        "full_load": full,
        "half_load": half,
        "rate_in_process": inside,
        "seconds_to_ready": ready,
    }
    _common.write_targets(options.out, targets, record)


if __name__ == "__main__":
    main()
