"""OpenAPI descriptions of requests that are parsed by hand, and examples of answers."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

from pydantic import BaseModel

#: An example of the answer of every route, by its name.
_EXAMPLES: dict[str, Any] = json.loads((files("anytag.service") / "examples.json").read_text(encoding="utf-8"))

#: A PNG of one pixel, in base64.
_PICTURE = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC"

_ERROR = {"error": {"kind": "not_a_picture", "message": "notes.txt: not a picture that can be read"}}

#: Errors that only some routes answer with.
_RARE = (409, 507)

_STATUSES = {
    400: "Wrong usage.",
    401: "No key, or a wrong one.",
    403: "Not allowed.",
    408: "Sent too slowly.",
    409: "Changed by somebody else, or not changeable.",
    413: "Too large.",
    415: "Not a picture.",
    422: "A picture that cannot be read.",
    429: "Too much is waiting; try again after Retry-After seconds.",
    503: "The model cannot be used now.",
    504: "Took too long.",
    507: "The disk is full.",
}


def example_body(example: dict[str, Any]) -> dict[str, Any]:
    """Describe the request body of another program's API by an example; other fields are ignored."""
    kinds: dict[type, str] = {str: "string", list: "array", dict: "object"}
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {name: {"type": kinds[type(value)]} for name, value in example.items()},
    }
    for name, value in example.items():
        if isinstance(value, list):
            schema["properties"][name]["items"] = {"type": kinds[type(value[0])]}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema, "example": example}}}}


def json_body(options: type[BaseModel]) -> dict[str, Any]:
    """Describe a request body in JSON."""
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": options.model_json_schema()}}}}


def examples(route: str, *more: int) -> dict[int | str, dict[str, Any]]:
    """Describe the answers of a route; ``more``: statuses that only some routes have."""
    content = {"application/json": {"example": _EXAMPLES[route]}}
    errors: dict[int | str, dict[str, Any]] = {
        status: {"description": text, "content": {"application/json": {"example": _ERROR}}}
        for status, text in _STATUSES.items()
        if status not in _RARE or status in more
    }
    return {200: {"description": "Done.", "content": content}, **errors}


def body(options: type[BaseModel], several: bool = False, **example: Any) -> dict[str, Any]:
    """Describe the request body of a route that takes pictures with options: as a form, raw, or as JSON."""
    schema = options.model_json_schema()
    properties, required = schema["properties"], schema.get("required", [])
    picture: dict[str, Any] = {"type": "string", "format": "binary", "description": "The picture's bytes."}
    base64: dict[str, Any] = {"type": "string", "format": "byte", "description": "The picture's bytes in base64."}
    name, given, sent = "picture", base64, picture
    shown: Any = _PICTURE
    if several:
        name, shown = "pictures", [_PICTURE, _PICTURE]
        given, sent = ({"type": "array", "items": one, "minItems": 1} for one in (base64, picture))
    parameters = [
        {"name": name, "in": "query", "required": False, "schema": value} for name, value in properties.items()
    ]
    return {
        "parameters": parameters,
        "requestBody": {
            "required": True,
            "content": {
                "multipart/form-data": {
                    "schema": {
                        "type": "object",
                        "properties": {name: sent, **properties},
                        "required": [name, *required],
                    }
                },
                "application/json": {
                    "schema": {
                        "type": "object",
                        "properties": {name: given, **properties},
                        "required": [name, *required],
                    },
                    "example": {name: shown, **example},
                },
                "application/octet-stream": {"schema": picture},
            },
        },
    }
