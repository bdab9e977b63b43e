"""Routes of Label Studio's machine learning API: health, setup, predict, webhook."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

from fastapi import APIRouter, Request

from anytag.errors import PictureError
from anytag.service.errors import ServiceError
from anytag.service.inputs import placed, read_object
from anytag.service.models import recognizing
from anytag.service.openapi import example_body, examples

router = APIRouter(tags=["Label Studio"])

_CONFIG = (
    '<View><Image name="image" value="$image"/><Choices name="tags" toName="image" choice="multiple">'
    '<Choice value="dog"/><Choice value="beach"/></Choices></View>'
)
_SETUP = {"project": "1.1700000000", "schema": _CONFIG, "hostname": "http://localhost:8080", "access_token": ""}
_WEBHOOK = {"action": "ANNOTATION_CREATED", "project": {"id": 1}}
_PREDICT = {
    "tasks": [{"id": 1, "data": {"image": "data:image/png;base64,iVBORw0KGgo="}}],
    "label_config": _CONFIG,
    "project": "1.1700000000",
    "params": {"context": None},
}


@router.get("/health", responses=examples("label_studio_health"))
async def health(request: Request) -> dict[str, str]:
    """Health check that Label Studio makes before it connects a backend."""
    return {"status": "UP", "model_class": "anytag"}


@router.post("/setup", openapi_extra=example_body(_SETUP), responses=examples("label_studio_setup"))
async def setup(request: Request) -> dict[str, str]:
    """The model's version; Label Studio keeps it with the predictions."""
    return {"model_version": request.app.state.pool.names[0]}


@router.post("/webhook", openapi_extra=example_body(_WEBHOOK), responses=examples("label_studio_webhook"))
async def webhook(request: Request) -> dict[str, str]:
    """Acknowledge annotation events; nothing is trained."""
    return {"status": "ignored"}


@router.post("/predict", openapi_extra=example_body(_PREDICT), responses=examples("label_studio"))
async def predict(request: Request) -> dict[str, Any]:
    """Choices for every task, and captions if the labeling configuration has a text area.

    If the configuration lists choices, exactly those are scored; otherwise all tags are returned. Among several tasks,
    those with unreadable pictures have no results; for a single task, the error is returned.
    """
    given = await read_object(request)
    tasks, config = given.get("tasks"), given.get("label_config") or ""
    if tasks is None:
        raise ServiceError(400, "usage", "expected JSON with 'tasks' and 'label_config'")
    if not isinstance(tasks, list) or len(tasks) > request.app.state.settings.max_pictures:
        raise ServiceError(400, "usage", "'tasks' must be a list, and not longer than a request may be")
    if not isinstance(config, str):
        raise ServiceError(400, "usage", "'label_config' must be text: the XML of the project's labeling setup")
    controls = read_config(config)
    results: list[dict[str, Any]] = []
    for task in tasks:
        try:
            results.append(await _predict_one(request, task, controls))
        except PictureError:
            if len(tasks) == 1:
                raise
            results.append({"result": [], "score": 0.0, "model_version": request.app.state.pool.names[0]})
    return {"results": results}


async def _predict_one(request: Request, task: Any, controls: dict[str, Any]) -> dict[str, Any]:
    state = request.app.state
    data = task.get("data") if isinstance(task, dict) else None
    place = data.get(controls["field"]) if isinstance(data, dict) else None
    if not isinstance(place, str):
        raise ServiceError(400, "usage", f"a task has no picture in data.{controls['field']}")
    upload = await placed(str(task.get("id", "task")), place, state.settings)
    result: list[dict[str, Any]] = []
    score = 0.0
    if controls["choices"] is not None:
        options = {"categories": controls["categories"]} if controls["categories"] else {}
        answer = await state.ask_one(None, recognizing("tag", options), upload)
        names = [tag["name"] for tag in answer["tags"]]
        score = max((tag["score"] for tag in answer["tags"]), default=0.0)
        result.append(_entry(controls["choices"], controls["image"], "choices", {"choices": names}))
    if controls["caption"] is not None:
        answer = await state.ask_one(None, recognizing("caption", {}), upload)
        result.append(_entry(controls["caption"], controls["image"], "textarea", {"text": [answer["caption"]]}))
    return {"result": result, "score": score, "model_version": state.pool.names[0]}


def _entry(control: str, image: str, kind: str, value: dict[str, Any]) -> dict[str, Any]:
    return {"from_name": control, "to_name": image, "type": kind, "value": value}


def read_config(config: str) -> dict[str, Any]:
    """Return the fields of a labeling configuration that can be filled.

    Raises:
        ServiceError: If it is not XML, or has a document type.
    """
    if "<!DOCTYPE" in config or "<!ENTITY" in config:
        raise ServiceError(400, "usage", "label_config: document types are not read")
    try:
        root = ElementTree.fromstring(config or "<View/>")
    except ElementTree.ParseError:
        raise ServiceError(400, "usage", "label_config: is not XML") from None
    image = root.find(".//Image")
    choices, caption = root.find(".//Choices"), root.find(".//TextArea")
    if image is None:
        return {"field": "image", "image": "image", "choices": "tags", "categories": [], "caption": None}
    listed = [choice.get("value", "") for choice in (choices if choices is not None else [])]
    return {
        "field": image.get("value", "$image").removeprefix("$"),
        "image": image.get("name", "image"),
        "choices": None if choices is None else choices.get("name", "tags"),
        "categories": [name for name in listed if name],
        "caption": None if caption is None else caption.get("name", "caption"),
    }
