"""Downloads from a local server: whole files, refusals, full disks, and who gets the token."""

from __future__ import annotations

import collections
import errno
import os

import pytest
from fixtures_downloads import CONTENT, SHA256, asked, fetch, left, plain_environment, site, target, url
from fixtures_server import (
    broken_off,
    no_network,
    redirect,
    serve,
    status,
)
from hypothesis import given
from hypothesis import strategies as st

from anytag.checkpoints import downloads
from anytag.checkpoints.downloads import download
from anytag.errors import UsageError
from anytag.foundations import http as connections
from anytag.foundations.http import DownloadError, mirrored

# Fixtures, which tests ask for by name.
__all__ = ["no_network", "plain_environment", "serve", "site", "target", "url"]


class TestWhole:
    def test_a_file_and_nothing_beside_it(self, url, target):
        assert fetch(url, target) == target
        assert target.read_bytes() == CONTENT
        assert left(target) == ["weights.pth"]

    def test_nothing_need_be_known_of_it(self, url, target):
        download(url, target)
        assert target.read_bytes() == CONTENT

    def test_an_empty_file(self, serve, target):
        download(f"{serve(nothing=b'').url}/nothing", target, size=0)
        assert target.read_bytes() == b""

    def test_what_is_there_is_not_fetched_again(self, site, url, target):
        fetch(url, target)
        fetch(url, target)
        assert len(site.requests) == 1

    def test_what_is_there_needs_no_network(self, url, target, no_network):
        target.parent.mkdir()
        target.write_bytes(CONTENT)
        assert fetch(url, target) == target

    @pytest.mark.parametrize("old", [b"short", CONTENT[:-1] + b"\0"])
    def test_another_file_of_that_name_is_replaced(self, url, target, old):
        target.parent.mkdir()
        target.write_bytes(old)
        fetch(url, target)
        assert target.read_bytes() == CONTENT

    def test_progress(self, site, url, target, monkeypatch):
        monkeypatch.setattr(downloads, "_REPORT_SECONDS", 0.0)
        seen = []
        fetch(url, target, report=lambda *state: seen.append(state))
        done = [state[0] for state in seen]
        assert done == sorted(done)
        assert done[-1] == len(CONTENT)
        assert {state[1] for state in seen} == {len(CONTENT)}
        assert all(rate > 0 for _, _, rate in seen[:-1])

    def test_progress_goes_on_from_what_is_kept(self, site, url, target, monkeypatch):
        monkeypatch.setattr(downloads, "_REPORT_SECONDS", 0.0)
        site.answers["/weights"] = [broken_off(200_000)]
        with pytest.raises(DownloadError):
            fetch(url, target, retries=0)
        seen = []
        fetch(url, target, report=lambda done, total, rate: seen.append(done))
        assert min(seen) > 200_000

    def test_a_file_of_this_machine(self, tmp_path, target):
        (tmp_path / "stick").write_bytes(CONTENT)
        fetch((tmp_path / "stick").as_uri(), target)
        assert target.read_bytes() == CONTENT

    def test_a_file_of_this_machine_that_is_not_there(self, tmp_path, target):
        with pytest.raises(DownloadError, match=r"stick: No such file or directory; check the path$"):
            fetch((tmp_path / "stick").as_uri(), target)

    @pytest.mark.parametrize("url", ["ftp://example.org/a", "weights.pth", "/data/weights.pth"])
    def test_other_addresses(self, url, target):
        with pytest.raises(UsageError, match="neither https, http nor file"):
            fetch(url, target)


class TestRefusals:
    @pytest.mark.parametrize(
        ("code", "advice"),
        [
            (404, r"not there anymore; if you have the file from elsewhere, put it at .*weights\.pth \(answered 404"),
            (410, "not there anymore"),
            (401, "put your Hugging Face token in HF_TOKEN"),
            (403, "put your Hugging Face token in HF_TOKEN"),
            (418, "the server does not give the file"),
            (204, "answered 204, which is not a file"),
        ],
    )
    def test_permanent_errors_are_not_retried(self, site, url, target, code, advice):
        site.answers["/weights"] = [status(code)]
        with pytest.raises(DownloadError, match=advice) as caught:
            fetch(url, target)
        assert caught.value.status == code
        assert caught.value.kind == "download"
        assert len(site.requests) == 1
        assert left(target) == []

    def test_a_login_page_is_no_file(self, site, url, target):
        def page(handler, content):
            handler.start(200, 6, Content_Type="text/html; charset=utf-8")
            handler.wfile.write(b"<html>")

        site.answers["/weights"] = [page]
        with pytest.raises(DownloadError, match="answered with a web page instead of the file"):
            download(url, target)
        assert left(target) == []

    def test_another_length_is_noticed_before_it_is_fetched(self, site, url, target):
        with pytest.raises(DownloadError, match="is 307,200 bytes long, expected 300,000"):
            download(url, target, size=300_000)
        assert left(target) == []

    def test_a_length_that_was_not_announced(self, site, url, target):
        def unannounced(handler, content):
            handler.start(200, None)
            handler.wfile.write(content)

        site.answers["/weights"] = [unannounced]
        with pytest.raises(DownloadError, match="307,200 bytes were received, expected 300,000; they are deleted"):
            download(url, target, size=300_000)
        assert left(target) == []

    def test_another_hash(self, site, url, target):
        wrong = "0" * 64
        with pytest.raises(DownloadError, match=rf"SHA-256 is {SHA256}, expected {wrong}; the received part is del"):
            fetch(url, target, sha256=wrong)
        assert left(target) == []

    def test_capital_letters_in_a_hash(self, url, target):
        fetch(url, target, sha256=SHA256.upper())
        assert target.exists()


class TestDisk:
    def test_no_space_is_said_before_the_first_byte(self, site, url, target, monkeypatch):
        usage = collections.namedtuple("usage", "total used free")
        monkeypatch.setattr(downloads.shutil, "disk_usage", lambda path: usage(10**6, 10**6, 200_000))
        with pytest.raises(DownloadError, match=r"cache: 307 kB needed, 200 kB free; free some space or choose"):
            fetch(url, target)
        assert left(target) == []

    def test_what_is_there_counts(self, site, url, target, monkeypatch):
        site.answers["/weights"] = [broken_off(200_000)]
        with pytest.raises(DownloadError):
            fetch(url, target, retries=0)
        usage = collections.namedtuple("usage", "total used free")
        monkeypatch.setattr(downloads.shutil, "disk_usage", lambda path: usage(10**6, 10**6, 200_000))
        fetch(url, target)
        assert target.read_bytes() == CONTENT

    def test_a_disk_that_fills_up_keeps_what_it_took(self, site, url, target, monkeypatch):
        append = downloads._append

        class Full:
            """A file on a disk with room for 150,000 bytes."""

            def __init__(self, file):
                self.file = file

            def write(self, data):
                room = 150_000 - self.file.tell()
                if not room:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                return self.file.write(data[:room])

        monkeypatch.setattr(downloads, "_append", lambda part, file, chunk: append(part, Full(file), chunk))
        with pytest.raises(DownloadError, match=r"cache: the disk is full; .*\(150 kB are kept in \S+\.part\)"):
            fetch(url, target)
        assert left(target) == ["weights.pth.part", "weights.pth.part.json"]
        assert len(site.requests) == 1
        monkeypatch.undo()
        fetch(url, target)
        assert asked(site) == [("all", 200), ("bytes=150000-", 206)]
        assert target.read_bytes() == CONTENT

    def test_other_faults_of_the_disk(self, url, target, monkeypatch):
        class TooSmall:
            def write(self, data):
                raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))

        append = downloads._append
        monkeypatch.setattr(downloads, "_append", lambda part, file, chunk: append(part, TooSmall(), chunk))
        with pytest.raises(DownloadError, match=r"weights\.pth\.part: File too large; choose another folder"):
            fetch(url, target)

    def test_a_folder_that_cannot_be_made(self, url, tmp_path):
        (tmp_path / "file").touch()
        with pytest.raises(DownloadError, match=r"file.*choose another folder"):
            fetch(url, tmp_path / "file" / "weights.pth")


class TestHub:
    def tokens(self, site):
        return [request.headers.get("Authorization") for request in site.requests]

    @pytest.fixture
    def hub(self, site, monkeypatch):
        """The local server in place of huggingface.co."""
        monkeypatch.setattr(connections, "HUB", site.url)
        monkeypatch.setenv("HF_TOKEN", "hf_secret\n")
        return site

    def test_the_token_goes_to_the_hub(self, hub, url, target):
        fetch(url, target)
        assert self.tokens(hub) == ["Bearer hf_secret"]

    def test_and_to_nobody_else(self, hub, serve, target):
        other = serve(weights=CONTENT)
        fetch(f"{other.url}/weights", target)
        assert self.tokens(other) == [None]

    @pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
    def test_a_redirect_to_another_host_drops_it(self, hub, serve, url, target, code):
        other = serve(weights=CONTENT)
        hub.answers["/weights"] = [redirect(f"{other.url}/weights", code)]
        fetch(url, target)
        assert (self.tokens(hub), self.tokens(other)) == (["Bearer hf_secret"], [None])
        assert target.read_bytes() == CONTENT

    def test_a_redirect_within_the_hub_keeps_it(self, hub, url, target):
        hub.files["/moved"] = CONTENT
        hub.answers["/weights"] = [redirect("/moved")]
        fetch(url, target)
        assert self.tokens(hub) == ["Bearer hf_secret"] * 2

    def test_resuming_works_across_a_redirect(self, hub, serve, url, target):
        other = serve(weights=CONTENT)
        hub.answers["/weights"] = [redirect(f"{other.url}/weights")] * 2
        other.answers["/weights"] = [broken_off(100_000)]
        fetch(url, target)
        assert asked(other) == [("all", 200), ("bytes=100000-", 206)]
        assert self.tokens(other) == [None, None]

    def test_a_redirect_without_end(self, hub, url, target):
        hub.answers["/weights"] = [redirect("/weights")] * 50
        with pytest.raises(DownloadError, match="the server does not give the file"):
            fetch(url, target)

    def test_a_redirect_out_of_an_encrypted_connection_is_refused(self):
        request = connections.urllib.request.Request("https://hub.example/weights")
        with pytest.raises(DownloadError, match=r"redirects to http://hub\.example/weights, which is not encrypted"):
            connections._Redirects().redirect_request(request, None, 302, "", {}, "http://hub.example/weights")

    def test_a_mirror_gets_the_request_but_no_token(self, serve, target, monkeypatch):
        mirror = serve(**{"owner/repository/resolve/main/weights": CONTENT})
        monkeypatch.setenv("HF_ENDPOINT", mirror.url + "/")
        monkeypatch.setenv("HF_TOKEN", "hf_secret")
        fetch("https://huggingface.co/owner/repository/resolve/main/weights", target)
        assert target.read_bytes() == CONTENT
        assert self.tokens(mirror) == [None]

    @given(host=st.sampled_from(["huggingface.co.evil.example", "evil.example", "huggingface.co@evil.example"]))
    def test_look_alikes_are_not_the_hub(self, host):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("HF_ENDPOINT", "https://mirror.example")
            patch.setenv("HF_TOKEN", "hf_secret")
            assert mirrored(f"https://{host}/a") == f"https://{host}/a"
            assert mirrored("https://huggingface.co/a") == "https://mirror.example/a"
            request = connections.urllib.request.Request(f"https://{host}/a")
            connections._authorize(request)
            assert not request.unredirected_hdrs
