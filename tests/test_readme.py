"""What README.md and the pages for users show can be done."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from conftest import ROOT, require

from anytag.cli import build_app
from anytag.model.directory import SHIPPED_MODEL

TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / name for name in ("README.md", "docs/training.md", "docs/data-engine.md", "docs/scale.md")]


def blocks(language: str, text: str = TEXT) -> list[str]:
    """The contents of all fenced blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def anytag_commands() -> list[str]:
    """Every use of the command, without prompts, pipes, redirections and comments."""
    texts = [page.read_text(encoding="utf-8").replace("\\\n", "") for page in PAGES]
    found = [block for text in texts for block in blocks("bash", text) + blocks("console", text)]
    lines = [line.removeprefix("$ ") for block in found for line in block.splitlines()]
    parts = [part.strip() for line in lines for part in re.split(r"&&|\||>|\s#", line)]
    return [part for part in parts if part.startswith("anytag ")]


def test_there_are_commands_to_check() -> None:
    assert len(anytag_commands()) > 12


@pytest.mark.parametrize("line", anytag_commands())
def test_the_command_line_takes_what_is_shown(line: str) -> None:
    command, words = typer.main.get_command(build_app()), shlex.split(line)
    context = command.make_context(words[0], words[1:], resilient_parsing=True)
    while hasattr(command, "commands"):
        name, *_ = [word for word in words[1:] if not word.startswith("-")]
        assert name in command.commands, f"there is no command {name}"
        command, words = command.commands[name], words[words.index(name) :]
        context = command.make_context(name, words[1:], parent=context, resilient_parsing=True)
    # Parsed once more without resilience: an unknown option or a wrong value is an error.
    command.parse_args(context.__class__(command, info_name=words[0], parent=context.parent), words[1:])


def test_the_python_example_runs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    require(SHIPPED_MODEL / "config.json", "the shipped model")
    monkeypatch.chdir(ROOT)
    [example] = blocks("python")
    exec(compile(example, "README.md", "exec"), {})
    shown = capsys.readouterr().out
    assert "missing.jpg not_found" in shown
    assert shown.splitlines()[-1].startswith("not_found missing.jpg")


def test_the_block_of_commands_runs_as_it_stands(tmp_path: Path) -> None:
    require(SHIPPED_MODEL / "config.json", "the shipped model")
    [block] = re.findall(r"^<!-- test: run -->\n```bash\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    command = tmp_path / "bin" / "anytag"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m anytag "$@"\n')
    command.chmod(0o755)
    environment = os.environ | {"PATH": f"{command.parent}:{os.environ['PATH']}"}
    script = ["bash", "-e", "-o", "pipefail", "-c", block]
    done = subprocess.run(script, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert len((tmp_path / "tags.jsonl").read_text().splitlines()) == len(list((ROOT / "examples").glob("*.jpg")))
    assert {path.name for path in tmp_path.iterdir()} == {
        "bin", "captions.txt", "examples", "maps", "photo-tags", "photos", "tags.jsonl", "vocabulary.json",
    }  # fmt: skip
    assert [path.name for path in (tmp_path / "maps").iterdir()] == ["cat-cat.png"]


def test_links_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_continuous_integration_finds_its_two_commands() -> None:
    [block] = re.findall(r"^<!-- ci: run -->\n```bash\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    install, test = block.strip().splitlines()
    assert install.startswith("pip install . && anytag ")
    assert " && pytest" in test
