"""What commands share: how errors end them, how progress is shown, how results are written."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

import typer
from rich.console import Console
from rich.progress import TextColumn, TimeRemainingColumn

from anytag.cli._inputs import PictureInputs
from anytag.cli._output import bar, open_console, pad, progress_bar, say, styled, width_of, write_json
from anytag.cli._process import announce_interrupt
from anytag.errors import AnytagError, MissingExtraError
from anytag.foundations.atomic_files import DISK_FULL
from anytag.foundations.interrupts import INTERRUPTED, StoppedBySignalError
from anytag.foundations.shortage import is_panic, shortage_of
from anytag.foundations.wording import counted
from anytag.model.names import normalize_name
from anytag.recognition import Failure, Recognition, Tag

#: Colors of the kinds of tags.
STYLES = {"object": "bold", "scene": "green", "attribute": "cyan", "action": "magenta"}

#: How a picture's name stands above what was found in it.
HEADING = "bold underline"


class _Record(Protocol):
    def to_json(self) -> dict[str, Any]:
        """The JSON line."""


Written = TypeVar("Written", bound=_Record)


@contextmanager
def reporting(command: str) -> Iterator[None]:
    """Turn the package's errors, and those of the system, into a line on stderr and exit code 2."""
    try:
        yield
    except AnytagError as error:
        shortage = shortage_of(error) if isinstance(error, MissingExtraError) else None
        say(f"anytag {command}: {shortage or error}")
        raise typer.Exit(2) from None
    except BrokenPipeError:
        # The reader ("head") has enough.
        raise typer.Exit(0) from None
    except StoppedBySignalError as stopped:
        announce_interrupt(f"anytag {command}", str(stopped))
        raise typer.Exit(stopped.status) from None
    except KeyboardInterrupt:
        announce_interrupt(f"anytag {command}")
        raise typer.Exit(INTERRUPTED) from None
    except typer.Exit:
        raise
    except BaseException as error:
        if (reason := _system_error(error)) is None:
            raise
        say(f"anytag {command}: {reason}")
        raise typer.Exit(2) from None


def _system_error(error: BaseException) -> str | None:
    """What the system refused, for people; ``None`` if the error is something else."""
    if not isinstance(error, Exception) and not is_panic(error):
        return None
    if (shortage := shortage_of(error)) is not None:
        return str(shortage)
    if not isinstance(error, OSError):
        return None
    if isinstance(error, FileNotFoundError) and not error.filename and _here_is_gone():
        return "the current folder is not there anymore; go to another one"
    where = f"{error.filename}: " if error.filename else ""
    if error.errno in DISK_FULL:
        return f"{where}the disk is full. Make room, then give the same command again."
    return f"{where}{error.strerror or error}"


def _here_is_gone() -> bool:
    try:
        os.getcwd()  # noqa: PTH109 (that is the question)
    except OSError:
        return True
    return False


@contextmanager
def progress(total: int | None, quiet: bool = False) -> Iterator[Callable[[], None]]:
    """A bar on stderr with rate and time left, on a terminal only; gives the function that advances it by one."""
    with progress_bar(TextColumn("{task.fields[rate]}"), TimeRemainingColumn(), hidden=quiet) as shown:
        task = shown.add_task("pictures", total=total, rate="")

        def advance() -> None:
            shown.advance(task)
            speed = shown.tasks[0].speed
            shown.update(task, rate=f"{speed:.1f}/s" if speed else "")

        yield advance


def write_results(
    results: Iterable[Recognition | Failure], as_json: bool, total: int | None, with_caption: bool
) -> tuple[int, int]:
    """Write recognitions as they come; see :func:`write_stream`.

    Args:
        results: Recognitions and failures.
        as_json: JSON lines instead of a readable list.
        total: Number of pictures, if it is known.
        with_caption: Whether there are captions to show.
    """
    return write_stream(results, as_json, total, lambda console, seen: _show(console, seen, with_caption))


def write_stream(
    results: Iterable[Written | Failure], as_json: bool, total: int | None, show: Callable[[Console, Written], None]
) -> tuple[int, int]:
    """Write results as they come.

    Args:
        results: Results, which know their JSON line, and failures.
        as_json: JSON lines instead of a readable list.
        total: Number of pictures, if it is known.
        show: Writes one result for people.

    Returns:
        How many pictures were recognized, and how many failed.
    """
    console, errors = open_console(), open_console(stderr=True)
    done = failed = 0
    with progress(total, quiet=console.is_terminal and not as_json) as advance:
        for result in results:
            if as_json:
                write_json(result.to_json())
            if isinstance(result, Failure):
                failed += 1
                if not as_json:
                    # Messages name the path themselves.
                    errors.print(styled((f"failed: {result.message}", "red")))
            else:
                done += 1
                if not as_json:
                    show(console, result)
            advance()
    return done, failed


def _show(console: Console, seen: Recognition, with_caption: bool) -> None:
    console.print(styled((seen.path, HEADING)))
    if with_caption and seen.caption is not None:
        console.print(styled(f"  {seen.caption}"))
        if seen.given:
            missed = [name for name in seen.given if name not in (seen.covered or ())]
            text = f"  guided by {', '.join(seen.given)}"
            console.print(styled((text + (f"; not named: {', '.join(missed)}" if missed else ""), "dim")))
    elif not seen.tags:
        nothing = "blank: the same color everywhere" if "blank" in seen.notes else "no tag above its threshold"
        console.print(styled((f"  {nothing}", "dim")))
    else:
        width = max(width_of(tag.name) for tag in seen.tags)
        for tag in seen.tags:
            line = f"  {pad(tag.name, width)}  {tag.score:.2f} {bar(tag.score)} "
            console.print(styled((line, STYLES[tag.kind]), (tag.kind + taken_for(tag), "dim")))
    if "truncated" in seen.notes:
        console.print(styled(("  truncated: only a part of the picture is there", "dim")))
    console.print()


def taken_for(tag: Tag) -> str:
    """What a category was taken for, in brackets, if the vocabulary calls it something else."""
    same = tag.taken_for is None or tag.taken_for == normalize_name(tag.name)
    return "" if same else f" ({tag.taken_for})"


def finish(done: int, failed: int, inputs: PictureInputs | None = None) -> None:
    """Say how it went, and exit with 1 if some pictures failed.

    Args:
        done: Pictures that were recognized.
        failed: Pictures that were not.
        inputs: Where they came from; what was left out there is said.

    Raises:
        typer.Exit: With code 1 if a picture failed.
    """
    if inputs and (described := inputs.describe_left_out()):
        say(f"left out: {described}")
    if failed:
        say(f"{counted(failed, 'picture')} failed, {done} recognized")
        raise typer.Exit(1)
