"""No type prints anybody's details: found by walking every type of the tree, those that will come too."""

import dataclasses
import inspect
import pkgutil
import traceback
from collections.abc import Iterator
from importlib import import_module
from io import StringIO
from typing import Any

import msgspec
import pytest
import structlog
from pydantic import BaseModel, ValidationError
from rich.console import Console
from sqlalchemy.orm import DeclarativeBase

import feeds
import services
import shared
from services.customer.domain.personal import PersonalDetails
from services.customer.schemas import CustomerRead
from shared.events import Undecodable, decode
from shared.events.corebanking import PartyRecorded
from shared.masking import PERSONAL, fields_of, masked
from shared.telemetry import redact

SECRET = "Lin Meiqi, Quiet Lane 7"

OF_NOBODY = {
    "BranchRecorded": "a branch's name",
    "BranchRead": "a branch's name",
    "District": "a district's name",
    "Job": "a job's name",
    "Service": "a service's name",
    "SortKey": "a column's name",
    "KeptTable": "a table's name",
    "Fact": "a number, as a survey's score",
    "NewFact": "a number, as a survey's score",
    "Field": "the name of an event's field",
    "GoldenEvent": "the examples of the documents",
}
"""Classes with such a field that is not about a customer, and of what it is instead."""


def modules() -> Iterator[Any]:
    for package in (services, shared, feeds):
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if ".migrations." not in found.name and not found.name.endswith("__main__"):
                yield import_module(found.name)


def types() -> dict[str, type]:
    """Every class that is declared there and holds fields, by module and name."""
    found = {}
    for module in modules():
        for name, cls in inspect.getmembers(module, inspect.isclass):
            if cls.__module__ == module.__name__ and (fields_of(cls) or issubclass(cls, DeclarativeBase)):
                found[f"{module.__name__}.{name}"] = cls
    return found


TYPES = types()


def filled(cls: type) -> Any:
    """One whose fields all hold the secret, whatever they are declared as."""
    values = dict.fromkeys(fields_of(cls), SECRET)
    if issubclass(cls, BaseModel):
        return cls.model_construct(None, **values)
    if issubclass(cls, msgspec.Struct):
        return cls(**values)
    if issubclass(cls, tuple):
        return cls.__new__(cls, **values)
    made = object.__new__(cls)
    for name in values:
        object.__setattr__(made, name, SECRET)
    return made


def printed(value: object) -> str:
    """In every way that something here prints a value."""
    out = StringIO()
    Console(file=out, width=10_000).print(value)
    Console(file=out, width=10_000).print([value])
    try:
        raise RuntimeError(value)
    except RuntimeError:
        out.write(traceback.format_exc())
    rendered = structlog.processors.JSONRenderer()(None, "", redact(None, "", {"value": value, "list": [value]}))
    return "\n".join([repr(value), str(value), f"{value}", out.getvalue(), str(rendered)])


HOLDING = {name: cls for name, cls in TYPES.items() if PERSONAL & set(fields_of(cls))}


def test_the_walk_finds_what_there_is() -> None:
    assert {"PartyRecorded", "PersonalDetails", "CustomerRead", "Received", "Record"} <= {
        cls.__name__ for cls in HOLDING.values()
    }


@pytest.mark.parametrize("name", sorted(HOLDING))
def test_what_holds_somebodys_details_prints_none_of_them(name: str) -> None:
    cls = HOLDING[name]
    if cls.__name__ in OF_NOBODY:
        pytest.skip(OF_NOBODY[cls.__name__])
    others = {other: "x" for other in fields_of(cls) if other not in PERSONAL}
    one = filled(cls)
    for other in others:
        if isinstance(one, msgspec.Struct):
            msgspec.structs.force_setattr(one, other, "x")
        elif isinstance(one, tuple):
            one = one._replace(**{other: "x"})  # type: ignore[attr-defined] # a named tuple's
        elif isinstance(one, BaseModel):
            one.__dict__[other] = "x"
        else:
            object.__setattr__(one, other, "x")
    assert SECRET not in printed(one)


def test_no_table_prints_its_rows() -> None:
    for cls in TYPES.values():
        if issubclass(cls, DeclarativeBase) and hasattr(cls, "__table__"):
            row = cls(**{column.key: SECRET for column in inspect_columns(cls)})
            assert SECRET not in printed(row), cls


def inspect_columns(cls: Any) -> list[Any]:
    return [column for column in cls.__mapper__.column_attrs if column.key in PERSONAL]


def test_what_is_around_a_masked_value_is_shown() -> None:
    party = PartyRecorded(party_id="P1", revision=1, customer_number="17", branch_id="B1", name=SECRET)
    assert "customer_number='17'" in repr(party)
    assert "name=…" in repr(party)
    assert repr(PersonalDetails(name=SECRET)) == "PersonalDetails(…)"


def test_what_is_wrong_with_a_value_does_not_quote_it() -> None:
    with pytest.raises(Undecodable) as refused:
        decode(PartyRecorded, msgspec.json.encode({"party_id": "P1", "revision": SECRET, "birth_on": SECRET}))
    assert SECRET not in str(refused.value)
    with pytest.raises(ValidationError) as invalid:
        CustomerRead.model_validate({"name": 1, "birth_on": SECRET, "phone": [SECRET]})
    assert SECRET not in str(invalid.value)


@dataclasses.dataclass
class _Person:
    name: str


def test_the_walk_would_notice_one_that_prints() -> None:
    assert SECRET in printed(_Person(SECRET))
    assert SECRET not in printed(masked(_Person)(SECRET))
