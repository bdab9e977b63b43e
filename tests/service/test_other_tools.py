"""The service as Label Studio and PhotoPrism use it."""

from __future__ import annotations

import base64
import threading

import pytest
from fixtures_service import RED, client, error, recognizer, serve

from anytag import __version__

# Fixtures, which tests ask for by name.
__all__ = ["client", "recognizer", "serve"]


class TestOtherTools:
    CONFIG = """<View><Image name="img" value="$photo"/><Choices name="tag" toName="img" choice="multiple">
      <Choice value="dog"/><Choice value="beach"/></Choices><TextArea name="text" toName="img"/></View>"""

    def test_label_studio(self, client):
        assert client.get("/health").json() == {"status": "UP", "model_class": "anytag"}
        assert client.post("/setup", json={"project": "1", "schema": self.CONFIG}).json() == {
            "model_version": "default"
        }
        photo = "data:image/png;base64," + base64.b64encode(RED).decode()
        asked = {"tasks": [{"id": 1, "data": {"photo": photo}}], "label_config": self.CONFIG, "project": "1.2"}
        [made] = client.post("/predict", json=asked).json()["results"]
        assert made["result"][0] == {
            "from_name": "tag", "to_name": "img", "type": "choices", "value": {"choices": ["dog"]},
        }  # fmt: skip
        assert made["result"][1]["type"] == "textarea"
        assert made["score"] == pytest.approx(0.6, abs=0.01)
        assert client.post("/webhook", json={"action": "ANNOTATION_CREATED"}).status_code == 200
        assert error(client.post("/predict", json=asked | {"label_config": 5})) == (400, "usage")
        entity = self.CONFIG.replace("<View>", "<!DOCTYPE a [<!ENTITY b 'c'>]><View>")
        assert error(client.post("/predict", json=asked | {"label_config": entity})) == (400, "usage")

    def test_of_several_tasks_one_that_cannot_be_read_has_no_results(self, client):
        good, bad = (
            {"data": {"photo": "data:;base64," + base64.b64encode(one).decode()}} for one in (RED, b"no picture")
        )
        several = client.post("/predict", json={"tasks": [bad, good], "label_config": self.CONFIG}).json()["results"]
        assert [len(one["result"]) for one in several] == [0, 2]
        assert error(client.post("/predict", json={"tasks": [bad], "label_config": self.CONFIG})) == (
            415,
            "not_a_picture",
        )

    def test_a_download_does_not_block_other_requests(self, serve, monkeypatch):
        """Downloads do not block the event loop."""
        from anytag.service import inputs

        threads = []

        def fetch(address, most, seconds):
            threads.append(threading.current_thread())
            return RED

        monkeypatch.setattr(inputs, "fetch", fetch)
        client = serve(allow_urls=True)
        task = {"data": {"photo": "https://photos.example/a.png"}}
        answer = client.post("/predict", json={"tasks": [task], "label_config": self.CONFIG})
        assert answer.json()["results"][0]["result"][0]["value"] == {"choices": ["dog"]}
        asked = {"id": "a1", "url": "https://photos.example/a.png"}
        assert client.post("/api/v1/vision/labels", json=asked).json()["code"] == 200
        assert all(thread.name.startswith("AnyIO worker") for thread in threads)
        assert len(threads) == 2

    def test_pictures_in_their_requests_have_limits(self, serve):
        client = serve(max_picture_bytes=10)
        photo = "data:image/png;base64," + base64.b64encode(RED).decode()
        assert error(client.post("/predict", json={"tasks": [{"data": {"image": photo}}]})) == (413, "too_large")
        answer = client.post("/api/v1/vision/labels", json={"images": [photo]})
        assert (answer.status_code, answer.json()["code"]) == (413, 413)

    def test_photoprism(self, client):
        photo = "data:image/png;base64," + base64.b64encode(RED).decode()
        # As PhotoPrism sends it: two views of one photo, whose labels are those of the photo.
        asked = {"id": "a1", "suffix": "", "stream": False, "images": [photo, photo]}
        assert client.post("/api/v1/vision/labels", json=asked).json() == {
            "id": "a1",
            "code": 200,
            "model": {"name": "default", "version": __version__},
            "result": {
                "labels": [
                    {"name": "animal", "source": "image", "confidence": 0.7, "topicality": 0.7},
                    {"name": "dog", "source": "image", "confidence": 0.6, "topicality": 0.6},
                ]
            },
        }

    def test_photoprism_gets_errors_in_its_own_format(self, client):
        """It expects text under ``error``, and a number under ``code``."""
        for body, code in (({}, 400), ({"images": {}}, 400), ({"images": ["data:;base64,eA=="]}, 415)):
            answer = client.post("/api/v1/vision/labels", json=body)
            assert answer.status_code == code
            assert answer.json()["code"] == code
            assert isinstance(answer.json()["error"], str)

    def test_the_document_shows_what_they_send_and_get(self, client):
        paths = client.get("/openapi.json").json()["paths"]
        for route in ("/predict", "/api/v1/vision/labels"):
            asked = paths[route]["post"]
            assert "example" in asked["requestBody"]["content"]["application/json"]
            assert "example" in asked["responses"]["200"]["content"]["application/json"]
