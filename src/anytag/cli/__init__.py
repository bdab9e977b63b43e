"""The command line: thin commands, one file each."""

from __future__ import annotations

import typer

from anytag import __version__
from anytag.cli import (
    batch,
    calibrate,
    caption,
    convert,
    doctor,
    engine,
    export,
    info,
    locate,
    match,
    parse,
    pull,
    tag,
    train,
    untag,
    vocabulary,
)


def _version(asked: bool) -> None:
    if asked:
        print(f"anytag {__version__}")
        raise typer.Exit


def build_app() -> typer.Typer:
    """The application with all commands."""
    app = typer.Typer(
        name="anytag",
        help="Recognise everything in a picture: tags, captions, any category you name.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )

    @app.callback()
    def anytag(
        version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
    ) -> None:
        """Recognise everything in a picture: tags, captions, any category you name."""

    for command in (
        tag.tag, caption.caption, info.info, parse.parse, train.train, export.export, calibrate.calibrate,
        batch.batch, untag.untag, doctor.doctor, convert.convert, pull.pull, match.match, locate.locate,
    ):  # fmt: skip
        app.command()(command)
    app.add_typer(vocabulary.app, name="vocabulary")
    app.add_typer(engine.app, name="engine")
    return app


def main() -> None:
    """Entry point of the ``anytag`` command."""
    build_app()()
