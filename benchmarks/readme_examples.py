"""Update the README's outputs for the example pictures: ``python benchmarks/readme_examples.py``.

Writes ``docs/images/examples.webp``, every picture with its tags and its caption, and updates the block of commands and
outputs in ``README.md``.
"""

from __future__ import annotations

import argparse
import re
import subprocess
from pathlib import Path

from _cards import card, sheet
from _common import ROOT
from _pictures import EXAMPLES

import anytag
from anytag.pictures import read_picture


def with_answers(text: str) -> str:
    """A page whose marked blocks show the current output of their commands."""

    def run(block: re.Match[str]) -> str:
        command = block[1]
        said = subprocess.run(["bash", "-ec", command], cwd=ROOT, capture_output=True, text=True, check=True).stdout
        return f"<!-- example: {command} -->\n```console\n$ {command}\n{said.strip()}\n```"

    return re.sub(r"<!-- example: (.*?) -->\n```console\n.*?\n```", run, text, flags=re.DOTALL)


def main() -> None:
    """Run the command."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--out", type=Path, default=ROOT / "docs" / "images" / "examples.webp")
    options = arguments.parse_args()
    recognizer = anytag.load()
    cards = [
        card(
            read_picture(path),
            seen.caption or "",
            [(f"{tag.name}  {tag.score:.2f}", tag.kind) for tag in seen.tags],
        )
        for path, seen in zip(EXAMPLES, recognizer.caption(EXAMPLES), strict=True)
    ]
    sheet(cards).save(options.out, quality=82)
    page = ROOT / "README.md"
    page.write_text(with_answers(page.read_text(encoding="utf-8")), encoding="utf-8")
    print(f"{options.out} and {page.name} are up to date")


if __name__ == "__main__":
    main()
