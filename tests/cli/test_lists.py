"""Options that take a list, on the command line or in a file."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anytag.cli._lists import read_choice, read_kinds, read_names, read_pairs
from anytag.errors import UsageError
from anytag.language.tags.name_files import split_names


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", []),
        (" , ,", []),
        ("dog", ["dog"]),
        ("dog, hot dog ,cat,", ["dog", "hot dog", "cat"]),
        ('"rock, paper" , scissors', ["rock, paper", "scissors"]),
        ('say ""hello"",12" pizza', ['say ""hello""', '12" pizza']),
        ('"a ""big"" dog"', ['a "big" dog']),
        ("dog\ncat\r\nbee", ["dog", "cat", "bee"]),
        ("Grüße,猫,:cat:,[red]", ["Grüße", "猫", ":cat:", "[red]"]),
    ],
)
def test_comma_separated(text, names):
    assert split_names(text, "--tags") == names


@given(
    st.lists(
        st.text(st.characters(blacklist_categories=("Cs", "Cc")), min_size=1).filter(lambda name: name.strip() == name)
    )
)
def test_what_a_spreadsheet_writes_comes_back(names):
    line = io.StringIO()
    csv.writer(line).writerow(names)
    assert split_names(line.getvalue(), "--tags") == names


@pytest.mark.parametrize("text", ['"dog, cat', 'dog,"cat"s'])
def test_quotes_that_do_not_match(text):
    with pytest.raises(UsageError, match=r"^--tags: .* is not a comma-separated list; a name in double quotes ends"):
        split_names(text, "--tags")


def test_several_times_and_from_a_file(tmp_path):
    file = tmp_path / "names.txt"
    file.write_bytes("\ufeffrock, paper\r\n\n# a remark\n  blanks  \nnext\u2028line".encode())
    assert read_names(["a,b", "c"], file, "--tags") == ["a", "b", "c", "rock, paper", "blanks", "next\u2028line"]
    assert read_names(None, None, "--tags") is None
    assert read_names([""], None, "--tags") == []
    with pytest.raises(UsageError, match=r"none.txt: cannot be read as a list of names, one per line \(No such file"):
        read_names(None, tmp_path / "none.txt", "--tags")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("cat\r\n".encode("utf-16"), "it is text in UTF-16; save it as UTF-8"),
        (b"\xff\xd8\xff\xe0 a picture", "it is not text in UTF-8"),
    ],
)
def test_files_that_are_no_lists_are_called_what_they_are(tmp_path, content, reason):
    (tmp_path / "names.txt").write_bytes(content)
    with pytest.raises(UsageError) as refused:
        read_names(None, tmp_path / "names.txt", "--tags")
    assert str(refused.value).endswith(f"names.txt: cannot be read as a list of names, one per line ({reason})")


def test_kinds():
    assert read_kinds(["object,Scene", "action"]) == ["object", "scene", "action"]
    assert read_kinds(None) is None
    with pytest.raises(UsageError, match="--kind: unknown kind 'objects'; kinds are object, scene, attribute, action"):
        read_kinds(["objects"])


def test_a_choice_is_a_list_or_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("animals").write_text("dog\n")
    assert read_choice(["animals"], None, "--allow") == Path("animals")
    assert read_choice(["missing.txt"], None, "--allow") == Path("missing.txt")
    assert read_choice(["dog,cat"], None, "--allow") == ["dog", "cat"]
    assert read_choice(None, Path("animals"), "--allow") == Path("animals")
    assert read_choice(["cat"], Path("animals"), "--allow") == ["cat", "dog"]
    assert read_choice(None, None, "--allow") is None


def test_pairs(tmp_path):
    assert read_pairs(["dog=Hund,cat = Katze"], None, "--rename") == {"dog": "Hund", "cat": "Katze"}
    assert read_pairs(["x.txt"], None, "--rename") == Path("x.txt")
    with pytest.raises(UsageError, match="--rename: 'dog' is neither 'tag=new name' nor a file of such lines"):
        read_pairs(["dog"], None, "--rename")
    assert read_pairs(["dog=Hund", "dog=Hund"], None, "--rename") == {"dog": "Hund"}
    with pytest.raises(UsageError, match="--rename: 'dog' has two new names, 'Hund' and 'Wau'"):
        read_pairs(["dog=Hund,dog=Wau"], None, "--rename")
