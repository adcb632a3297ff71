"""What may change of an event that others write and read already, and what needs a version beside it."""

from collections.abc import Mapping
from copy import deepcopy
from datetime import date, datetime
from itertools import product
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Meta

from services.documents.evolution import BACKWARD, FORWARD, UnknownKeyword, breaks
from tests.contracts.instances import instances

OLD: Mapping[str, Any] = {
    "type": "object",
    "required": ["id", "kind", "score", "parts"],
    "properties": {
        "id": {"type": "string", "format": "uuid"},
        "kind": {"$ref": "#/$defs/Kind"},
        "score": {"type": "integer", "minimum": 0, "maximum": 10},
        "parts": {"type": "array", "items": {"$ref": "#/$defs/Part"}, "minItems": 1, "maxItems": 50},
        "currency": {"type": "string", "pattern": "^[A-Z]{3}$", "default": "CNY"},
        "note": {"anyOf": [{"type": "string", "minLength": 1, "maxLength": 40}, {"type": "null"}], "default": None},
    },
    "$defs": {
        "Kind": {"enum": ["call", "visit"]},
        "Part": {"type": "object", "required": ["share"], "properties": {"share": {"type": "number"}}},
    },
}

BOTH = {BACKWARD, FORWARD}

CHANGES: dict[str, tuple[dict[str, Any], set[tuple[str, str]], set[str]]] = {
    "removed": ({"note": None}, {("/note", "is gone")}, {BACKWARD}),
    "retyped": ({"score": {"type": "string"}}, {("/score", "was integer, is string")}, BOTH),
    "another format": ({"id": {"type": "string", "format": "date"}}, {("/id", "format was uuid, is date")}, BOTH),
    "enum narrowed": ({"kind": {"enum": ["call"]}}, {("/kind", "enum was call, visit, is call")}, {BACKWARD}),
    "enum widened": (
        {"kind": {"enum": ["call", "mail", "visit"]}},
        {("/kind", "enum was call, visit, is call, mail, visit")},
        {FORWARD},
    ),
    "enum opened": ({"kind": {"type": "string"}}, {("/kind", "enum was call, visit, is any")}, {FORWARD}),
    "range narrowed": (
        {"score": {"type": "integer", "minimum": 1, "maximum": 9}},
        {("/score", "minimum was 0, is 1"), ("/score", "maximum was 10, is 9")},
        {BACKWARD},
    ),
    "range widened": (
        {"score": {"type": "integer", "minimum": -1}},
        {("/score", "minimum was 0, is -1"), ("/score", "maximum was 10, is none")},
        {FORWARD},
    ),
    "pattern changed": (
        {"currency": {"type": "string", "pattern": "^[A-Z]{4}$", "default": "CNY"}},
        {("/currency", "pattern was ^[A-Z]{3}$, is ^[A-Z]{4}$")},
        BOTH,
    ),
    "pattern dropped": (
        {"currency": {"type": "string", "default": "CNY"}},
        {("/currency", "pattern was ^[A-Z]{3}$, is none")},
        {FORWARD},
    ),
    "shorter": (
        {"note": {"anyOf": [{"type": "string", "minLength": 1, "maxLength": 39}, {"type": "null"}], "default": None}},
        {("/note", "maxLength was 40, is 39")},
        {BACKWARD},
    ),
    "longer": (
        {"note": {"anyOf": [{"type": "string", "maxLength": 41}, {"type": "null"}], "default": None}},
        {("/note", "maxLength was 40, is 41"), ("/note", "minLength was 1, is none")},
        {FORWARD},
    ),
    "no longer null": (
        {"note": {"type": "string", "minLength": 1, "maxLength": 40, "default": None}},
        {("/note", "was null or string, is string")},
        {BACKWARD},
    ),
    "null as well": (
        {"id": {"anyOf": [{"type": "string", "format": "uuid"}, {"type": "null"}]}},
        {("/id", "was string, is null or string")},
        {FORWARD},
    ),
    "another default": (
        {"currency": {"type": "string", "pattern": "^[A-Z]{3}$", "default": "EUR"}},
        {("/currency", "default was CNY, is EUR")},
        {BACKWARD},
    ),
    "fewer items": (
        {"parts": {**OLD["properties"]["parts"], "minItems": 2, "maxItems": 49}},
        {("/parts", "minItems was 1, is 2"), ("/parts", "maxItems was 50, is 49")},
        {BACKWARD},
    ),
    "number where an integer was": (
        {"score": {"type": "number", "minimum": 0, "maximum": 10}},
        {("/score", "was integer, is number")},
        {FORWARD},
    ),
}


def changed(fields: Mapping[str, Any]) -> dict[str, Any]:
    new = deepcopy(dict(OLD))
    for name, field in fields.items():
        if field is None:
            del new["properties"][name]
        else:
            new["properties"][name] = field
    return new


@pytest.mark.parametrize("change", CHANGES)
def test_a_break_is_named_by_where_it_is_what_it_was_and_whom_it_breaks(change: str) -> None:
    fields, expected, consequences = CHANGES[change]
    found = breaks(OLD, changed(fields), also_forward=True)
    assert {(each.pointer, each.what) for each in found} == expected
    assert {each.consequence for each in found} == consequences


@pytest.mark.parametrize("change", [name for name, (_, _, broken) in CHANGES.items() if broken == {FORWARD}])
def test_what_only_older_readers_mind_is_allowed_where_the_bank_writes_and_we_read(change: str) -> None:
    assert breaks(OLD, changed(CHANGES[change][0]), also_forward=False) == []


def test_a_new_required_field_breaks_what_was_written_and_a_new_optional_one_nobody() -> None:
    new = changed({"added": {"type": "integer"}})
    assert breaks(OLD, new, also_forward=True) == []
    new["required"] = [*OLD["required"], "added"]
    (found,) = breaks(OLD, new, also_forward=True)
    assert str(found) == f"/added: was absent, is required: {BACKWARD}"


def test_a_field_becomes_neither_required_nor_optional() -> None:
    new = {**changed({}), "required": [*OLD["required"], "note"]}
    assert [str(each) for each in breaks(OLD, new, also_forward=True)] == [
        f"/note: was optional, is required: {BACKWARD}"
    ]
    new = {**changed({}), "required": ["id", "kind", "parts"]}
    assert [str(each) for each in breaks(OLD, new, also_forward=True)] == [
        f"/score: was required, is optional: {FORWARD}"
    ]


def test_a_required_field_that_is_removed_breaks_readers_of_both_ages() -> None:
    new = {**changed({"score": None}), "required": ["id", "kind", "parts"]}
    assert [str(each) for each in breaks(OLD, new, also_forward=True)] == [
        f"/score: is gone: {BACKWARD}",
        f"/score: was required, is absent: {FORWARD}",
    ]


def test_what_is_within_arrays_and_definitions_is_compared_too() -> None:
    new = changed({})
    new["$defs"]["Part"] = {"type": "object", "required": [], "properties": {"share": {"type": "boolean"}}}
    new["$defs"]["Kind"] = {"enum": ["call", "visit"], "description": "words are free"}
    found = {(each.pointer, each.what) for each in breaks(OLD, new, also_forward=True)}
    assert found == {("/parts/-/share", "was number, is boolean"), ("/parts/-/share", "was required, is optional")}


@pytest.mark.parametrize("keyword", ["additionalProperties", "oneOf", "const", "multipleOf", "exclusiveMinimum"])
def test_a_keyword_that_nobody_has_thought_about_is_refused(keyword: str) -> None:
    new = changed({"added": {"type": "integer", keyword: 1}})
    assert breaks(OLD, new, also_forward=False) == [], "nothing reads what nobody wrote"
    new = changed({"score": {"type": "integer", "minimum": 0, "maximum": 10, keyword: 1}})
    with pytest.raises(UnknownKeyword, match=keyword):
        breaks(OLD, new, also_forward=False)


class Old(msgspec.Struct):
    share: float


class New(msgspec.Struct):
    share: int


TYPES: list[Any] = [
    int,
    float,
    bool,
    str,
    UUID,
    date,
    Annotated[datetime, Meta(tz=True)],
    Old,
    New,
    tuple[Old, ...],
    Annotated[tuple[int, ...], Meta(min_length=1)],
    Annotated[int, Meta(ge=0)],
    Annotated[int, Meta(ge=0, le=10)],
    Annotated[float, Meta(le=10)],
    Annotated[str, Meta(min_length=1)],
    Annotated[str, Meta(max_length=3)],
    Annotated[str, Meta(pattern="^[A-C]{3}$")],
    Literal["call", "visit"],
    Literal["call"],
]


def schema_of(struct: type[msgspec.Struct]) -> dict[str, Any]:
    definitions = dict(msgspec.json.schema(struct)["$defs"])
    return {**definitions.pop("Fact"), "$defs": definitions}


FACTS = [
    msgspec.defstruct("Fact", [("a", of_type | None, None) if optional else ("a", of_type)])
    for of_type in TYPES
    for optional in (False, True)
]
READABLE = [
    pair for pair in product(FACTS, repeat=2) if not breaks(schema_of(pair[0]), schema_of(pair[1]), also_forward=False)
]


@settings(max_examples=1_000, deadline=None)
@given(data=st.data(), pair=st.sampled_from(READABLE))
def test_what_is_found_compatible_is_read_by_msgspec_whatever_was_written(data: st.DataObject, pair: Any) -> None:
    old, new = pair
    written = msgspec.json.encode(data.draw(instances(schema_of(old))))
    msgspec.json.decode(written, type=new)
