"""One example of every event, written by hand, that every later version of the code must still read."""

import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
import pytest
from openapi_schema_validator import OAS31Validator, oas31_format_checker

from services.customer.use_cases.receiving import Outcome, Received, read_cloud_event
from services.documents.events import event_schema
from services.documents.golden import GOLDEN, GoldenEvent, read_golden_event
from shared.events import EVENT_TYPES, encode
from shared.messaging.records import read_event

CORE = [name for name in EVENT_TYPES if name.startswith("corebanking.")]
OURS = [name for name in EVENT_TYPES if name not in CORE]


def test_every_event_has_a_golden_example_and_every_example_an_event() -> None:
    assert {path.name for path in GOLDEN.iterdir()} == {f"{name}.json" for name in EVENT_TYPES}


@pytest.mark.parametrize("name", sorted(EVENT_TYPES))
def test_a_golden_event_is_read_from_the_wire_and_written_as_it_was(name: str) -> None:
    golden = read_golden_event(name)
    delivery = read_event(golden.record)
    assert type(delivery.event) is EVENT_TYPES[name]
    assert delivery.occurred_at == golden.occurred_at
    assert json.loads(encode(delivery.event)) == golden.cloud_event["data"]


@pytest.mark.parametrize("name", sorted(EVENT_TYPES))
def test_a_golden_event_shows_every_field(name: str) -> None:
    def check(struct: msgspec.Struct, data: dict[str, Any]) -> None:
        fields = msgspec.structs.fields(struct)
        assert {field.encode_name for field in fields} == data.keys()
        for field in fields:
            shown, value = data[field.encode_name], getattr(struct, field.name)
            assert shown is not None, field.name
            for inner, item in zip(shown, value, strict=True) if isinstance(value, tuple) else ():
                if isinstance(item, msgspec.Struct):
                    check(item, inner)

    golden = read_golden_event(name)
    check(golden.event, golden.cloud_event["data"])


@pytest.mark.parametrize("name", sorted(EVENT_TYPES))
def test_a_golden_event_is_what_its_schema_says(name: str) -> None:
    golden = read_golden_event(name)
    schema = event_schema(golden)
    OAS31Validator.check_schema(schema)
    validator = OAS31Validator(schema, format_checker=oas31_format_checker)
    validator.validate(golden.cloud_event["data"])
    for required in schema["required"]:
        without = {field: value for field, value in golden.cloud_event["data"].items() if field != required}
        assert not validator.is_valid(without), f"the schema does not miss {required}"


@pytest.mark.parametrize("name", sorted(EVENT_TYPES))
def test_a_field_that_is_not_known_yet_is_ignored(name: str) -> None:
    golden = read_golden_event(name)
    later = GoldenEvent(
        golden.event_type, {**golden.cloud_event, "data": {**golden.cloud_event["data"], "added_later": [1]}}
    )
    assert read_event(later.record).event == golden.event


@pytest.mark.parametrize("name", sorted(OURS))
def test_an_event_of_ours_names_its_publisher_and_has_an_id_of_its_instant(name: str) -> None:
    golden = read_golden_event(name)
    event_id = UUID(golden.cloud_event["id"])
    assert golden.cloud_event["source"] == golden.event.source == name.partition(".")[0]
    assert golden.cloud_event["type"] == name
    assert event_id.version == 7
    assert event_id.int >> 80 == int(golden.occurred_at.timestamp() * 1000)


@pytest.mark.parametrize("name", sorted(CORE))
def test_a_golden_event_of_the_core_is_received(name: str) -> None:
    path = GOLDEN / f"{name}.json"
    received = read_cloud_event(path.read_bytes(), received_at=datetime(2026, 11, 24, tzinfo=UTC))
    assert isinstance(received, Received)
    assert (received.outcome, received.type) == (Outcome.APPLIED, name)
    assert received.event == read_golden_event(name).event
