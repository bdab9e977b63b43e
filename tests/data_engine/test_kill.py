"""The engine is killed at one moment or another, and ends as if it had not been."""

import signal
import subprocess
import sys

import pytest
from conftest import ROOT
from toy_engine import many_samples, outputs, run_all, shards, toy_model

from anytag.data_engine.manifest import Manifest

SCRIPT = ROOT / "tests" / "support" / "toy_engine.py"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Shards, a model, and what the engine makes of them undisturbed."""
    folder = tmp_path_factory.mktemp("world")
    source = shards(folder / "shards", many_samples(12), many_samples(9, 1))
    model = toy_model(folder / "model")
    run_all(folder / "whole", source, model)
    return folder, source, model, outputs(folder / "whole")


def start(folder, model, work, *more):
    command = [sys.executable, str(SCRIPT), str(folder / "shards"), str(model.path), str(work), *more]
    environment = {
        "PYTHONPATH": f"{ROOT / 'src'}:{SCRIPT.parents[1]}:{SCRIPT.parent}",
        "OMP_NUM_THREADS": "1",
        "PATH": "",
    }
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


@pytest.mark.parametrize("moment", ["map tags 0", "generate 0", "find regions 1", "remove tags 0"])
def test_killed_and_resumed_it_is_the_same_to_the_byte(world, tmp_path, moment):
    folder, source, model, expected = world
    work = tmp_path / "work"
    with start(folder, model, work) as process:
        for line in process.stdout:
            if line.strip() == moment:
                process.kill()
                break
        assert process.wait(60) == -signal.SIGKILL
    assert outputs(work) != expected
    assert not (work / "merged" / "manifest.json").exists()
    done = []
    run_all(work, source, model, progress=lambda step, n, total, marker: done.append(f"{step} {marker.unit}"))
    assert moment not in done
    assert done
    assert outputs(work) == expected
    assert Manifest.load(work / "merged").parts == 2


@pytest.mark.parametrize(("number", "unfinished"), [(7, "generated/part-00000"), (30, "cleaned/regions/regions-00000")])
def test_killed_in_the_middle_of_a_part(world, tmp_path, number, unfinished):
    folder, source, model, expected = world
    work = tmp_path / "work"
    with start(folder, model, work, str(number)) as process:
        process.stdout.read()
        assert process.wait(60) == -signal.SIGKILL
    assert not list(work.glob(f"{unfinished}.*.done.json"))
    assert not [path for path in work.glob(f"{unfinished}.*") if not path.name.endswith(".part")]
    run_all(work, source, model)
    assert outputs(work) == expected
