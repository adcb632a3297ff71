"""Reads requests strictly: what no database text or number holds is refused at the door, with a pointer to it."""

import json
import re
from collections.abc import Container, Iterator
from datetime import date
from typing import Annotated, Any, NoReturn

from fastapi import Request
from pydantic import AwareDatetime, BeforeValidator
from pydantic_core import PydanticCustomError

from shared.keepable_text import is_keepable
from shared.web.problems import json_pointer
from shared.web.refusals import FieldError, InvalidInput, MalformedBody, UnsupportedMediaType


def _written_out(value: object) -> object:
    if not isinstance(value, str) or re.fullmatch(r"[+-]?[0-9.]*", value):
        raise PydanticCustomError("not_iso_8601", "Is written with hyphens, as 2026-11-24")
    return value


# Without this a number is a time since 1970: 20261124 would be a day in August of that year.
WrittenDay = Annotated[date, BeforeValidator(_written_out)]
WrittenInstant = Annotated[AwareDatetime, BeforeValidator(_written_out)]

NO_TEXT = "Holds a NUL character or a lone surrogate, which no text does"


class StrictRequest(Request):
    """Reads JSON by RFC 8259: UTF-8, no NaN and no Infinity, and only text that can be kept."""

    async def json(self) -> Any:
        """Raises MalformedBody, InvalidInput; a JSONDecodeError is left to FastAPI, which knows the position."""
        if not hasattr(self, "_json"):
            body = await self.body()
            try:
                document = json.loads(body.decode("utf-8"), parse_constant=_refuse_constant)
            except json.JSONDecodeError:
                raise
            except (ValueError, RecursionError):
                raise MalformedBody from None
            if b"\\u0000" in body or b"\\ud" in body.lower():
                refuse_unkeepable_text(document)
            self._json = document
        return self._json


def _refuse_constant(_: str) -> NoReturn:
    raise ValueError


def refuse_unkeepable_text(document: Any) -> None:
    """Raises InvalidInput that points to each text with a NUL or a lone surrogate, keys included."""
    pointers = [json_pointer(path) for path, text in _texts(document) if not is_keepable(text)]
    if pointers:
        raise InvalidInput.at(_printable(pointers[0]), "unkeepable_text", NO_TEXT)


def _printable(pointer: str) -> str:
    return "".join(character if is_keepable(character) else "\ufffd" for character in pointer)


def _texts(document: Any) -> Iterator[tuple[tuple[object, ...], str]]:
    waiting: list[tuple[tuple[object, ...], Any]] = [((), document)]
    while waiting:
        path, value = waiting.pop()
        if isinstance(value, str):
            yield path, value
        elif isinstance(value, dict):
            for key, inner in value.items():
                yield (*path, key), key
                waiting.append(((*path, key), inner))
        elif isinstance(value, list):
            waiting.extend(((*path, index), inner) for index, inner in enumerate(value))


def refuse_unkeepable_address(request: Request) -> None:
    """Raises InvalidInput for a NUL in the path or the query."""
    if "\x00" in request.scope["path"]:
        raise InvalidInput.at("", "unkeepable_text", NO_TEXT, where="path")
    if b"%00" in request.scope["query_string"]:
        raise InvalidInput.at("", "unkeepable_text", NO_TEXT, where="query")


def refuse_unknown_parameters(request: Request, known: Container[str]) -> None:
    """Raises InvalidInput: a mistyped filter would be as if it were left out, and the list that of everything."""
    unknown = dict.fromkeys(name for name in request.query_params if name not in known)
    if unknown:
        raise InvalidInput(
            [
                FieldError(where="query", pointer=json_pointer([name]), code="unknown_parameter", detail="Is not known")
                for name in unknown
            ]
        )


def refuse_encoded(request: Request) -> None:
    """Raises UnsupportedMediaType for a body that was compressed: nothing here takes it apart."""
    if request.headers.get("content-encoding", "").strip().lower() not in ("", "identity"):
        detail = "The body has a Content-Encoding; it is read as it is only."
        raise UnsupportedMediaType(detail, headers={"Accept-Encoding": "identity"})


def refuse_other_than_json(request: Request) -> None:
    """Raises UnsupportedMediaType for a body that does not say that it is JSON, or is encoded."""
    refuse_encoded(request)
    length = request.headers.get("content-length", "0")
    if length == "0" and "transfer-encoding" not in request.headers:
        return
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json" and not (
        media_type.startswith("application/") and media_type.endswith("+json")
    ):
        raise UnsupportedMediaType(headers={"Accept": "application/json"})
