"""Labels as PhotoPrism's vision API asks for them: ``POST /api/v1/vision/labels``."""

from __future__ import annotations

import json
from typing import Any

from fastapi import APIRouter, Request

from anytag import __version__
from anytag.errors import AnytagError
from anytag.service.answers import Json
from anytag.service.errors import ServiceError, as_service_error
from anytag.service.inputs import placed
from anytag.service.models import recognizing
from anytag.service.openapi import example_body, examples

router = APIRouter(tags=["PhotoPrism"])

#: A request as PhotoPrism sends it.
_REQUEST = {"id": "a1", "model": "anytag", "images": ["data:image/png;base64,iVBORw0KGgo="]}


@router.post("/api/v1/vision/labels", openapi_extra=example_body(_REQUEST), responses=examples("photoprism"))
async def labels(request: Request) -> Any:
    """Labels of a photo: names, how sure they are, and which come first; of several views of it, the surest.

    Pictures are data addresses or, where these are allowed, web addresses. Errors are told as PhotoPrism reads them:
    a status in ``code``, and text in ``error``.
    """
    body = await request.body()
    try:
        return await _labels(request.app.state, body)
    except AnytagError as error:
        refused = as_service_error(error)
        headers = {} if refused.retry_after is None else {"Retry-After": str(refused.retry_after)}
        return Json({"code": refused.status, "error": str(refused), "result": {}}, refused.status, headers)


async def _labels(state: Any, body: bytes) -> dict[str, Any]:
    try:
        given = json.loads(body)
        images = given.get("images") or [given["url"]]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ServiceError(400, "usage", "expected JSON with 'images' or 'url'") from None
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
