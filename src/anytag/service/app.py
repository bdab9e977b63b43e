"""The ASGI application: routes, and error handlers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Literal

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.staticfiles import StaticFiles

from anytag import __version__
from anytag.errors import AnytagError, PictureError
from anytag.foundations.settings import first_error
from anytag.service import label_studio, library, photoprism
from anytag.service.errors import Json, ServiceError, as_service_error, error_response
from anytag.service.gate import Gate
from anytag.service.inputs import (
    BatchOptions,
    CaptionOptions,
    EmbedOptions,
    LocateOptions,
    MatchOptions,
    PictureOptions,
    TagOptions,
    read_request,
)
from anytag.service.metrics import Metrics
from anytag.service.models import EMBEDDING, VOCABULARY, Inquiry, ModelPool, Upload, locating, recognizing
from anytag.service.openapi import body, examples
from anytag.service.settings import ServiceSettings

if TYPE_CHECKING:
    from anytag.inference.recognizer import Recognizer
    from anytag.model.vocabulary import TagVocabulary


def create_app(settings: ServiceSettings | None = None, load: Callable[..., Recognizer] | None = None) -> FastAPI:
    """Create the service as an ASGI application.

    Args:
        settings: ``None``: the shipped model, for this machine only.
        load: Loads models, like :func:`anytag.load`.
    """
    settings = settings or ServiceSettings()
    metrics = Metrics()
    pool = ModelPool(settings, metrics.batch, load)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await run_in_threadpool(pool.stop)

    app = FastAPI(
        title="anytag",
        version=__version__,
        description="Tags, captions and scores of pictures. Answers are those of the command line, field for field.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        default_response_class=Json,
    )
    app.state.pool, app.state.settings, app.state.metrics = pool, settings, metrics

    async def ask(model: str | None, inquiry: Inquiry, items: Sequence[Any]) -> list[Any]:
        """Return results, with errors in place of failed ones."""
        waiting = [asyncio.wrap_future(future) for future in pool.submit(model, inquiry, items)]
        try:
            async with asyncio.timeout(settings.timeout):
                return await asyncio.gather(*waiting, return_exceptions=True)
        except TimeoutError:
            raise ServiceError(504, "timeout", f"no answer within {settings.timeout:g} seconds", 5) from None
        finally:
            for future in waiting:
                future.cancel()

    async def ask_one(model: str | None, inquiry: Inquiry, item: Any = None) -> Any:
        """Return one result, or raise its error."""
        [result] = await ask(model, inquiry, [item])
        if isinstance(result, BaseException):
            raise result
        return result

    app.state.ask, app.state.ask_one = ask, ask_one

    async def answer(request: Request, form: type[PictureOptions], inquire: Callable[[PictureOptions], Inquiry]) -> Any:
        """Answer a request with one picture."""
        uploads, options = await read_request(request, settings, form)
        if len(uploads) != 1:
            raise ServiceError(400, "usage", f"{len(uploads)} pictures; this route takes one, /v1/batch takes several")
        return await ask_one(options.model, inquire(options), uploads[0])

    @app.post("/v1/tag", openapi_extra=body(TagOptions, top=5), responses=examples("tag"))
    async def tag(request: Request) -> Any:
        """Tags of a picture, best first."""
        return await answer(request, TagOptions, lambda options: recognizing("tag", options.for_model()))

    @app.post("/v1/caption", openapi_extra=body(CaptionOptions, tags=["beach"]), responses=examples("caption"))
    async def caption(request: Request) -> Any:
        """A caption that follows the tags found, or those given."""
        return await answer(request, CaptionOptions, lambda options: recognizing("caption", options.for_model()))

    @app.post("/v1/match", openapi_extra=body(MatchOptions, texts=["a dog on a beach"]), responses=examples("match"))
    async def match(request: Request) -> Any:
        """How well texts fit a picture, and the tags that say why."""
        return await answer(request, MatchOptions, lambda options: recognizing("match", options.for_model()))

    @app.post("/v1/locate", openapi_extra=body(LocateOptions, tag="dog"), responses=examples("locate"))
    async def locate(request: Request) -> Any:
        """Where a picture shows a tag: a grid of numbers from 0 to 1, row by row."""
        return await answer(request, LocateOptions, lambda options: locating(options.tag))

    @app.post("/v1/embed", openapi_extra=body(EmbedOptions), responses=examples("embed"))
    async def embed(request: Request) -> Any:
        """A vector of length 1 that is near to those of pictures that look alike."""
        return await answer(request, EmbedOptions, lambda options: EMBEDDING)

    @app.post("/v1/batch", openapi_extra=body(BatchOptions, several=True, do="tag"), responses=examples("batch"))
    async def batch(request: Request) -> Any:
        """Tags or captions of several pictures; one that cannot be read is reported in its place."""
        uploads, options = await read_request(request, settings, BatchOptions)
        given_options = {name: value for name, value in options.for_model().items() if name != "do"}
        wrong = {"categories"} if options.do == "caption" else {"tags", "num_beams", "sample", "seed"}
        if misplaced := sorted(wrong & given_options.keys()):
            other = "tag" if options.do == "caption" else "caption"
            raise ServiceError(400, "usage", f"{misplaced[0]}: goes with do={other}")
        answers = await ask(options.model, recognizing(options.do, given_options), uploads)
        return {"results": [_with_error(answer, upload) for answer, upload in zip(answers, uploads, strict=True)]}

    @app.get("/v1/tags", responses=examples("tags"))
    async def tags(search: str = "", kind: str | None = None, limit: int = 100, model: str | None = None) -> Any:
        """The tags that a model knows, most frequent first, or those with a text in their names, in any language."""
        known = await ask_one(model, VOCABULARY)
        return await run_in_threadpool(_tags, known, search.strip(), kind, max(0, min(limit, 10_000)))

    @app.get("/v1/models", responses=examples("models"))
    async def models() -> Any:
        """The models that requests may name; the first is the default."""
        return {"models": [{"name": name, "loaded": loaded} for name, loaded in pool.loaded().items()]}

    @app.get("/healthz", responses=examples("ok"))
    async def healthz() -> Any:
        """Whether the service lives."""
        return {"status": "ok"}

    @app.get("/readyz", responses=examples("ok"))
    async def readyz() -> Any:
        """Whether it takes work: not while the queue is full."""
        if all(count >= settings.queue for count in pool.waiting().values()):
            raise ServiceError(503, "overloaded", "the queue is full", 1)
        return {"status": "ok"}

    @app.get("/metrics", response_class=PlainTextResponse)
    async def metrics_text() -> Response:
        """Figures for Prometheus."""
        return Response(metrics.text(pool), media_type="text/plain; version=0.0.4; charset=utf-8")

    app.include_router(label_studio.router)
    app.include_router(photoprism.router)
    app.include_router(library.router)
    page = files("anytag.service") / "page"
    app.mount("/page", StaticFiles(directory=str(page)), name="page")

    @app.get("/", include_in_schema=False)
    async def index() -> Response:
        return Response((page / "index.html").read_bytes(), media_type="text/html; charset=utf-8")

    _handle_errors(app)

    def answered(path: str, status: int, seconds: float) -> None:
        route = path if path.startswith("/v1/") and status != 404 else "other"
        metrics.requests.labels(route, status).inc()
        metrics.seconds.labels(route).observe(seconds)

    app.add_middleware(Gate, settings=settings, answered=answered)
    return app


def _tags(vocabulary: TagVocabulary, search: str, kind: str | None, limit: int) -> dict[str, Any]:
    ordered = sorted(vocabulary, key=lambda tag: (-tag.support, tag.id))
    found = vocabulary.search(search, len(ordered)) if search else ordered
    fitting = [tag for tag in found if kind in (None, tag.kind)]
    return {"total": len(fitting), "tags": [vocabulary.describe(tag) for tag in fitting[:limit]]}


def _with_error(answer: Any, upload: Upload) -> Any:
    """Return a result, with a picture error as JSON."""
    if isinstance(answer, PictureError):
        return {"path": upload.name, "error": {"kind": answer.kind, "message": str(answer)}}
    if isinstance(answer, BaseException):
        raise answer
    return answer


def _handle_errors(app: FastAPI) -> None:
    """Answer every error as JSON with a kind; unexpected ones without details."""

    @app.exception_handler(AnytagError)
    async def known(request: Request, error: AnytagError) -> JSONResponse:
        return error_response(as_service_error(error))

    @app.exception_handler(HTTPException)
    async def routing(request: Request, error: HTTPException) -> JSONResponse:
        kind: Literal["not_found", "usage"] = "not_found" if error.status_code == 404 else "usage"
        return error_response(ServiceError(error.status_code, kind, str(error.detail)))

    @app.exception_handler(ClientDisconnect)
    async def gone(request: Request, error: ClientDisconnect) -> Response:
        return Response(status_code=499)  # Nobody reads it, but the log and the metrics show the cause.

    @app.exception_handler(Exception)
    async def unexpected(request: Request, error: Exception) -> JSONResponse:
        return error_response(ServiceError(500, "internal", "something went wrong; see the service's log"))

    @app.exception_handler(RequestValidationError)
    async def parameters(request: Request, error: RequestValidationError) -> JSONResponse:
        where, complaint = first_error(error)
        return error_response(ServiceError(400, "usage", f"{'.'.join(map(str, where[1:]))}: {complaint}"))
