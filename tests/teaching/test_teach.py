"""A user's own tags, from folders and tables to a model that finds them and is else the one that it was."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from PIL import Image, ImageDraw
from typer.testing import CliRunner

import anytag
from anytag.cli import build_app
from anytag.errors import ModelError, UsageError
from anytag.foundations.folder_locks import only_writer_of
from anytag.inference.embedding import picture_inputs
from anytag.inference.taught_tags import TaughtTags
from anytag.model.directory import ModelDirectory, write_config
from anytag.teaching.config import TeachingConfig
from anytag.teaching.teach import teach

EXAMPLES = [str(ROOT / "examples" / f"{name}.jpg") for name in ("cat", "bee", "coffee")]


def draw_picture(kind, number):
    """Rings or bars, each time others, in other colors."""
    chance = np.random.default_rng(number + 1000 * (kind == "bars"))
    picture = Image.new("RGB", (160, 160), tuple(map(int, chance.integers(180, 255, 3))))
    pen, color = ImageDraw.Draw(picture), tuple(map(int, chance.integers(0, 120, 3)))
    shift, step = int(chance.integers(0, 10)), int(chance.integers(14, 22))
    for place in range(shift, 160, step):
        if kind == "rings":
            pen.ellipse((place / 2, place / 2, 160 - place / 2, 160 - place / 2), outline=color, width=3)
        else:
            pen.rectangle((place, 0, place + step // 3, 160), fill=color)
    return picture


def lay_out(folder, names=("our_rings", "bars"), count=6, first=0):
    for kind, name in zip(("rings", "bars"), names, strict=True):
        (folder / name).mkdir(parents=True)
        for number in range(first, first + count):
            draw_picture(kind, number).save(folder / name / f"{number}.png")


@pytest.fixture(scope="module")
def before():
    """The model that ships."""
    return anytag.load()


@pytest.fixture(scope="module")
def after(taught):
    """The same, taught."""
    return anytag.load(taught[0] / "model")


@pytest.fixture(scope="module")
def taught(tmp_path_factory):
    """The model that ships, taught two tags by six pictures each; what was said; the folder."""
    folder = tmp_path_factory.mktemp("taught")
    lay_out(folder / "photos")
    lay_out(folder / "others", count=4, first=50)
    said = []
    config = TeachingConfig(sources=("photos",), validation=("others",), views=2, name="mine")
    results = teach(config, folder, folder / "model", said.append)
    return folder, results, said


def test_new_tags_are_found_where_they_are_and_nowhere_else(taught, after):
    _, results, _ = taught
    assert [(result.tag.name, result.is_new, result.pictures) for result in results] == [
        ("bars", True, 6),
        ("our rings", True, 6),
    ]
    for kind, name in (("rings", "our rings"), ("bars", "bars")):
        for number in range(20, 24):
            tags = [tag.name for tag in after.tag(draw_picture(kind, number)).tags]
            assert name in tags
            assert {"our rings", "bars"} & set(tags) == {name}
    for recognition in after.tag(EXAMPLES):
        assert not {"our rings", "bars"} & {tag.name for tag in recognition.tags}


def test_everything_else_scores_as_before(before, after):
    for old, new in zip(before.tag(EXAMPLES, threshold=0.0), after.tag(EXAMPLES, threshold=0.0), strict=True):
        scores = {(tag.name, tag.kind): (tag.score, tag.threshold) for tag in new.tags}
        assert len(new.tags) == len(old.tags) + 2
        for tag in old.tags:
            assert scores[tag.name, tag.kind] == pytest.approx((tag.score, tag.threshold), abs=2e-4)
    assert [t.threshold for t in after.vocabulary][: len(before.vocabulary)] == [t.threshold for t in before.vocabulary]
    assert before.caption(EXAMPLES[0]).caption == after.caption(EXAMPLES[0]).caption


def test_new_tags_can_be_asked_for_like_any_other(after):
    picture = draw_picture("rings", 30)
    [found] = after.tag(picture, categories=["our rings"]).tags
    assert found.id == after.vocabulary.find("our rings").id
    assert after.locate(picture, "our rings").shape == (10, 10)
    assert after.caption(picture, tags=["our rings"]).caption


def test_the_run_says_what_came_of_it(taught, after):
    folder, _, said = taught
    assert any("tags are their folders' names" in line for line in said)
    assert any(line.startswith("our rings (new): 6 pictures, ") and "% of other pictures" in line for line in said)
    assert any("average precision 1.000 on validation pictures" in line for line in said)
    assert any("our rings: few pictures" in line for line in said)
    assert "- our rings (new): 6 pictures" in (folder / "model" / "README.md").read_text()
    tag = after.vocabulary.find("our rings")
    assert (tag.support, tag.sources) == (6, ("data",))
    assert tag.threshold_from.startswith("own pictures, 6 of it and ")


def test_taught_again_what_was_taught_stays(taught, tmp_path):
    folder, _, _ = taught
    lay_out(tmp_path / "photos", names=("coils", "bars"), count=3)
    (tmp_path / "table.csv").write_text(
        "image,label\n" + "".join(f"photos/coils/{number}.png,coils\n" for number in range(3))
    )
    config = TeachingConfig(start=str(folder / "model"), sources=("table.csv",), views=1)
    [result] = teach(config, tmp_path, tmp_path / "model", lambda line: None)
    assert (result.tag.name, result.is_new) == ("coils", True)
    before, after = (TaughtTags.load(ModelDirectory(place / "model")) for place in (folder, tmp_path))
    assert sorted(after.ids.tolist()) == sorted([*before.ids.tolist(), result.tag.id])
    rows = [after.ids.tolist().index(id) for id in before.ids.tolist()]
    assert np.array_equal(after.weights[rows], before.weights)
    assert "bars" in [tag.name for tag in anytag.load(tmp_path / "model").tag(draw_picture("bars", 31)).tags]


def test_a_model_taught_by_an_earlier_version(taught, after, tmp_path):
    """Its file has no weights of the strongest tokens: it scores as if they were 0, and can be taught more."""
    folder, _, _ = taught
    shutil.copytree(folder / "model", tmp_path / "old")
    tags, width = TaughtTags.load(ModelDirectory(folder / "model")), 256 + 1000
    assert tags.weights.shape[1] == width + 256
    earlier = TaughtTags(tags.ids, tags.weights[:, :width], tags.biases, tags.known)
    earlier.save(str(tmp_path / "old"))
    old = ModelDirectory(folder / "model").config
    write_config(tmp_path / "old", old.model_copy(update={"files": {}}), [*old.files])
    read = TaughtTags.load(ModelDirectory(tmp_path / "old"))
    assert np.array_equal(read.weights[:, :width], tags.weights[:, :width])
    assert not read.weights[:, width:].any()
    encoded = after.backend.encode(np.zeros((2, 320, 320, 3), np.uint8))
    logits = read(encoded, np.zeros((2, 2), np.float32), tags.ids.tolist())
    by_hand = picture_inputs(encoded) @ tags.weights[:, :width].T + tags.biases
    np.testing.assert_allclose(logits, by_hand, rtol=1e-5, atol=1e-5)
    lay_out(tmp_path / "photos", names=("coils", "stripes"), count=2)
    config = TeachingConfig(start=str(tmp_path / "old"), sources=("photos",), views=1)
    teach(config, tmp_path, tmp_path / "new", lambda line: None)
    both = TaughtTags.load(ModelDirectory(tmp_path / "new"))
    assert both.weights.shape == (4, width + 256)
    assert not both.weights[2:, width:].any()
    tags.weights = tags.weights[:, :-1]
    tags.save(str(tmp_path / "old"))
    write_config(tmp_path / "old", old.model_copy(update={"files": {}}), [*old.files])
    with pytest.raises(ModelError, match="was made for another model"):
        anytag.load(tmp_path / "old").tag(EXAMPLES[0])


def test_a_name_that_the_model_knows_is_no_second_tag(before, tmp_path):
    """It is found where it was, and in pictures like the user's as well; thresholds stay."""
    for number in range(5):
        (tmp_path / "photos" / "Motorbike").mkdir(parents=True, exist_ok=True)
        draw_picture("rings", number).save(tmp_path / "photos" / "Motorbike" / f"{number}.png")
    config = TeachingConfig(sources=("photos",), views=1)
    [result] = teach(config, tmp_path, tmp_path / "model", lambda line: None)
    after = anytag.load(tmp_path / "model")
    known = before.vocabulary.find("motorcycle")
    assert (result.tag.id, result.is_new) == (known.id, False)
    assert len(after.vocabulary) == len(before.vocabulary)
    assert after.vocabulary[known.id] == known
    assert "motorcycle" in [tag.name for tag in after.tag(draw_picture("rings", 21)).tags]
    for old, new in zip(
        before.tag(EXAMPLES, categories=["motorcycle"], threshold=0.0),
        after.tag(EXAMPLES, categories=["motorcycle"], threshold=0.0),
        strict=True,
    ):
        assert new.tags[0].score >= old.tags[0].score - 1e-4
        assert new.tags[0].score < known.threshold if known.threshold else True


def test_json_beside_pictures_and_pictures_without(tmp_path):
    for number in range(3):
        draw_picture("rings", number).save(tmp_path / f"{number}.png")
        (tmp_path / f"{number}.json").write_text(json.dumps({"tags": [{"name": "swirl", "kind": "attribute"}]}))
    draw_picture("bars", 3).save(tmp_path / "3.png")  # Nobody says what it shows.
    (tmp_path / "4.png").write_bytes(b"no picture")
    (tmp_path / "4.json").write_text('{"tags": ["swirl"]}')
    said = []
    config = TeachingConfig(sources=(".",), views=1)
    [result] = teach(config, tmp_path, tmp_path / "model", said.append)
    assert (result.pictures, result.tag.kind) == (3, "attribute")
    assert any(line.startswith("warning: pictures that could not be used: 1") for line in said)


def test_pictures_without_tags_say_what_to_do(tmp_path):
    lay_out(tmp_path / "photos", count=1)
    (tmp_path / "table.csv").write_text("image,tags\nphotos/bars/0.png,\n")
    draw_picture("rings", 1).save(tmp_path / "photos" / "1.png")
    for source, message in {
        "table.csv": r"no tags are given with the pictures that can be read \(1\); give a folder with a folder of ",
        "photos/bars": r"photos/bars: its pictures have no tags; if the folder's name is their tag, give the folder "
        r"that it lies in \(\S+photos\), or else a table",
        "photos": r"photos: the folders in it are tags only if no picture lies beside them; move 1 picture into one of "
        r"them, or away \(1\.png\)",
        "photos/1.png": r"photos/1\.png: is a picture; give the folder that it lies in",
    }.items():
        with pytest.raises(UsageError, match=message):
            teach(TeachingConfig(sources=(source,)), tmp_path, tmp_path / "model", lambda line: None)
    assert not (tmp_path / "model").exists()


def test_folders_that_teach_nothing_are_named(tmp_path):
    lay_out(tmp_path / "photos", names=("7", "bars"), count=1)
    for name in ("empty", "unreadable", ".hidden", "@eaDir"):
        (tmp_path / "photos" / name).mkdir()
    (tmp_path / "photos" / "unreadable" / "1.jpg").write_text("no picture")
    lines = []
    teach(TeachingConfig(sources=("photos",), views=1), tmp_path, tmp_path / "model", lines.append)
    [warning] = [line for line in lines if "teach nothing" in line]
    assert warning == "warning: folders without a usable picture, which teach nothing: " + ", ".join(
        str(tmp_path / "photos" / name) for name in ("empty", "unreadable")
    )
    [warning] = [line for line in lines if "number" in line]
    assert warning == "warning: 7: is a number; if your data hold class numbers, replace them by the classes' names"


def test_the_model_that_is_taught_is_not_written_over(taught):
    folder, _, _ = taught
    config = TeachingConfig(start=str(folder / "model"), sources=("photos",))
    with pytest.raises(UsageError, match="is the model that is taught; give another folder"):
        teach(config, folder, folder / "model", lambda line: None)


def test_nothing_but_a_taught_model_is_replaced(tmp_path):
    config = TeachingConfig(sources=("photos",))
    for kept in ("photos/raccoon/1.jpg", "other/config.json", "file.txt"):
        (tmp_path / kept).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / kept).write_text("mine")
        out = tmp_path / Path(kept).parts[0]
        with pytest.raises(UsageError, match="exists and is not a model that was taught tags; it is not replaced"):
            teach(config, tmp_path, out, lambda line: None)
        assert [path.read_text() for path in (out, *out.rglob("*")) if path.is_file()] == ["mine"]


def test_negatives_of_ones_own(taught, tmp_path):
    """What other pictures show counts as well, unless they show the tag."""
    folder, _, _ = taught
    lay_out(tmp_path / "others", names=("bars", "rings"), count=2, first=70)
    said = []
    config = TeachingConfig(sources=("photos/our_rings",), negatives=(str(tmp_path / "others"),), views=1)
    with pytest.raises(UsageError, match=r"if the folder.s name is their tag, give the folder that it lies in"):
        teach(config, folder, tmp_path / "model", said.append)
    config = config.model_copy(update={"sources": ({"path": "photos", "classes": True},)})
    assert len(teach(config, folder, tmp_path / "model", said.append)) == 2


def test_nothing_is_left_out_without_a_word(tmp_path):
    """Pictures without tags, pictures that are there twice, and pictures that are on two sides."""
    lay_out(tmp_path / "photos", count=3)
    (tmp_path / "photos" / "bars" / "copy.png").write_bytes((tmp_path / "photos" / "bars" / "0.png").read_bytes())
    (tmp_path / "other").mkdir()
    draw_picture("rings", 60).save(tmp_path / "other" / "1.png")
    rows = [f"{path.relative_to(tmp_path)},{path.parent.name}" for path in sorted((tmp_path / "photos").glob("*/*"))]
    (tmp_path / "table.csv").write_text("\n".join(["image,tags", *rows, "other/1.png,"]) + "\n")
    lay_out(tmp_path / "more", count=2)  # The first two of each again, under other names.
    said = []
    config = TeachingConfig(sources=("table.csv",), validation=("more",), negatives=("photos", "other"), views=1)
    with pytest.raises(UsageError, match="all negatives are your own pictures"):
        teach(config.model_copy(update={"negatives": ("photos",)}), tmp_path, tmp_path / "model", said.append)
    results = teach(config, tmp_path, tmp_path / "model", said.append)
    assert [result.pictures for result in results] == [3, 3]
    assert "warning: pictures without tags, which are not used: 1" in said
    assert "warning: pictures that are there more than once, which count once: 1" in said
    assert "warning: validation pictures that are taught as well, so the figures are too high: 4" in said
    assert "warning: negatives that are your own pictures, which are not used as negatives: 6" in said


@pytest.mark.parametrize("missing", ["validation", "negatives"])
def test_what_is_missing_comes_out_before_pictures_are_read(tmp_path, monkeypatch, missing):
    lay_out(tmp_path / "photos", count=2)
    monkeypatch.setattr("anytag.teaching.teach.read_pictures", lambda *arguments: pytest.fail("pictures were read"))
    config = TeachingConfig(sources=("photos",), **{missing: ("gone.csv",)})
    with pytest.raises(UsageError, match=r"gone\.csv: the file cannot be read"):
        teach(config, tmp_path, tmp_path / "model", lambda line: None)
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        teach(TeachingConfig(sources=("photos",)), tmp_path, tmp_path / "file" / "model", lambda line: None)


def test_two_commands_do_not_teach_into_one_folder(tmp_path):
    lay_out(tmp_path / "photos", count=2)
    with only_writer_of(tmp_path / "model"), pytest.raises(UsageError, match="another process is writing this"):
        teach(TeachingConfig(sources=("photos",)), tmp_path, tmp_path / "model", lambda line: None)


def test_a_damaged_file_is_refused(taught, tmp_path):
    with pytest.raises(ModelError, match="its arrays do not fit each other"):
        TaughtTags(np.arange(2), np.zeros((3, 5), np.float32), np.zeros(2, np.float32), np.zeros(2, bool))


def test_the_command(taught, tmp_path):
    folder, _, _ = taught
    done = CliRunner().invoke(
        build_app(), ["teach", str(folder / "photos"), "--out", str(tmp_path / "mine"), "--threads", "1"]
    )
    assert done.exit_code == 0, done.output
    assert "our rings (new): 6 pictures" in done.output
    assert f"done: {tmp_path / 'mine'}" in done.output
    assert ModelDirectory(tmp_path / "mine").config.name == "mine"
