"""``anytag serve``: the service and its page."""

from __future__ import annotations

import logging
import os
import re
import signal
import socket
import sys
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from anytag.cli._inputs import Threads
from anytag.cli._output import say
from anytag.cli._shared import reporting
from anytag.errors import UsageError, needs_extra
from anytag.foundations.settings import complaint_of

#: Where keys may come from without standing in the list of processes.
KEYS_VARIABLE = "ANYTAG_API_KEYS"

#: What browsers call the place that a page comes from: no path, no slash at the end.
_ORIGIN = re.compile(r"https?://[^/\s]+")


def serve(
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for all.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on.")] = 8000,
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="Model directory or hub id, or NAME=DIRECTORY; may be given several times. (default: shipped)"
        ),
    ] = None,
    library: Annotated[
        Path | None, typer.Option(help="Folder of photos with an index (anytag index), or the index.")
    ] = None,
    allow_edits: Annotated[
        bool,
        typer.Option("--allow-edits", help="Let people change the library's tags, in XMP files beside photos."),
    ] = False,
    host_name: Annotated[
        list[str] | None, typer.Option(help="Name under which others reach this service; may be given several times.")
    ] = None,
    cors: Annotated[list[str] | None, typer.Option(help="Origin whose pages may use the service.")] = None,
    allow_urls: Annotated[
        bool, typer.Option("--allow-urls", help="Let requests name pictures by public web addresses.")
    ] = False,
    max_pictures: Annotated[int, typer.Option(min=1, help="Pictures in one request.")] = 32,
    max_mb: Annotated[float, typer.Option(min=0.001, max=1_000_000, help="Megabytes of one picture.")] = 30.0,
    queue: Annotated[int, typer.Option(min=1, help="Pictures that may wait; more are answered with 429.")] = 64,
    batch_size: Annotated[int, typer.Option(min=1, help="Pictures that are recognized together.")] = 8,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds until a request is given up.")] = 30.0,
    idle_unload: Annotated[
        float, typer.Option(min=0, help="Seconds without requests after which a model is unloaded; 0: never.")
    ] = 600.0,
    quiet: Annotated[bool, typer.Option("--quiet", help="No line for each request.")] = False,
    threads: Threads = None,
) -> None:
    """Serve tags, captions and search over HTTP, with a page for people.

    Keys: with ANYTAG_API_KEYS=key1,key2 in the environment every request needs one of them.

    Example: anytag serve --library photos
    """
    with reporting("serve"):
        with needs_extra("the service", "serve"):
            import uvicorn

            from anytag.library.photo_library import Library
            from anytag.model.directory import find_model
            from anytag.service.app import create_app
            from anytag.service.connections import server_config
            from anytag.service.memory import use_one_heap
            from anytag.service.settings import DEFAULT_MODEL, ServiceSettings
        if allow_edits and library is None:
            raise UsageError("--allow-edits needs --library: there is nothing else to edit")
        models = _models(model or [])
        if not host.strip():
            raise UsageError("--host is empty; give an address of this machine, or 0.0.0.0 for all")
        for origin in cors or ():
            if not _ORIGIN.fullmatch(origin):
                raise UsageError(
                    f"--cors: {origin!r} is not an origin; write it as browsers do, as https://photos.example:8443"
                )
        try:
            settings = ServiceSettings(
                models=models or {DEFAULT_MODEL: None},
                library=library,
                allow_edits=allow_edits,
                api_keys=tuple(key for key in os.environ.get(KEYS_VARIABLE, "").split(",") if key),
                hosts=tuple(host_name or ()),
                cors=tuple(cors or ()),
                allow_urls=allow_urls,
                max_pictures=max_pictures,
                max_picture_bytes=int(max_mb * 1e6),
                max_request_bytes=int(max_mb * 1.4e6) * min(max_pictures, 8),
                queue=queue,
                batch_size=batch_size,
                timeout=timeout,
                idle_unload=idle_unload,
                threads=threads,
            )
        except ValidationError as error:
            option, complaint = complaint_of(error)
            raise UsageError(f"--{'-'.join(map(str, option))}: {complaint}") from None
        logging.basicConfig(level=logging.WARNING if quiet else logging.INFO, stream=sys.stderr, format="%(message)s")
        for named in models.values():  # What is wrong is said now, and not at the first request.
            find_model(named)
        if library is not None:
            len(Library(library))
        use_one_heap()
        listening = _listen(host, port)
        shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
        where = f"http://{shown}:{listening.getsockname()[1]}"
        say(f"anytag serves at {where} (Ctrl-C stops it)")
        if host not in ("127.0.0.1", "::1", "localhost") and not settings.api_keys:
            say(f"everybody who reaches this machine may use it; set {KEYS_VARIABLE} to ask for a key")
        config = server_config(create_app(settings), settings, log_level="warning")
        if hasattr(signal, "SIGHUP"):  # The others, the server hears itself, and answers first what it has begun.
            signal.signal(signal.SIGHUP, signal.SIG_DFL)
        with listening:
            uvicorn.Server(config).run(sockets=[listening])


def _models(given: list[str]) -> dict[str, str | None]:
    """Models by the names that requests use.

    Raises:
        UsageError: If two have one name.
    """
    models: dict[str, str | None] = {}
    for text in given:
        before, equals, behind = text.partition("=")
        name, place = (before, behind) if equals else (Path(text).name, text)
        if name in models:
            raise UsageError(f"--model: two models are called {name!r}; give them names: NAME=DIRECTORY")
        models[name] = place
    return models


def _listen(host: str, port: int) -> socket.socket:
    """A socket that listens there.

    Raises:
        UsageError: If there is no such address, somebody else listens there, or it is not allowed.
    """
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except (OSError, UnicodeError, TypeError) as error:
        reason = str(getattr(error, "strerror", None) or error).partition(" (while")[0]
        raise UsageError(f"cannot listen on {host}, port {port} ({reason}); give another --port or --host") from None
