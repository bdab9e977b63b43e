from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from pathlib import Path

import pytest
from data_files import jpeg, just_id, write_shards

from anytag.datasets import SampleStream, open_source
from anytag.datasets.remote import fetch, is_web_address, local_path, open_address
from anytag.errors import SampleError

QUICK = (0.0, 0.0)
CONTENT = bytes(range(256)) * 4000


class Server:
    """Serves ``files``; ``faults`` are used up, one a request: a status, or after how many bytes to hang up."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {"/data": CONTENT}
        self.faults: list[tuple[str, int]] = []
        self.ranges: list[str | None] = []
        self.knows_ranges = True
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.ranges.append(self.headers.get("Range"))
                kind, value = server.faults.pop(0) if server.faults else ("", 0)
                content = server.files.get(self.path)
                if kind == "status" or content is None:
                    self.send_error(value or 404)
                    return
                start = 0
                if server.knows_ranges and (asked := re.match(r"bytes=(\d+)-", self.headers.get("Range", ""))):
                    start = int(asked[1])
                self.send_response(206 if start else 200)
                self.send_header("Content-Length", str(len(content) - start))
                self.end_headers()
                body = content[start:]
                self.wfile.write(body[:value] if kind == "cut" else body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()


def test_a_file_is_read_whole(server: Server) -> None:
    assert fetch(f"{server.address}/data", QUICK) == CONTENT
    with open_address(f"{server.address}/data", QUICK) as stream:
        assert (stream.read(5), stream.read(300)) == (CONTENT[:5], CONTENT[5:305])


def test_a_dropped_connection_is_taken_up_where_it_broke(server: Server) -> None:
    server.faults = [("cut", 300_000), ("status", 503), ("cut", 200_000), ("cut", 100)]
    assert fetch(f"{server.address}/data", QUICK) == CONTENT
    assert [int(asked[6:-1]) if asked else 0 for asked in server.ranges] == [0, 300_000, 300_000, 500_000, 500_100]


def test_a_server_without_ranges_is_read_again(server: Server) -> None:
    server.knows_ranges = False
    server.faults = [("cut", 300_000)]
    assert fetch(f"{server.address}/data", QUICK) == CONTENT


def test_after_so_many_tries_it_is_given_up(server: Server) -> None:
    server.faults = [("status", 503)] * 3
    with pytest.raises(SampleError, match=r"/data: Service Unavailable \(3 tries\)") as caught:
        fetch(f"{server.address}/data", QUICK)
    assert (caught.value.kind, len(server.ranges)) == ("download", 3)
    server.faults = [("cut", 0)] * 9
    with pytest.raises(SampleError, match=r"/data: 1,024,000 bytes are missing \(3 tries\)"):
        fetch(f"{server.address}/data", QUICK)


def test_what_does_not_exist_is_not_asked_for_again(server: Server) -> None:
    with pytest.raises(SampleError, match="/none: 404 Not Found"):
        fetch(f"{server.address}/none", QUICK)
    assert len(server.ranges) == 1


def test_no_server_at_all(server: Server) -> None:
    server.close()
    with pytest.raises(SampleError, match=r"Connection refused.* \(2 tries\)"):
        fetch(f"{server.address}/data", (0.0,))


def test_a_picture_has_a_limit(server: Server, monkeypatch) -> None:
    monkeypatch.setattr("anytag.datasets.remote._LARGEST_PICTURE", 1 << 19)
    with pytest.raises(SampleError, match="has more than 0 MB; that is no picture"):
        fetch(f"{server.address}/data", QUICK)


def test_addresses() -> None:
    assert is_web_address("HTTPS://h/x")
    assert is_web_address("http://h")
    assert not is_web_address("httpd/x.jpg")
    assert local_path("file:///a/b%20c.tar") == Path("/a/b c.tar")
    assert local_path("/a/b.tar") is None


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_shards_are_streamed_and_resumed(server: Server, tmp_path: Path, mode: str) -> None:
    paths = write_shards(tmp_path, [5, 6, 7], mode)
    server.files = {f"/{path.name}": path.read_bytes() for path in paths}
    pattern = f"{server.address}/shard-{{000..002}}.tar" + (".gz" if mode == "w:gz" else "")

    def stream() -> SampleStream[str]:
        return SampleStream([open_source(pattern)], load=just_id, epochs=1, window=4, threads=2)

    whole = list(stream())
    assert sorted(map(int, whole)) == list(range(18))
    made = stream()
    items = list(islice(made, 9))
    again = stream()
    again.restore(made.state())
    assert items + list(again) == whole


def test_a_shard_that_is_not_there_is_logged_and_skipped(server: Server, tmp_path: Path) -> None:
    paths = write_shards(tmp_path, [5, 6])
    server.files = {f"/{paths[1].name}": paths[1].read_bytes()}
    records: list[dict] = []
    source = open_source(f"{server.address}/shard-{{000..001}}.tar")
    made = SampleStream([source], load=just_id, epochs=1, log=records.append)
    assert sorted(map(int, made)) == [5, 6, 7, 8, 9, 10]
    (record,) = records
    assert (record["event"], record["source"]) == ("broken_shard", "shard-000.tar")
    assert record["reason"].endswith("/shard-000.tar: 404 Not Found")


def test_pictures_of_a_table_come_from_the_web(server: Server, tmp_path: Path) -> None:
    server.files["/a.jpg"] = jpeg(1)
    (tmp_path / "t.csv").write_text(f"url,caption\n{server.address}/a.jpg,one\n{server.address}/b.jpg,two\n")
    records: list[dict] = []
    made = SampleStream([open_source(tmp_path / "t.csv")], epochs=1, log=records.append)
    assert [(loaded.sample.picture, loaded.picture.size) for loaded in made] == [(jpeg(1), (8, 6))]
    assert [(record["source"], record["kind"]) for record in records] == [("t.csv:3", "download")]
