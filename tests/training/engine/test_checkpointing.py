"""Resuming to the same weights, whatever happens to process and disk."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import toy_run
from toy_run import Stopped, assert_same, config, make, records, stopping, weights

from anytag.errors import ModelError
from anytag.training.engine.checkpointing import SaveError
from anytag.training.engine.distributed import Strategy
from anytag.training.engine.parameters import parameter_groups


class Sharded(Strategy):
    """A single process with sharded checkpoints."""

    is_sharded = True


class TestResume:
    @pytest.fixture(scope="class")
    @classmethod
    def straight(cls, tmp_path_factory):
        loop = make(tmp_path_factory.mktemp("straight"))
        assert loop.run()
        return loop

    def test_nothing_to_resume(self, tmp_path):
        assert not make(tmp_path).resume()

    @pytest.mark.parametrize("kill", [6, 10, 17])
    def test_a_run_that_was_killed_ends_with_the_same_weights(self, straight, tmp_path, kill):
        with pytest.raises(Stopped):
            make(tmp_path, step=stopping(kill)).run()
        torch.manual_seed(99)
        second = make(tmp_path)
        assert second.resume()
        assert second.step == kill - kill % 5
        assert second.run()
        assert_same(weights(second), weights(straight))
        steps = [(record["step"], "validation" in record) for record in records(tmp_path)]
        assert len(set(steps)) == len(steps), "a step that ran twice is in the log once"

    def test_chance_matters_in_this_test(self, straight, tmp_path):
        other = make(tmp_path, config(seed=4))
        other.run()
        assert not torch.equal(other.model.head[1].weight, straight.model.head[1].weight)

    def test_stopping_after_a_time_leaves_a_checkpoint(self, straight, tmp_path):
        first = make(tmp_path)
        assert not first.run(stop_after=0)
        assert first.step == 1
        second = make(tmp_path)
        assert second.resume()
        assert second.step == 1
        assert second.run()
        assert_same(weights(second), weights(straight))

    def test_a_finished_run_has_nothing_to_do(self, straight):
        again = make(straight.folder)
        assert again.resume()
        assert again.run()
        assert_same(weights(again), weights(straight))

    def test_lines_that_a_kill_cut_off_or_that_will_come_again_go(self, tmp_path):
        with pytest.raises(Stopped):
            make(tmp_path, step=stopping(9)).run()
        with (tmp_path / "log.jsonl").open("a") as log:
            log.write('{"step": 5, "stage": "fro')
        loop = make(tmp_path)
        loop.resume()
        loop.run(stop_after=0)
        assert [record["step"] for record in records(tmp_path)] == [4]

    def test_a_checkpoint_is_whole_or_not_there(self, straight, tmp_path, monkeypatch):
        loop = make(tmp_path)
        loop.run(stop_after=0)
        before = loop.checkpoint_path.read_bytes()

        def torn(state, handle):
            handle.write(b"half")
            raise Stopped

        monkeypatch.setattr(torch, "save", torn)
        with pytest.raises(Stopped):
            loop.save()
        assert loop.checkpoint_path.read_bytes() == before

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no file that is always full")
    def test_a_full_disk(self, straight, tmp_path):
        loop = make(tmp_path)
        loop.run(stop_after=0)
        before = loop.checkpoint_path.read_bytes()
        part = loop.checkpoint_path.with_name("checkpoint.pt.part")
        part.symlink_to("/dev/full")
        with pytest.raises(SaveError) as caught:
            loop.run()
        assert str(caught.value) == (
            f"{tmp_path}/checkpoint.pt: the checkpoint of step 5 could not be written ([Errno 28] No space left on "
            "device); the one before it is untouched. Make room, then go on with the same command."
        )
        assert not part.is_symlink()
        assert loop.checkpoint_path.read_bytes() == before
        again = make(tmp_path)
        assert again.resume()
        assert again.run()
        assert_same(weights(again), weights(straight))

    def test_a_full_disk_under_a_folder_of_parts(self, straight, tmp_path):
        """Sharded checkpoints in a single process; the system's limit on file sizes simulates a full disk."""
        resource = pytest.importorskip("resource")
        loop = make(tmp_path, strategy=Sharded())
        loop.run(stop_after=0)
        assert loop.checkpoint_path.name == "checkpoint-000000001"
        kept = {path: path.read_bytes() for path in loop.checkpoint_path.iterdir()}
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, before[1]))
        try:
            with pytest.raises(SaveError, match=r"checkpoint-000000005: the checkpoint of step 5 .*File too large.*"):
                loop.run()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert [path.name for path in tmp_path.glob("checkpoint*")] == ["checkpoint-000000001"]
        assert {path: path.read_bytes() for path in loop.checkpoint_path.iterdir()} == kept
        again = make(tmp_path, strategy=Sharded())
        assert again.resume()
        assert again.run()
        assert_same(weights(again), weights(straight))

    def test_a_checkpoint_of_another_model(self, tmp_path):
        make(tmp_path).run(stop_after=0)
        model = toy_run.ToyNetwork()
        model.image_encoder = torch.nn.Linear(4, 5)
        other = make(tmp_path, model=model)
        with pytest.raises(
            ModelError, match=r"checkpoint\.pt is a checkpoint of another model: image_encoder\.weight is "
        ):
            other.resume()

    @pytest.mark.parametrize(
        ("damage", "said"),
        [
            (lambda whole: b"", r"checkpoint\.pt: damaged or cut off \(0 bytes\); copy it again"),
            (lambda whole: whole[:3000], r"checkpoint\.pt: damaged or cut off \(3,000 bytes\); copy it again"),
            (lambda whole: b"version https://git-lfs.github.com/spec/v1\n", r"checkpoint\.pt: a pointer of Git LFS"),
            (lambda whole: b"<html>", r"checkpoint\.pt: a web page, not the file itself"),
        ],
        ids=["empty", "cut off", "pointer", "page"],
    )
    def test_damaged_checkpoint(self, tmp_path, damage, said):
        """PyTorch's own message was about mmap, the system's about an invalid argument."""
        make(tmp_path).run(stop_after=0)
        path = tmp_path / "checkpoint.pt"
        path.write_bytes(damage(path.read_bytes()))
        with pytest.raises(ModelError, match=said):
            make(tmp_path).resume()

    def test_checkpoints_of_earlier_versions(self, straight, tmp_path):
        """They number the optimizer's states, and have the state of a single generator."""
        first = make(tmp_path)
        first.run(stop_after=0)
        state = {
            "model": first.model.state_dict(),
            "average": first.average.state_dict(),
            "optimizer": first.optimizer.state_dict(),
            "step": 1,
            "rng": torch.get_rng_state(),
        }
        assert len(state["optimizer"]["state"]) == 2  # the encoder is not trained yet
        torch.save(state, first.checkpoint_path)
        torch.manual_seed(99)
        second = make(tmp_path)
        assert second.resume()
        assert second.run()
        assert_same(weights(second), weights(straight))

    def test_other_groups_do_not_matter_to_a_checkpoint(self, straight, tmp_path):
        with pytest.raises(Stopped):
            make(tmp_path, step=stopping(17)).run()
        second = make(tmp_path, groups=lambda model, settings: parameter_groups(model, settings)[::-1])
        assert second.resume()
        assert second.run()
        assert_same(weights(second), weights(straight))

    def test_a_real_kill(self, straight, tmp_path):
        folder = tmp_path / "run"
        command = [sys.executable, toy_run.__file__, str(folder)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            assert process.stdout.readline() == "fresh\n"
            limit = time.monotonic() + 300
            while not (folder / "checkpoint.pt").exists() and time.monotonic() < limit:
                time.sleep(0.01)
        finally:
            process.kill()
            process.wait()
            process.stdout.close()
        assert process.returncode != 0
        loop = make(folder)
        assert loop.resume()
        assert 5 <= loop.step < 24
        assert loop.run()
        assert_same(weights(loop), weights(straight))
