"""``anytag batch``, ``untag`` and ``doctor``: output files and exit codes."""

from __future__ import annotations

import json
import shutil

import pytest
from data_files import jpeg, write_tar
from fixtures_toy import plain
from test_recognition_commands import asked, invoke, pictures, run  # noqa: F401 (fixtures)


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


class TestBatch:
    def test_messages_report_scan_results_and_files(self, run, pictures, out):  # noqa: F811
        (pictures / "bad.jpg").write_text("no picture")
        result = run("batch", pictures, "--out", out, "--write", "jsonl", "--write", "txt")
        assert (result.exit_code, result.stdout) == (1, "")
        assert result.stderr.splitlines() == [
            "4 pictures: 4 new",
            "3 recognized, 1 failed, 3 sidecars written",
            f"  {out}/tags.jsonl",
            f"  {out}/failures.jsonl",
        ]
        result = run("batch", pictures, "--out", out, "--write", "jsonl", "--write", "txt")
        assert result.exit_code == 0
        assert result.stderr.splitlines()[0] == (
            "4 pictures: 3 done before, 1 failed before (--retry-failed tries them again)"
        )

    def test_what_was_left_out_is_counted(self, run, pictures, out):  # noqa: F811
        for name in ("film.mov", "clip.mov", "notes.md"):
            (pictures / name).write_text("no picture")
        result = run("batch", pictures, "--out", out, "--write", "jsonl")
        assert result.stderr.splitlines()[-1] == "left out: 2 .mov, 1 .md"
        assert run("batch", pictures, "--out", out, "--dry-run").stderr.count("left out: 2 .mov, 1 .md") == 1

    def test_own_files_are_not_left_out(self, run, pictures):  # noqa: F811
        (pictures / "notes.txt").write_text("somebody's")
        run("index", pictures)  # Its folder is hidden, and no picture of anybody's.
        written = ("jsonl", "html", "coco", "fiftyone", "txt", "xmp")
        command = ["batch", pictures, "--out", pictures, *(word for name in written for word in ("--write", name))]
        for more in ((), (), ("--dry-run",)):
            result = run(*command, *more)
            assert result.exit_code == 0, result.stderr
            assert [line for line in result.stderr.splitlines() if "left out" in line] == ["left out: 1 .txt"]
        assert {"blue.txt", "blue.png.xmp", "tags.jsonl", "fiftyone"} < {path.name for path in pictures.iterdir()}

    @pytest.mark.parametrize("what", ["file", "link", "below"])
    def test_results_want_a_folder(self, run, pictures, tmp_path, what):  # noqa: F811
        place = tmp_path / "o"
        if what == "link":
            place.symlink_to(tmp_path / "gone")
        else:
            place.write_text("mine")
        place = place / "x" if what == "below" else place
        result = run("batch", pictures, "--out", place)
        message = f"anytag batch: {place}: exists and is not a folder; give another --out\n"
        assert (result.exit_code, result.stderr) == (2, message)

    def test_a_time_before_all_files(self, run, pictures, out):  # noqa: F811
        result = run("batch", pictures, "--out", out, "--since", "0001-01-01")
        assert (result.exit_code, result.stderr.splitlines()) == (
            2,
            ["anytag batch: --since: 0001-01-01 is not a time that files can have"],
        )

    def test_other_settings_are_named(self, run, pictures, out):  # noqa: F811
        run("batch", pictures, "--out", out)
        result = run("batch", pictures, "--out", out, "--threshold", "0.7")
        assert "3 were done with other settings: threshold None -> 0.7" in result.stderr

    def test_a_dry_run_changes_nothing(self, run, pictures, out):  # noqa: F811
        result = run("batch", pictures, "--out", out, "--write", "csv", "--write", "html", "--dry-run")
        assert result.exit_code == 0
        assert result.stdout.splitlines() == [str(pictures / f"{name}.png") for name in ("blue", "lime", "red")]
        assert f"would write tags.csv, contact-sheet.html to {out}" in result.stderr
        assert not out.exists()
        assert {path.suffix for path in pictures.iterdir()} == {".png"}

    def test_a_dry_run_lists_what_would_be_written(self, run, pictures, out):  # noqa: F811
        shutil.copy(pictures / "red.png", pictures / "red.jpg")
        (pictures / "lime.txt").write_text("mine")
        (pictures / "blue.png.xmp").write_text("no XMP")
        before = {path.name: path.read_bytes() for path in pictures.iterdir()}
        command = ["batch", pictures, "--out", out, "--write", "txt", "--write", "xmp"]
        result = run(*command, "--dry-run")
        lines = result.stdout.replace(f"{pictures}/", "").splitlines()
        assert [line for line in lines if "blue.png.xmp" not in line] == [
            "blue.png",
            "  blue.txt: new",
            "lime.png",
            "  not written: lime.txt: already exists and was not written by this output folder. --append adds tags to "
            "what people wrote, --keep-existing leaves it alone",
            "  lime.png.xmp: new",
            "red.jpg",
            "  red.txt: new",
            "  red.jpg.xmp: new",
            "red.png",
            "  not written: red.txt will belong to red.jpg, and two pictures cannot share it",
            "  red.png.xmp: new",
        ]
        assert next(line for line in lines if "blue.png.xmp" in line).startswith("  not written: blue.png.xmp: ")
        assert "would write" not in result.stderr
        assert {path.name: path.read_bytes() for path in pictures.iterdir()} == before
        # And so it happens.
        done = run(*command)
        assert "5 sidecars written, 3 not" in done.stderr
        assert (pictures / "lime.txt").read_text() == "mine"

    def test_status(self, run, pictures, out):  # noqa: F811
        (pictures / "bad.jpg").write_text("no picture")
        run("batch", pictures, "--out", out, "--limit", "2")
        assert run("batch", "--status", out).stdout == run("batch", "--out", out, "--status").stdout
        result = run("batch", "--out", out, "--status")
        assert result.stdout.splitlines()[0] == "1 done, 1 failed, 2 to do"
        assert result.stdout.splitlines()[-1] == "  1 failed: not_a_picture"

    def test_a_glob_of_shards(self, run, tmp_path, out):  # noqa: F811
        for number in range(2):
            write_tar(tmp_path / f"s-{number}.tar", [("a.jpg", jpeg(number))])
        result = run("batch", tmp_path / "s-*.tar", "--out", out)
        assert result.exit_code == 0, result.stderr
        assert "2 recognized, 0 failed" in result.stderr

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ([], "--out is missing: the folder for results and progress, such as --out photo-tags"),
            (["--out", "o"], "name pictures, folders, shards or Parquet files, or --status"),
            (["--out", "o", "--status"], "o: no batch has run here (no progress.sqlite)"),
            (["--status", "o", "p"], "--status takes one output folder: anytag batch --status photo-tags"),
            (["p", "--out", "o", "--status"], "--status takes one output folder: anytag batch --status photo-tags"),
            (
                ["p", "--out", "o", "--write", "txt", "--append", "--keep-existing"],
                "--append and --keep-existing exclude each other",
            ),
            (["s-*.tar", "--out", "o"], "s-*.tar: no such shard"),
            (["p", "-", "--out", "o"], "- reads the list of pictures from standard input; give nothing beside it"),
        ],
    )
    def test_used_wrongly(self, run, tmp_path, monkeypatch, arguments, message):  # noqa: F811
        monkeypatch.chdir(tmp_path)
        result = run("batch", *arguments)
        assert (result.exit_code, result.stdout) == (2, "")
        assert result.stderr.strip() == f"anytag batch: {message}"

    def test_embedding_without_exiftool(self, run, pictures, out, monkeypatch):  # noqa: F811
        monkeypatch.setattr("shutil.which", lambda name: None)
        result = run("batch", pictures, "--out", out, "--embed")
        assert result.exit_code == 2
        assert result.stderr.startswith(
            "anytag batch: exiftool is not installed, and only it writes into pictures safely"
        )


class TestUntag:
    def test_takes_away_what_batch_wrote(self, run, pictures, out):  # noqa: F811
        before = {path.name: path.read_bytes() for path in pictures.iterdir()}
        run("batch", pictures, "--out", out, "--write", "txt", "--write", "xmp")
        result = run("untag", pictures, "--out", out)
        assert result.exit_code == 0
        assert result.stderr == "6 files changed\n"
        assert {path.name: path.read_bytes() for path in pictures.iterdir()} == before

    def test_what_is_not_there(self, run, tmp_path):  # noqa: F811
        gone = tmp_path / "gone.jpg"
        result = run("untag", gone)
        assert (result.exit_code, result.stderr) == (1, f"{gone}: no such file\n0 files changed, 1 not\n")

    def test_json_and_errors(self, run, pictures):  # noqa: F811
        (pictures / "red.xmp").write_text("no XML")
        result = run("untag", pictures, "--json")
        assert result.exit_code == 1
        [line] = map(json.loads, result.stdout.splitlines())
        assert (line["path"], line["change"]) == (str(pictures / "red.xmp"), "failed")

    def test_used_wrongly(self, run):  # noqa: F811
        result = run("untag")
        assert result.exit_code == 2
        assert result.stderr == "anytag untag: name pictures or folders, or the output folder of a batch with --out\n"


class TestDoctor:
    def test_it_reports_what_works(self, run):  # noqa: F811
        result = run("doctor", "--json")
        assert result.exit_code == 0, result.output
        findings = {finding["what"]: finding for finding in json.loads(result.stdout)}
        assert "toy (lite), 5 tags" in findings["model"]["detail"]
        assert findings["formats"]["state"] == "ok"

    def test_what_is_absent_comes_with_advice(self, run, monkeypatch):  # noqa: F811
        monkeypatch.setattr("shutil.which", lambda name: None)
        result = run("doctor")
        assert result.exit_code == 0
        assert "--  exiftool" in result.stdout
        assert "apt install libimage-exiftool-perl" in result.stdout

    def test_a_model_that_does_not_load(self, monkeypatch):
        result = invoke("doctor", "--model", "no/such/model/here")
        assert result.exit_code == 1
        assert "!!  model" in result.stdout


def test_embedded_tags_are_read_by_exiftool_and_removed(run, tmp_path, out):  # noqa: F811
    import subprocess

    from conftest import require_program

    require_program("exiftool", "libimage-exiftool-perl")
    photos = tmp_path / "photos"
    photos.mkdir()
    plain("red").save(photos / "red.jpg", comment=b"mine")
    before = photos.joinpath("red.jpg").stat().st_mtime_ns
    done = run("batch", photos, "--out", out, "--embed")
    assert done.exit_code == 0
    assert "1 recognized, 0 failed, 1 picture written to\n" in done.stderr

    def keywords():
        command = ["exiftool", "-s3", "-XMP-dc:Subject", photos / "red.jpg"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    assert keywords() == "red, animal, dog"
    assert photos.joinpath("red.jpg").stat().st_mtime_ns // 10**9 == before // 10**9
    # The file is another one now, but we changed it ourselves: nothing is done again.
    assert "1 done before" in run("batch", photos, "--out", out, "--embed").stderr
    assert run("untag", photos, "--embedded").stderr == "1 file changed\n"
    assert keywords() == ""


def test_a_dry_run_lists_changes_inside_pictures(run, tmp_path, out):  # noqa: F811
    import subprocess

    from conftest import require_program

    require_program("exiftool", "libimage-exiftool-perl")
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in ("red.jpg", "blue.jpg"):
        plain(name.partition(".")[0]).save(photos / name)
    red, blue = photos / "red.jpg", photos / "blue.jpg"
    subprocess.run(["exiftool", "-q", "-overwrite_original", "-IPTC:Keywords=holiday", red], check=True)
    before = red.read_bytes(), blue.read_bytes()
    said = [f"{blue}", f"  {blue}: XMP inside", f"{red}", f"  {red}: XMP and IPTC inside"]
    assert run("batch", photos, "--out", out, "--embed", "--dry-run").stdout.splitlines() == said
    # What is recognized already and would be written into is said as well.
    assert run("batch", photos, "--out", out, "--write", "jsonl").exit_code == 0
    assert run("batch", photos, "--out", out, "--embed", "--dry-run").stdout.splitlines() == said
    said[1] = f"  {blue}: XMP and IPTC inside"
    assert run("batch", photos, "--out", out, "--embed-iptc", "--dry-run").stdout.splitlines() == said
    assert (red.read_bytes(), blue.read_bytes()) == before
    assert run("batch", photos, "--out", out, "--embed-iptc", "--dry-run", "--write", "xmp").stdout.splitlines() == [
        f"{blue}",
        f"  {blue}.xmp: new",
        f"  {blue}: XMP and IPTC inside",
        f"{red}",
        f"  {red}.xmp: new",
        f"  {red}: XMP and IPTC inside",
    ]
    assert run("batch", photos, "--out", out, "--embed-iptc").exit_code == 0
    assert run("batch", photos, "--out", out, "--embed-iptc", "--dry-run").stdout == ""
    command = ["exiftool", "-s3", "-IPTC:Keywords", red]
    assert "holiday, red" in subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert run("untag", photos, "--embedded").stderr == "2 files changed\n"
    assert (red.read_bytes(), blue.read_bytes()) == before
