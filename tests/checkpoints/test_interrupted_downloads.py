"""Downloads from a local server that breaks off, falls silent or changes the file, and of killed processes."""

from __future__ import annotations

import hashlib
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from fixtures_downloads import CONTENT, SHA256, asked, fetch, left, plain_environment, site, target, url
from fixtures_server import (
    broken_off,
    etag_of,
    serve,
    silent,
    status,
    trickling,
    weakly_tagged,
    without_ranges,
)

from anytag.checkpoints import downloads
from anytag.checkpoints.downloads import download
from anytag.foundations.http import DownloadError

# Fixtures, which tests ask for by name.
__all__ = ["plain_environment", "serve", "site", "target", "url"]


class TestResuming:
    def test_a_broken_connection(self, site, url, target):
        site.answers["/weights"] = [broken_off(100_000)]
        fetch(url, target)
        assert target.read_bytes() == CONTENT
        assert asked(site) == [("all", 200), ("bytes=100000-", 206)]
        assert site.requests[1].headers["If-Range"] == etag_of(CONTENT)
        assert left(target) == ["weights.pth"]

    def test_another_call(self, site, url, target):
        site.answers["/weights"] = [broken_off(100_000)]
        with pytest.raises(DownloadError, match=r"broke off after 100 kB of 307 kB, at 1 tries.*100 kB are kept, run"):
            fetch(url, target, retries=0)
        assert left(target) == ["weights.pth.part", "weights.pth.part.json"]
        fetch(url, target)
        assert asked(site) == [("all", 200), ("bytes=100000-", 206)]

    def test_a_server_without_ranges_starts_anew(self, site, url, target):
        site.answers["/weights"] = [broken_off(100_000), without_ranges]
        fetch(url, target)
        assert target.read_bytes() == CONTENT
        assert asked(site) == [("all", 200), ("bytes=100000-", 200)]

    def test_a_file_that_changed_meanwhile_is_not_pieced_together(self, site, url, target):
        old = CONTENT[::-1]
        site.files["/weights"] = old
        site.answers["/weights"] = [broken_off(100_000)]
        with pytest.raises(DownloadError):
            download(url, target, retries=0)
        site.files["/weights"] = CONTENT
        download(url, target)
        assert target.read_bytes() == CONTENT
        assert asked(site) == [("all", 200), ("bytes=100000-", 200)]

    @pytest.mark.parametrize("tag", ["W/" + etag_of(CONTENT), ""])
    def test_without_a_strong_tag_it_starts_anew(self, site, url, target, tag):
        site.answers["/weights"] = [broken_off(100_000, ETag=tag), weakly_tagged]
        fetch(url, target)
        assert target.read_bytes() == CONTENT
        assert asked(site) == [("all", 200), ("all", 200)]

    def test_a_part_of_another_address_is_not_used(self, site, url, target):
        site.answers["/weights"] = [broken_off(100_000)]
        site.files["/other"] = CONTENT
        with pytest.raises(DownloadError):
            fetch(url, target, retries=0)
        fetch(f"{site.url}/other", target)
        assert site.of("/other")[0].headers.get("Range") is None

    def test_a_complete_part_is_only_verified(self, site, url, target):
        target.parent.mkdir()
        (target.parent / "weights.pth.part").write_bytes(CONTENT)
        note = {"url": url, "etag": etag_of(CONTENT), "length": len(CONTENT)}
        (target.parent / "weights.pth.part.json").write_text(json.dumps(note))
        fetch(url, target)
        assert target.read_bytes() == CONTENT
        assert site.requests == []

    @pytest.mark.parametrize("note", ["", "[]", '{"url": 1}', "\0"])
    def test_a_damaged_note_means_starting_anew(self, site, url, target, note):
        target.parent.mkdir()
        (target.parent / "weights.pth.part").write_bytes(b"rubbish")
        (target.parent / "weights.pth.part.json").write_text(note)
        fetch(url, target)
        assert target.read_bytes() == CONTENT

    def test_a_part_that_is_longer_than_the_file(self, site, url, target):
        target.parent.mkdir()
        (target.parent / "weights.pth.part").write_bytes(CONTENT + b"more")
        note = {"url": url, "etag": etag_of(CONTENT), "length": None}
        (target.parent / "weights.pth.part.json").write_text(json.dumps(note))
        fetch(url, target, retries=0)
        assert target.read_bytes() == CONTENT
        assert asked(site) == [(f"bytes={len(CONTENT) + 4}-", 416), ("all", 200)]

    def test_a_range_that_was_not_asked_for(self, site, url, target):
        def elsewhere(handler, content):
            handler.start(206, 10, Content_Range=f"bytes 5-14/{len(content)}", ETag=etag_of(content))
            handler.wfile.write(content[5:15])

        site.answers["/weights"] = [broken_off(100_000), elsewhere]
        fetch(url, target)
        assert target.read_bytes() == CONTENT

    def test_failures_with_a_gain_between_them_do_not_add_up(self, site, url, target):
        def a_bit(handler, content):
            begin = int(handler.headers.get("Range", "bytes=0-")[6:-1])
            headers = {"ETag": etag_of(content), "Content_Range": f"bytes {begin}-{len(content) - 1}/{len(content)}"}
            handler.start(206 if begin else 200, len(content) - begin, **headers)
            handler.wfile.write(content[begin : begin + 40_000])
            handler.close_connection = True

        site.answers["/weights"] = [a_bit] * 7
        fetch(url, target, retries=1)
        assert target.read_bytes() == CONTENT
        assert len(site.requests) == 8


class TestTryingAgain:
    @pytest.mark.parametrize("code", [500, 502, 503, 504, 408, 429])
    def test_a_busy_server(self, site, url, target, code):
        site.answers["/weights"] = [status(code), status(code)]
        fetch(url, target)
        assert [request.status for request in site.requests] == [code, code, 200]

    def test_it_gives_up_at_last(self, site, url, target):
        site.answers["/weights"] = [status(503)] * 9
        with pytest.raises(DownloadError, match=r"/weights: answered 503 Service Unavailable, at 4 tries in a row$"):
            fetch(url, target, retries=3)
        assert len(site.requests) == 4
        assert left(target) == []

    def test_waits_grow(self, site, url, target, monkeypatch):
        waits = []
        monkeypatch.setattr(downloads, "_pause", waits.append)
        site.answers["/weights"] = [status(500)] * 4
        fetch(url, target, backoff=1.0)
        assert all(0.7 * 2**n <= wait <= 2**n for n, wait in enumerate(waits))
        assert len(waits) == 4

    def test_the_server_says_how_long(self, site, url, target, monkeypatch):
        waits = []
        monkeypatch.setattr(downloads, "_pause", waits.append)
        date = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
        site.answers["/weights"] = [status(429, Retry_After=value) for value in ("7", date, "86400", "soon")]
        fetch(url, target, backoff=0.001)
        assert waits[0] == 7
        assert 50 < waits[1] <= 60
        assert waits[2] == 120
        assert waits[3] < 1

    def test_a_silent_server(self, site, url, target):
        site.answers["/weights"] = [silent(0.4)]
        fetch(url, target, timeout=0.1)
        assert target.read_bytes() == CONTENT

    def test_a_server_that_falls_silent_in_the_middle(self, site, url, target):
        site.answers["/weights"] = [trickling(100_000, 2.0)]
        fetch(url, target, timeout=0.5)
        assert asked(site) == [("all", 200), ("bytes=100000-", 206)]

    def test_connection_refused(self, target):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{free.getsockname()[1]}/weights"
        with pytest.raises(DownloadError, match=r"no connection \(Connection refused\), at 2 tries in a row"):
            fetch(url, target, retries=1)

    def test_unknown_host(self, target, monkeypatch):
        def unknown(*_, **__):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

        monkeypatch.setattr(downloads, "_pause", lambda seconds: pytest.fail("tried again"))
        monkeypatch.setattr(socket, "getaddrinfo", unknown)
        with pytest.raises(DownloadError, match=r"hub\.example is not known; check the address and the connection"):
            fetch("http://hub.example/weights", target)


class TestSeveralProcesses:
    def test_the_second_waits_for_the_first(self, site, url, target):
        site.answers["/weights"] = [trickling(100_000, 0.001)]
        threads = [threading.Thread(target=fetch, args=(url, target)) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(site.requests) == 1
        assert target.read_bytes() == CONTENT

    def test_a_killed_process_leaves_no_lock_and_its_part(self, site, url, target):
        code = (
            "import sys; from pathlib import Path; from anytag.checkpoints.downloads import download\n"
            "download(sys.argv[1], Path(sys.argv[2]))"
        )
        site.answers["/weights"] = [trickling(100_000, 0.2)]
        process = subprocess.Popen([sys.executable, "-c", code, url, str(target)])
        part = target.with_name("weights.pth.part")
        deadline = time.monotonic() + 30
        while not part.exists() or part.stat().st_size < 100_000:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        assert not target.exists()
        fetch(url, target)
        assert hashlib.sha256(target.read_bytes()).hexdigest() == SHA256
        first, second = site.requests
        assert (first.status, second.status) == (200, 206)
        assert int(second.headers["Range"][6:-1]) >= 100_000
