"""``anytag train`` with a recipe for evidence: from shards to a model that has it, killed and taken up."""

from __future__ import annotations

import io
import json
import tarfile

import numpy as np
import pytest
from conftest import require_module
from PIL import Image
from pydantic import ValidationError
from typer.testing import CliRunner

require_module("torch", "train")

import anytag  # noqa: E402
from anytag.backends.onnx import OnnxBackend  # noqa: E402
from anytag.cli import build_app  # noqa: E402
from anytag.errors import DataError, UsageError  # noqa: E402
from anytag.training.evidence.run import fit_recipe  # noqa: E402
from anytag.training.recipes.evidence import EvidenceTraining, NetworkConfig, PictureGroup  # noqa: E402

RECIPE = """
from anytag.training.recipes.evidence import EvidenceTraining, NetworkConfig, PictureGroup


def recipe():
    return EvidenceTraining(
        start={start!r},
        groups=(
            PictureGroup(source="seen.tar", seen=True),
            PictureGroup(source="new.tar"),
            PictureGroup(
                source={{"path": "things.tar", "tags": "label"}},
                collections="collections.json",
                modulus=4,
                remainders=(1, 2, 3),
            ),
        ),
        parser="light",
        network=NetworkConfig(hidden=4, epochs=1, batch_size=8),
        exclusive=None,
    )
"""


def write_shard(path, records):
    """A shard of noise, a picture a record."""
    rng = np.random.default_rng(len(records))
    with tarfile.open(path, "w") as archive:
        for number, record in enumerate(records):
            stream = io.BytesIO()
            Image.fromarray(rng.integers(0, 256, (32, 32, 3), np.uint8)).save(stream, "JPEG")
            for extension, content in (("jpg", stream.getvalue()), ("json", json.dumps(record).encode())):
                member = tarfile.TarInfo(f"{number:04}.{extension}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))


@pytest.fixture
def data(tmp_path):
    captions = ("a dog on the grass", "a red cat", "a dog runs", "grass")
    write_shard(tmp_path / "seen.tar", [{"id": n, "captions": [captions[n % 4], captions[n % 3]]} for n in range(12)])
    write_shard(tmp_path / "new.tar", [{"id": n, "caption": captions[n % 4]} for n in range(10)])
    write_shard(tmp_path / "things.tar", [{"id": n, "label": ("dog", "cat")[n % 2]} for n in range(12)])
    (tmp_path / "collections.json").write_text('{"pets": {"classes": ["dog", "cat"]}}')
    return tmp_path


@pytest.fixture
def recipe(data, exported):
    path = data / "own.py"
    path.write_text(RECIPE.format(start=str(exported.folder)))
    return path


def config(exported, **changes):
    settings = {
        "start": str(exported.folder),
        "groups": (PictureGroup(source="new.tar"),),
        "parser": "light",
        "network": NetworkConfig(hidden=4, epochs=1, batch_size=8),
        "exclusive": None,
    }
    return EvidenceTraining(**(settings | changes))


def run(*arguments):
    return CliRunner().invoke(build_app(), ["train", *map(str, arguments)])


def test_the_command_writes_a_model_with_weighted_predictors(data, recipe, exported):
    done = run(recipe, "--data", data, "--run", data / "run", "--threads", 1)
    assert done.exit_code == 0, done.output
    assert done.output.rstrip().endswith(f"done: {data / 'run' / 'model'}")
    assert "9 pictures" in done.output, "ids that 4 divides are left out"
    recognizer = anytag.load(data / "run" / "model", threads=1)
    assert recognizer.scorer.tag_evidence is not None
    assert recognizer.directory.config.default_threshold == 0.4
    assert {tag.kind: tag.threshold for tag in recognizer.vocabulary} == {
        "object": None,
        "action": 0.6,
        "scene": 0.6,
        "attribute": 0.6,
    }
    picture = Image.fromarray(np.random.default_rng(5).integers(0, 256, (40, 40, 3), np.uint8))
    before, after = (
        anytag.load(folder, threads=1).tag(picture, threshold=0) for folder in (exported.folder, data / "run" / "model")
    )
    assert len(after.tags) == len(recognizer.vocabulary)
    assert {t.name: t.score for t in before.tags} != pytest.approx({t.name: t.score for t in after.tags})


def test_the_same_seed_gives_the_same_model(data, recipe):
    for name in ("first", "second"):
        assert run(recipe, "--data", data, "--run", data / name, "--threads", 1).exit_code == 0
    sums = [json.loads((data / name / "model/config.json").read_text())["files"] for name in ("first", "second")]
    assert sums[0] == sums[1]


def test_it_can_be_fitted_again_from_its_own_model(data, recipe, exported):
    assert run(recipe, "--data", data, "--run", data / "run", "--threads", 1).exit_code == 0
    again = config(exported, start=str(data / "run" / "model"))
    fit_recipe(again, data, data / "again", lambda line: None, threads=1)
    first, second = (anytag.load(data / name / "model").directory.config for name in ("run", "again"))
    assert first.open_threshold == second.open_threshold
    weights = [anytag.load(data / name / "model").scorer.tag_evidence.open for name in ("run", "again")]
    assert weights[0].weights.tolist() == weights[1].weights.tolist()
    assert weights[0].bias == weights[1].bias


class Killed(BaseException):
    """The process ends."""


def test_a_killed_run_continues_where_it_was(data, recipe, exported, monkeypatch):
    asked, encode = [], OnnxBackend.encode

    def counted(self, pixels):
        asked.append(len(pixels))
        if len(asked) == 4:  # In the second source.
            raise Killed
        return encode(self, pixels)

    monkeypatch.setattr(OnnxBackend, "encode", counted)
    settings = config(exported, groups=(PictureGroup(source="seen.tar", seen=True), PictureGroup(source="new.tar")))
    with pytest.raises(Killed):
        fit_recipe(settings, data, data / "run", lambda line: None, threads=1)
    assert not (data / "run" / "model").exists()
    assert sum(asked) == 12 + 8 + 2
    fit_recipe(settings, data, data / "run", lambda line: None, threads=1)
    assert sum(asked) == 12 + 8 + 2 + 10, "the first source was not asked again"
    asked.clear()
    fit_recipe(settings, data, data / "run", lambda line: None, threads=1)
    assert not asked


def test_a_picture_that_cannot_be_read_is_left_out_and_written_down(data, exported):
    write_shard(data / "new.tar", [{"id": n, "caption": "a dog"} for n in range(9)])
    content = (data / "new.tar").read_bytes()
    (data / "new.tar").write_bytes(content.replace(b"\xff\xd8\xff", b"\x00\x00\x00", 1))
    lines = []
    fit_recipe(config(exported), data, data / "run", lines.append, threads=1)
    assert any("8 pictures" in line for line in lines)
    [record] = map(json.loads, (data / "run" / "bad-samples.jsonl").read_text().splitlines())
    assert record["source"] == "new.tar:0000.jpg"


def test_ids_must_be_numbers_if_pictures_are_selected_by_them(data, exported):
    write_shard(data / "new.tar", [{"id": "x7", "caption": "a dog"}])
    groups = (PictureGroup(source="new.tar", modulus=2, remainders=(1,)),)
    with pytest.raises(UsageError, match=r"^new.tar:0000.jpg: its id 'x7' is not a number, which modulus 2 asks for$"):
        fit_recipe(config(exported, groups=groups), data, data / "run", lambda line: None, threads=1)


def test_no_picture_at_all(data, exported):
    groups = (PictureGroup(source="new.tar", modulus=50, remainders=(49,)),)
    with pytest.raises((UsageError, DataError), match="no picture"):
        fit_recipe(config(exported, groups=groups), data, data / "run", lambda line: None, threads=1)


def test_some_pictures_must_be_new_to_the_decoder():
    with pytest.raises(ValidationError, match="the recognition decoder was trained on all of them"):
        EvidenceTraining(groups=(PictureGroup(source="a.tar", seen=True),))


def test_the_exclusive_tag_must_exist(data, exported):
    with pytest.raises(UsageError, match=r"^exclusive: the model has no tag 'animal'; name another, or none$"):
        fit_recipe(config(exported, exclusive="animal"), data, data / "run", lambda line: None, threads=1)
