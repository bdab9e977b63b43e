"""The library: searching an index, and small pictures of what was found."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool

from anytag.errors import PictureError
from anytag.library.photo_library import Library
from anytag.pictures import read_picture
from anytag.service.errors import ServiceError
from anytag.service.openapi import examples

router = APIRouter(tags=["Library"])

#: Longest side of small pictures, in pixels.
_SIDE = 400


@router.get("/v1/search", responses=examples("search"))
async def search(request: Request, q: str, limit: int = 50, facets: int = 0) -> Any:
    """Photos of the library that fit a query, and why; see ``anytag search --help`` for the query."""
    library = _library(request)
    return await run_in_threadpool(_search, library, q, max(1, min(limit, 1000)), max(0, min(facets, 200)))


@router.get("/v1/facets")
async def facets(request: Request, limit: int = 50) -> Any:
    """How many photos the library has, and its most frequent tags."""
    library = _library(request)
    found = await run_in_threadpool(library.facets, max(1, min(limit, 1000)))
    total = await run_in_threadpool(len, library)
    return {"total": total, "facets": [{"name": name, "count": count} for name, count in found]}


@router.get("/v1/library/{number}/thumbnail", response_class=Response)
async def thumbnail(request: Request, number: int) -> Response:
    """A small picture of a photo in the library, by its ``id`` in the results of a search."""
    path = await run_in_threadpool(_library(request).path_of, number)
    if path is None:
        raise ServiceError(404, "not_found", f"the library has no photo {number}")
    try:
        content = await run_in_threadpool(_small, path)
    except PictureError as error:
        raise ServiceError(
            410 if error.kind == "not_found" else 422, error.kind, f"photo {number}: {error.kind}"
        ) from None
    return Response(content, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=3600"})


def _library(request: Request) -> Library:
    place: Path | None = request.app.state.settings.library
    if place is None:
        raise ServiceError(404, "library", "this service has no library; start it with --library")
    return Library(place)


def _search(library: Library, query: str, limit: int, facets: int) -> dict[str, Any]:
    found = library.search(query, limit=limit, facets=facets)
    return {
        "total": found.total,
        "hits": [hit.to_json() for hit in found.hits],
        "facets": [{"name": name, "count": count} for name, count in found.facets],
        "unknown": list(found.unknown),
    }


def _small(path: str) -> bytes:
    picture = read_picture(path, draft_size=_SIDE)
    picture.thumbnail((_SIDE, _SIDE))
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=80)
    return out.getvalue()
