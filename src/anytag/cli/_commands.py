"""How functions become commands: groups of options are spread out, and help names the status codes and shows flags.

A command knows which of its options were given, so that it can refuse those that would have no effect.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Collection
from contextvars import ContextVar
from dataclasses import fields, is_dataclass
from functools import wraps
from pathlib import Path
from typing import Any, get_args

import typer
from typer.core import TyperCommand, TyperGroup
from typer.models import OptionInfo, ParameterInfo

from anytag.cli._output import say
from anytag.errors import UsageError

#: What every status means; ``{0}`` is that of 1, where a command has one.
_CODES = "Exit code: 0 done, {0}2 used wrongly, 130 interrupted."
#: What 1 means of commands that look at pictures.
PICTURES = "1 some pictures failed, "

#: The options of the command that runs that somebody gave, by the names that they have.
_GIVEN: ContextVar[tuple[str, ...]] = ContextVar("given", default=())


def exit_codes(one: str = PICTURES) -> str:
    """The line about exit codes.

    Args:
        one: What 1 means, with a comma and a blank behind it; empty for commands that never end so.
    """
    return _CODES.format(one)


class _Flags:
    """Options without a value are shown without one."""

    def get_params(self, ctx: Any) -> list[Any]:
        parameters: list[Any] = super().get_params(ctx)  # type: ignore[misc]
        for parameter in parameters:
            if getattr(parameter, "is_flag", False) and parameter.metavar is None:
                parameter.metavar = ""
        return parameters


class Command(_Flags, TyperCommand):
    """A command that remembers which options it was given."""

    def invoke(self, ctx: Any) -> Any:
        options = [one for one in self.get_params(ctx) if one.param_type_name == "option"]
        for option in options:  # Bounds refuse NaN, but many options have none.
            if isinstance(value := ctx.params.get(option.name), float) and not math.isfinite(value):
                say(f"{ctx.command_path}: {option.opts[0]} is {value}; give a number")
                raise typer.Exit(2)
        given = [one for one in options if ctx.get_parameter_source(one.name).name == "COMMANDLINE"]
        _GIVEN.set(tuple(one.opts[0] for one in given))
        return super().invoke(ctx)


class Group(_Flags, TyperGroup):
    """A group of commands."""


def refuse(options: Collection[str], why: str) -> None:
    """Refuse options that would have no effect here: whoever gives one counts on it.

    Args:
        options: By their names.
        why: What they are about, behind the option's name.

    Raises:
        UsageError: If one of them was given; it is named.
    """
    for option in _GIVEN.get():
        if option in options:
            raise UsageError(f"{option} {why}")


def refuse_all_but(options: Collection[str], why: str) -> None:
    """Refuse every option but these; see :func:`refuse`."""
    refuse([option for option in _GIVEN.get() if option not in options], why)


def add_command(app: typer.Typer, function: Callable[..., None], one: str = PICTURES) -> None:
    """Add a command to a group.

    Args:
        app: The group.
        function: The command; its docstring is its help. A parameter that is a dataclass stands for its fields: options
            that several commands share.
        one: What exit code 1 means; see :func:`exit_codes`.
    """
    app.command(cls=Command, epilog=exit_codes(one))(_spread(function))


def _spread(function: Callable[..., None]) -> Callable[..., None]:
    """The function as typer wants it: with the fields of each dataclass in its place."""
    groups: dict[str, Any] = {}
    parameters: list[inspect.Parameter] = []
    for parameter in inspect.signature(function, eval_str=True).parameters.values():
        group = parameter.annotation
        if isinstance(group, type) and is_dataclass(group):
            groups[parameter.name] = group
            parameters += inspect.signature(group, eval_str=True).parameters.values()
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
    """Let no path be empty: where a script's variable is unset, it would stand for the current folder."""
    for info in getattr(annotation, "__metadata__", ()):
        if isinstance(info, ParameterInfo) and Path in _types(annotation):
            info.parser = _filled_path
            if isinstance(info, OptionInfo) and info.metavar is None:
                info.metavar = "<path>"  # As without a parser.


def _types(annotation: Any) -> set[Any]:
    inside = [part for part in get_args(annotation) if not isinstance(part, ParameterInfo)]
    return set().union(*map(_types, inside)) if inside else {annotation}


def _filled_path(text: str) -> Path:
    if not text:
        raise typer.BadParameter("the path is empty")
    return Path(text)


def new_group(help: str, **more: Any) -> typer.Typer:
    """A group of commands."""
    return typer.Typer(cls=Group, help=help, no_args_is_help=True, epilog=exit_codes("1 done in part, "), **more)
