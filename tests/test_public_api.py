"""The names that ``import anytag`` offers."""

from __future__ import annotations

import ast
import importlib
import re
from importlib.metadata import version
from pathlib import Path

import pytest

import anytag

EXPECTED = {
    "Library",
    "AnytagError", "Failure", "Look", "Match", "Matches", "Recognition", "Recognizer", "Tag", "TagChoice",
    "TagVocabulary", "__version__", "connect", "find_pictures", "load",
}  # fmt: skip


def test_public_names() -> None:
    assert set(anytag.__all__) == EXPECTED
    assert dir(anytag) == sorted(anytag.__all__)


@pytest.mark.parametrize("name", sorted(EXPECTED - {"__version__"}))
def test_a_name_is_the_object_of_its_home(name: str) -> None:
    home = importlib.import_module(anytag._MODULES[name])
    assert getattr(anytag, name) is getattr(home, name)
    assert getattr(anytag, name).__module__ == home.__name__
    assert getattr(anytag, name).__doc__


def test_type_checkers_see_the_same_names_as_the_interpreter() -> None:
    tree = ast.parse(Path(anytag.__file__).read_text(encoding="utf-8"))
    [block] = [node for node in tree.body if isinstance(node, ast.If)]
    seen = {alias.name: node.module for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert seen == anytag._MODULES


def test_star_import() -> None:
    namespace: dict[str, object] = {}
    exec("from anytag import *", namespace)
    assert namespace.keys() >= EXPECTED


def test_unknown_names_are_attribute_errors() -> None:
    with pytest.raises(AttributeError, match="'anytag' has no attribute 'lode'"):
        anytag.lode  # noqa: B018
    assert not hasattr(anytag, "torch")


def test_version() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+((a|b|rc)\d+)?", anytag.__version__)
    assert version("anytag") == anytag.__version__


def test_errors_are_one_family() -> None:
    from anytag import errors

    classes = [value for value in vars(errors).values() if isinstance(value, type)]
    assert len(classes) > 5
    for each in classes:
        assert issubclass(each, anytag.AnytagError)
        assert each.__doc__
    # The kinds of these two are of each picture and each sample.
    fixed = [each for each in classes if each not in (errors.PictureError, errors.SampleError)]
    assert len({each.kind for each in fixed}) == len(fixed)


def test_the_package_is_typed() -> None:
    assert Path(anytag.__file__).with_name("py.typed").exists()
