"""OpenAPI links: which operations go on from an answer, and with what of it. They follow from paths and names."""

from collections.abc import Mapping
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
            if not status.startswith("2"):
                continue
            answer = _Answer(document, operation, status, response)
            if links := {to.name: link for to in operations if (link := answer.link(to)) is not None}:
                response["links"] = dict(sorted(links.items()))


class _Answer:
    """What an operation answers, and what of it leads on: expressions by the name of the id that they give."""

    def __init__(self, document: Document, of: _Operation, status: str, response: Mapping[str, Any]) -> None:
        self._of = of
        self._creates = of.method == "post" and status in ("201", "202")
        self._shown = _fields(document, response.get("content", {}).get(JSON, {}).get("schema", {}))
        self._item = _fields(document, self._shown.get("items", {}).get("items", {}))
        self._asked = {name: f"$request.path.{name}" for name in of.ids}

    def link(self, to: _Operation) -> dict[str, Any] | None:
        """None where nothing leads there, or not to all that its path names."""
        if to.is_public or to is self._of or not to.ids:
            return None
        tag = {}
        if to.asks_for("if-match"):
            known, tag = self._to_change(to), {"header.If-Match": "$response.header.ETag"}
        elif self._creates:
            known = self._from_created(to)
        elif self._of.method == "get" and self._item:
            known = self._from_list(to)
        else:
            return None
        if not known.keys() >= set(to.ids):
            return None
        return {"operationId": to.name, "parameters": {f"path.{name}": known[name] for name in to.ids} | tag}

    def _to_change(self, to: _Operation) -> dict[str, str]:
        return self._asked if self._of.shows_tag and to.path.startswith(self._of.path) else {}

    def _from_created(self, to: _Operation) -> dict[str, str]:
        new = {name: f"$response.body#/{name}" for name in self._shown if name not in self._of.ids}
        return self._asked | new if to.path == self._of.path or new.keys() & set(to.ids) else {}

    def _from_list(self, to: _Operation) -> dict[str, str]:
        acts_on_item = to.path.startswith(f"{self._of.path}/{{") and "200" in to.document["responses"]
        if to.method != "get" and not acts_on_item:
            return {}
        listed = {name: f"$response.body#/items/0/{name}" for name in self._item}
        if to.path.startswith(f"{self._of.path}/{{{to.ids[0]}}}") and "id" in self._item:
            listed.setdefault(to.ids[0], "$response.body#/items/0/id")
        return self._asked | listed if listed.keys() & set(to.ids) else {}


def _fields(document: Document, schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """An object's, by name."""
    if reference := schema.get("$ref"):
        schema = document["components"]["schemas"][reference.rpartition("/")[2]]
    fields: Mapping[str, Any] = schema.get("properties", {})
    return fields
