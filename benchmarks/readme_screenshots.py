"""Screenshots of the service's page for the README: ``python benchmarks/readme_screenshots.py``.

Serves the shipped model and copies of the example pictures, operates the page in Debian's Chromium, and writes
``docs/images/page.webp`` (tags, a caption guided by one of them, and a tag's heat map) and
``docs/images/edit-tags.webp`` (tags added by people, and one of ours struck out).
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

#: Size of the screenshots.
_SIZE = {"width": 1100, "height": 760}


def take(page: Any, target: Path) -> None:
    """Take a screenshot of the window."""
    page.wait_for_timeout(500)  # Heat maps fade in.
    picture = Image.open(io.BytesIO(page.screenshot()))
    picture.convert("RGB").save(target, quality=80, method=6)
    print(f"{target}: {target.stat().st_size:,} bytes")


def show_tags(page: Any, pictures: list[Path], pressed: str, pointed: str, target: Path) -> None:
    """Show several pictures, a caption guided by a tag, and the heat map of another tag."""
    page.set_input_files("#files", [str(path) for path in pictures])
    page.wait_for_selector(f"#status:has-text('{len(pictures)} pictures')")
    page.click("#strip button:nth-child(1)")
    page.click(f"#tags button[data-name='{pressed}']")
    page.wait_for_selector(f"#covered:has-text('asked to mention {pressed}')")
    page.evaluate("scrollTo(0, 150)")
    page.hover(f"#tags button[data-name='{pointed}']")
    page.wait_for_selector("#heat.on")
    take(page, target)


def edit_tags(page: Any, query: str, given: str, wrong: str, target: Path) -> None:
    """Show the first result of a search, with tags added by people and one that they struck out."""
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
    """Run the command."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--out", type=Path, default=ROOT / "docs" / "images")
    arguments.add_argument("--picture", default="photographer", help="example on the first screenshot")
    arguments.add_argument("--pressed", default="person", help="tag that guides the caption")
    arguments.add_argument("--pointed", default="man", help="tag whose heat map is shown")
    arguments.add_argument("--edited", default="bridge", help="search query for the second screenshot")
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
