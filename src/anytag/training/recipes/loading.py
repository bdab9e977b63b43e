"""Load recipes: Python files whose functions return the config of a run."""

from __future__ import annotations

import runpy
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import ValidationError

from anytag.errors import AnytagError, UsageError
from anytag.foundations.settings import first_error
from anytag.teaching.config import TeachingConfig
from anytag.training.recipes.config import TrainingConfig
from anytag.training.recipes.evidence import EvidenceTraining
from anytag.training.recipes.joint_embedding import JointEmbeddingTraining


def load_recipe(name: str) -> TrainingConfig | EvidenceTraining | JointEmbeddingTraining | TeachingConfig:
    """Run a recipe and return its config.

    Args:
        name: A Python file with a function ``recipe``, or ``FILE:FUNCTION`` (``official.py:ram_14m``).

    Raises:
        UsageError: If there is no such file or function, or it returns no config.
    """
    path, function = _parts(name)
    if not path.is_file():
        raise UsageError(f"{path}: no such recipe; recipes are Python files with a function recipe()")
    with _explained(path):
        made = runpy.run_path(str(path))
    own = {key for key, value in made.items() if _is_recipe(value, str(path))}
    if function not in own:
        known = f"; it has {', '.join(sorted(own))}" if own else ""
        raise UsageError(f"{path}: there is no recipe {function}() in this file{known}")
    with _explained(path):
        config = made[function]()
    if not isinstance(config, TrainingConfig | EvidenceTraining | JointEmbeddingTraining | TeachingConfig):
        raise UsageError(f"{path}: {function}() returned {type(config).__name__}, not a TrainingConfig")
    return config


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Convert errors of a recipe to ``UsageError`` with the line of the recipe."""
    try:
        yield
    except AnytagError:
        raise
    except (Exception, SystemExit) as error:
        if isinstance(error, ValidationError):
            where, complaint = first_error(error)
            what = f"{'.'.join(map(str, where)) or error.title}: {complaint}"
        else:
            what = f"{type(error).__name__}: {error}"
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
        line = error.lineno if isinstance(error, SyntaxError) else lines[-1] if lines else None
        raise UsageError(f"{path}{f', line {line}' if line else ''}: the recipe cannot be run ({what})") from error


def _parts(name: str) -> tuple[Path, str]:
    # A colon may also follow a drive letter.
    path, colon, function = name.rpartition(":")
    if colon and path.endswith(".py"):
        return Path(path), function
    return Path(name), "recipe"


def _is_recipe(value: object, path: str) -> bool:
    """Whether it is a function of the file that can be called without arguments."""
    code = getattr(value, "__code__", None)
    if code is None or code.co_filename != path or str(getattr(value, "__name__", "_")).startswith("_"):
        return False
    return code.co_argcount == len(getattr(value, "__defaults__", None) or ())
