"""OpenAPI links: which operations go on from an answer, and with what of it. They follow from paths and names."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Document = Mapping[str, Any]
JSON = "application/json"


@dataclass(frozen=True)
class _Operation:
    method: str
    path: str
    document: Mapping[str, Any]

    @property
    def name(self) -> str:
        return str(self.document["operationId"])

    @property
    def ids(self) -> list[str]:
        """Of its path."""
        return [each["name"] for each in self.document.get("parameters", ()) if each["in"] == "path"]

    @property
    def is_public(self) -> bool:
        return self.document.get("security") == []

    def asks_for(self, header: str) -> bool:
        return any(each["name"].lower() == header for each in self.document.get("parameters", ()))

    @property
    def shows_tag(self) -> bool:
        return self.asks_for("if-none-match") or self.asks_for("if-match")


def add_links(document: Document) -> None:
    """Adds to each operation's answers their links.

    What is created leads to what its new ids name. What is listed leads to what reads an item of the list or acts on
    it. What is shown with an ETag leads to what changes it.
    """
    operations = [
        _Operation(method, path, operation)
        for path, item in document["paths"].items()
        for method, operation in item.items()
    ]
    for operation in operations:
        for status, response in operation.document["responses"].items():
            if status.startswith("2") and (links := dict(_links(document, operations, operation, status, response))):
                response["links"] = dict(sorted(links.items()))


def _links(
    document: Document, operations: list[_Operation], of: _Operation, status: str, response: Mapping[str, Any]
) -> Iterator[tuple[str, dict[str, Any]]]:
    shown = _fields(document, response.get("content", {}).get(JSON, {}).get("schema", {}))
    item = _fields(document, shown.get("items", {}).get("items", {}))
    asked = {name: f"$request.path.{name}" for name in of.ids}
    for to in operations:
        if to.is_public or to is of or not to.ids:
            continue
        tag = {}
        if to.asks_for("if-match"):
            if not of.shows_tag or not to.path.startswith(of.path):
                continue
            tag, known = {"header.If-Match": "$response.header.ETag"}, asked
        elif of.method == "post" and status in ("201", "202"):
            new = {name: f"$response.body#/{name}" for name in shown if name not in of.ids}
            if to.path != of.path and not new.keys() & set(to.ids):
                continue
            known = asked | new
        elif of.method == "get" and item:
            if to.method != "get" and not (to.path.startswith(f"{of.path}/{{") and "200" in to.document["responses"]):
                continue
            listed = {name: f"$response.body#/items/0/{name}" for name in item}
            if to.path.startswith(f"{of.path}/{{{to.ids[0]}}}") and "id" in item:
                listed.setdefault(to.ids[0], "$response.body#/items/0/id")
            if not listed.keys() & set(to.ids):
                continue
            known = asked | listed
        else:
            continue
        if known.keys() >= set(to.ids):
            parameters = {f"path.{name}": known[name] for name in to.ids} | tag
            yield to.name, {"operationId": to.name, "parameters": parameters}


def _fields(document: Document, schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """An object's, by name."""
    if reference := schema.get("$ref"):
        schema = document["components"]["schemas"][reference.rpartition("/")[2]]
    fields: Mapping[str, Any] = schema.get("properties", {})
    return fields
