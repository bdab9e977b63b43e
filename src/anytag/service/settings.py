"""Everything that decides how a service runs."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from anytag.foundations.settings import Settings

#: The name under which the first model is asked for when a request names none.
DEFAULT_MODEL = "default"


class ServiceSettings(Settings):
    """Settings of a service.

    Attributes:
        models: Names that requests may ask for, with model directories or hub ids; ``None``: the shipped model.
        library: An index to search; ``None``: there is none.
        allow_edits: Whether requests may change the tags that people gave pictures of the library.
        api_keys: Keys of which every request must carry one; empty: nobody is asked.
        hosts: Names under which the service may be addressed, beside ``localhost`` and addresses. A page elsewhere
            whose name was made to point here is refused.
        cors: Origins whose pages may use the service.
        allow_urls: Whether requests may name pictures by public web addresses.
        max_picture_bytes: Of one picture.
        max_request_bytes: Of a request's body.
        max_pixels: Of one picture.
        max_pictures: In one request.
        queue: Pictures that may wait; when it is full, requests are answered with 429.
        batch_size: Pictures that are recognized together at the most.
        batch_wait: Seconds to wait for more pictures before a batch is begun.
        timeout: Seconds until a request that is not answered is given up.
        idle_unload: Seconds without requests after which a model is unloaded; 0: never.
        threads: Of each model; ``None``: all processors.
    """

    models: dict[str, str | None] = Field(default={DEFAULT_MODEL: None})
    library: Path | None = None
    allow_edits: bool = False
    api_keys: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    cors: tuple[str, ...] = ()
    allow_urls: bool = False
    max_picture_bytes: int = Field(default=30_000_000, ge=1)
    max_request_bytes: int = Field(default=100_000_000, ge=1)
    max_pixels: int = Field(default=100_000_000, ge=1)
    max_pictures: int = Field(default=32, ge=1)
    queue: int = Field(default=64, ge=1)
    batch_size: int = Field(default=8, ge=1)
    batch_wait: float = Field(default=0.005, ge=0)
    timeout: float = Field(default=30.0, gt=0)
    idle_unload: float = Field(default=600.0, ge=0)
    threads: int | None = Field(default=None, ge=1)
