from __future__ import annotations

import re
import socket
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import pytest
from data_files import jpeg, just_id, write_shards
from fixtures_server import Handler, etag_of, serve, status, without_ranges  # noqa: F401

from anytag.datasets import SampleStream, open_source
from anytag.datasets.remote import fetch, is_web_address, local_path, open_address
from anytag.errors import SampleError

QUICK = (0.0, 0.0)
CONTENT = bytes(range(256)) * 4000


@pytest.fixture
def site(serve):  # noqa: F811
    return serve(data=CONTENT)


def cut(after: int) -> Callable:
    """Sends so many bytes of what was asked for, and hangs up."""

    def answer(handler: Handler, content: bytes) -> None:
        asked = re.fullmatch(r"bytes=(\d+)-", handler.headers.get("Range", ""))
        start = int(asked[1]) if asked else 0
        span = f"bytes {start}-{len(content) - 1}/{len(content)}"
        handler.start(206 if start else 200, len(content) - start, ETag=etag_of(content), Content_Range=span)
        handler.wfile.write(content[start : start + after])
        handler.close_connection = True

    return answer


def begun(site) -> list[int]:
    """Where each request for the file began."""
    return [int(request.headers.get("Range", "bytes=0-")[6:-1]) for request in site.of("/data")]


def test_a_file_is_downloaded(site) -> None:
    assert fetch(f"{site.url}/data", QUICK) == CONTENT
    with open_address(f"{site.url}/data", QUICK) as stream:
        assert (stream.read(5), stream.read(300)) == (CONTENT[:5], CONTENT[5:305])


def test_a_dropped_connection_is_resumed(site) -> None:
    site.answers["/data"] = [cut(300_000), status(503), cut(200_000), cut(100)]
    assert fetch(f"{site.url}/data", QUICK) == CONTENT
    assert begun(site) == [0, 300_000, 300_000, 500_000, 500_100]


def test_a_server_without_ranges_is_read_again(site) -> None:
    site.answers["/data"] = [cut(300_000), without_ranges]
    assert fetch(f"{site.url}/data", QUICK) == CONTENT


def test_a_replaced_file_is_not_resumed(site) -> None:
    site.answers["/data"] = [cut(300_000)]
    with open_address(f"{site.url}/data", QUICK) as stream:
        stream.read(10)
        site.files["/data"] = CONTENT[::-1]
        with pytest.raises(SampleError, match="/data: was replaced by another file while it was read") as caught:
            stream.read()
    assert caught.value.kind == "download"


def test_another_range_than_requested(site) -> None:
    site.answers["/data"] = [cut(300_000), status(206, Content_Range="bytes 7-9/1024000")]
    with pytest.raises(SampleError, match="/data: answered with another part than was asked for"):
        fetch(f"{site.url}/data", QUICK)


def test_retries_are_limited(site) -> None:
    site.answers["/data"] = [status(503)] * 3
    with pytest.raises(SampleError, match=r"/data: answered 503 Service Unavailable \(3 tries\)") as caught:
        fetch(f"{site.url}/data", QUICK)
    assert (caught.value.kind, len(site.requests)) == ("download", 3)
    site.answers["/data"] = [cut(0)] * 9
    with pytest.raises(SampleError, match=r"/data: broke off, 1,024,000 bytes are missing \(3 tries\)"):
        fetch(f"{site.url}/data", QUICK)


def test_the_server_says_how_long_to_wait(site, monkeypatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr("anytag.datasets.remote.time.sleep", waits.append)
    site.answers["/data"] = [status(429, Retry_After="7"), status(503, Retry_After="3600"), status(503)]
    assert fetch(f"{site.url}/data", (1.0, 2.0, 4.0)) == CONTENT
    assert waits == [7.0, 60.0, 4.0]


def test_missing_files_are_not_requested_again(site) -> None:
    with pytest.raises(SampleError, match=r"/none: not there \(answered 404 Not Found\)"):
        fetch(f"{site.url}/none", QUICK)
    assert len(site.requests) == 1


def test_shards_of_the_hub_get_its_token(site, monkeypatch) -> None:
    monkeypatch.setattr("anytag.foundations.http.HUB", site.url)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    fetch(f"{site.url}/data", QUICK)
    assert site.requests[0].headers["Authorization"] == "Bearer hf_secret"


def test_a_port_without_a_server() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # Bound, but nobody listens.
        with pytest.raises(SampleError, match=r"no connection \(Connection refused\) \(2 tries\)"):
            fetch(f"http://127.0.0.1:{taken.getsockname()[1]}/data", (0.0,))


def test_a_picture_has_a_limit(site, monkeypatch) -> None:
    monkeypatch.setattr("anytag.datasets.remote._LARGEST_PICTURE", 1 << 19)
    with pytest.raises(SampleError, match="has more than 0 MB; that is not a picture"):
        fetch(f"{site.url}/data", QUICK)


def test_addresses() -> None:
    assert is_web_address("HTTPS://h/x")
    assert is_web_address("http://h")
    assert not is_web_address("httpd/x.jpg")
    assert local_path("file:///a/b%20c.tar") == Path("/a/b c.tar")
    assert local_path("/a/b.tar") is None


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_shards_are_streamed_and_resumed(site, tmp_path: Path, mode: str) -> None:
    paths = write_shards(tmp_path, [5, 6, 7], mode)
    site.files = {f"/{path.name}": path.read_bytes() for path in paths}
    pattern = f"{site.url}/shard-{{000..002}}.tar" + (".gz" if mode == "w:gz" else "")

    def stream() -> SampleStream[str]:
        return SampleStream([open_source(pattern)], load=just_id, epochs=1, window=4, threads=2)

    whole = list(stream())
    assert sorted(map(int, whole)) == list(range(18))
    made = stream()
    items = list(islice(made, 9))
    again = stream()
    again.restore(made.state())
    assert items + list(again) == whole


def test_a_missing_shard_is_logged_and_skipped(site, tmp_path: Path) -> None:
    paths = write_shards(tmp_path, [5, 6])
    site.files = {f"/{paths[1].name}": paths[1].read_bytes()}
    records: list[dict] = []
    source = open_source(f"{site.url}/shard-{{000..001}}.tar")
    made = SampleStream([source], load=just_id, epochs=1, log=records.append)
    assert sorted(map(int, made)) == [5, 6, 7, 8, 9, 10]
    (record,) = records
    assert (record["event"], record["source"]) == ("broken_shard", "shard-000.tar")
    assert record["reason"].endswith("/shard-000.tar: not there (answered 404 Not Found)")


def test_pictures_of_a_table_come_from_the_web(site, tmp_path: Path) -> None:
    site.files["/a.jpg"] = jpeg(1)
    (tmp_path / "t.csv").write_text(f"url,caption\n{site.url}/a.jpg,one\n{site.url}/b.jpg,two\n")
    records: list[dict] = []
    made = SampleStream([open_source(tmp_path / "t.csv")], epochs=1, log=records.append)
    assert [(loaded.sample.picture, loaded.picture.size) for loaded in made] == [(jpeg(1), (8, 6))]
    assert [(record["source"], record["kind"]) for record in records] == [("t.csv:3", "download")]
