"""``--help`` shows all texts of commands and options."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from anytag.cli import build_app


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[Any]:
    """Yield every command with its path, groups included."""
    if hasattr(command, "commands"):
        for name, inner in command.commands.items():
            yield from commands(inner, (*path, name))
    else:
        yield pytest.param(path, command, id=" ".join(path))


#: Commands and where each takes a path.
PATHS = [
    ("batch", "c.jpg", "--out"),
    ("batch", "c.jpg", "--write", "txt", "--out="),
    ("search", "cat", "--library"),
    ("serve", "--library"),
    ("locate", "c.jpg", "--tag", "cat", "--out"),
    ("vocabulary", "build", "t.txt", "--out"),
    ("export", "--out", "o"),
    ("tag", "c.jpg", "--categories-from"),
]


@pytest.mark.parametrize("arguments", PATHS, ids=" ".join)
def test_a_path_is_never_empty(tmp_path, monkeypatch, arguments):
    """An unset variable of a script would mean the current folder, and the command would write there."""
    monkeypatch.chdir(tmp_path)
    given = list(arguments) if arguments[-1].endswith("=") else [*arguments, ""]
    result = CliRunner().invoke(build_app(arguments[0]), given, env={"COLUMNS": "200"})
    assert (result.exit_code, result.stdout) == (2, "")
    assert "the path is empty" in result.stderr
    assert not list(tmp_path.iterdir())


def test_an_empty_path_makes_no_index(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(build_app("index"), ["index", ""])
    message = "anytag index: an empty path was given; use '.' for the current folder\n"
    assert (result.exit_code, result.stderr) == (2, message)
    assert not list(tmp_path.iterdir())


def plain(text: str) -> str:
    return re.sub(r"[\s│|]+", "", text)


@pytest.mark.parametrize(("path", "command"), list(commands(typer.main.get_command(build_app()))))
def test_every_option_s_text_is_shown_whole(path, command):
    """The help renderer treats square brackets as markup, and would not show their content."""
    shown = CliRunner().invoke(build_app(), [*path, "--help"], env={"COLUMNS": "400", "TERMINAL_WIDTH": "400"}).stdout
    told = [parameter.help for parameter in command.params if getattr(parameter, "help", None)]
    assert told
    for text in told:
        assert plain(text) in plain(shown), text
    assert re.search(r"Exit code: 0 success, .*2 error, 130 interrupted\.", shown)
    assert "<bool>" not in shown
    # A switch that is off has no second name that says so.
    assert not [option for option in command.params if option.secondary_opts and option.default is False]


def test_a_command_is_built_without_the_others():
    code = "import sys; from anytag.cli import build_app; build_app('tag'); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "anytag.cli.tag" in loaded
    assert not {"anytag.cli.batch", "anytag.library", "anytag.service", "fastapi", "torch"} & set(loaded)


def test_a_command_alone_is_the_same_as_among_all():
    for name, command in typer.main.get_command(build_app()).commands.items():
        [alone] = typer.main.get_command(build_app(name)).commands.items()
        assert alone[0] == name
        assert [p.name for p in alone[1].params] == [p.name for p in command.params]
        assert alone[1].epilog == command.epilog


@pytest.mark.parametrize(
    "arguments",
    [
        ("train", "r.py", "--data", ".", "--run", "run", "--stop-after", "nan"),
        ("tag", "a.jpg", "--threshold", "nan"),
        ("engine", "generate", "a.csv", "--work", "w", "--bad-share", "nan"),
        ("serve", "--timeout", "inf"),
    ],
)
def test_nan_and_infinity_are_refused(tmp_path, monkeypatch, arguments):
    """Typer refuses NaN where an option has bounds, but not elsewhere."""
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(build_app(), list(arguments))
    assert done.exit_code == 2
    assert arguments[-2] in done.output
    assert not list(tmp_path.iterdir())
