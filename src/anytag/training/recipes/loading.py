"""Recipes: Python files whose functions return the config of a run."""

from __future__ import annotations

import runpy
from pathlib import Path

from anytag.errors import UsageError
from anytag.training.recipes.config import TrainingConfig


def load_recipe(name: str) -> TrainingConfig:
    """Run a recipe.

    Args:
        name: A Python file, whose function ``recipe`` is meant, or ``FILE:FUNCTION`` (``published.py:ram_14m``).

    Raises:
        UsageError: If there is no such file or function, or it returns no config.
    """
    path, function = _parts(name)
    if not path.is_file():
        raise UsageError(f"{path}: no such recipe; recipes are Python files with a function recipe()")
    made = runpy.run_path(str(path))
    own = {key for key, value in made.items() if _is_recipe(value, str(path))}
    if function not in own:
        known = f"; it has {', '.join(sorted(own))}" if own else ""
        raise UsageError(f"{path}: there is no recipe {function}() in this file{known}")
    config = made[function]()
    if not isinstance(config, TrainingConfig):
        raise UsageError(f"{path}: {function}() returned {type(config).__name__}, not a TrainingConfig")
    return config


def _parts(name: str) -> tuple[Path, str]:
    # A colon may also stand behind a drive's letter.
    path, colon, function = name.rpartition(":")
    if colon and path.endswith(".py"):
        return Path(path), function
    return Path(name), "recipe"


def _is_recipe(value: object, path: str) -> bool:
    """Whether it is a function of the file itself that can be called without arguments."""
    code = getattr(value, "__code__", None)
    if code is None or code.co_filename != path or str(getattr(value, "__name__", "_")).startswith("_"):
        return False
    return code.co_argcount == len(getattr(value, "__defaults__", None) or ())
