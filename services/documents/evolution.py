"""Whether events are still what a release said they were: both sides of a topic are never upgraded at once.

Of our own events the new readers read what old publishers wrote (a log, an outbox, a dead letter), and old readers
what new publishers write (a rolling deployment, a bank's own consumers). Of the core's events we are readers only.
Known are the keywords that msgspec writes; any other one is refused, for nobody has thought about it here.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

Schema = Mapping[str, Any]

_ANNOTATIONS = frozenset({"$schema", "$id", "$defs", "title", "description", "examples"})
_LEAST = ("minimum", "minLength", "minItems")
_MOST = ("maximum", "maxLength", "maxItems")
_KNOWN = _ANNOTATIONS | {
    *("type", "format", "enum", "$ref", "anyOf", "properties", "required", "items", "pattern", "default"),
    *_LEAST,
    *_MOST,
}

BACKWARD = "what was written before is not read any more as it was meant"
FORWARD = "older readers refuse what is written now"


class UnknownKeyword(Exception):
    """A schema has a keyword of which it is not known what its change would break."""


class Break(NamedTuple):
    """`pointer` is into the event's data (RFC 6901), an array's items being `-`; '' is the event itself."""

    pointer: str
    what: str
    consequence: str

    def __str__(self) -> str:
        return f"{self.pointer or '/'}: {self.what}: {self.consequence}"


class _Refusal(NamedTuple):
    """What a writer may write and a reader refuses, as the two have it."""

    pointer: str
    keyword: str
    writer: object
    reader: object


def breaks(old: Schema, new: Schema, *, also_forward: bool) -> list[Break]:
    """What is broken by `new` taking the place of `old`; nothing when optional fields were added, or words changed."""
    found = [Break(pointer, what, BACKWARD) for pointer, what in _changed_meaning(_Root(old), old, _Root(new), new, "")]
    found += [
        Break(each.pointer, _in_words(each.keyword, each.writer, each.reader), BACKWARD)
        for each in _refused(_Root(old), old, _Root(new), new, "")
    ]
    if also_forward:
        found += [
            Break(each.pointer, _in_words(each.keyword, each.reader, each.writer), FORWARD)
            for each in _refused(_Root(new), new, _Root(old), old, "")
        ]
    return sorted(found)


def _in_words(keyword: str, old: object, new: object) -> str:
    return f"{keyword + ' ' if keyword else ''}was {old}, is {new}"


class _Root:
    def __init__(self, schema: Schema) -> None:
        self._definitions: Schema = schema.get("$defs", {})

    def alternatives(self, schema: Schema) -> dict[str, Schema]:
        """By JSON type; msgspec has no union with two of one type. Raises UnknownKeyword."""
        if unknown := schema.keys() - _KNOWN:
            raise UnknownKeyword(", ".join(sorted(unknown)))
        if "$ref" in schema:
            return self.alternatives(self._definitions[schema["$ref"].removeprefix("#/$defs/")])
        if "anyOf" in schema:
            found: dict[str, Schema] = {}
            for each in schema["anyOf"]:
                found |= self.alternatives(each)
            return found
        kinds = {_kind(value) for value in schema["enum"]} if "enum" in schema else {schema.get("type", "any")}
        if len(kinds) > 1 or not isinstance(next(iter(kinds)), str):
            raise UnknownKeyword("several types at once")
        return {kinds.pop(): schema}


def _kind(value: object) -> str:
    return "string" if isinstance(value, str) else "integer" if isinstance(value, int) else type(value).__name__


def _refused(w_root: _Root, writer: Schema, r_root: _Root, reader: Schema, pointer: str) -> Iterator[_Refusal]:
    readable = r_root.alternatives(reader)
    for kind, written in w_root.alternatives(writer).items():
        read = readable.get(kind) or readable.get("any")
        if kind == "integer" and read is None:
            read = readable.get("number")
        if read is None:
            yield _Refusal(pointer, "", _types(w_root, writer), _types(r_root, reader))
            continue
        yield from _narrower(written, read, pointer)
        if kind == "object" and "properties" in read:
            yield from _fields(w_root, written, r_root, read, pointer)
        if kind == "array" and "items" in read:
            if "items" not in written:
                yield _Refusal(f"{pointer}/-", "", "anything", _types(r_root, read["items"]))
            else:
                yield from _refused(w_root, written["items"], r_root, read["items"], f"{pointer}/-")


def _types(root: _Root, schema: Schema) -> str:
    return " or ".join(sorted(root.alternatives(schema)))


def _narrower(written: Schema, read: Schema, pointer: str) -> Iterator[_Refusal]:
    for keyword, sign in (*((name, 1) for name in _LEAST), *((name, -1) for name in _MOST)):
        if keyword in read and (
            "enum" in written or written.get(keyword) is None or sign * written[keyword] < sign * read[keyword]
        ):
            yield _Refusal(pointer, keyword, written.get(keyword, "none"), read[keyword])
    for keyword in ("pattern", "format"):
        if keyword in read and written.get(keyword) != read[keyword]:
            yield _Refusal(pointer, keyword, written.get(keyword, "none"), read[keyword])
    if "enum" in read:
        more = "any" if "enum" not in written else _listed(set(written["enum"]) - set(read["enum"]))
        if more:
            yield _Refusal(pointer, "enum", _listed(written.get("enum", ["any"])), _listed(read["enum"]))


def _listed(values: Any) -> str:
    return ", ".join(sorted(map(str, values)))


def _fields(w_root: _Root, writer: Schema, r_root: _Root, reader: Schema, pointer: str) -> Iterator[_Refusal]:
    always = set(writer.get("required", ()))
    for name, field in reader["properties"].items():
        here = f"{pointer}/{name}"
        written = writer.get("properties", {}).get(name)
        if name in reader.get("required", ()) and name not in always:
            yield _Refusal(here, "", "absent" if written is None else "optional", "required")
        if written is not None:
            yield from _refused(w_root, written, r_root, field, here)


def _changed_meaning(o_root: _Root, old: Schema, n_root: _Root, new: Schema, pointer: str) -> Iterator[tuple[str, str]]:
    """What is decoded without a fault, and is something else."""
    after = n_root.alternatives(new)
    for kind, before in o_root.alternatives(old).items():
        now = after.get(kind, {})
        fields = now.get("properties", {})
        for name, field in before.get("properties", {}).items():
            here = f"{pointer}/{name}"
            if name not in fields:
                yield here, "is gone"
                continue
            later = fields[name]
            optional = name not in before.get("required", ()) and name not in now.get("required", ())
            if optional and field.get("default") != later.get("default"):
                yield here, _in_words("default", field.get("default"), later.get("default"))
            yield from _changed_meaning(o_root, field, n_root, later, here)
        if "items" in before and "items" in now:
            yield from _changed_meaning(o_root, before["items"], n_root, now["items"], f"{pointer}/-")
