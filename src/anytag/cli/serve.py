"""``anytag serve``: serve the HTTP API and its web page."""

from __future__ import annotations

import logging
import os
import re
import signal
import socket
import sys
from pathlib import Path
from typing import Annotated

from pydantic import ValidationError
from typer import Option

from anytag.cli._inputs import Threads
from anytag.cli._output import log
from anytag.errors import UsageError, needs_extra
from anytag.foundations.settings import first_error

#: Environment variable with API keys, which a command line option would show in the list of processes.
KEYS_VARIABLE = "ANYTAG_API_KEYS"

#: The origin of a page, as browsers send it: no path, no slash at the end.
_ORIGIN = re.compile(r"https?://[^/\s]+")


def serve(
    host: Annotated[str, Option(help="Address to listen on; 0.0.0.0 for all.")] = "127.0.0.1",
    port: Annotated[int, Option(min=0, max=65535, help="Port to listen on.")] = 8000,
    model: Annotated[
        list[str] | None,
        Option(help="Model directory or hub id, or NAME=DIRECTORY; may be given several times. (default: shipped)"),
    ] = None,
    library: Annotated[Path | None, Option(help="Folder of photos with an index (anytag index), or the index.")] = None,
    allow_edits: Annotated[
        bool, Option("--allow-edits", help="Let users change the library's tags, in XMP files beside photos.")
    ] = False,
    host_name: Annotated[
        list[str] | None, Option(help="Host name under which clients reach the service; may be given several times.")
    ] = None,
    cors: Annotated[list[str] | None, Option(help="Origin of pages that may use the service.")] = None,
    allow_urls: Annotated[bool, Option("--allow-urls", help="Accept public web addresses of pictures.")] = False,
    max_pictures: Annotated[int, Option(min=1, help="Highest number of pictures in a request.")] = 32,
    max_mb: Annotated[float, Option(min=0.001, max=1_000_000, help="Largest size of a picture, in megabytes.")] = 30.0,
    queue: Annotated[int, Option(min=1, help="Pictures that may wait; more get status 429.")] = 64,
    batch_size: Annotated[int, Option(min=1, help="Pictures recognized together.")] = 8,
    timeout: Annotated[float, Option(min=0.1, help="Seconds until a request fails.")] = 30.0,
    idle_unload: Annotated[float, Option(min=0, help="Unload a model after so many idle seconds; 0: never.")] = 600.0,
    quiet: Annotated[bool, Option("--quiet", help="Do not log requests.")] = False,
    threads: Threads = None,
) -> None:
    """Serve tags, captions and search over HTTP, with a web page.

    With ANYTAG_API_KEYS=key1,key2 in the environment, every request needs one of these keys.

    Example: anytag serve --library photos
    """
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
        option, complaint = first_error(error)
        raise UsageError(f"--{'-'.join(map(str, option))}: {complaint}") from None
    logging.basicConfig(level=logging.WARNING if quiet else logging.INFO, stream=sys.stderr, format="%(message)s")
    for named in models.values():  # Find errors now, not at the first request.
        find_model(named)
    if library is not None:
        len(Library(library))
    use_one_heap()
    listening = _listen(host, port)
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    where = f"http://{shown}:{listening.getsockname()[1]}"
    log(f"anytag serves at {where} (Ctrl-C stops it)")
    if host not in ("127.0.0.1", "::1", "localhost") and not settings.api_keys:
        log(f"everybody who reaches this machine may use it; set {KEYS_VARIABLE} to ask for a key")
    config = server_config(create_app(settings), settings, log_level="warning")
    if hasattr(signal, "SIGHUP"):  # The server handles the other signals, after answering pending requests.
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
    with listening:
        uvicorn.Server(config).run(sockets=[listening])


def _models(given: list[str]) -> dict[str, str | None]:
    """Return models by the names that requests use.

    Raises:
        UsageError: If two have the same name.
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
    """Return a listening socket.

    Raises:
        UsageError: If the address does not exist, is in use, or is not allowed.
    """
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except (OSError, UnicodeError, TypeError) as error:
        reason = str(getattr(error, "strerror", None) or error).partition(" (while")[0]
        raise UsageError(f"cannot listen on {host}, port {port} ({reason}); give another --port or --host") from None
