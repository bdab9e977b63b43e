"""Nothing phones home: no socket is opened and no file is left in the home folder."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest
from conftest import ROOT, require_module

from anytag.foundations.telemetry import SWITCHES

#: Runs a statement and prints how many sockets the process, native libraries included, has opened meanwhile.
WATCHER = """
import os, threading, time
sockets, done = set(), threading.Event()
def watch():
    while not done.wait(0.002):
        for number in os.listdir("/proc/self/fd"):
            try:
                target = os.readlink(f"/proc/self/fd/{number}")
            except OSError:
                continue
            if target.startswith("socket:"):
                sockets.add(target)
thread = threading.Thread(target=watch)
thread.start()
STATEMENT
time.sleep(0.3)
done.set()
thread.join()
print(len(sockets))
"""

TAG = f"import anytag; anytag.load(threads=1, backend=BACKEND).tag({str(ROOT / 'examples' / 'cat.jpg')!r})"


def run(statement, home, **settings):
    """Sockets that a statement opens in a process of its own, and the files it leaves in a new home folder."""
    home.mkdir()
    kept = {name: value for name, value in os.environ.items() if name not in SWITCHES and not name.startswith("XDG_")}
    done = subprocess.run(
        [sys.executable, "-c", WATCHER.replace("STATEMENT", statement)],
        env=kept | {"HOME": str(home)} | settings,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout), [path.relative_to(home).as_posix() for path in home.rglob("*") if path.is_file()]


watched = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="open sockets are read from /proc")


@watched
@pytest.mark.parametrize("backend", ["onnx", "openvino"])
def test_tagging_opens_no_socket_and_leaves_no_file(tmp_path, backend):
    if backend == "openvino":
        require_module("openvino")
    assert run(TAG.replace("BACKEND", repr(backend)), tmp_path / "home") == (0, [])


@watched
def test_the_watcher_sees_a_socket(tmp_path):
    assert run("import socket; kept = socket.socket()", tmp_path / "home") == (1, [])


def test_switches_are_set_unless_the_user_has_set_them(tmp_path):
    code = f"import os, anytag; print(*[os.environ[name] for name in {list(SWITCHES)!r}])"
    clean = {name: value for name, value in os.environ.items() if name not in SWITCHES}
    out = subprocess.run([sys.executable, "-c", code], env=clean, capture_output=True, text=True, check=True).stdout
    assert out.split() == list(SWITCHES.values())
    asked = dict.fromkeys(SWITCHES, "user")
    out = subprocess.run([sys.executable, "-c", code], env=clean | asked, capture_output=True, text=True, check=True)
    assert out.stdout.split() == ["user"] * len(SWITCHES)


def test_openvino_is_imported_in_one_place():
    """It has no switch, so whoever imports it by itself would let it report."""
    source = ROOT / "src" / "anytag"
    found = [
        path.relative_to(source).as_posix()
        for path in source.rglob("*.py")
        if re.search(r"^\s*(import|from) openvino\b", path.read_text(encoding="utf-8"), re.MULTILINE)
    ]
    assert found == ["foundations/telemetry.py"]


def test_converting_for_openvino_does_not_report(tmp_path):
    require_module("openvino")
    require_module("torch")
    convert = """
import sys, torch
from anytag.foundations.telemetry import import_openvino
import_openvino().convert_model(torch.nn.Linear(2, 2), example_input=torch.zeros(1, 2))
assert "openvino_telemetry" not in sys.modules
"""
    assert run(convert, tmp_path / "home") == (0, [])


def test_hub_and_transformers_read_the_switch():
    code = "import anytag, huggingface_hub.constants as hub; print(hub.HF_HUB_DISABLE_TELEMETRY)"
    clean = {name: value for name, value in os.environ.items() if name not in SWITCHES}
    out = subprocess.run([sys.executable, "-c", code], env=clean, capture_output=True, text=True, check=True).stdout
    assert out.strip() == "True"


def test_ray_reads_its_switch():
    require_module("ray")
    code = "import anytag; from ray._common.usage.usage_lib import usage_stats_enabled as on; print(on())"
    clean = {name: value for name, value in os.environ.items() if name not in SWITCHES}
    out = subprocess.run([sys.executable, "-c", code], env=clean, capture_output=True, text=True, check=True).stdout
    assert out.strip() == "False"
