"""The command line: thin commands, one file each."""

from __future__ import annotations

import sys
from collections.abc import Callable

import typer

from anytag import __version__
from anytag.cli import (
    batch,
    calibrate,
    caption,
    convert,
    doctor,
    engine,
    evaluate,
    export,
    index,
    info,
    locate,
    match,
    parse,
    pull,
    push,
    search,
    serve,
    tag,
    teach,
    train,
    untag,
    vocabulary,
)
from anytag.cli._commands import add_command, new_group
from anytag.cli._output import tell
from anytag.cli._process import run_command


def _version(asked: bool) -> None:
    if asked:
        tell(f"anytag {__version__}")
        raise typer.Exit


def build_app() -> typer.Typer:
    """The application with all commands."""
    app = new_group(
        "Recognise everything in a picture: tags, captions, any category you name.",
        name="anytag",
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )

    @app.callback()
    def anytag(
        version: bool = typer.Option(
            False, "--version", "-V", callback=_version, is_eager=True, help="Print the version."
        ),
    ) -> None:
        """Recognize everything in a picture: tags, captions, any category you name."""

    on_pictures: tuple[Callable[..., None], ...] = (tag.tag, caption.caption, match.match, locate.locate, batch.batch)
    for command in on_pictures:
        add_command(app, command)
    add_command(app, index.index)
    add_command(app, search.search, one="1 nothing was found, ")
    add_command(app, untag.untag, one="1 some files could not be changed, ")
    add_command(app, doctor.doctor, one="1 something needed does not work, ")
    others: tuple[Callable[..., None], ...] = (
        info.info, parse.parse, teach.teach, train.train, export.export, calibrate.calibrate, evaluate.evaluate,
        convert.convert, pull.pull, push.push, serve.serve,
    )  # fmt: skip
    for command in others:
        add_command(app, command, one="")
    app.add_typer(vocabulary.app, name="vocabulary")
    app.add_typer(engine.app, name="engine")
    return app


def main() -> None:
    """Run the command that the process was started with, and exit with its status."""
    sys.exit(run_command(lambda: build_app()(prog_name="anytag")))
