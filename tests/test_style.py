"""The whole project passes its linter, formatter and type checker, and is spelled as in American English."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from conftest import ROOT, require_module

CHECKS = {
    "lint": ("ruff", "check", "."),
    "format": ("ruff", "format", "--check", "."),
    "types": ("mypy",),
}

#: Forms that American English spells otherwise.
BRITISH = re.compile(
    r"colour|grey(?!hound)|centre|metre\b|licence|catalogue|behaviour|neighbour|favour|artefact|labelled(?!by)|labelling"
    r"|modelling|signalled|learnt|whilst|judgement|analys(?:e[sd]?\b|ing)"
    r"|(?:normal|recogn|organ|summar|initial|optim|serial|token|visual|util|author|quant|general|standard)is(?:e|ing|ation)",
    re.IGNORECASE,
)

#: Files that quote others: words of captions, and what was printed before.
QUOTED = {"src/anytag/language/data/words.toml", "src/anytag/model/config.py", "docs/trials/command-line.md"}


@pytest.mark.parametrize("check", CHECKS)
def test_style(check: str) -> None:
    tool, *arguments = CHECKS[check]
    require_module(tool)
    done = subprocess.run(
        [sys.executable, "-m", tool, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_american_spelling() -> None:
    found = []
    for folder in ("src", "benchmarks", "recipes", "docs", "examples", "deploy"):
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix not in (".py", ".md", ".toml", ".yml", ".html", ".js"):
                continue
            name = path.relative_to(ROOT).as_posix()
            if name in QUOTED:
                continue
            text = path.read_text(encoding="utf-8")
            found += [f"{name}: {match[0]}" for match in BRITISH.finditer(text)]
    assert not found
