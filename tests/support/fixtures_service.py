"""The service with the toy model, pictures to send, and what errors look like."""

from __future__ import annotations

import io

import pytest
from fixtures_toy import plain, toy_recognizer

pytest.importorskip("fastapi")

from starlette.testclient import TestClient

from anytag.service.app import create_app
from anytag.service.settings import ServiceSettings


def png(color):
    out = io.BytesIO()
    plain(color).save(out, "PNG")
    return out.getvalue()


RED, LIME = png("red"), png("lime")


@pytest.fixture
def recognizer(tmp_path):
    return toy_recognizer(tmp_path / "toy")


@pytest.fixture
def serve(recognizer):
    """Start a service with settings, and return a client."""
    clients = []

    def start(load=lambda place, threads: recognizer, **settings):
        client = TestClient(create_app(ServiceSettings(**settings), load), base_url="http://localhost")
        client.__enter__()
        clients.append(client)
        return client

    yield start
    for client in clients:
        client.__exit__(None, None, None)


@pytest.fixture
def client(serve):
    return serve()


def form(content=RED, name="red.png"):
    return {"files": {"picture": (name, content, "image/png")}}


def error(answer):
    return answer.status_code, answer.json()["error"]["kind"]
