"""Settings of a service."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from anytag.foundations.settings import Settings

#: Name of the first model, which requests without a name use.
DEFAULT_MODEL = "default"


class ServiceSettings(Settings):
    """Settings of a service.

    Attributes:
        models: Model directories or hub ids by the names that requests use; ``None``: the shipped model.
        library: An index to search, if any.
        allow_edits: Whether requests may change the tags that people gave pictures of the library.
        api_keys: Keys of which every request needs one; empty: no key is needed.
        hosts: Allowed host names besides ``localhost`` and addresses, against pages elsewhere whose name was made to
            point here.
        cors: Origins whose pages may use the service.
        allow_urls: Whether requests may name pictures by public web addresses.
        max_picture_bytes: Largest picture file.
        max_request_bytes: Largest body of a request.
        max_pixels: Largest picture.
        max_pictures: Highest number of pictures in a request.
        queue: Highest number of waiting pictures; more get status 429.
        batch_size: Highest number of pictures recognized together.
        batch_wait: Seconds to wait for more pictures before a batch starts.
        timeout: Seconds until an unanswered request fails.
        idle_unload: Seconds without requests after which a model is unloaded; 0: never.
        threads: Threads of each model; ``None``: all processors.
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
