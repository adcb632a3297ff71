"""The AsyncAPI document tells of every event, who sends it and who hears it."""

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from openapi_schema_validator import OAS31Validator, oas31_format_checker

from services.documents.line import DocumentedLine
from shared.events import EVENT_TYPES, TOPICS
from tests.contracts.references import unresolved


@pytest.fixture(scope="module")
def document(made: Mapping[Path, str]) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(made[Path("asyncapi.json")])
    return loaded


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    assert unresolved(document) == []


def test_every_event_is_on_its_topic_and_nowhere_else(document: dict[str, Any]) -> None:
    assert sorted(document["channels"]) == sorted(TOPICS)
    found = {(topic, name) for topic, channel in document["channels"].items() for name in channel["messages"]}
    assert found == {(event_type.TOPIC, name) for name, event_type in EVENT_TYPES.items()}


def test_every_event_of_ours_is_sent_by_one_service(document: dict[str, Any]) -> None:
    sent = Counter(
        reference["$ref"].rpartition("/")[2]
        for operation in document["operations"].values()
        if operation["action"] == "send"
        for reference in operation["messages"]
    )
    assert sent == Counter(name for name in EVENT_TYPES if not name.startswith("corebanking."))


def test_every_topic_that_a_service_hears_is_among_its_operations(
    document: dict[str, Any], line: DocumentedLine
) -> None:
    for name, service in line.services.items():
        heard = {
            operation["channel"]["$ref"].rpartition("/")[2]
            for operation in document["operations"].values()
            if operation["action"] == "receive" and operation["tags"] == [{"name": name}]
        }
        assert heard == set(service.subscriptions.topics)


@pytest.mark.parametrize("name", sorted(EVENT_TYPES))
def test_an_example_is_what_its_message_says(name: str, document: dict[str, Any]) -> None:
    message = document["components"]["messages"][name]
    (example,) = message["examples"]
    for schema, value in (
        ({**document, **message["payload"]}, example["payload"]),
        (document["components"]["messageTraits"]["cloudEvent"]["headers"], example["headers"]),
    ):
        OAS31Validator(schema, format_checker=oas31_format_checker).validate(value)
