"""Benchmarks whose files are not at hand: made here in their exact form, at their size where counts are checked."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from anytag.errors import PictureError, UsageError
from anytag.evaluation.benchmarks.ade20k import REPEATED
from anytag.evaluation.benchmarks.benchmark import BenchmarkError
from anytag.evaluation.benchmarks.pictures import PictureFiles
from anytag.evaluation.benchmarks.registry import BENCHMARKS, missing_files, open_benchmark


def coco_images(count=5_000, ending=".jpg"):
    return [{"id": 7 * n + 1, "file_name": f"{n:012d}{ending}", "width": 4, "height": 4} for n in range(count)]


def write(path, record):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record), encoding="utf-8")


class TestCoco:
    def test_80_things_of_instances(self, tmp_path):
        boxes = [
            {"id": 1, "image_id": 1, "category_id": 18, "iscrowd": 0},
            {"id": 2, "image_id": 1, "category_id": 18, "iscrowd": 1},
            {"id": 3, "image_id": 8, "category_id": 90, "iscrowd": 0},
        ]
        write(tmp_path / "annotations" / "instances_val2017.json", {"images": coco_images(), "annotations": boxes})
        found = open_benchmark("coco-80", tmp_path)
        assert found.targets.shape == (5_000, 80)
        assert [(row, found.names[column]) for row, column in np.argwhere(found.targets)] == [
            (0, "dog"),
            (1, "toothbrush"),
        ]
        assert found.pictures.name(2) == "000000000002.jpg"
        assert "tv" in found.texts
        assert "television" in found.synonyms["tv"]
        assert len(found.empty_classes) == 78

    def test_133_things_and_stuff_of_panoptic(self, tmp_path):
        segments = [{"image_id": 1, "segments_info": [{"category_id": 187}, {"category_id": 1}]}]
        write(tmp_path / "panoptic_val2017.json", {"images": coco_images(ending=".png"), "annotations": segments})
        found = open_benchmark("coco-133", tmp_path)
        assert found.targets.shape == (5_000, 133)
        assert [found.texts[column] for column in np.flatnonzero(found.targets[0])] == ["person", "sky"]
        assert sum(kind == "stuff" for kind in found.kinds.values()) == 53
        assert not [text for text in found.texts if text.endswith(("-merged", "-other", "-stuff"))]
        # The annotation file names the masks; pictures are .jpg.
        assert found.pictures.name(0).endswith(".jpg")

    def test_unknown_category(self, tmp_path):
        record = {"images": coco_images(), "annotations": [{"image_id": 1, "category_id": 12}]}
        write(tmp_path / "instances_val2017.json", record)
        with pytest.raises(BenchmarkError, match=r"category 12 is none of the 80 of COCO-80$"):
            open_benchmark("coco-80", tmp_path)

    def test_another_split(self, tmp_path):
        write(tmp_path / "instances_val2017.json", {"images": coco_images(40), "annotations": []})
        with pytest.raises(BenchmarkError, match=r": 40 pictures, but the published benchmark has 5,000; the file is"):
            open_benchmark("coco-80", tmp_path)

    def test_not_coco(self, tmp_path):
        write(tmp_path / "instances_val2017.json", [1, 2])
        with pytest.raises(BenchmarkError, match=r"there is no list called 'images'; is this the right COCO file\?$"):
            open_benchmark("coco-80", tmp_path)

    @pytest.mark.parametrize("form", ["blip", "coco", "karpathy"])
    def test_captions_in_every_format(self, tmp_path, form):
        names = [f"val2014/{n}.jpg" for n in range(5_000)]
        texts = [[f"picture {n}", "a picture"] for n in range(5_000)]
        record, name = {
            "blip": (
                [{"image": n, "caption": t} for n, t in zip(names, texts, strict=True)],
                "coco_karpathy_test.json",
            ),
            "coco": (
                {
                    "images": [{"id": n, "file_name": name} for n, name in enumerate(names)],
                    "annotations": [{"image_id": n, "caption": t} for n, pair in enumerate(texts) for t in pair],
                },
                "coco_karpathy_test_gt.json",
            ),
            "karpathy": (
                {
                    "images": [
                        {
                            "split": "test",
                            "filepath": "val2014",
                            "filename": f"{n}.jpg",
                            "sentences": [{"raw": t} for t in pair],
                        }
                        for n, pair in enumerate(texts)
                    ]
                    + [{"split": "train", "filename": "x.jpg", "sentences": []}]
                },
                "dataset_coco.json",
            ),
        }[form]
        write(tmp_path / name, record)
        for key in ("coco-captions", "coco-retrieval"):
            found = open_benchmark(key, tmp_path)
            assert found.captions[3] == ("picture 3", "a picture")
            assert found.pictures.name(3) == "val2014/3.jpg"

    def test_a_picture_without_a_caption(self, tmp_path):
        images = [{"id": n, "file_name": f"{n}.jpg"} for n in range(5_000)]
        write(tmp_path / "coco_karpathy_test_gt.json", {"images": images, "annotations": []})
        with pytest.raises(BenchmarkError, match=r": 0\.jpg has no caption$"):
            open_benchmark("coco-captions", tmp_path)


@pytest.fixture(scope="module")
def ade(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ade")
    masks = folder / "annotations" / "validation"
    masks.mkdir(parents=True)
    for number in range(2_000):
        pixels = np.array([[0, 1 + number % 150]], np.uint8)
        Image.fromarray(pixels).save(masks / f"ADE_val_{number + 1:08d}.png", compress_level=0)
    return folder


class TestAde20k:
    def test_classes_are_the_pixels_that_occur(self, ade):
        found = open_benchmark("ade20k", ade)
        assert found.targets.shape == (2_000, 150)
        assert (found.targets.sum(1) == 1).all()
        assert [found.names[found.targets[row].argmax()] for row in (0, 1, 149)] == ["wall", "building", "flag"]
        assert "tv" in found.synonyms["television"]
        assert found.pictures.name(0) == "ADE_val_00000001"

    def test_the_clean_subset(self, ade):
        found = open_benchmark("ade20k-clean", ade)
        assert found.targets.shape == (2_000, 132)
        assert "wall" not in found.names
        [note] = [note for note in found.notes if "paper" in note]
        assert note.startswith(
            "132 of the paper's 143 classes; for the other 11 the authors' list only repeats a name (bar, "
        )
        assert len(REPEATED) == 143 - 132
        assert set(REPEATED) <= set(found.names)
        assert note.endswith("bulletin board")
        assert note.count(", ") == len(REPEATED) + 150 - 132 - 1

    def test_a_damaged_mask(self, ade):
        path = sorted((ade / "annotations" / "validation").glob("*.png"))[5]
        whole = path.read_bytes()
        path.write_bytes(whole[:40])
        with pytest.raises(BenchmarkError, match=r"ADE_val_00000006\.png: cannot be read, damaged or incomplete"):
            open_benchmark("ade20k", ade)
        path.write_bytes(whole)

    def test_not_there(self, tmp_path):
        with pytest.raises(BenchmarkError, match=r"there is no annotations/validation; give the unpacked ADEChallenge"):
            open_benchmark("ade20k", tmp_path)


class TestOpenImagesVerified:
    def files(self, folder, labels):
        (folder / "oidv7-class-descriptions.csv").write_text('LabelName,DisplayName\n/m/1,Dog\n/m/2,"Cat"\n/m/3,Car\n')
        (folder / "oidv7-test-annotations-human-imagelabels.csv").write_text(
            "ImageID,Source,LabelName,Confidence\n" + labels
        )
        (folder / "openimages_common_214_ram_taglist.txt").write_text("dog\ncat\n")

    def test_verified_labels(self, tmp_path):
        self.files(
            tmp_path, "a,verification,/m/1,1\na,verification,/m/2,0\nb,verification,/m/2,1\nb,verification,/m/3,1\n"
        )
        found = open_benchmark("openimages-verified", tmp_path)
        assert found.names == ("dog", "cat")
        assert found.targets.tolist() == [[True, False], [False, True]]
        assert found.known.tolist() == [[True, True], [False, True]]

    def test_wrong_columns(self, tmp_path):
        self.files(tmp_path, "")
        (tmp_path / "oidv7-class-descriptions.csv").write_text("Label,Name\n/m/1,Dog\n")
        with pytest.raises(BenchmarkError, match=r"there is no column 'LabelName'; the columns are Label, Name$"):
            open_benchmark("openimages-verified", tmp_path)

    @pytest.mark.parametrize(
        ("line", "message"),
        [
            ("a,verification,/m/9,1\n", r"line 2: '/m/9' is not in oidv7-class-descriptions\.csv$"),
            ("a,verification,/m/1,0.3\n", r"line 2: Confidence is '0\.3', not 0 or 1$"),
            ("a,verification\n", r"line 2 is cut short$"),
            ("a,verification,/m/3,1\n", r"none of the 2 classes is labeled$"),
        ],
    )
    def test_bad_lines(self, tmp_path, line, message):
        self.files(tmp_path, line)
        with pytest.raises(BenchmarkError, match=message):
            open_benchmark("openimages-verified", tmp_path)


class TestNusWide:
    def test_one_label_file_per_concept(self, tmp_path):
        names = [f"c{n}" for n in range(80)] + ["police car_x"]
        (tmp_path / "Concepts81.txt").write_text("\n".join(names))
        (tmp_path / "TestImagelist.txt").write_text("actor\\1.jpg\nactor\\2.jpg\n")
        for name in names:
            (tmp_path / f"Labels_{name}_Test.txt").write_text("0\n1\n")
        found = open_benchmark("nus-wide", tmp_path)
        assert found.targets.tolist() == [[False] * 81, [True] * 81]
        assert found.pictures.name(0) == "actor/1.jpg"
        (tmp_path / "Labels_c0_Test.txt").write_text("0\n2\n")
        with pytest.raises(BenchmarkError, match=r"Labels_c0_Test\.txt: a label is '2', not 0 or 1$"):
            open_benchmark("nus-wide", tmp_path)


class TestOwn:
    @pytest.fixture
    def table(self, tmp_path):
        for name in "abc":
            Image.new("RGB", (8, 8)).save(tmp_path / f"{name}.png")
        path = tmp_path / "mine.csv"
        path.write_text("image,tags\na.png,dog|cat\nb.png,cat\nc.png,\n")
        return path

    def test_a_table(self, table):
        found = open_benchmark(table)
        assert (found.title, found.names) == ("mine", ("cat", "dog"))
        assert found.targets.tolist() == [[True, True], [True, False], [False, False]]
        assert found.notes[-1] == "without a label: 1 picture; everything is absent there"
        assert [found.pictures.name(row) for row in range(3)] == ["a.png", "b.png", "c.png"]

    def test_pictures_are_named_by_their_paths(self, table, tmp_path):
        """Below the table where they lie there, else as a whole; whatever ids the table has beside."""
        (tmp_path / "in").mkdir()
        (tmp_path / "in" / "mine.csv").write_text(f"id,image,tags\n7,../a.png,dog\n8,{tmp_path / 'b.png'},cat\n")
        found = open_benchmark(tmp_path / "in" / "mine.csv")
        assert [found.pictures.name(row) for row in range(2)] == ["../a.png", str(tmp_path / "b.png")]

    def test_only_some_categories(self, table):
        found = open_benchmark(table, categories=["dog", "horse"])
        assert found.names == ("dog", "horse")
        assert found.empty_classes == ["horse"]
        assert "left out, as they are not among the categories: 1 label: cat" in found.notes

    def test_none_of_the_categories(self, table):
        with pytest.raises(UsageError, match=r"none of the categories \(.*\) is among the labels \(cat, dog\)$"):
            open_benchmark(table, categories=["quark"])

    def test_oppo_is_read_in_the_same_format(self, table):
        table.rename(table.with_name("oppo_common_200.csv"))
        assert open_benchmark("oppo-common", table.parent).title == "OPPO-common"
        assert "never released" in BENCHMARKS["oppo-common"].needs
        assert missing_files(BENCHMARKS["oppo-common"], table.parent) == []

    def test_a_folder_for_each_class(self, tmp_path):
        for name in ("cat/a.png", "cat/b.png", "dog/a.png"):
            (tmp_path / "mine" / name).parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 8)).save(tmp_path / "mine" / name)
        found = open_benchmark(tmp_path / "mine")
        assert (found.names, found.task) == (("cat", "dog"), "tagging")
        assert found.targets.tolist() == [[True, False], [True, False], [False, True]]
        assert [found.pictures.name(row) for row in range(3)] == ["cat/a.png", "cat/b.png", "dog/a.png"]
        # A file beside one of them says what it shows; the folder no more.
        (tmp_path / "mine" / "dog" / "a.txt").write_text("a dog")
        with pytest.raises(BenchmarkError, match="some pictures have neither labels nor captions"):
            open_benchmark(tmp_path / "mine")

    def test_shards(self, data):
        found = open_benchmark(data / "coco_report" / "coco_report-000001.tar")
        assert len(found.names) == 18
        assert len(found.pictures) == 500
        assert all(found.captions)

    def test_no_such_benchmark(self):
        with pytest.raises(UsageError, match=r"^there is no benchmark 'coco-81', and no file or folder of that name; "):
            open_benchmark("coco-81")


class TestPictures:
    def test_listed_but_absent(self, tmp_path):
        (tmp_path / "a.jpg").touch()
        pictures = PictureFiles(tmp_path, ("test/a", "b.jpg"))
        assert pictures.source(0) == tmp_path / "a.jpg"
        with pytest.raises(PictureError, match=rf"^b\.jpg: listed in the annotations, but not in {tmp_path}$"):
            pictures.source(1)
        with pytest.raises(PictureError, match=r"^a: no folder of pictures was given; give it as --pictures$"):
            PictureFiles(None, ("a",)).source(0)
