"""PhotoPrism's vision API for labels: ``POST /api/v1/vision/labels``."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request

from anytag import __version__
from anytag.errors import AnytagError
from anytag.service.errors import Json, ServiceError, as_service_error
from anytag.service.inputs import placed, read_object
from anytag.service.models import recognizing
from anytag.service.openapi import example_body, examples

router = APIRouter(tags=["PhotoPrism"])

#: A request as PhotoPrism sends it.
_REQUEST = {"id": "a1", "model": "anytag", "images": ["data:image/png;base64,iVBORw0KGgo="]}


@router.post("/api/v1/vision/labels", openapi_extra=example_body(_REQUEST), responses=examples("photoprism"))
async def labels(request: Request) -> Any:
    """Labels of a photo with confidence and topicality; of several views of it, the highest.

    Pictures are data URLs or, if these are allowed, web addresses. Errors are returned in PhotoPrism's form: a status
    in ``code``, and text in ``error``.
    """
    await request.body()  # An error in it is the connection's, and is answered as on any other route.
    try:
        return await _labels(request)
    except AnytagError as error:
        refused = as_service_error(error)
        headers = {} if refused.retry_after is None else {"Retry-After": str(refused.retry_after)}
        return Json({"code": refused.status, "error": str(refused), "result": {}}, refused.status, headers)


async def _labels(request: Request) -> dict[str, Any]:
    state, given = request.app.state, await read_object(request)
    if not given.get("images") and "url" not in given:
        raise ServiceError(400, "usage", "expected JSON with 'images' or 'url'")
    images = given.get("images") or [given["url"]]
    if not isinstance(images, list):
        raise ServiceError(400, "usage", "'images' must be a list")
    if len(images) > state.settings.max_pictures:
        raise ServiceError(413, "too_many", f"at most {state.settings.max_pictures} pictures go into a request")
    uploads = [await placed(f"picture {number}", image, state.settings) for number, image in enumerate(images, 1)]
    best: dict[str, float] = {}
    for answer in await state.ask(None, recognizing("tag", {}), uploads):
        if isinstance(answer, BaseException):
            raise answer
        for tag in answer["tags"]:
            if tag["kind"] in ("object", "scene"):
                best[tag["name"]] = max(tag["score"], best.get(tag["name"], 0.0))
    found = [
        {"name": name, "source": "image", "confidence": score, "topicality": score}
        for name, score in sorted(best.items(), key=lambda one: -one[1])
    ]
    return {
        "id": str(given.get("id", "")),
        "code": 200,
        "model": {"name": state.pool.names[0], "version": __version__},
        "result": {"labels": found},
    }
