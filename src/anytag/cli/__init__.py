"""The command line, with one module for each command."""

from __future__ import annotations

import sys
from importlib import import_module

import typer
from typer import Option

from anytag import __version__
from anytag.cli._commands import PICTURES, add_command, new_group
from anytag.cli._output import echo
from anytag.cli._process import run_command

#: The commands in the order of the help, each in the module of its name, and the meaning of exit code 1.
_COMMANDS = {
    **dict.fromkeys(("tag", "caption", "match", "locate", "batch", "index"), PICTURES),
    "search": "1 nothing was found, ",
    "untag": "1 some files could not be changed, ",
    "doctor": "1 something needed does not work, ",
    **dict.fromkeys(("info", "parse", "teach", "train", "export", "calibrate"), ""),
    "evaluate": "1 some cells could not be filled, ",
    **dict.fromkeys(("convert", "pull", "push", "serve"), ""),
}
_GROUPS = ("vocabulary", "engine")
_VERSION = ("--version", "-V")


def _print_version(wanted: bool) -> None:
    if wanted:
        echo(f"anytag {__version__}")
        raise typer.Exit


def build_app(only: str | None = None) -> typer.Typer:
    """Build the application.

    Args:
        only: The command to run, or the option for the version. Other commands are not imported then, since that would
            take longer than most runs. ``None``, or any other text: build all.
    """
    app = new_group(
        "Recognize everything in a picture: tags, captions, any category you name.",
        name="anytag",
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )

    @app.callback()
    def anytag(
        version: bool = Option(False, *_VERSION, callback=_print_version, is_eager=True, help="Print the version."),
    ) -> None:
        """Recognize everything in a picture: tags, captions, any category you name."""

    wanted: tuple[str, ...] = (*_COMMANDS, *_GROUPS)
    if only in _VERSION:
        wanted = ()
    elif only in wanted:
        wanted = (only,)
    for name in wanted:
        module = import_module(f"anytag.cli.{name}")
        if name in _GROUPS:
            app.add_typer(module.app, name=name)
        else:
            add_command(app, getattr(module, name), one=_COMMANDS[name])
    return app


def main() -> None:
    """Run the command of ``sys.argv``, and exit with its status."""
    first = sys.argv[1] if len(sys.argv) > 1 else None
    sys.exit(run_command(lambda: build_app(first)(prog_name="anytag")))
