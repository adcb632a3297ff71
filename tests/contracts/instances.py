"""Values that a JSON Schema of an event allows, for Hypothesis."""

import string
from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

Schema = Mapping[str, Any]
UNKNOWN = st.dictionaries(st.just("not_known_yet"), st.sampled_from([None, 1, "x", [1], {"x": 1}]), max_size=1)
CHARACTERS = string.printable + "é中😀\x00"


def instances(schema: Schema, root: Schema | None = None) -> SearchStrategy[Any]:
    """In what JSON has; objects have sometimes a field more."""
    root = schema if root is None else root
    if "$ref" in schema:
        return instances(root["$defs"][schema["$ref"].removeprefix("#/$defs/")], root)
    if "anyOf" in schema:
        return st.one_of(*(instances(each, root) for each in schema["anyOf"]))
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    return _TYPES[schema["type"]](schema, root)


def _integers(schema: Schema, _: Schema) -> SearchStrategy[Any]:
    return st.integers(schema.get("minimum", -(2**63)), schema.get("maximum", 2**63 - 1))


def _numbers(schema: Schema, _: Schema) -> SearchStrategy[Any]:
    return st.floats(schema.get("minimum"), schema.get("maximum"), allow_nan=False, allow_infinity=False)


def _strings(schema: Schema, _: Schema) -> SearchStrategy[Any]:
    least, most = schema.get("minLength", 0), schema.get("maxLength")
    if "format" in schema:
        return _FORMATS[schema["format"]]
    if "pattern" in schema:
        fitting = st.from_regex(schema["pattern"], alphabet=CHARACTERS)
        return fitting.filter(lambda text: least <= len(text) <= (most or len(text)))
    return st.text(CHARACTERS, min_size=least, max_size=most)


def _arrays(schema: Schema, root: Schema) -> SearchStrategy[Any]:
    most = min(schema.get("maxItems", 3), schema.get("minItems", 0) + 3)
    return st.lists(instances(schema["items"], root), min_size=schema.get("minItems", 0), max_size=most)


def _objects(schema: Schema, root: Schema) -> SearchStrategy[Any]:
    fields = {name: instances(field, root) for name, field in schema["properties"].items()}
    always = {name: fields[name] for name in schema.get("required", ())}
    sometimes = {name: field for name, field in fields.items() if name not in always}
    known = st.fixed_dictionaries(always, optional=sometimes)
    return st.builds(lambda own, more: {**more, **own}, known, UNKNOWN)


_FORMATS: dict[str, SearchStrategy[Any]] = {
    "uuid": st.uuids().map(str),
    "date": st.dates().map(lambda day: day.isoformat()),
    "date-time": st.datetimes().map(lambda instant: f"{instant.isoformat()}Z"),
}
_TYPES = {
    "null": lambda *_: st.none(),
    "boolean": lambda *_: st.booleans(),
    "integer": _integers,
    "number": _numbers,
    "string": _strings,
    "array": _arrays,
    "object": _objects,
}
