"""Write the results of a command, with its progress and a summary."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

from rich.console import Console
from rich.progress import TextColumn, TimeRemainingColumn
from typer import Exit

from anytag.cli._inputs import PictureInputs
from anytag.cli._output import bar, log, open_console, pad, progress_bar, styled, width_of, write_json
from anytag.foundations.wording import counted
from anytag.model.names import normalize_name
from anytag.recognition import Failure, Recognition, Tag

#: Colors of the kinds of tags.
STYLES = {"object": "bold", "scene": "green", "attribute": "cyan", "action": "magenta"}

#: Style of a picture's name above its result.
HEADING = "bold underline"


class _Record(Protocol):
    def to_json(self) -> dict[str, Any]: ...


Written = TypeVar("Written", bound=_Record)


@contextmanager
def progress(total: int | None, quiet: bool = False) -> Iterator[Callable[[], None]]:
    """Show a bar on stderr with rate and time left, on a terminal only; yield the function that advances it."""
    with progress_bar(TextColumn("{task.fields[rate]}"), TimeRemainingColumn(), hidden=quiet) as shown:
        task = shown.add_task("pictures", total=total, rate="")

        def advance() -> None:
            shown.advance(task)
            speed = shown.tasks[0].speed
            shown.update(task, rate=f"{speed:.1f}/s" if speed else "")

        yield advance


def write_results(
    results: Iterable[Written | Failure], inputs: PictureInputs, as_json: bool, show: Callable[[Console, Written], None]
) -> None:
    """Write results as they come, then a summary of what was left out or failed.

    Raises:
        typer.Exit: With code 1 if a picture failed.
    """
    console, errors = open_console(), open_console(stderr=True)
    done = failed = 0
    with progress(inputs.total, quiet=console.is_terminal and not as_json) as advance:
        for result in results:
            is_failure = isinstance(result, Failure)
            failed += is_failure
            done += not is_failure
            if as_json:
                write_json(result.to_json())
            elif isinstance(result, Failure):
                errors.print(styled((f"failed: {result.message}", "red")))  # The message names the path.
            else:
                show(console, result)
            advance()
    if described := inputs.describe_left_out():
        log(f"left out: {described}")
    finish(done, failed)


def finish(done: int, failed: int) -> None:
    """Print how many pictures failed, and exit with 1 if any did."""
    if failed:
        log(f"{counted(failed, 'picture')} failed, {done} recognized")
        raise Exit(1)


def show_recognition(console: Console, recognition: Recognition) -> None:
    """Write the caption of a picture, or its tags, as text."""
    console.print(styled((recognition.path, HEADING)))
    if recognition.caption is not None:
        console.print(styled(f"  {recognition.caption}"))
        if recognition.given:
            missed = [name for name in recognition.given if name not in (recognition.covered or ())]
            text = f"  guided by {', '.join(recognition.given)}"
            console.print(styled((text + (f"; not named: {', '.join(missed)}" if missed else ""), "dim")))
    elif not recognition.tags:
        blank = "blank" in recognition.notes
        console.print(
            styled(("  blank: the same color everywhere" if blank else "  no tag above its threshold", "dim"))
        )
    else:
        width = max(width_of(tag.name) for tag in recognition.tags)
        for tag in recognition.tags:
            line = f"  {pad(tag.name, width)}  {tag.score:.2f} {bar(tag.score)} "
            console.print(styled((line, STYLES[tag.kind]), (tag.kind + taken_for(tag), "dim")))
    if "truncated" in recognition.notes:
        console.print(styled(("  truncated: only a part of the picture is there", "dim")))
    console.print()


def taken_for(tag: Tag) -> str:
    """Return the vocabulary's name for a category, in brackets, if it differs."""
    same = tag.taken_for is None or tag.taken_for == normalize_name(tag.name)
    return "" if same else f" ({tag.taken_for})"
