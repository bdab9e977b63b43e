"""Output of commands: names unchanged, no control characters on a terminal, JSON that programs can read."""

from __future__ import annotations

import ast
import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import anytag.cli
from anytag.cli._output import open_console, pad, printable, styled, write_json, write_table
from anytag.foundations.json_lines import path_for_json

STEERING = ["\x00", "\x07", "\x1b", "\x7f", "\x9b", "\u2028", "\u202e", "\u2066"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("cat :cat: [red]cat[/] \\x1b", "cat :cat: [red]cat[/] \\x1b"),
        ("\x1b[31m\u202e\n\t", "\\x1b[31m\\u202e\\n\\t"),
        ("\udce9.jpg", "\\xe9.jpg"),
        ("\ud800", "\\ud800"),
        ("猫 👨\u200d👩\u200d👧 می\u200cخواهم", "猫 👨\u200d👩\u200d👧 می\u200cخواهم"),
    ],
)
def test_printable(text, shown):
    assert printable(text) == shown


@given(st.text())
def test_control_characters_are_escaped(text):
    shown = printable(text)
    assert not any(sign in shown for sign in STEERING)
    shown.encode("utf-8")
    if text.isascii() and text.isprintable():
        assert shown == text


@given(st.text(st.characters(blacklist_categories=("Cc", "Cs"))))
def test_nothing_is_markup(text):
    console = open_console()
    with console.capture() as capture:
        console.print(styled(text))
    assert capture.get() == printable(text) + "\n"


@given(st.binary(min_size=1).filter(lambda name: b"\0" not in name))
def test_paths_in_json_are_their_bytes(name):
    assert path_for_json(os.fsdecode(name)).encode("utf-8", "surrogateescape") == name


@pytest.mark.parametrize(
    "record", [{"path": "\udce9 猫 \x1b\u2028"}, {"tags": ["\ud800", 'a "b"', None, 0.5]}, [{"a": 1}]]
)
def test_json_lines(capfdbinary, record):
    write_json(record)
    line = capfdbinary.readouterr().out
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert json.loads(line.decode("utf-8")) == record
    assert "猫".encode() in line or "猫" not in str(record)


def test_tables_cut_nothing_off(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "20")
    write_table([("1", "a" * 50, "x"), ("22", "猫", "[b]y[/b] :cat:")], ("id", "name", "what"), right=(0,))
    assert capsys.readouterr().out.splitlines() == [
        "id  name" + " " * 48 + "what",
        " 1  " + "a" * 50 + "  x",
        "22  猫" + " " * 50 + "[b]y[/b] :cat:",
    ]
    assert pad("猫", 4) == "猫  "


def test_there_is_one_place_that_writes():
    """No command prints, makes a console, or interprets what it writes."""
    for path in Path(anytag.cli.__file__).parent.glob("*.py"):
        if path.name == "_output.py":
            continue
        called = {
            ast.unparse(node.func) for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)
        }
        assert not called & {"print", "Console", "Table", "json.dumps", "sys.stdout.write", "typer.echo"}, path
