"""Turn functions into commands: dataclasses become groups of options, errors become messages and exit code 2.

A command knows which options were given, so that it can refuse those that would have no effect.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Collection
from contextvars import ContextVar
from dataclasses import fields, is_dataclass
from functools import wraps
from pathlib import Path
from typing import Any, get_args, get_type_hints

import typer
from typer.core import TyperCommand, TyperGroup
from typer.models import OptionInfo, ParameterInfo

from anytag.cli._process import explained_errors
from anytag.errors import UsageError

#: The last line of the help; ``{0}`` is the meaning of 1, followed by a comma, or empty.
_CODES = "Exit code: 0 success, {0}2 error, 130 interrupted."
PICTURES = "1 some pictures failed, "

#: Names of the options that were given to the running command.
_GIVEN: ContextVar[tuple[str, ...]] = ContextVar("given", default=())


class _Flags:
    """Show options without a value as such in the help."""

    def get_params(self, ctx: Any) -> list[Any]:
        parameters: list[Any] = super().get_params(ctx)  # type: ignore[misc]
        for parameter in parameters:
            if getattr(parameter, "is_flag", False) and parameter.metavar is None:
                parameter.metavar = ""
        return parameters


class Command(_Flags, TyperCommand):
    """A command that explains its errors and knows which options were given."""

    def invoke(self, ctx: Any) -> Any:
        options = [option for option in self.get_params(ctx) if option.param_type_name == "option"]
        with explained_errors(ctx.command_path):
            for option in options:  # Bounds exclude NaN, but many options have none.
                if isinstance(value := ctx.params.get(option.name), float) and not math.isfinite(value):
                    raise UsageError(f"{option.opts[0]} is {value}; give a number")
            given = [option for option in options if ctx.get_parameter_source(option.name).name == "COMMANDLINE"]
            _GIVEN.set(tuple(option.opts[0] for option in given))
            return super().invoke(ctx)


class Group(_Flags, TyperGroup):
    """A group of commands."""


def refuse(options: Collection[str], why: str) -> None:
    """Refuse options that would have no effect; ``why`` is the rest of the message, after the name of the option.

    Raises:
        UsageError: If one of them was given.
    """
    for option in _GIVEN.get():
        if option in options:
            raise UsageError(f"{option} {why}")


def refuse_all_but(options: Collection[str], why: str) -> None:
    """Refuse all options except these; see :func:`refuse`."""
    refuse([option for option in _GIVEN.get() if option not in options], why)


def add_command(app: typer.Typer, function: Callable[..., None], one: str = PICTURES) -> None:
    """Add a command to a group.

    Args:
        app: The group.
        function: The command; its docstring is its help. A parameter that is a dataclass stands for its fields, which
            are options that several commands share.
        one: The meaning of exit code 1, followed by a comma and a space; empty if the command never exits with 1.
    """
    app.command(cls=Command, epilog=_CODES.format(one))(_with_fields_as_options(function))


def _with_fields_as_options(function: Callable[..., None]) -> Callable[..., None]:
    """Replace each dataclass among the parameters by its fields."""
    groups: dict[str, Any] = {}
    parameters: list[inspect.Parameter] = []
    for parameter in inspect.signature(function, eval_str=True).parameters.values():
        group = parameter.annotation
        if isinstance(group, type) and is_dataclass(group):
            groups[parameter.name] = group
            hints = get_type_hints(group, include_extras=True)  # Of base classes in other modules, too.
            shared = inspect.signature(group).parameters.values()
            parameters += [field.replace(annotation=hints[field.name]) for field in shared]
        else:
            parameters.append(parameter)
    for parameter in parameters:
        _refuse_empty_paths(parameter.annotation)
    keywords = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in parameters]

    @wraps(function)
    def command(**given: Any) -> None:
        for name, group in groups.items():
            given[name] = group(**{field.name: given.pop(field.name) for field in fields(group)})
        function(**given)

    command.__signature__ = inspect.Signature(keywords)  # type: ignore[attr-defined]
    return command


def _refuse_empty_paths(annotation: Any) -> None:
    """Refuse empty paths: an unset variable of a script would mean the current folder."""
    for info in getattr(annotation, "__metadata__", ()):
        if isinstance(info, ParameterInfo) and Path in _types(annotation):
            info.parser = _nonempty_path
            if isinstance(info, OptionInfo) and info.metavar is None:
                info.metavar = "<path>"  # As without a parser.


def _types(annotation: Any) -> set[Any]:
    inside = [part for part in get_args(annotation) if not isinstance(part, ParameterInfo)]
    return set().union(*map(_types, inside)) if inside else {annotation}


def _nonempty_path(text: str) -> Path:
    if not text:
        raise typer.BadParameter("the path is empty")
    return Path(text)


def new_group(help: str, **more: Any) -> typer.Typer:
    codes = _CODES.format("1 partly done, ")
    return typer.Typer(cls=Group, help=help, no_args_is_help=True, epilog=codes, **more)
