"""Tables of many pictures, read back the way the programs they are written for read them."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from conftest import require_module
from fixtures_browser import too_faint
from fixtures_toy import plain

from anytag.recognition import Failure, Recognition, Tag
from anytag.writers.annotations import write_coco, write_fiftyone, write_label_studio
from anytag.writers.contact_sheet import write_contact_sheet
from anytag.writers.records import PictureRecord, Provenance
from anytag.writers.tables import write_csv, write_jsonl, write_parquet

FOUND = Provenance("lite", "abc123", "2026-01-02T03:04:05Z")
DOG, HOT, EVIL = Tag("dog", 0.91239, "object", 0.5), Tag("hot, dog", 0.7, "object", 0.5), Tag("=1+1", 0.6, "scene", 0.5)


@pytest.fixture
def records(tmp_path):
    for name in ("a b", "ü"):
        plain("red", (40, 30)).save(tmp_path / f"{name}.png")
    return [
        PictureRecord(
            str(tmp_path / "a b.png"), Recognition("", (DOG, HOT), "a dog, eating", size=(40, 30)), FOUND
        ),
        PictureRecord(str(tmp_path / "ü.png"), Recognition("", (EVIL,), size=(40, 30)), FOUND),
        PictureRecord("shard.tar/1", Recognition("", (), size=(40, 30)), FOUND, in_archive=True),
    ]  # fmt: skip


def test_json_lines(records, tmp_path):
    write_jsonl(records, tmp_path / "tags.jsonl")
    first, *_ = map(json.loads, (tmp_path / "tags.jsonl").read_text(encoding="utf-8").splitlines())
    assert first["tags"][0] == {"name": "dog", "score": 0.9124, "kind": "object", "threshold": 0.5}
    assert (first["model"], first["version"], first["time"]) == ("lite", "abc123", "2026-01-02T03:04:05Z")


def test_csv(records, tmp_path):
    write_csv(records, tmp_path / "tags.csv")
    with (tmp_path / "tags.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["path"] for row in rows] == [record.path for record in records]
    assert (rows[0]["tags"], rows[0]["scores"]) == ('dog, "hot, dog"', "0.9124, 0.7000")
    assert (rows[0]["caption"], rows[2]["tags"]) == ("a dog, eating", "")
    assert rows[1]["tags"] == "'=1+1"  # No formula in a spreadsheet.


def test_parquet(records, tmp_path):
    require_module("pyarrow", "parquet")
    import pyarrow.parquet as parquet

    write_parquet(records, tmp_path / "tags.parquet")
    rows = parquet.read_table(tmp_path / "tags.parquet").to_pylist()
    assert [row["path"] for row in rows] == [record.path for record in records]
    assert [tag["name"] for tag in rows[0]["tags"]] == ["dog", "hot, dog"]
    assert rows[0]["tags"][0]["score"] == pytest.approx(0.9124)
    assert (rows[1]["caption"], rows[1]["model"]) == (None, "lite")


def test_coco(records, tmp_path):
    write_coco(records, tmp_path / "coco.json")
    coco = json.loads((tmp_path / "coco.json").read_text(encoding="utf-8"))
    assert [image["id"] for image in coco["images"]] == [1, 2, 3]
    names = {category["id"]: (category["name"], category["supercategory"]) for category in coco["categories"]}
    boxes = [one for one in coco["annotations"] if "bbox" in one]
    assert [(one["image_id"], names[one["category_id"]][0], one["bbox"]) for one in boxes] == [
        (1, "dog", [0, 0, 40, 30]), (1, "hot, dog", [0, 0, 40, 30]), (2, "=1+1", [0, 0, 40, 30]),
    ]  # fmt: skip
    assert [one["caption"] for one in coco["annotations"] if "caption" in one] == ["a dog, eating"]
    assert len({one["id"] for one in coco["annotations"]}) == 4


def test_label_studio(records, tmp_path):
    write_label_studio(records, tmp_path / "label-studio.json")
    tasks = json.loads((tmp_path / "label-studio.json").read_text(encoding="utf-8"))
    assert tasks[0]["data"]["image"] == f"/data/local-files/?d={str(tmp_path).lstrip('/')}/a%20b.png"
    [prediction] = tasks[0]["predictions"]
    assert prediction["model_version"] == "lite abc123"
    assert prediction["score"] == pytest.approx((0.91239 + 0.7) / 2, abs=1e-4)
    assert prediction["result"] == [
        {"from_name": "tags", "to_name": "image", "type": "choices", "value": {"choices": ["dog", "hot, dog"]}},
        {"from_name": "caption", "to_name": "image", "type": "textarea", "value": {"text": ["a dog, eating"]}},
    ]
    assert tasks[2]["predictions"][0]["score"] == 0


def test_fiftyone(records, tmp_path):
    """FiftyOne's importer maps ids to files in one file, and to labels in the other."""
    write_fiftyone(records, tmp_path / "fiftyone")
    data, labels = (json.loads((tmp_path / "fiftyone" / f"{name}.json").read_text()) for name in ("data", "labels"))
    assert data.keys() == labels["labels"].keys()
    [first, *_] = data
    assert Path(data[first]) == tmp_path / "a b.png"
    assert labels["labels"][first] == [
        {"label": "dog", "confidence": 0.9124}, {"label": "hot, dog", "confidence": 0.7},
    ]  # fmt: skip
    assert labels["classes"] == ["=1+1", "dog", "hot, dog"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_contact_sheet_in_a_browser(records, tmp_path, browser, scheme):
    """It loads nothing else, filters by tags, and shows failures; names are never parsed as HTML."""
    failures = (Failure("<b>.png", "truncated", "<b>.png: the file ends too early"),)
    write_contact_sheet(records, tmp_path / "contact-sheet.html", failures)
    page = browser.new_context(color_scheme=scheme).new_page()
    asked, errors = [], []
    page.on("request", lambda one: asked.append(one.url))
    page.on("pageerror", lambda one: errors.append(str(one)))
    page.goto((tmp_path / "contact-sheet.html").as_uri())
    assert page.locator("figure").count() == 3
    assert page.locator("figure img").first.evaluate("one => one.naturalWidth") == 40
    assert page.locator("figure").first.inner_text().splitlines()[0] == "a b.png"
    assert "a dog, eating" in page.locator("figure").first.inner_text()
    assert "dog 0.91" in page.locator("figure").first.inner_text()
    assert page.locator("#failures").inner_text().splitlines() == [
        "Not recognized: 1",
        "truncated <b>.png: the file ends too early",
    ]
    assert too_faint(page) == []
    for query, left in (("dog", 1), ("-dog", 2), ('"hot, dog" dog', 1), ("eating", 1), ("ü", 1), ("cat", 0), ("", 3)):
        page.fill("#filter", query)
        assert page.locator("figure:visible").count() == left, query
        assert page.locator("#count").inner_text() == f"{left} of 3 pictures"
    page.locator("#facets button").filter(has_text="hot, dog").press("Enter")
    assert page.locator("figure:visible").count() == 1
    assert page.locator("#facets button[aria-pressed=true]").count() == 1
    assert too_faint(page) == []
    assert errors == []
    assert all(one.startswith(("file:", "data:")) for one in asked)
    page.context.close()


def test_many_pictures_go_to_several_pages(records, tmp_path):
    target, failures = tmp_path / "contact-sheet.html", [Failure("x", "empty", "x: empty")]
    write_contact_sheet(records, target, failures, page_size=2)
    first, second = ((tmp_path / f"contact-sheet{more}.html").read_text() for more in ("", "-2"))
    assert (first.count("<figure"), second.count("<figure")) == (2, 1)
    assert ('id="failures"' in first, 'id="failures"' in second) == (False, True)
    write_contact_sheet(records[:1], target, failures, page_size=2)
    assert not (tmp_path / "contact-sheet-2.html").exists()
