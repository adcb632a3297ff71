"""What FastAPI's OpenAPI document does not know: our refusals, who may, and the headers that the route class reads."""

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

from fastapi.routing import APIRoute, RouteContext, iter_route_contexts
from starlette.routing import BaseRoute

from shared.auth.errors import (
    IdentityProviderUnavailable,
    InvalidToken,
    MissingToken,
    TokenExpired,
)
from shared.web import auditing, idempotency
from shared.web.limits import TooManyRequests
from shared.web.links import add_links
from shared.web.problems import MEDIA_TYPE, ProblemRead, problems
from shared.web.refusals import (
    BodyTooLarge,
    DatabaseUnavailable,
    FieldError,
    InvalidInput,
    MalformedBody,
    Problem,
    RequestTimeout,
    TryAgain,
    UnexpectedError,
    UnstorableValue,
    UnsupportedMediaType,
)
from shared.web.transaction import TransactionalRoute

IDEMPOTENCY_KEY: dict[str, Any] = {
    "name": idempotency.HEADER,
    "in": "header",
    "required": False,
    "schema": {"type": "string", "minLength": 1, "maxLength": 255},
    "description": "Send the same key with the same body and it is done once; later answers are the first one's,"
    " with `Idempotency-Replayed: true`. Kept for 24 hours.",
    "example": "0193a1c8-7d2e-7e3b-9a55-1f0c7a4e2b10",
}


def complete(document: dict[str, Any], routes: list[BaseRoute], problem_types_url: str) -> dict[str, Any]:
    """Adds to FastAPI's document what holds for all operations."""
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for fastapis in ("HTTPValidationError", "ValidationError"):
        schemas.pop(fastapis, None)
    for model in (ProblemRead, FieldError):
        schema = model.model_json_schema(mode="serialization", ref_template="#/components/schemas/{model}")
        schema.pop("$defs", None)
        schemas[model.__name__] = schema
    components["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}}
    document["security"] = [{"bearer": []}]
    for route in iter_route_contexts(routes):
        if isinstance(route.original_route, APIRoute) and route.include_in_schema:
            for method in route.methods or ():
                _complete_operation(document["paths"][route.path_format][method.lower()], route, problem_types_url)
    add_links(document)
    return document


def _complete_operation(operation: dict[str, Any], route: RouteContext, problem_types_url: str) -> None:
    if not route.summary:
        operation["summary"] = (route.name or "").replace("_", " ").capitalize()
    responses = operation["responses"]
    if "422" in responses and MEDIA_TYPE not in responses["422"].get("content", {}):
        del responses["422"]
    original = route.original_route
    if isinstance(original, TransactionalRoute):
        for dependency in route.dependant.dependencies:
            _add(responses, getattr(dependency.call, "responses", {}))
            if allows := getattr(dependency.call, "allows", None):
                operation["description"] = f"{operation.get('description', '')}\n\n{allows}".strip()
        for parameter in operation.get("parameters", []):
            # Optional to FastAPI only, whose 422 would come before our 428.
            if parameter["name"] == "if-match":
                parameter |= {"name": "If-Match", "required": True}
                parameter["schema"] = {"type": "string", "maxLength": 1000}
        if original.creates:
            operation.setdefault("parameters", []).append(IDEMPOTENCY_KEY)
        operation.setdefault("parameters", []).append(auditing.PARAMETER)
        _add(responses, problems(*_platform_problems(original, bool(operation.get("parameters")))))
    else:
        operation["security"] = []
    for response in responses.values():
        for content in response.get("content", {}).values():
            # FastAPI describes a stream's items in OpenAPI 3.2's words.
            if item := content.pop("itemSchema", None):
                content |= {"schema": {"type": "string"}, "x-item-schema": item}
        if content := response.get("content", {}).get(MEDIA_TYPE):
            content["schema"] = {"$ref": "#/components/schemas/ProblemRead"}
            for code, example in content["examples"].items():
                example["value"]["type"] = f"{problem_types_url}/{code}"


def _add(responses: dict[str, Any], added: dict[int | str, dict[str, Any]]) -> None:
    for status, response in added.items():
        own = responses.setdefault(str(status), {"description": response["description"]})
        if MEDIA_TYPE in response.get("content", {}):
            content = own.setdefault("content", {}).setdefault(MEDIA_TYPE, {"examples": {}})
            content["examples"] |= deepcopy(response["content"][MEDIA_TYPE]["examples"])


def _platform_problems(route: TransactionalRoute, parameters: bool) -> Iterator[type[Problem]]:
    yield from (MissingToken, InvalidToken, TokenExpired, TooManyRequests, UnexpectedError)
    yield from (IdentityProviderUnavailable, RequestTimeout, auditing.AuditUnavailable, auditing.PurposeRequired)
    if route.takes_json:
        yield from (MalformedBody, BodyTooLarge, UnsupportedMediaType)
    if route.takes_json or parameters:
        yield InvalidInput
    if route.role:
        yield from (DatabaseUnavailable, TryAgain, UnstorableValue)
    if route.creates:
        yield from (idempotency.IdempotencyKeyInFlight, idempotency.IdempotencyKeyReused, idempotency.StoredAnswerGone)
