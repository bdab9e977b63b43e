"""A process has one OpenVINO core, and hears signals whatever becomes of its models."""

import subprocess
import sys

from conftest import ROOT, require_module

from anytag.foundations.openvino_core import openvino_core

#: Two models that go in the order in which they came; then a signal, which Python hears on a stack of its own.
PROGRAM = """
import faulthandler, gc, os, signal, sys
faulthandler.enable()
import anytag
first = anytag.load(backend="openvino", threads=1)
second = anytag.load(backend="openvino", threads=1)
names = [[tag.name for tag in one.tag(sys.argv[1]).tags] for one in (first, second)]
assert names[0] == names[1]
del first
gc.collect()
del second
gc.collect()
signal.signal(signal.SIGINT, lambda number, frame: print("heard"))
os.kill(os.getpid(), signal.SIGINT)
"""


def test_a_process_has_one_core():
    require_module("openvino")
    assert openvino_core() is openvino_core()


def test_signals_are_heard_after_models_are_gone():
    """Where a processor has AMX, two cores would leave a stack for signals that is gone."""
    require_module("openvino")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(ROOT / "examples" / "cat.jpg")],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "heard\n"), done.stderr


def test_the_core_is_created_in_one_place():
    sources = [path for path in (ROOT / "src").rglob("*.py") if ".Core(" in path.read_text(encoding="utf-8")]
    assert [path.name for path in sources] == ["openvino_core.py"]
