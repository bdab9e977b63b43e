"""A file on a local server, the place where a download puts it, and what both say afterwards."""

from __future__ import annotations

import hashlib
from functools import partial

import pytest

from anytag.checkpoints.downloads import download

CONTENT = bytes(range(256)) * 1200  # 307,200 bytes
SHA256 = hashlib.sha256(CONTENT).hexdigest()
fetch = partial(download, size=len(CONTENT), sha256=SHA256, backoff=0.001)


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch):
    for name in ("HF_TOKEN", "HF_ENDPOINT", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def target(tmp_path):
    return tmp_path / "cache" / "weights.pth"


@pytest.fixture
def site(serve):
    """The server; whoever asks for it imports ``serve`` of ``fixtures_server``, too."""
    return serve(weights=CONTENT)


@pytest.fixture
def url(site):
    return f"{site.url}/weights"


def asked(site):
    """Where each request began, and how it was answered."""
    return [(request.headers.get("Range", "all"), request.status) for request in site.requests]


def left(target):
    """What lies around."""
    return sorted(path.name for path in target.parent.iterdir())
