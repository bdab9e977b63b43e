"""The service with a library: search, facets and thumbnails."""

from __future__ import annotations

import os

from fixtures_service import client, error, recognizer, serve
from fixtures_toy import plain, with_joint_embedding

from anytag.library.photo_library import Library

# Fixtures, which tests ask for by name.
__all__ = ["client", "recognizer", "serve"]


class TestLibrary:
    def test_search_facets_and_thumbnails(self, serve, recognizer, tmp_path):
        photos = tmp_path / "photos"
        photos.mkdir()
        for age, name in enumerate(("lime", "red")):
            plain(name).save(photos / f"{name}.png")
            os.utime(photos / f"{name}.png", (1e9 - age, 1e9 - age))
        Library(photos, recognizer).update()
        client = serve(library=photos)
        found = client.get("/v1/search", params={"q": "dog", "facets": 3}).json()
        assert [hit["path"] for hit in found["hits"]] == [str(photos / "red.png")]
        assert found["facets"][0] == {"name": "animal", "count": 1}
        assert client.get("/v1/facets").json()["total"] == 2
        newest = client.get("/v1/search", params={"facets": 1}).json()
        assert [hit["path"] for hit in newest["hits"]] == [str(photos / "lime.png"), str(photos / "red.png")]
        assert (newest["total"], newest["hits"][1]["reasons"][0]["name"]) == (2, "red")
        assert newest["facets"] == [{"name": "animal", "count": 1}]
        small = client.get(f"/v1/library/{found['hits'][0]['id']}/thumbnail")
        assert small.headers["content-type"] == "image/jpeg"
        assert error(client.get("/v1/library/999/thumbnail")) == (404, "not_found")
        assert error(client.get("/v1/search", params={"q": '"dog'})) == (400, "usage")
        (photos / "red.png").unlink()
        assert error(client.get(f"/v1/library/{found['hits'][0]['id']}/thumbnail")) == (410, "not_found")

    def test_photos_by_a_sentence(self, serve, recognizer, tmp_path):
        photos = tmp_path / "photos"
        photos.mkdir()
        for name in ("red", "lime", "aqua"):
            plain(name).save(photos / f"{name}.png")
        model = with_joint_embedding(recognizer)
        model.recognize_blank = True
        Library(photos, model).update()
        client = serve(load=lambda place, threads: model, library=photos)
        found = client.get("/v1/search", params={"text": "a beach", "facets": 2}).json()
        assert [hit["path"].rpartition("/")[2] for hit in found["hits"]] == ["lime.png", "aqua.png", "red.png"]
        assert [(one["name"], one["where"]) for one in found["hits"][0]["reasons"]] == [
            ("beach", "scene"), ("a beach", "text"),
        ]  # fmt: skip
        assert found["facets"]
        mixed = client.get("/v1/search", params={"text": "a beach", "q": "-beach"}).json()
        assert [hit["path"] for hit in mixed["hits"]] == [str(photos / "red.png")]
        assert error(client.get("/v1/search", params={"text": "a beach", "q": '"dog'})) == (400, "usage")

    def test_a_model_without_sentence_search(self, serve, recognizer, tmp_path):
        (tmp_path / "photos").mkdir()
        plain("red").save(tmp_path / "photos" / "red.png")
        Library(tmp_path / "photos", recognizer).update()
        client = serve(library=tmp_path / "photos")
        assert error(client.get("/v1/search", params={"text": "a beach"})) == (400, "model")

    def test_without_a_library(self, client):
        assert error(client.get("/v1/search", params={"q": "dog"})) == (404, "library")
