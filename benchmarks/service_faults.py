"""Test the service under faults: vanishing and slow clients, a kill, a broken model, a full disk, clock changes.

    python benchmarks/service_faults.py

The test with a full disk mounts a small file system and so needs root; without root it is reported as not measured.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import _common
from _service import Service, example

import anytag
from anytag.errors import AnytagError

Outcome = tuple[bool, str]


def _send(service: Service, data: bytes) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", service.port), 60)
    connection.sendall(data)
    return connection


def _head(length: int) -> bytes:
    return f"POST /v1/tag HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n".encode()


def _answers(service: Service, expected: list[Any]) -> Outcome:
    reply = service.tag(example())
    good = reply.status == 200 and reply.json()["tags"] == expected
    return good, f"answers afterwards in {reply.seconds:.2f} s" if good else f"answers afterwards with {reply.status}"


def client_gone(expected: list[Any]) -> Outcome:
    """Fifty clients disconnect while they send their pictures."""
    with Service() as service:
        for _ in range(50):
            _send(service, _head(1_000_000) + b"x" * 100_000).close()
        time.sleep(0.5)
        good, told = _answers(service, expected)
        broken = Path(service.log.name).read_text().count('"status": 500')
        return good and not broken, f"{told}; {broken} requests ended with 500"


def slow_client(expected: list[Any]) -> Outcome:
    """Fifty clients send one byte and then nothing: others are served, and these get 408 after the time limit."""
    with Service("--timeout", "10") as service:
        service.tag(example())
        slow = [_send(service, _head(1000) + b"x") for _ in range(50)]
        begun = time.perf_counter()
        good, told = _answers(service, expected)
        statuses = set()
        for connection in slow:
            connection.settimeout(60)
            statuses.add(connection.recv(12)[9:12].decode())
            connection.close()
        seconds = time.perf_counter() - begun
        return good and statuses == {"408"}, f"others: {told}; slow ones: {sorted(statuses)} after {seconds:.0f} s"


def killed(expected: list[Any]) -> Outcome:
    """The process is killed (SIGKILL) while it works, and restarted on the same port."""
    service = Service()
    remote = anytag.connect(f"http://127.0.0.1:{service.port}")
    told: list[str] = []

    def work() -> None:
        try:
            while True:
                remote.tag(example())
        except AnytagError as error:
            told.append(f"{type(error).__name__}: {error}")

    client = threading.Thread(target=work)
    client.start()
    time.sleep(1)
    port = service.port
    service.kill()
    client.join(60)
    if client.is_alive() or not told:
        return False, "the client hangs"
    with Service(port=port) as again:
        good, said = _answers(again, expected)
        return good, f"the client is told {told[0]!r}; up again in {again.seconds_to_ready:.1f} s, {said}"


def model_altered(expected: list[Any]) -> Outcome:
    """The model's graphs are truncated while the service runs, and restored."""
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "lite"
        shutil.copytree(Path(anytag.__file__).parent / "models" / "lite", model)
        graphs = {path: path.read_bytes() for path in model.rglob("*.onnx")}
        with Service("--model", str(model), "--idle-unload", "1") as service:
            service.tag(example())
            for path, whole in graphs.items():
                path.write_bytes(whole[: len(whole) // 2])
            loaded = service.tag(example()).status
            while service.ask("GET", "/v1/models").json()["models"][0]["loaded"]:
                time.sleep(0.2)
            broken = service.tag(example())
            for path, whole in graphs.items():
                path.write_bytes(whole)
            good, told = _answers(service, expected)
            kind = (broken.json() or {}).get("error", {}).get("kind")
            fine = good and loaded == 200 and broken.status == 503
            return fine, f"{loaded} while it is in memory, then {broken.status} ({kind}) while it is broken; {told}"


def disk_full(expected: list[Any]) -> Outcome | None:
    """The disk of the library is full while people edit tags."""
    with tempfile.TemporaryDirectory() as folder:
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder], capture_output=True).returncode:
            return None
        try:
            (Path(folder) / "cat.jpg").write_bytes(example())
            library = anytag.Library(folder)
            library.update()
            [hit] = library.search("path:cat").hits
            with Service("--library", folder, "--allow-edits") as service:
                route, headers = f"/v1/library/{hit.number}/tags", {"Content-Type": "application/json"}
                before = service.ask("PUT", route, json.dumps({"people": ["Grandma"]}).encode(), **headers)
                with contextlib.suppress(OSError), (Path(folder) / "filler").open("wb") as filler:
                    while True:
                        filler.write(bytes(4096))
                        filler.flush()
                full = service.ask(
                    "PUT",
                    route,
                    json.dumps({"people": [letter * 190 for letter in "abcdefghijklmnopqrstuvwxyz"]}).encode(),
                    **headers,
                )
                kept = service.ask("GET", route).json()["people"]
                (Path(folder) / "filler").unlink()
                after = service.ask("PUT", route, json.dumps({"people": ["Grandpa"]}).encode(), **headers)
                good = (before.status, full.status, after.status) == (200, 507, 200) and kept == ["Grandma"]
                served = _answers(service, expected)
                told = f"{full.status} while it is full, tags kept: {kept}; {after.status} afterwards"
                return good and served[0], told
        finally:
            subprocess.run(["umount", folder], check=False)


_JUMPS = """
import threading, time
real, jumped = time.time, [0.0]
time.time = lambda: real() + jumped[0]
def jump():
    step = 0
    while True:
        time.sleep(0.2)
        step += 1
        jumped[0] = (86400.0, -86400.0, 3600.0, 0.0)[step % 4]
threading.Thread(target=jump, daemon=True).start()
"""


def clock_jumps(expected: list[Any]) -> Outcome:
    """The process's clock (Python's) jumps by a day, back and forth, five times a second."""
    with Service("--timeout", "30", before=_JUMPS) as service:
        statuses = {service.tag(example()).status for _ in range(10)}
        good, told = _answers(service, expected)
        return good and statuses == {200}, f"ten requests ended with {sorted(statuses)}; {told}"


FAULTS: tuple[Callable[[list[Any]], Outcome | None], ...] = (
    client_gone, slow_client, killed, model_altered, disk_full, clock_jumps,
)  # fmt: skip


def main() -> None:
    """Run the benchmark."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--only", choices=[fault.__name__ for fault in FAULTS])
    arguments.add_argument("--out", type=Path, default=_common.RESULTS / "service_faults.json")
    options = arguments.parse_args()
    machine = _common.machine()
    with Service() as service:
        expected = service.tag(example()).json()["tags"]
    rows, results = [], {}
    for fault in FAULTS:
        if options.only not in (None, fault.__name__):
            continue
        begun = time.perf_counter()
        outcome = fault(expected)
        good, told = (None, "not measured: this needs root") if outcome is None else outcome
        word = {True: "fine", False: "NOT FINE", None: ""}[good]
        rows.append([fault.__name__, word, told])
        print(f"{fault.__name__}: {word} {told}", flush=True)
        results[fault.__name__] = {"fine": good, "what": told, "seconds": time.perf_counter() - begun}
    _common.table("Faults", ["fault", "", "what happened"], rows)
    _common.write_result(options.out, {"benchmark": "service_faults", "machine": machine, "faults": results})


if __name__ == "__main__":
    main()
