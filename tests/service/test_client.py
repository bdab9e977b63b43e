"""``anytag.connect``: the same answers as from a recognizer in this process."""

from __future__ import annotations

import io
import socket
import threading
import time

import numpy as np
import pytest
from fixtures_toy import plain, toy_recognizer

pytest.importorskip("fastapi")

import uvicorn

import anytag
from anytag.errors import PictureError, UsageError
from anytag.service.app import create_app
from anytag.service.client import ConnectionFailed
from anytag.service.settings import ServiceSettings


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def recognizer(tmp_path_factory):
    return toy_recognizer(tmp_path_factory.mktemp("toy") / "model")


@pytest.fixture(scope="module")
def url(recognizer):
    """A real server in a thread."""
    app = create_app(ServiceSettings(api_keys=("secret",), queue=4), lambda place, threads: recognizer)
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join()


@pytest.fixture
def remote(url):
    return anytag.connect(url, key="secret")


@pytest.fixture
def photos(tmp_path):
    paths = []
    for name in ("red", "lime", "blue"):
        plain(name).save(tmp_path / f"{name}.png")
        paths.append(str(tmp_path / f"{name}.png"))
    return paths


def rounded(seen):
    return seen.to_json()


def test_one_picture_a_list_and_a_stream(remote, recognizer, photos):
    assert rounded(remote.tag(photos[0])) == rounded(recognizer.tag(photos[0]))
    assert list(map(rounded, remote.tag(photos))) == list(map(rounded, recognizer.tag(photos)))
    assert [seen.path for seen in remote.tag(iter(photos * 10))] == photos * 10
    assert rounded(remote(photos[0])) == rounded(recognizer(photos[0]))


def test_options(remote, recognizer, photos):
    for options in ({"categories": ["dog", "sea shore"], "threshold": 0.0}, {"top": 1}, {"kinds": ["scene"]}):
        assert list(map(rounded, remote.tag(photos, **options))) == list(
            map(rounded, recognizer.tag(photos, **options))
        )
    assert rounded(remote.caption(photos[1], tags=["dog"])) == rounded(recognizer.caption(photos[1], tags=["dog"]))
    texts = ["a hound, on a beach", 'the "dog"']
    assert remote.match(photos[1], texts).to_json() == recognizer.match(photos[1], texts).to_json()
    assert np.allclose(remote.locate(photos[0], "dog"), recognizer.locate(photos[0], "dog"), atol=1e-4)


def test_pictures_of_every_type(remote, photos):
    red = remote.tag(photos[0]).tags
    content = open(photos[0], "rb").read()  # noqa: PTH123, SIM115
    for source in (content, io.BytesIO(content), plain("red"), np.asarray(plain("red"))):
        assert remote.tag(source).tags == red


def test_bad_pictures_have_their_place(remote, photos, tmp_path):
    (tmp_path / "bad.jpg").write_text("no picture")
    results = remote.tag([photos[0], str(tmp_path / "bad.jpg"), str(tmp_path / "absent.jpg"), photos[1]])
    assert [getattr(result, "kind", "ok") for result in results] == ["ok", "not_a_picture", "not_found", "ok"]
    assert results[1].message.startswith(f"{tmp_path}/bad.jpg: ")
    with pytest.raises(PictureError) as raised:
        remote.tag(str(tmp_path / "absent.jpg"))
    assert raised.value.kind == "not_found"


def test_what_the_service_refuses(url, remote, photos):
    with pytest.raises(UsageError, match="there is no model 'other'"):
        anytag.connect(url, key="secret", model="other").tag(photos[0])
    with pytest.raises(ConnectionFailed, match="needs an API key"):
        anytag.connect(url).tag(photos[0])
    with pytest.raises(UsageError, match="has no library"):
        remote.search("dog")


def test_nobody_there():
    with pytest.raises(ConnectionFailed, match=r"does not answer .* is the service running"):
        anytag.connect(f"http://127.0.0.1:{free_port()}")
    with pytest.raises(UsageError, match=r"not the address of a service"):
        anytag.connect("ftp://example.org")


def test_the_vocabulary(remote):
    assert [tag["name"] for tag in remote.tags("dog")] == ["dog"]
