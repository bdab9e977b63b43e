"""``anytag.connect`` returns the same as a recognizer in this process."""

from __future__ import annotations

import inspect
import io
import socket
import threading
import time

import numpy as np
import pytest
from fixtures_toy import plain, toy_recognizer
from PIL import Image

pytest.importorskip("fastapi")

import uvicorn

import anytag
from anytag.errors import PictureError, UsageError
from anytag.service.app import create_app
from anytag.service.client import ConnectionFailed, RemoteRecognizer
from anytag.service.remote_look import RemoteLook
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


def rounded_tags(tags):
    return [tag.to_json() for tag in tags]


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


def test_pictures_in_memory_are_seen_as_on_this_machine(remote, recognizer):
    """High bit depths, other color models, transparency, and rotated pictures."""
    red = np.zeros((6, 8, 3), np.float32)
    red[..., 0] = 1.0
    clear = plain("red").convert("RGBA")
    clear.putalpha(0)
    out = io.BytesIO()
    turned = plain("red", (9, 4))
    turned.getexif()[0x0112] = 6
    turned.save(out, "JPEG", exif=turned.getexif())
    for source in (red, clear, plain("red").convert("CMYK"), plain("red").convert("F"), Image.open(out)):
        assert remote.tag(source).to_json() == recognizer.tag(source).to_json()
    look = remote.look(Image.open(out))
    assert (look.width, look.height) == (4, 9)


def test_it_has_every_method_of_a_recognizer_with_the_same_arguments():
    """Except ``answers``, which needs the model's own process."""
    for ours, theirs in ((anytag.Recognizer, RemoteRecognizer), (anytag.Look, RemoteLook)):
        methods = {name: one for name, one in vars(ours).items() if inspect.isfunction(one)}
        names = {name for name in methods if name[0] != "_"} - {"answers"} | ({"__call__"} & methods.keys())
        assert len(names) >= 5
        for name in names:
            wanted, there = (
                sorted(inspect.signature(one).parameters) for one in (methods[name], getattr(theirs, name))
            )
            assert there == wanted, name


def test_one_look_and_many_questions(remote, recognizer, photos):
    ours, theirs = recognizer.look(photos[0]), remote.look(photos[0])
    assert (theirs.path, theirs.width, theirs.height, theirs.notes) == (ours.path, ours.width, ours.height, ours.notes)
    assert rounded_tags(theirs.tags(top=2)) == rounded_tags(ours.tags(top=2))
    assert theirs.caption(["dog"]).to_json() == ours.caption(["dog"]).to_json()
    assert theirs.match("a dog").to_json() == ours.match("a dog").to_json()
    assert [one.to_json() for one in theirs.match(["a dog", "a cat"])] == [
        one.to_json() for one in ours.match(["a dog", "a cat"])
    ]
    for found in (theirs.score("beach"), remote.score(photos[0], "beach")):
        assert found.to_json() == ours.score("beach").to_json()
    for resize in (None, "nearest", "bilinear"):
        expected = ours.locate("dog", resize=resize)
        for heat in (theirs.locate("dog", resize=resize), remote.locate(photos[0], "dog", resize=resize)):
            assert np.allclose(heat, expected, atol=1e-4)
    with pytest.raises(UsageError, match="resize must be one of nearest, bilinear"):
        remote.locate(photos[0], "dog", resize="cubic")
    with pytest.raises(PictureError, match="no such file"):
        remote.look("absent.jpg")
    with pytest.raises(UsageError, match="picture is of the type int"):
        remote.look(3)


def test_embeddings(remote, recognizer, photos):
    assert np.allclose(remote.embed(photos[0]), recognizer.embed(photos[0]), atol=1e-6)


def test_captions_that_are_drawn(remote, recognizer, photos):
    drawn = remote.caption(photos[0], sample=True, seed=3)
    assert drawn.to_json() == recognizer.caption(photos[0], sample=True, seed=3).to_json()


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


def test_no_server():
    with pytest.raises(ConnectionFailed, match=r"does not answer .* is the service running"):
        anytag.connect(f"http://127.0.0.1:{free_port()}")
    with pytest.raises(UsageError, match=r"not the address of a service"):
        anytag.connect("ftp://example.org")


def test_the_vocabulary(remote, recognizer):
    assert [tag["name"] for tag in remote.tags("dog")] == ["dog"]
    ours, theirs = recognizer.vocabulary, remote.vocabulary
    assert [theirs.describe(tag) for tag in theirs] == [ours.describe(tag) for tag in ours]
