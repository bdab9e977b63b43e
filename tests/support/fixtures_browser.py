"""A real server, and a real browser that looks at its page."""

from __future__ import annotations

import os
import socket
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

pytest.importorskip("fastapi")

import uvicorn

from anytag.service.app import create_app
from anytag.service.connections import server_config
from anytag.service.settings import ServiceSettings

#: Screenshots are kept where this says; otherwise they go with the test.
SHOTS = os.environ.get("ANYTAG_SCREENSHOTS")


class Server:
    """A real server in a thread."""

    def __init__(self, recognizer, **settings):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        asked = ServiceSettings(**settings)
        app = create_app(asked, lambda place, threads: recognizer)
        self.server = uvicorn.Server(server_config(app, asked, port=self.port, log_level="error"))
        self.thread = threading.Thread(target=self.server.run)
        self.thread.start()
        while not self.server.started:
            time.sleep(0.01)
        self.url = f"http://127.0.0.1:{self.port}/"

    def stop(self):
        self.server.should_exit = True
        self.thread.join()


@contextmanager
def opened_page(browser, url, name, options):
    """The page, in a window of its own; nothing may be asked of any other host, and no script may fail."""
    context = browser.new_context(**options)
    page = context.new_page()
    asked, errors = [], []
    page.on("request", lambda one: asked.append(one.url))
    page.on("pageerror", lambda one: errors.append(str(one)))
    page.on("dialog", lambda one: errors.append(one.message))
    page.goto(url)
    yield page
    if SHOTS:
        page.screenshot(path=Path(SHOTS) / f"{name}.png")
    context.close()
    assert errors == []
    assert all(one.startswith((url, "data:", "blob:")) for one in asked), asked


def contrast(page, selector):
    """WCAG's contrast of a text with what is behind it."""
    fore, back = page.locator(selector).evaluate(
        """one => {
          let behind = one;
          while (getComputedStyle(behind).backgroundColor === "rgba(0, 0, 0, 0)") behind = behind.parentElement;
          return [getComputedStyle(one).color, getComputedStyle(behind).backgroundColor];
        }"""
    )

    def luminance(color):
        parts = [int(part) / 255 for part in color[color.index("(") + 1 : -1].split(",")[:3]]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(fore), luminance(back)))
    return (high + 0.05) / (low + 0.05)
