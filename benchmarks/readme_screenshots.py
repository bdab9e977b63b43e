"""Screenshots of the service's page for the README: ``python benchmarks/readme_screenshots.py``.

Serves the shipped model over copies of the example pictures, drives Debian's Chromium as a person would, and writes
``docs/images/page.webp`` (tags, a caption that was asked to speak of one of them, and where a tag is seen) and
``docs/images/edit-tags.webp`` (tags given by people, and one of ours struck out).
"""

from __future__ import annotations

import argparse
import io
import shutil
import tempfile
from pathlib import Path
from typing import Any

from _common import ROOT
from _pictures import EXAMPLES
from _service import Service
from PIL import Image

import anytag

#: What a window of the screenshots measures.
_SIZE = {"width": 1100, "height": 760}


def take(page: Any, target: Path) -> None:
    """Write what the window shows."""
    page.wait_for_timeout(500)  # Maps fade in.
    picture = Image.open(io.BytesIO(page.screenshot()))
    picture.convert("RGB").save(target, quality=80, method=6)
    print(f"{target}: {target.stat().st_size:,} bytes")


def show_tags(page: Any, pictures: list[Path], pressed: str, pointed: str, target: Path) -> None:
    """Several pictures, a caption that was asked to speak of a tag, and where another tag is seen."""
    page.set_input_files("#files", [str(path) for path in pictures])
    page.wait_for_selector(f"#status:has-text('{len(pictures)} pictures')")
    page.click("#strip button:nth-child(1)")
    page.click(f"#tags button[data-name='{pressed}']")
    page.wait_for_selector(f"#covered:has-text('asked to speak of {pressed}')")
    page.evaluate("scrollTo(0, 150)")
    page.hover(f"#tags button[data-name='{pointed}']")
    page.wait_for_selector("#heat.on")
    take(page, target)


def edit_tags(page: Any, query: str, given: str, wrong: str, target: Path) -> None:
    """The first picture that a search finds, with tags given by people and one that they call wrong."""
    page.click("#show-library")
    page.fill("#query", query)
    page.press("#query", "Enter")
    page.wait_for_selector("#search-status:has-text('of')")
    page.click("#hits button")
    page.wait_for_selector("#editor[open]")
    page.fill("#new-tag", given)
    page.press("#new-tag", "Enter")
    page.click(f"#ours button[data-name='{wrong}']")
    page.wait_for_function("() => document.querySelector('#editor-picture').naturalWidth > 0")
    page.click("#save")
    page.wait_for_selector("#editor-status:has-text('Saved in')")
    take(page, target)


def main() -> None:
    """See the module."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--out", type=Path, default=ROOT / "docs" / "images")
    arguments.add_argument("--picture", default="photographer", help="example on the first screenshot")
    arguments.add_argument("--pressed", default="person", help="tag that the caption is asked to speak of")
    arguments.add_argument("--pointed", default="man", help="tag whose map is shown")
    arguments.add_argument("--edited", default="bridge", help="what the second is searched by")
    arguments.add_argument("--wrong", default="clock tower", help="tag that is struck out on the second")
    options = arguments.parse_args()
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as folder:
        photos = [Path(shutil.copy(path, folder)) for path in EXAMPLES]
        anytag.Library(folder, anytag.load(threads=1)).update(captions=True)
        first = sorted(photos, key=lambda path: (path.stem != options.picture, path.stem not in ("cat", "bee")))[:3]
        with Service("--library", folder, "--allow-edits", "--timeout", "120") as service, sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            page = browser.new_context(viewport=_SIZE, color_scheme="light").new_page()
            page.set_default_timeout(120_000)
            page.goto(f"http://127.0.0.1:{service.port}/")
            show_tags(page, first, options.pressed, options.pointed, options.out / "page.webp")
            edit_tags(page, options.edited, "our trip, summer", options.wrong, options.out / "edit-tags.webp")
            browser.close()


if __name__ == "__main__":
    main()
