"""What commands share: how errors end them, how progress is shown, how results are written."""

from __future__ import annotations

import errno
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from anytag.errors import AnytagError
from anytag.recognition import Failure, Recognition

#: Colours of the kinds of tags.
STYLES = {"object": "bold", "scene": "green", "attribute": "cyan", "action": "magenta"}


class _Record(Protocol):
    def to_json(self) -> dict[str, Any]:
        """The JSON line."""


Written = TypeVar("Written", bound=_Record)


@contextmanager
def reporting(command: str) -> Iterator[None]:
    """Turn the package's errors, and a full disk, into a line on stderr and exit code 2."""
    try:
        yield
    except AnytagError as error:
        print(f"anytag {command}: {error}", file=sys.stderr)
        raise typer.Exit(2) from None
    except BrokenPipeError:
        # The reader ("head") has enough; nothing may be written to it at exit either.
        sys.stderr.close()
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        where = f"{error.filename}: " if error.filename else ""
        message = f"{where}the disk is full. Make room, then give the same command again."
        print(f"anytag {command}: {message}", file=sys.stderr)
        raise typer.Exit(2) from None
    except KeyboardInterrupt:
        print(f"anytag {command}: interrupted", file=sys.stderr)
        raise typer.Exit(130) from None


@contextmanager
def progress(total: int | None, quiet: bool = False) -> Iterator[Any]:
    """A bar on stderr with rate and time left, on a terminal only; gives the function that advances it by one."""
    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield lambda: None
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("pictures", total=total, rate="")

        def advance() -> None:
            bar.advance(task)
            speed = bar.tasks[0].speed
            bar.update(task, rate=f"{speed:.1f}/s" if speed else "")

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
        How many pictures were recognised, and how many failed.
    """
    console = Console(highlight=False, soft_wrap=True)
    done = failed = 0
    with progress(total, quiet=console.is_terminal and not as_json) as advance:
        for result in results:
            if as_json:
                print(json.dumps(result.to_json(), ensure_ascii=False), flush=True)
            if isinstance(result, Failure):
                failed += 1
                if not as_json:
                    # Messages name the path themselves.
                    errors = Console(stderr=True, highlight=False, soft_wrap=True)
                    errors.print(f"failed: {result.message}", style="red", markup=False)
            else:
                done += 1
                if not as_json:
                    show(console, result)
            advance()
    return done, failed


def _show(console: Console, seen: Recognition, with_caption: bool) -> None:
    console.print(seen.path, style="bold underline", markup=False)
    if with_caption and seen.caption is not None:
        console.print(f"  {seen.caption}", markup=False)
        if seen.given:
            missed = [name for name in seen.given if name not in (seen.covered or ())]
            text = f"  guided by {', '.join(seen.given)}"
            console.print(text + (f"; not named: {', '.join(missed)}" if missed else ""), style="dim", markup=False)
    elif not seen.tags:
        console.print("  no tag above its threshold", style="dim")
    else:
        width = max(len(tag.name) for tag in seen.tags)
        for tag in seen.tags:
            console.print(
                f"  {tag.name:<{width}}  {tag.score:.2f} {bar(tag.score)} ",
                style=STYLES[tag.kind],
                end="",
                markup=False,
            )
            console.print(tag.kind, style="dim")
    console.print()


def bar(score: float) -> str:
    """A score from 0 to 1 as a bar of twenty places."""
    return f"{'█' * round(score * 20):<20}"


def finish(done: int, failed: int) -> None:
    """Say how it went, and exit with 1 if some pictures failed.

    Raises:
        typer.Exit: With code 1 if a picture failed.
    """
    if failed:
        noun = "picture" if failed == 1 else "pictures"
        print(f"{failed} {noun} failed, {done} recognised", file=sys.stderr)
        raise typer.Exit(1)


def names(text: str | None) -> list[str] | None:
    """Comma-separated names; ``None`` stays ``None``, an empty text is an empty list."""
    return None if text is None else [name.strip() for name in text.split(",") if name.strip()]
