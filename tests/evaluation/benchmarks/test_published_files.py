"""The annotation files that RAM's authors published: their counts, and what is said of files that are not theirs."""

from __future__ import annotations

import gzip

import numpy as np
import pytest

from anytag.evaluation.benchmarks.benchmark import BenchmarkError, read_named, read_numbered
from anytag.evaluation.benchmarks.openimages import leaked_names
from anytag.evaluation.benchmarks.registry import BENCHMARKS, missing_files, open_benchmark


@pytest.fixture(scope="module")
def files(data):
    return data / "benchmarks"


class TestPublished:
    def test_openimages_common(self, files):
        found = open_benchmark("openimages-common", files)
        assert found.targets.shape == (57_224, 214)
        labels = np.bincount(found.targets.sum(1))
        assert labels.tolist() == [157, 46_920, 9_509, 624, 14]
        positives = found.targets.sum(0)
        assert (positives.min(), np.median(positives), positives.max()) == (17, 97.5, 15_487)
        assert found.names[positives.argmin()] == "calendar"
        assert found.names[positives.argmax()] == "car"
        assert found.empty_classes == []

    def test_openimages_rare(self, files):
        found = open_benchmark("openimages-rare", files)
        assert found.targets.shape == (21_991, 200)
        positives = found.targets.sum(0)
        assert (found.names[positives.argmin()], found.names[positives.argmax()]) == ("Lechon", "Luxury vehicle")
        assert (positives.min(), positives.max()) == (8, 3_582)

    def test_openimages_rare_without_training_tags_of_ram(self, files):
        whole, found = open_benchmark("openimages-rare", files), open_benchmark("openimages-rare-deleaked", files)
        left_out = set(whole.names) - set(found.names)
        assert {"Close-up", "Jeans", "Bagpipes", "Drums"} & set(whole.names) <= left_out
        assert len(left_out) == 26
        assert found.targets.shape == (BENCHMARKS[found.key].pictures, BENCHMARKS[found.key].classes) == (18_223, 174)
        assert found.targets.any(1).all()
        assert str(len(left_out)) in found.notes[-1]

    def test_imagenet_multi(self, files):
        found = open_benchmark("imagenet-multi", files)
        assert found.targets.shape == (46_837, 1_000)
        assert found.targets.sum() == 57_553
        assert len(set(found.names)) == 998

    def test_hico(self, files):
        found = open_benchmark("hico", files)
        assert found.targets.shape == (9_658, 600)
        positives = found.targets.sum(0)
        assert (positives.min(), np.median(positives), positives.max()) == (5, 12, 388)
        assert "person sit on bench" in found.texts

    def test_available_benchmarks_are_listed(self, files):
        there = {key for key, entry in BENCHMARKS.items() if not missing_files(entry, files)}
        assert there == {"openimages-common", "openimages-rare", "openimages-rare-deleaked", "imagenet-multi", "hico"}


def test_leaked_names():
    names = ["Jeans", "Close-up", "Boating", "Ale", "Skiing", "Strawberries"]
    assert leaked_names(names, ["jean", "close up", "boat", "strawberry", "ski"]) == [
        "Jeans", "Close-up", "Boating", "Skiing", "Strawberries",
    ]  # fmt: skip


class TestBadFiles:
    NAMES = "openimages_common_214_ram_taglist.txt"
    LINES = "openimages_common_214_ram_annots.txt"

    def test_missing(self, tmp_path):
        with pytest.raises(BenchmarkError, match=rf"^{tmp_path}: there is no {self.LINES} or .* \(or \.gz\); give the"):
            open_benchmark("openimages-common", tmp_path)

    def test_truncated(self, tmp_path, files):
        content = (files / f"{self.LINES}.gz").read_bytes()
        (tmp_path / f"{self.LINES}.gz").write_bytes(content[: len(content) // 2])
        (tmp_path / f"{self.NAMES}.gz").write_bytes((files / f"{self.NAMES}.gz").read_bytes())
        with pytest.raises(BenchmarkError, match=r"annots\.txt\.gz: cannot be read, damaged or incomplete \("):
            open_benchmark("openimages-common", tmp_path)

    def test_lines_missing(self, tmp_path, files):
        lines = gzip.decompress((files / f"{self.LINES}.gz").read_bytes()).split(b"\n")
        (tmp_path / self.LINES).write_bytes(b"\n".join(lines[:50_000]))
        (tmp_path / f"{self.NAMES}.gz").write_bytes((files / f"{self.NAMES}.gz").read_bytes())
        with pytest.raises(
            BenchmarkError, match=r"50,000 pictures, but the published benchmark has 57,224; the file is"
        ):
            open_benchmark("openimages-common", tmp_path)

    def test_unknown_category(self, tmp_path):
        path = tmp_path / "lines.txt"
        path.write_text("a.jpg,dog\nb.jpg,dog,quark\n")
        with pytest.raises(BenchmarkError, match=r"line 2: 'quark' is not one of the 2 classes$"):
            read_named(path, ["dog", "cat"])

    def test_numbers(self, tmp_path):
        path = tmp_path / "lines.txt"
        path.write_text("a.jpg,0 x\n")
        with pytest.raises(BenchmarkError, match=r"line 1: '0 x' are not the numbers of classes$"):
            read_numbered(path, 3)
        path.write_text("a.jpg,0 3\n")
        with pytest.raises(BenchmarkError, match=r"picture 1 has class 3, but there are 3 classes$"):
            read_numbered(path, 3)

    def test_a_picture_on_two_lines(self, tmp_path):
        path = tmp_path / "lines.txt"
        path.write_text("a.jpg,0\na.jpg,1\n")
        with pytest.raises(BenchmarkError, match=r"a\.jpg is on several lines; merge them$"):
            read_numbered(path, 3)
