"""Parse HTTP requests into pictures and options: multipart forms, raw bytes, or JSON with base64."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, ValidationInfo
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from anytag.foundations.settings import first_error
from anytag.language.tags.name_files import split_names
from anytag.recognition import TagKind
from anytag.service.addresses import fetch
from anytag.service.errors import ServiceError
from anytag.service.models import Upload
from anytag.service.settings import ServiceSettings

#: Keep pictures in memory, which the size limit of requests bounds.
MultiPartParser.spool_max_size = 1 << 40

#: Fields that hold pictures.
_PICTURES = ("picture", "pictures", "url", "urls")


def _split(value: Any, info: ValidationInfo) -> Any:
    """Split comma-separated text of query parameters and forms; JSON contains lists."""
    if isinstance(value, str):
        value = [value]
    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        return [name for part in value for name in split_names(part, info.field_name or "list")]
    return value


Names = Annotated[list[str], BeforeValidator(_split)]


class _Options(BaseModel):
    model_config = ConfigDict(extra="forbid")

    model: str | None = Field(default=None, description="Name of a model; the default one if not given.")

    def for_model(self) -> dict[str, Any]:
        """Return the options that the recognizer takes."""
        return {name: value for name, value in self if name != "model" and value is not None}


class _Selection(_Options):
    kinds: Annotated[list[TagKind], BeforeValidator(_split)] | None = None
    threshold: float | None = Field(default=None, ge=0, le=1)
    top: int | None = Field(default=None, ge=1)


class TagOptions(_Selection):
    """Options of ``/v1/tag``, as on the command line."""

    categories: Names | None = Field(default=None, description="Look for exactly these: any words.")


class CaptionOptions(_Selection):
    """Options of ``/v1/caption``."""

    tags: Names | None = Field(default=None, description="Tags that the caption should mention.")
    num_beams: int | None = Field(default=None, ge=1, le=16)
    sample: bool | None = Field(default=None, description="Sample a caption instead of searching for the best.")
    seed: int | None = Field(default=None, ge=0, lt=1 << 63, description="Random seed for sample.")


class MatchOptions(_Options):
    """Options of ``/v1/match``."""

    texts: Annotated[list[str], BeforeValidator(lambda value: [value] if isinstance(value, str) else value)] = Field(
        min_length=1, max_length=100
    )


class LocateOptions(_Options):
    """Options of ``/v1/locate``."""

    tag: str = Field(min_length=1, max_length=200)


class EmbedOptions(_Options):
    """Options of ``/v1/embed``."""


class BatchOptions(TagOptions, CaptionOptions):
    """Options of ``/v1/batch``: those of ``tag`` or, with ``do=caption``, of ``caption``."""

    do: Literal["tag", "caption"] = "tag"


Options = TypeVar("Options", bound=BaseModel)
PictureOptions = TypeVar("PictureOptions", bound=_Options)


async def read_request(
    request: Request, settings: ServiceSettings, form: type[PictureOptions]
) -> tuple[list[Upload], PictureOptions]:
    """Read the pictures and the options of a request.

    Raises:
        ServiceError: If it is malformed, or contains no picture or too many.
    """
    encoding = request.headers.get("content-encoding", "identity")
    if encoding != "identity":
        raise ServiceError(415, "encoding", f"bodies are read as they are, not with content-encoding {encoding}")
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    given: dict[str, Any] = {}
    for name, value in request.query_params.multi_items():
        given.setdefault(name, []).append(value)
    if kind == "application/json":
        uploads, options = await _read_json(request, settings)
    elif kind == "multipart/form-data":
        uploads, options = await _read_form(request, settings)
    else:
        body = await request.body()
        uploads, options = [Upload("picture", body)] if body else [], {}
    given |= options
    if not uploads:
        ways = "send multipart/form-data with 'picture', its bytes, or JSON with 'picture' in base64"
        raise ServiceError(400, "usage", f"no picture: {ways}")
    if len(uploads) > settings.max_pictures:
        message = f"{len(uploads)} pictures; at most {settings.max_pictures} go into a request"
        raise ServiceError(413, "too_many", message)
    for upload in uploads:
        _check_size(upload, settings)
    return uploads, validated(given, form)


def _check_size(upload: Upload, settings: ServiceSettings) -> None:
    if len(upload.content) > settings.max_picture_bytes:
        raise ServiceError(413, "too_large", f"{upload.name}: more than {settings.max_picture_bytes:,} bytes")


def validated(given: dict[str, Any], form: type[Options]) -> Options:
    """Validate options.

    Raises:
        ServiceError: With status 400, naming the first option that is wrong.
    """
    lists = {name for name, field in form.model_fields.items() if "list" in str(field.annotation)}
    plain = {
        name: value if name in lists or not isinstance(value, list) or len(value) != 1 else value[0]
        for name, value in given.items()
    }
    try:
        return form.model_validate(plain)
    except ValidationError as error:
        location, complaint = first_error(error)
        where = ".".join(map(str, location)) or "options"
        if error.errors()[0]["type"] == "extra_forbidden":
            complaint = f"there is no such option; there are {', '.join(form.model_fields)}"
        raise ServiceError(400, "usage", f"{where}: {complaint}") from None


async def read_object(request: Request) -> dict[str, Any]:
    """Read a body that is a JSON object.

    Raises:
        ServiceError: If it is not.
    """
    try:
        record = json.loads(await request.body())
    except (ValueError, RecursionError):
        raise ServiceError(400, "usage", "the body is not JSON that can be read") from None
    if not isinstance(record, dict):
        raise ServiceError(400, "usage", "the body is JSON, but not an object")
    return record


async def _read_json(request: Request, settings: ServiceSettings) -> tuple[list[Upload], dict[str, Any]]:
    record = await read_object(request)
    uploads = [
        decoded(f"picture {number}", text) for number, text in enumerate(_several(record, "picture", "pictures"), 1)
    ]
    addresses = list(_several(record, "url", "urls"))
    if len(uploads) + len(addresses) <= settings.max_pictures:
        uploads += [await fetched(address, settings) for address in addresses]
    elif addresses:
        raise ServiceError(413, "too_many", f"at most {settings.max_pictures} pictures go into a request")
    return uploads, {name: value for name, value in record.items() if name not in _PICTURES}


def _several(record: dict[str, Any], one: str, many: str) -> Iterable[Any]:
    if record.get(one) is not None:
        yield record[one]
    values = record.get(many)
    if values is not None and not isinstance(values, list):
        raise ServiceError(400, "usage", f"{many}: must be a list")
    yield from values or []


async def placed(name: str, place: Any, settings: ServiceSettings) -> Upload:
    """Return a picture as other programs name one: in a data URL, or at a web address if these are allowed.

    Raises:
        ServiceError: If there is none, or it is too large.
    """
    if not (isinstance(place, str) and place.startswith("data:")):
        return await fetched(place, settings)
    upload = decoded(name, place)
    _check_size(upload, settings)
    return upload


def decoded(name: str, text: Any) -> Upload:
    """Decode a picture in base64 or in a data URL.

    Raises:
        ServiceError: If it is neither.
    """
    if not isinstance(text, str):
        raise ServiceError(400, "usage", f"{name}: must be text in base64")
    if text.startswith("data:"):
        text = text.partition(",")[2]
    try:
        return Upload(name, base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError):
        raise ServiceError(400, "usage", f"{name}: is not base64") from None


async def fetched(address: Any, settings: ServiceSettings) -> Upload:
    """Download a picture from a public web address.

    Raises:
        ServiceError: If addresses are not allowed, or this one cannot be read.
    """
    if not settings.allow_urls:
        raise ServiceError(403, "url", "this service fetches no addresses; it was not started with --allow-urls")
    if not isinstance(address, str):
        raise ServiceError(400, "url", "an address is text")
    content = await run_in_threadpool(fetch, address, settings.max_picture_bytes, settings.timeout)
    return Upload(address, content)


async def _read_form(request: Request, settings: ServiceSettings) -> tuple[list[Upload], dict[str, Any]]:
    options: dict[str, Any] = {}
    uploads: list[Upload] = []
    try:
        async with request.form(max_files=settings.max_pictures, max_fields=200) as form:
            for name, value in form.multi_items():
                if isinstance(value, UploadFile):
                    uploads.append(Upload(value.filename or f"picture {len(uploads) + 1}", await value.read()))
                elif name in ("url", "urls"):
                    uploads.append(await fetched(value, settings))
                else:
                    options.setdefault(name, []).append(value)
    except (MultiPartException, HTTPException) as error:
        message = error.message if isinstance(error, MultiPartException) else error.detail
        raise ServiceError(400, "usage", f"the form cannot be read: {message}") from None
    return uploads, options
