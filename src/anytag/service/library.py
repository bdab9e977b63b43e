"""Routes of the library: search, thumbnails, and tags of people."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from anytag.errors import LibraryError, ModelError, PictureError, SidecarError, XmpError
from anytag.foundations.atomic_files import DISK_FULL
from anytag.library.people import MOST_KEYWORDS, PictureTags
from anytag.library.photo_library import Library
from anytag.library.search import Hits
from anytag.service.errors import ServiceError
from anytag.service.inputs import read_object, validated
from anytag.service.models import reading
from anytag.service.openapi import examples, json_body

router = APIRouter(tags=["Library"])


class EditOptions(BaseModel):
    """Body of ``PUT /v1/library/{number}/tags``."""

    model_config = ConfigDict(extra="forbid")

    people: list[str] = Field(max_length=MOST_KEYWORDS, description="All tags that people gave.")
    refused: list[str] = Field(default=[], max_length=1000, description="All tags of the model that are wrong.")
    revision: str | None = Field(
        default=None, description="Revision that was read with the tags; if they changed since, nothing is written."
    )


@router.get("/v1/search", responses=examples("search"))
async def search(request: Request, q: str = "", text: str = "", limit: int = 50, facets: int = 0) -> Any:
    """Photos of the library that match a query, and why; see ``anytag search --help`` for queries.

    With ``text``, a sentence, those that fit it best come first. Without either, the newest.
    """
    library = _library(request)
    limit, facets = max(1, min(limit, 1000)), max(0, min(facets, 200))
    if not text.strip():
        return await run_in_threadpool(_search, library, q, limit, facets)
    try:
        embedded = await request.app.state.ask_one(None, reading(text))
    except ModelError:
        raise ServiceError(400, "model", "the model of this service finds no photos by sentences") from None
    found = await run_in_threadpool(library.search_embedded, text, embedded, q.strip() or None, limit, facets)
    return _found(found, found.facets)


@router.get("/v1/facets", responses=examples("facets"))
async def facets(request: Request, limit: int = 50) -> Any:
    """The number of photos in the library, and its most frequent tags."""
    library = _library(request)
    found = await run_in_threadpool(library.facets, max(1, min(limit, 1000)))
    total = await run_in_threadpool(len, library)
    return {"total": total, "facets": [{"name": name, "count": count} for name, count in found]}


@router.get("/v1/library/{number}/thumbnail", response_class=Response)
async def thumbnail(request: Request, number: int) -> Response:
    """A small picture of a photo in the library, by its ``id`` in the results of a search."""
    try:
        content = await run_in_threadpool(_library(request).thumbnail, _known(number))
    except PictureError as error:
        raise ServiceError(
            410 if error.kind == "not_found" else 422, error.kind, f"photo {number}: {error.kind}"
        ) from None
    if content is None:
        raise ServiceError(404, "not_found", f"the library has no photo {number}")
    return Response(content, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=3600"})


@router.get("/v1/library/{number}/tags", responses=examples("library_tags"))
async def tags(request: Request, number: int) -> Any:
    """The tags of a photo in the library: the model's, and those that people gave."""
    found = await run_in_threadpool(_library(request).tags_of, _known(number))
    return _answer(request, found, number)


@router.put(
    "/v1/library/{number}/tags", openapi_extra=json_body(EditOptions), responses=examples("library_tags", 409, 507)
)
async def edit(request: Request, number: int) -> Any:
    """Set the tags that people gave a photo, and the model's that are wrong, in the XMP file beside it."""
    library = _library(request)
    if not request.app.state.settings.allow_edits:
        raise ServiceError(403, "edits", "tags cannot be changed here; start the service with --allow-edits")
    # Forms of other pages cannot send this type, and the origin of their scripts is checked.
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise ServiceError(415, "usage", "send JSON, with content-type application/json")
    edit_options = validated(await read_object(request), EditOptions)
    return _answer(request, await run_in_threadpool(_edit, library, _known(number), edit_options), number)


def _edit(library: Library, number: int, edit_options: EditOptions) -> PictureTags | None:
    try:
        return library.edit(number, edit_options.people, edit_options.refused, revision=edit_options.revision)
    except (SidecarError, XmpError) as error:
        raise ServiceError(409, error.kind, str(error)) from None
    except LibraryError:
        raise ServiceError(503, "library", "the tags are written, but searches find them only later", 5) from None
    except OSError as error:
        if error.errno in DISK_FULL:
            raise ServiceError(507, "disk", "the disk is full; the tags are as they were") from None
        raise ServiceError(403, "permission", f"the tags cannot be written ({error.strerror})") from None


def _answer(request: Request, found: PictureTags | None, number: int) -> dict[str, Any]:
    if found is None:
        raise ServiceError(404, "not_found", f"the library has no photo {number}")
    return {**found.to_json(), "editable": request.app.state.settings.allow_edits}


def _known(number: int) -> int:
    """Return a number that SQLite can store; no photo has a larger one."""
    return number if abs(number) < 1 << 63 else -1


def _library(request: Request) -> Library:
    place: Path | None = request.app.state.settings.library
    if place is None:
        raise ServiceError(404, "library", "this service has no library; start it with --library")
    state = request.app.state
    if not hasattr(state, "photo_library"):
        # Kept, since it reads names once. The first model's vocabulary provides aliases and parents of tags.
        state.photo_library = Library(place, next(iter(state.settings.models.values())))
    return cast(Library, state.photo_library)


def _search(library: Library, query: str, limit: int, facets: int) -> dict[str, Any]:
    if query.strip():
        found = library.search(query, limit=limit, facets=facets)
        counts = found.facets
    else:
        found = library.newest(limit)
        counts = tuple(library.facets(facets))
    return _found(found, counts)


def _found(found: Hits, counts: Sequence[tuple[str, int]]) -> dict[str, Any]:
    return {
        "total": found.total,
        "hits": [hit.to_json() for hit in found.hits],
        "facets": [{"name": name, "count": count} for name, count in counts],
        "unknown": list(found.unknown),
    }
