"""The API reference: each service's OpenAPI document as it is served, and the same for reading."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute, iter_route_contexts

from services.documents.line import GENERATED, DocumentedLine, to_json
from services.documents.words import NoExample, Schemas, code, one_line, table
from shared.service import Service
from shared.web.problems import MEDIA_TYPE
from shared.web.transaction import TransactionalRoute

HEAD = """# {title}

{description}

{generated}

For programs: [openapi/{name}.json](openapi/{name}.json), which a running service gives under
`/api/{name}/v1/openapi.json`, with a page to try it out under `/api/{name}/v1/docs`.

**Who.** A bearer token with a role. A manager sees their own portfolio and the customers that they deputise for, a
branch head their branch and those below it, head office all; another role sees no customer. Somebody else's customer is
404, like one that does not exist.

**Lists** are pages, `{{"items": [...], "next": "..." | null}}`: send `next` as `cursor` for the page that follows.

**Problems.** Every operation that asks for a token may answer {everywhere}.
An operation's own are named beside it.
"""
RFC_9110 = {"Request Entity Too Large": "Content Too Large", "Unprocessable Entity": "Unprocessable Content"}
"""What Python before 3.13 calls two statuses, and what they are called since 2022."""
PREFIX = "#/components/schemas/"
JSON_TYPES = ("application/json", "application/cloudevents+json", "application/cloudevents-batch+json")


@dataclass(frozen=True)
class Operation:
    """One method of one path. `allows` says whom the operation itself admits, where it does."""

    method: str
    path: str
    document: Mapping[str, Any]
    is_public: bool
    allows: str | None

    @property
    def name(self) -> str:
        return str(self.document["operationId"])

    @property
    def parameters(self) -> list[Mapping[str, Any]]:
        return list(self.document.get("parameters", ()))

    @property
    def bodies(self) -> Mapping[str, Mapping[str, Any]]:
        """What may be sent, by media type."""
        content: Mapping[str, Mapping[str, Any]] = self.document.get("requestBody", {}).get("content", {})
        return content

    @property
    def answers(self) -> list[tuple[str, str | None, Mapping[str, Any]]]:
        """Status, media type and content of each answer that is no refusal; no media type where there is no body."""
        found: list[tuple[str, str | None, Mapping[str, Any]]] = []
        for status, response in sorted(self.document["responses"].items()):
            if status < "400":
                found += [(status, media, content) for media, content in response.get("content", {}).items()] or [
                    (status, None, {})
                ]
        return found

    @property
    def problems(self) -> dict[str, int]:
        """The codes that it refuses with, and their statuses."""
        codes = {}
        for status, response in sorted(self.document["responses"].items()):
            for name in response.get("content", {}).get(MEDIA_TYPE, {}).get("examples", {}):
                codes[name] = int(status)
        return codes

    @property
    def description(self) -> str:
        text = str(self.document.get("description", ""))
        return text.removesuffix(self.allows).strip() if self.allows else text.strip()

    @property
    def who(self) -> str:
        if self.is_public:
            return "Everyone, without a token."
        return self.allows or "Any token; it sees what its role may see."


def documents(line: DocumentedLine) -> Iterator[tuple[Path, str]]:
    for name, app in line.apps.items():
        document = openapi(app)
        yield Path("openapi") / f"{name}.json", to_json(document)
        yield Path(f"api-{name}.md"), "\n".join(_page(line.services[name], document, operations(app, document)))


def openapi(app: FastAPI) -> dict[str, Any]:
    """The document that the service serves, each operation's answers in the order of their statuses."""
    document = app.openapi()
    for item in document["paths"].values():
        for operation in item.values():
            responses = operation["responses"] = dict(sorted(operation["responses"].items()))
            for response in responses.values():
                response["description"] = RFC_9110.get(response["description"], response["description"])
    return document


def schemas_of(document: Mapping[str, Any]) -> Schemas:
    return Schemas(document["components"]["schemas"], PREFIX)


def operations(app: FastAPI, document: Mapping[str, Any]) -> list[Operation]:
    found = []
    for route in iter_route_contexts(app.routes):
        original = route.original_route
        if not isinstance(original, APIRoute) or not route.include_in_schema:
            continue
        allows = [getattr(dependency.call, "allows", None) for dependency in route.dependant.dependencies]
        path = str(route.path_format)
        for method in sorted(route.methods or ()):
            found.append(
                Operation(
                    method,
                    path,
                    document["paths"][path][method.lower()],
                    is_public=not isinstance(original, TransactionalRoute),
                    allows=next(filter(None, allows), None),
                )
            )
    return found


def example_of(schemas: Schemas, content: Mapping[str, Any]) -> Any:
    """The example of a body or an answer, given as such or put together from its fields'. Raises NoExample."""
    if "example" in content:
        return content["example"]
    for example in content.get("examples", {}).values():
        return example["value"]
    return schemas.example(content["schema"])


def _page(service: Service, document: Mapping[str, Any], found: list[Operation]) -> Iterator[str]:
    schemas = schemas_of(document)
    guarded = [operation for operation in found if not operation.is_public]
    everywhere = {
        problem: status
        for problem, status in guarded[0].problems.items()
        if all(problem in operation.problems for operation in guarded)
    }
    yield HEAD.format(
        title=service.title,
        description=service.description,
        generated=GENERATED,
        name=service.name,
        everywhere=_problems(everywhere),
    )
    yield from table(
        ("operation", "", ""),
        [
            (f"[{each.name}](#{each.name})", code(f"{each.method} {each.path}"), _first_sentence(each.description))
            for each in found
        ],
    )
    for operation in found:
        yield from _section(schemas, operation, everywhere)
    yield from ("## Bodies", "")
    roots = [content.get("schema", {}) for each in found for content in _contents(each)]
    named = {name: None for root in roots for name in schemas.tables_in(root) if not name.startswith("Page_")}
    for name in sorted(named):
        yield from (f"### {name}", "")
        if description := schemas.named[name].get("description"):
            yield from (one_line(description), "")
        yield from schemas.table(name)


def _contents(operation: Operation) -> Iterator[Mapping[str, Any]]:
    yield from operation.bodies.values()
    yield from (content for _status, media, content in operation.answers if media)


def _section(schemas: Schemas, operation: Operation, everywhere: Mapping[str, int]) -> Iterator[str]:
    yield from (f"## {operation.name}", "", code(f"{operation.method} {operation.path}"), "", operation.description, "")
    yield from (f"**Who may:** {operation.who}", "")
    yield from table(
        ("parameter", "in", "type", "", ""),
        [
            (
                code(parameter["name"]),
                parameter["in"],
                schemas.given_in_words(parameter["schema"]) + _default(parameter["schema"]),
                "" if parameter.get("required") else "optional",
                one_line(parameter.get("description", "")),
            )
            for parameter in operation.parameters
        ],
    )
    for sent, content in operation.bodies.items():
        yield from (f"**Body**, `{sent}`: {schemas.in_words(content['schema'])}", "")
        yield from _example(schemas, sent, content)
    for status, media, content in operation.answers:
        if media is None:
            yield f"**Answer {status}:** {operation.document['responses'][status]['description']}"
        else:
            yield f"**Answer {status}**, `{media}`: {schemas.in_words(content.get('schema', {}))}"
        yield ""
        yield from _example(schemas, media, content)
    if own := {problem: status for problem, status in operation.problems.items() if problem not in everywhere}:
        yield from (f"**Problems:** {_problems(own)}.", "")


def _default(schema: Mapping[str, Any]) -> str:
    default = schema.get("default")
    return f"; {code(default)} when absent" if default not in (None, "", []) else ""


def _example(schemas: Schemas, media: str | None, content: Mapping[str, Any]) -> Iterable[str]:
    if media not in JSON_TYPES:
        return ()
    try:
        example = example_of(schemas, content)
    except NoExample:
        return ()
    return ("```json", json.dumps(example, indent=2, ensure_ascii=False), "```", "")


def _problems(codes: Mapping[str, int]) -> str:
    by_status = sorted(codes.items(), key=lambda item: (item[1], item[0]))
    return ", ".join(f"{status} [{problem}](problems.md#{problem})" for problem, status in by_status)


def _first_sentence(text: str) -> str:
    return one_line(text.partition("\n\n")[0])
