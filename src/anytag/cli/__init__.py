"""The command line: thin commands, one file each."""

from __future__ import annotations

import sys
from importlib import import_module

import typer

from anytag import __version__
from anytag.cli._commands import PICTURES, add_command, new_group
from anytag.cli._output import tell
from anytag.cli._process import run_command

#: The commands in the order of the help, and what each one's exit code 1 means. Each is in the module of its name.
_COMMANDS = {
    **dict.fromkeys(("tag", "caption", "match", "locate", "batch", "index"), PICTURES),
    "search": "1 nothing was found, ",
    "untag": "1 some files could not be changed, ",
    "doctor": "1 something needed does not work, ",
    **dict.fromkeys(("info", "parse", "teach", "train", "export", "calibrate", "evaluate"), ""),
    **dict.fromkeys(("convert", "pull", "push", "serve"), ""),
}
_GROUPS = ("vocabulary", "engine")
_VERSION = ("--version", "-V")


def _version(asked: bool) -> None:
    if asked:
        tell(f"anytag {__version__}")
        raise typer.Exit


def build_app(only: str | None = None) -> typer.Typer:
    """The application.

    Args:
        only: The command to be run, or the option that asks for the version. Others need not be imported then, which
            would take longer than most runs of it. ``None``, or no command's name: all.
    """
    app = new_group(
        "Recognize everything in a picture: tags, captions, any category you name.",
        name="anytag",
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )

    @app.callback()
    def anytag(
        version: bool = typer.Option(False, *_VERSION, callback=_version, is_eager=True, help="Print the version."),
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
    """Run the command that the process was started with, and exit with its status."""
    asked = sys.argv[1] if len(sys.argv) > 1 else None
    sys.exit(run_command(lambda: build_app(asked)(prog_name="anytag")))
