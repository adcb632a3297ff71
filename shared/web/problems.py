"""Refusals, as RFC 9457 problem details: how anything that goes wrong becomes one.

A service declares its own in `errors.py`, one class each, and raises them; routes name them in `responses=`.
A problem never holds a stack trace, SQL, or a value that somebody sent.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from http import HTTPStatus
from typing import Any, TypeVar

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from fastapi.routing import iter_route_contexts
from psycopg import DataError
from pydantic import BaseModel, Field
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException

from shared.telemetry import current_trace_id
from shared.web.refusals import (
    BodyTooLarge,
    Conflict,
    DatabaseUnavailable,
    FieldError,
    HttpError,
    InvalidInput,
    MalformedBody,
    MethodNotAllowed,
    NotFound,
    Problem,
    RequestTimeout,
    TryAgain,
    UnstorableValue,
    UnsupportedMediaType,
)

log = structlog.get_logger(__name__)

MEDIA_TYPE = "application/problem+json"


class ProblemRead(BaseModel):
    """RFC 9457 problem details."""

    type: str = Field(description="A URI under which this service explains the problem.")
    title: str
    status: int
    code: str = Field(description="Stable; for programs to decide by.")
    detail: str = Field(description="What it was this time.")
    trace_id: str = Field(
        examples=["0af7651916cd43dd8448eb211c80319c"], description="Finds the request in logs and traces."
    )
    errors: list[FieldError] = Field(default=[], description="For 422: each value that was refused.")


class ProblemType(BaseModel):
    """What a problem's `type` answers."""

    type: str = Field(examples=["https://branchline.bank.example/api/customer/v1/problems/not_found"])
    code: str = Field(examples=["not_found"])
    title: str = Field(examples=["There is nothing here"])
    status: int = Field(examples=[404])
    remedy: str = Field(
        examples=["Compare the path with the service's openapi.json."], description="What to do about it."
    )


def problem_types(package: str) -> dict[str, type[Problem]]:
    """The problems of a package and of the platform, by code; two of one code are a mistake."""

    def descendants(cls: type[Problem]) -> Iterator[type[Problem]]:
        for subclass in cls.__subclasses__():
            yield subclass
            yield from descendants(subclass)

    found: dict[str, type[Problem]] = {}
    for problem in descendants(Problem):
        if problem.__name__.startswith("_") or not problem.__module__.startswith((f"{package}.", "shared.")):
            continue
        if found.setdefault(problem.code, problem) is not problem:
            raise TypeError(f"{problem.__qualname__} and {found[problem.code].__qualname__}: one code for both")
    return dict(sorted(found.items()))


def problems(*types: type[Problem]) -> dict[int | str, dict[str, Any]]:
    """For a route's `responses=`: the refusals that are its own, with an example each."""
    responses: dict[int | str, dict[str, Any]] = {}
    for problem in types:
        response = responses.setdefault(
            problem.status,
            {"description": HTTPStatus(problem.status).phrase, "content": {MEDIA_TYPE: {"examples": {}}}},
        )
        example = {
            "type": problem.code,
            "title": problem.title,
            "status": problem.status,
            "detail": f"{problem.title}.",
            "code": problem.code,
            "trace_id": "0af7651916cd43dd8448eb211c80319c",
        }
        response["content"][MEDIA_TYPE]["examples"][problem.code] = {"summary": problem.title, "value": example}
    return responses


F = TypeVar("F", bound=Callable[..., Any])


def documented(*refusals: type[Problem], **further: str) -> Callable[[F], F]:
    """For a dependency: what every operation that asks for it then refuses; `further` is text to describe it with."""

    def mark(dependency: F) -> F:
        vars(dependency).update(responses=problems(*refusals), **further)
        return dependency

    return mark


def render(app: FastAPI, problem: Problem) -> Response:
    """The answer that tells of `problem`."""
    body = {
        "type": f"{app.state.problem_types_url}/{problem.code}",
        "title": problem.title,
        "status": problem.status,
        "detail": problem.detail,
        "code": problem.code,
        "trace_id": current_trace_id() or "0" * 32,
        **problem.members,
    }
    return JSONResponse(body, status_code=problem.status, headers=problem.headers, media_type=MEDIA_TYPE)


def problem_of(exception: Exception) -> Problem | None:
    """What an exception tells the caller; None for one that nobody expected."""
    match exception:
        case Problem():
            return exception
        case RequestValidationError():
            return _of_validation(exception)
        case HTTPException():
            return _of_http(exception)
        case PoolTimeout():
            return DatabaseUnavailable(headers={"Retry-After": "1"})
        case DBAPIError():
            return _of_database(exception)
    return None


_OF_STATUS: dict[int, type[Problem]] = {
    problem.status: problem
    for problem in (MalformedBody, NotFound, MethodNotAllowed, BodyTooLarge, UnsupportedMediaType)
}


def _of_http(exception: HTTPException) -> Problem:
    # FastAPI wraps whatever a body's reader raises, a problem of ours too.
    if isinstance(exception.__cause__, Problem):
        return exception.__cause__
    if known := _OF_STATUS.get(exception.status_code):
        return known(headers=exception.headers)
    phrase = HTTPStatus(exception.status_code).phrase
    other = HttpError(f"{phrase}.", headers=exception.headers)
    other.status = exception.status_code
    other.title = phrase
    return other


def _of_validation(exception: RequestValidationError) -> Problem:
    errors = exception.errors()
    if errors and errors[0]["type"] == "json_invalid":
        return MalformedBody(f"The body is not JSON from character {errors[0]['loc'][-1]} on.")
    return InvalidInput([_field_error(error) for error in errors])


def json_pointer(path: Iterable[object]) -> str:
    """RFC 6901, each step at most 100 characters."""
    return "".join("/" + str(step)[:100].replace("~", "~0").replace("/", "~1") for step in path)


def _field_error(error: Mapping[str, Any]) -> FieldError:
    where, *path = error["loc"]
    code = str(error["type"])
    detail = str(error["msg"]).removeprefix("Value error, ").removeprefix("Assertion failed, ")
    # These texts quote what was sent.
    if code.endswith("_parsing") or code.startswith("url_") or code == "union_tag_invalid":
        detail = f"Input cannot be read as {code.split('_')[0]}"
    elif code in ("value_error", "assertion_error") and (sent := str(error.get("input"))) and sent in detail:
        detail = "Input is not as it must be"
    return FieldError(where=where, pointer=json_pointer(path), code=code, detail=detail)


def _of_database(exception: DBAPIError) -> Problem | None:
    """Only what a request or the moment is to blame for. The texts stay here: they quote rows."""
    sqlstate = getattr(exception.orig, "sqlstate", None) or ""
    cut_off = exception.connection_invalidated or (not sqlstate and isinstance(exception, OperationalError))
    if cut_off or sqlstate[:2] in ("08", "53") or sqlstate in ("57P01", "57P02", "57P03"):
        return DatabaseUnavailable(headers={"Retry-After": "2"})
    if sqlstate in ("40001", "40P01", "55P03"):
        return TryAgain(headers={"Retry-After": "1"})
    if sqlstate == "57014":
        return RequestTimeout(headers={"Retry-After": "1"})
    if sqlstate in ("23505", "23P01"):
        return Conflict()
    # Numbers and dates out of range, characters that no database text holds; psycopg itself refuses NUL.
    if sqlstate in ("22003", "22008", "22021", "22P05") or (not sqlstate and isinstance(exception.orig, DataError)):
        return UnstorableValue()
    return None


def literal_paths(app: FastAPI) -> dict[str, set[str]]:
    """The paths without a parameter, and their methods: `/inbox/count` is never an item with that id."""
    found: dict[str, set[str]] = {}
    for context in iter_route_contexts(app.routes):
        path = context.path_format
        if path is not None and "{" not in path:
            found.setdefault(path, set()).update(context.methods or ())
    return found


def refuse_method_of_literal_path(request: Request) -> None:
    """Raises MethodNotAllowed where the path is another operation's to the letter, which knows other methods."""
    methods = request.app.state.literal_paths.get(request.scope["path"])
    if methods and request.method not in methods:
        raise MethodNotAllowed


def _methods(request: Request) -> set[str]:
    """What the path knows; the framework names the methods of one of its operations only."""
    literal: set[str] | None = request.app.state.literal_paths.get(request.scope["path"])
    return literal or {
        method
        for context in iter_route_contexts(request.app.routes)
        if context.path_regex.match(request.scope["path"])
        for method in context.methods or ()
    }


def install_problem_handlers(app: FastAPI) -> None:
    """Makes every exception that is raised below the middleware a problem, the unexpected ones excepted."""

    async def answer(request: Request, exception: Exception) -> Response:
        problem = problem_of(exception)
        if problem is None:
            raise exception
        if problem.status == 405:
            problem.headers["Allow"] = ", ".join(sorted(_methods(request)))
        if problem.status >= 500:
            log.warning("refused", code=problem.code, exc_info=exception)
        return render(request.app, problem)

    for kind in (Problem, RequestValidationError, HTTPException, PoolTimeout, DBAPIError):
        app.add_exception_handler(kind, answer)
