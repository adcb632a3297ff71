"""References within a JSON document."""

from collections.abc import Iterator
from typing import Any


def unresolved(document: Any) -> list[str]:
    """Those that lead nowhere in the document."""
    return [reference for reference in _references(document) if not _leads_somewhere(document, reference)]


def _references(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        if isinstance(part.get("$ref"), str):
            yield part["$ref"]
        for value in part.values():
            yield from _references(value)
    elif isinstance(part, list):
        for item in part:
            yield from _references(item)


def _leads_somewhere(document: Any, reference: str) -> bool:
    root, _, pointer = reference.partition("#/")
    if root:
        return False
    for step in pointer.split("/"):
        name = step.replace("~1", "/").replace("~0", "~")
        if not isinstance(document, dict) or name not in document:
            return False
        document = document[name]
    return True
