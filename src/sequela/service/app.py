"""The web application: what can be asked, who may ask, and how much."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, PlainTextResponse, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from sequela.discovery.explain import event_of
from sequela.errors import LogFormatError, OutOfMemoryBudgetError, SequelaError
from sequela.service.batcher import Batcher
from sequela.service.body import LimitBody
from sequela.service.explainer import Explainer, NewCase, plain_rows
from sequela.service.metrics import Metrics
from sequela.text import visible
from sequela.version import __version__

T = TypeVar("T")


@dataclass(frozen=True)
class Limits:
    """How much one request may ask.

    Attributes:
        body_bytes: Size of its body.
        events: Events of a case.
        cases: Cases of a batch.
        seconds: How long it may take, waiting included; then the answer is 503.
        waiting: Requests that may wait for the model; more are answered 503 at once.
    """

    body_bytes: int = 2_000_000
    events: int = 2_000
    cases: int = 100
    seconds: float = 30.0
    waiting: int = 100


class CaseIn(BaseModel):
    """A case to explain."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"events": ["overheat", "stop"]}]})

    events: list[str | list[str]] = Field(description="Event types in time order; a list holds all event columns.")
    times: list[float | str] | None = Field(None, description="Seconds since 1970, or text as in the log.")
    event: int | str = Field(
        -1, description="Event to explain: its position from 0, or its type if that is there once."
    )
    name: str = Field("", description="What to call the case in the answer.")


class BatchIn(BaseModel):
    """Several cases to explain."""

    model_config = ConfigDict(extra="forbid")

    cases: list[CaseIn]


def create_app(explainer: Explainer, *, limits: Limits = Limits(), token: str | None = None) -> FastAPI:
    """Return the application for a run that was opened.

    Args:
        explainer: The run.
        limits: How much one request may ask.
        token: Who asks must send it (``Authorization: Bearer TOKEN``), except for `/health`; None for nobody.
    """
    app = FastAPI(title="Sequela", version=__version__, description="Which events caused which, case by case.")
    metrics = Metrics(explainer.density)
    batcher = Batcher(explainer.answer)
    _guard(app, token, metrics)
    app.add_middleware(LimitBody, most=limits.body_bytes)

    async def in_time(work: Awaitable[T]) -> T:
        """Wait for work for as long as a request may take."""
        try:
            return await asyncio.wait_for(work, limits.seconds)
        except TimeoutError:
            raise HTTPException(
                503, f"no answer within {limits.seconds:g} s: send fewer or shorter cases, or try again later"
            ) from None

    @app.post("/explain", summary="Explain new cases", response_model=None)
    async def explain(body: CaseIn | BatchIn) -> dict[str, Any]:
        """Say why one event of a case happened: one case (`events`, …) or a batch (`cases`)."""
        given = body.cases if isinstance(body, BatchIn) else [body]
        _check(given, limits)
        cases = [NewCase(one.events, one.times, one.event, one.name) for one in given]
        if len(batcher) >= limits.waiting:
            raise HTTPException(503, f"{limits.waiting} requests are waiting already: try again later")
        prepared = await asyncio.to_thread(lambda: [explainer.prepare(one, i) for i, one in enumerate(cases)])
        answers = await in_time(batcher.ask(prepared))
        for answer in answers:
            metrics.count(answer)
        found = [answer.explanation | {"n_unknown": answer.n_unknown} for answer in answers]
        return {"cases": found} if isinstance(body, BatchIn) else found[0]

    @app.get("/cases", summary="Cases of the run")
    async def cases(
        contains: Annotated[str, Query(description="Text in the name.", max_length=200)] = "",
        offset: Annotated[int, Query(ge=0)] = 0,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    ) -> dict[str, Any]:
        """List the cases: name, events, edges."""
        import polars as pl

        table = (await asyncio.to_thread(lambda: explainer.cases)).filter(
            pl.col("case").str.contains(contains, literal=True)
        )
        return {"n_cases": table.height, "cases": table.slice(offset, limit).to_dicts()}

    @app.get("/cases/{name}", summary="One case of the run")
    async def case(name: str, event: str = "-1") -> dict[str, Any]:
        """Return the events and edges of a case, and why one of its events happened."""
        graph = await in_time(asyncio.to_thread(explainer.case, name))
        events: list[dict[str, Any]] = [{"event": kind} for kind in graph.events]
        if graph.times is not None:
            events = [own | {"time": at} for own, at in zip(events, graph.times, strict=True)]
        explanation = graph.explain(event_of(graph, event)).to_dict()
        return {"case": name, "events": events, "edges": plain_rows(graph.edges.to_dicts()), "explanation": explanation}

    @app.get("/cases/{name}/page", summary="The page of one case", response_class=HTMLResponse)
    async def case_page(name: str) -> HTMLResponse:
        """Return the interactive page of one case, whether or not the page of the run embeds it."""
        return HTMLResponse(await in_time(asyncio.to_thread(_page, explainer, name)))

    @app.get("/links", summary="Links between event types")
    async def links() -> dict[str, Any]:
        """Return the links between event types with their evidence."""
        return {"links": plain_rows((await in_time(asyncio.to_thread(explainer.links))).to_dicts())}

    @app.get("/health", summary="Whether the service is up")
    async def health() -> dict[str, Any]:
        """Return what is served."""
        record = explainer.run.record
        return {"status": "ok", "version": __version__, "log": record.source, "needs_times": explainer.needs_times}

    @app.get("/metrics", summary="Counters for Prometheus", response_class=PlainTextResponse)
    async def read_metrics() -> Response:
        """Return all counters: requests, events, unknown types, log-likelihood."""
        text, kind = metrics.text()
        return Response(text, media_type=kind)

    @app.get("/", summary="The page of the run", include_in_schema=False)
    async def page() -> FileResponse:
        """Return the page of the run."""
        return FileResponse(explainer.run.report_path, media_type="text/html")

    return app


def _page(explainer: Explainer, name: str) -> str:
    from sequela.reports.page import render
    from sequela.reports.payload import page_data

    return render(page_data(explainer.case(name), population=explainer.population))


def _check(given: list[CaseIn], limits: Limits) -> None:
    if not given:
        raise HTTPException(422, "cases must be a list of at least one case; got an empty list")
    if len(given) > limits.cases:
        raise HTTPException(413, f"a batch may hold {limits.cases} cases at most; got {len(given)}: send it in pieces")
    for number, one in enumerate(given):
        if len(one.events) > limits.events:
            raise HTTPException(
                413,
                f"cases[{number}] has {len(one.events):,} events; at most {limits.events:,} are allowed: send its end",
            )


def _guard(app: FastAPI, token: str | None, metrics: Metrics) -> None:
    """Ask for the token, count every request, and answer errors in one line."""

    @app.middleware("http")
    async def every(request: Request, go_on: Callable[[Request], Awaitable[Response]]) -> Response:
        started = time.perf_counter()
        if token is not None and request.url.path != "/health" and not _knows(request, token):
            response: Response = _error(401, "send the token of this service: Authorization: Bearer TOKEN")
        else:
            response = await go_on(request)
        route = request.scope.get("route")
        metrics.request(getattr(route, "path", "other"), response.status_code, time.perf_counter() - started)
        return response

    @app.exception_handler(SequelaError)
    async def ours(request: Request, error: SequelaError) -> JSONResponse:
        missing = isinstance(error, LogFormatError) and " has no case " in str(error)
        status = 404 if missing else 413 if isinstance(error, OutOfMemoryBudgetError) else 422
        return _error(status, str(error))

    @app.exception_handler(HTTPException)
    async def theirs(request: Request, error: HTTPException) -> JSONResponse:
        return _error(error.status_code, str(error.detail))

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        skip = ("body", "query", "path", "CaseIn", "BatchIn")
        where = ".".join(str(place) for place in first["loc"] if place not in skip) or "the body"
        if first["type"] == "json_invalid" or (where == "the body" and first["type"] == "model_attributes_type"):
            what = 'an object such as {"events": ["overheat", "stop"]}, and the header Content-Type: application/json'
            return _error(422, f"the body is not JSON: send {what}")
        return _error(422, f"{where}: {first['msg']}; see /docs for what is allowed")


def _knows(request: Request, token: str) -> bool:
    given = request.headers.get("authorization", "")
    return secrets.compare_digest(given.encode(), f"Bearer {token}".encode())


def _error(status: int, text: str) -> JSONResponse:
    return JSONResponse({"error": visible(" ".join(text.split()), longest=2000)}, status_code=status)
