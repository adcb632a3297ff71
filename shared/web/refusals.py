"""Refusals: each a class that knows its status and its stable code. `problems` makes answers of them.

Whoever refuses need not know of HTTP's framework: nothing of it is imported here.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, Field

Where = Literal["body", "query", "path", "header", "cookie"]


class FieldError(BaseModel):
    """One value that is not as it must be; the value itself is not repeated."""

    where: Where = Field(serialization_alias="in", examples=["body"])
    pointer: str = Field(description="JSON pointer (RFC 6901) within it", examples=["/amount_minor"])
    code: str = Field(examples=["missing"])
    detail: str = Field(examples=["Field required"])


class Problem(Exception):
    """A refusal that knows its status and its stable code.

    `detail` says what it was this time and holds nothing personal; `members` are further fields of the answer.
    """

    status: int
    code: str
    title: str
    remedy: str = "Change the request and send it again."

    def __init_subclass__(cls) -> None:
        if not all(hasattr(cls, attribute) for attribute in ("status", "code", "title")):
            raise TypeError(f"{cls.__qualname__} declares status, code and title")
        if not re.fullmatch(r"[a-z][a-z0-9_]*", cls.code) or not 400 <= cls.status <= 599:
            raise TypeError(f"{cls.__qualname__}: a code is snake_case and a status between 400 and 599")

    def __init__(self, detail: str | None = None, *, headers: Mapping[str, str] | None = None, **members: Any) -> None:
        super().__init__(self.code)
        self.detail = detail or f"{self.title}."
        self.headers = dict(headers or {})
        self.members = members


class MalformedBody(Problem):
    status, code, title = 400, "malformed_body", "The body cannot be read"
    remedy = "Send JSON (RFC 8259) in UTF-8, nested less than a thousand deep, without NaN and Infinity."


class Forbidden(Problem):
    status, code, title = 403, "forbidden", "Your role may not do this"
    remedy = "Ask somebody whose role may; the operation's description names the roles."


class NotFound(Problem):
    status, code, title = 404, "not_found", "There is nothing here"
    remedy = "Compare the path with the service's openapi.json."


class MethodNotAllowed(Problem):
    status, code, title = 405, "method_not_allowed", "The path does not know this method"
    remedy = "Use one of the methods in the Allow header."


class Conflict(Problem):
    status, code, title = 409, "conflict", "Somebody else was faster"
    remedy = "Read what is there now and decide again."


class BodyTooLarge(Problem):
    status, code, title = 413, "body_too_large", "The body is too large"
    remedy = "Send less at a time."


class UnsupportedMediaType(Problem):
    status, code, title = 415, "unsupported_media_type", "The body's media type is not understood"
    remedy = "Send application/json, or what the operation's description names, without a Content-Encoding."


class InvalidInput(Problem):
    status, code, title = 422, "invalid_input", "Values are not as they must be"
    remedy = "Correct what `errors` points to."

    def __init__(self, errors: Sequence[FieldError], *, detail: str | None = None) -> None:
        count = "One value is not as it" if len(errors) == 1 else f"{len(errors)} values are not as they"
        super().__init__(
            detail or f"{count} must be.", errors=[error.model_dump(by_alias=True) for error in errors[:100]]
        )

    @classmethod
    def at(cls, pointer: str, code: str, detail: str, *, where: Where = "body") -> "InvalidInput":
        """For one value that a rule refuses which no schema states."""
        return cls([FieldError(where=where, pointer=pointer, code=code, detail=detail)])


class UnstorableValue(Problem):
    status, code, title = 422, "unstorable_value", "A value cannot be kept"
    remedy = "Leave out NUL characters and lone surrogates, and keep numbers and dates within their type's range."


class UnexpectedError(Problem):
    status, code, title = 500, "unexpected_error", "Something went wrong here"
    remedy = "Try again; if it stays, tell those who run Branchline the trace_id."


class TryAgain(Problem):
    status, code, title = 503, "try_again", "Others were changing the same"
    remedy = "Send the same request again after the seconds in Retry-After."


class DatabaseUnavailable(Problem):
    status, code, title = 503, "database_unavailable", "The database is away or busy"
    remedy = "Send the same request again after the seconds in Retry-After."


class RequestTimeout(Problem):
    status, code, title = 503, "request_timeout", "The request took too long and nothing of it was kept"
    remedy = "Ask for less at a time, or send the same request again after the seconds in Retry-After."


class HttpError(Problem):
    """A status that only the framework raises."""

    status, code, title = 400, "http_error", "The request was refused"
