"""Labels as PhotoPrism's vision API asks for them: ``POST /api/v1/vision/labels``."""

from __future__ import annotations

import json
from typing import Any

from fastapi import APIRouter, Request

from anytag import __version__
from anytag.service.errors import ServiceError
from anytag.service.inputs import decoded, fetched
from anytag.service.models import tag_work

router = APIRouter(tags=["PhotoPrism"])


@router.post("/api/v1/vision/labels")
async def labels(request: Request) -> dict[str, Any]:
    """Labels of every picture: names, how sure they are, and which come first.

    Pictures are data addresses or, where these are allowed, web addresses.
    """
    try:
        given = json.loads(await request.body())
        images = given.get("images") or [given["url"]]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ServiceError(400, "usage", "expected JSON with 'images' or 'url'") from None
    state = request.app.state
    if not isinstance(images, list) or len(images) > state.settings.max_pictures:
        raise ServiceError(413, "too_many", f"at most {state.settings.max_pictures} pictures go into a request")
    uploads = [
        decoded(f"picture {number}", image)
        if isinstance(image, str) and image.startswith("data:")
        else await fetched(image, state.settings)
        for number, image in enumerate(images, 1)
    ]
    found: list[dict[str, Any]] = []
    for answer in await state.ask(None, ("tag", "{}"), tag_work({}), uploads):
        if isinstance(answer, BaseException):
            raise answer
        found += [
            {"name": tag["name"], "source": "image", "confidence": tag["score"], "topicality": tag["score"]}
            for tag in answer["tags"]
            if tag["kind"] in ("object", "scene")
        ]
    return {
        "id": str(given.get("id", "")),
        "model": {"name": state.pool.names[0], "version": __version__},
        "result": {"labels": found},
    }
