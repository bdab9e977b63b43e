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


#: Every text that can be seen, with its color, the colors behind it from the nearest on, and how opaque each part is.
#: Buttons that cannot be pressed are left out (1.4.3 excepts them), but for tags, which are there to be read.
_TEXTS = """root => {
  const seen = [];
  const color = text => {
    const context = Object.assign(document.createElement("canvas"), {width: 1, height: 1}).getContext("2d");
    context.fillStyle = text;
    context.fillRect(0, 0, 1, 1);
    return [...context.getImageData(0, 0, 1, 1).data].map(part => part / 255);
  };
  const look = (text, one, style) => {
    const chain = [];
    for (let place = one; place; place = place.parentElement) {
      const own = getComputedStyle(place);
      chain.push({back: color(own.backgroundColor), opacity: Number(own.opacity)});
    }
    const size = parseFloat(style.fontSize), weight = Number(style.fontWeight);
    seen.push({text, color: color(style.color), size, weight, chain});
  };
  for (const one of root.querySelectorAll("*")) {
    if (!one.checkVisibility({visibilityProperty: true})) continue;
    if (one.closest(":disabled") && !one.closest(".chips")) continue;
    if (one.placeholder && !one.value) look(one.placeholder, one, getComputedStyle(one, "::placeholder"));
    const own = [...one.childNodes].filter(node => node.nodeType === 3).map(node => node.textContent.trim()).join("");
    if (own) look(own, one, getComputedStyle(one));
  }
  return seen;
}"""


def too_faint(page, selector="body"):
    """Texts below WCAG's contrast of 4.5 (3 for large ones) with what is behind them, with their contrasts."""
    texts = page.locator(selector).evaluate(_TEXTS)
    assert texts
    measured = [(text["text"], round(_contrast(text), 2), text) for text in texts]
    return [(name, ratio) for name, ratio, text in measured if ratio < (3 if _is_large(text) else 4.5)]


def _is_large(text):
    return text["size"] >= 24 or (text["size"] >= 18.66 and text["weight"] >= 700)


def _contrast(text):
    """Of one text: groups that are partly opaque are laid over what is behind them, from the outermost in."""
    behind = [1.0, 1.0, 1.0]
    opacity = 1.0
    for part in reversed(text["chain"]):
        opacity *= part["opacity"]
        behind = _laid(part["back"], part["back"][3] * opacity, behind)
    front = _laid(text["color"], text["color"][3] * opacity, behind)
    low, high = sorted((_luminance(front), _luminance(behind)))
    return (high + 0.05) / (low + 0.05)


def _laid(color, opacity, behind):
    return [part * opacity + below * (1 - opacity) for part, below in zip(color, behind, strict=False)]


def _luminance(color):
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in color]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
