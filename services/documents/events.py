"""The event reference: JSON Schemas, an AsyncAPI 3 document, and the same for reading."""

import json
from collections.abc import Iterator, Mapping
from inspect import cleandoc
from pathlib import Path
from typing import Any

import msgspec

from services.documents.golden import GoldenEvent, golden_events
from services.documents.line import GENERATED, DocumentedLine, to_json
from services.documents.words import Schemas, code, one_line, table
from shared.events import EVENT_TYPES, TOPICS, Event
from shared.service import Service

PREFIX = "#/components/schemas/"
CORE = "corebanking"

HEAD = f"""# Events

{GENERATED}

On Kafka an event is a CloudEvent 1.0 in binary mode: attributes in `ce_` headers (`ce_specversion`, `ce_id`,
`ce_type`, `ce_source`, `ce_time`), `traceparent` beside them, `content-type: application/json`, and the data below as
the value. The examples show the same event in structured JSON, with the data under `data`. Everything with one key is
in order in one partition. `corebanking.events` is the bank's: its ids and sources are its own, in any order, in either
mode.

A field that is not optional is always there. Readers ignore fields that they do not know. An event changes by optional
fields only; anything else is a `v2` beside `v1`.

For programs: [asyncapi.json](asyncapi.json), and a JSON Schema of each event in [schemas/](schemas/).
"""


def documents(line: DocumentedLine) -> Iterator[tuple[Path, str]]:
    golden = golden_events()
    for name, example in golden.items():
        yield Path("schemas") / f"{name}.json", to_json(event_schema(example))
    yield Path("asyncapi.json"), to_json(asyncapi(line, golden))
    yield Path("events.md"), "\n".join(_page(line, golden))


def event_schema(golden: GoldenEvent) -> dict[str, Any]:
    """JSON Schema 2020-12 of an event's data."""
    event_type = golden.event_type
    schema = _clean(msgspec.json.schema(event_type))
    own = schema["$defs"].pop(event_type.__name__)
    _name_instants(event_type, own)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:branchline:event:{event_type.TYPE}",
        **own,
        "examples": [golden.cloud_event["data"]],
        **({"$defs": schema["$defs"]} if schema["$defs"] else {}),
    }


def listeners(service: Service, golden: GoldenEvent) -> tuple[str, bool] | None:
    """The handler's name, and whether it minds the order among types; None when the service does not listen."""
    hot = service.subscriptions.for_records(golden.event_type.TOPIC)
    if hot is not None:
        return _name(hot.handler), False
    if not service.subscriptions.hears(golden.event_type):
        return None
    (run,) = service.subscriptions.runs([golden.delivery])
    return _name(run.subscription.handler), not run.subscription.commutative


def _name(handler: Any) -> str:
    return str(handler.__name__)


def publisher(event_type: type[Event]) -> str:
    return event_type.TYPE.partition(".")[0]


def _components() -> tuple[dict[type[Event], Mapping[str, Any]], dict[str, Any]]:
    """References to every event's schema, and the schemas."""
    types = [EVENT_TYPES[name] for name in sorted(EVENT_TYPES)]
    references, components = _clean(msgspec.json.schema_components(types, ref_template=PREFIX + "{name}"))
    for event_type, reference in zip(types, references, strict=True):
        _name_instants(event_type, components[reference["$ref"].removeprefix(PREFIX)])
    return dict(zip(types, references, strict=True)), dict(sorted(components.items()))


def _clean(part: Any) -> Any:
    """The same with docstrings that are indented in no version of Python: from 3.13 on the compiler does that."""
    if isinstance(part, dict):
        return {
            key: cleandoc(value) if key == "description" and isinstance(value, str) else _clean(value)
            for key, value in part.items()
        }
    return [_clean(item) for item in part] if isinstance(part, list | tuple) else part


def _name_instants(event_type: type[Event], schema: dict[str, Any]) -> None:
    """msgspec says of an instant only that it is a string."""
    described = msgspec.inspect.type_info(event_type)
    assert isinstance(described, msgspec.inspect.StructType)
    for field in described.fields:
        part = schema["properties"][field.encode_name]
        kinds = field.type.types if isinstance(field.type, msgspec.inspect.UnionType) else (field.type,)
        for kind, each in zip(kinds, part.get("anyOf", [part]), strict=True):
            if isinstance(kind, msgspec.inspect.DateTimeType):
                each["format"] = "date-time"


def asyncapi(line: DocumentedLine, golden: Mapping[str, GoldenEvent]) -> dict[str, Any]:
    references, schemas = _components()
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Branchline: events",
            "version": "1",
            "description": "What the services tell each other, and what a bank's core tells the customer service."
            " CloudEvents 1.0 over Kafka, binary mode.",
        },
        "defaultContentType": "application/json",
        "channels": {
            topic: {
                "address": topic,
                "description": _topic_in_words(topic, golden),
                "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in _on(topic, golden)},
                "bindings": {
                    "kafka": {"topic": topic, "partitions": line.platform.partitions, "bindingVersion": "0.5.0"}
                },
            }
            for topic in TOPICS
        },
        "operations": dict(_operations(line, golden)),
        "components": {
            "messages": {name: _message(each, references[each.event_type]) for name, each in golden.items()},
            "messageTraits": {"cloudEvent": _CLOUD_EVENT},
            "schemas": schemas,
        },
    }


def _operations(line: DocumentedLine, golden: Mapping[str, GoldenEvent]) -> Iterator[tuple[str, dict[str, Any]]]:
    for service_name, service in line.services.items():
        for topic in TOPICS:
            here = _on(topic, golden)
            sent = [name for name, each in here.items() if publisher(each.event_type) == service_name]
            heard = [name for name, each in here.items() if listeners(service, each)]
            for action, names, verb in (("send", sent, "publishes"), ("receive", heard, "listens to")):
                if names:
                    yield (
                        f"{service_name}-{action}-{topic.replace('.', '-')}",
                        {
                            "action": action,
                            "channel": {"$ref": f"#/channels/{topic}"},
                            "summary": f"What the {service_name} service {verb} on {topic}.",
                            "tags": [{"name": service_name}],
                            "messages": [{"$ref": f"#/channels/{topic}/messages/{name}"} for name in names],
                        },
                    )


def _message(golden: GoldenEvent, reference: Mapping[str, Any]) -> dict[str, Any]:
    event_type = golden.event_type
    return {
        "name": event_type.TYPE,
        "title": event_type.__name__,
        **({"description": one_line(event_type.__doc__)} if event_type.__doc__ else {}),
        "traits": [{"$ref": "#/components/messageTraits/cloudEvent"}],
        "payload": reference,
        "bindings": {
            "kafka": {
                "key": {"type": "string", "description": f"{golden.key.replace('`', '')}"},
                "bindingVersion": "0.5.0",
            }
        },
        "examples": [{"headers": _headers(golden), "payload": golden.cloud_event["data"]}],
    }


def _headers(golden: GoldenEvent) -> dict[str, str]:
    attributes = ("specversion", "id", "type", "source", "time")
    return {f"ce_{name}": golden.cloud_event[name] for name in attributes} | {"content-type": "application/json"}


_CLOUD_EVENT = {
    "contentType": "application/json",
    "headers": {
        "type": "object",
        "description": "CloudEvents 1.0, Kafka protocol binding, binary mode.",
        "required": ["ce_specversion", "ce_id", "ce_type", "ce_source"],
        "properties": {
            "ce_specversion": {"const": "1.0"},
            "ce_id": {
                "type": "string",
                "description": "With ce_source the event's identity; of our own events a UUID, the same whenever"
                " the same cause leads to it again.",
            },
            "ce_type": {"type": "string", "description": "`<publisher>.<fact>.v<N>`."},
            "ce_source": {"type": "string", "description": "The publisher."},
            "ce_time": {"type": "string", "format": "date-time", "description": "When it became true."},
            "content-type": {"const": "application/json"},
            "traceparent": {"type": "string", "description": "W3C Trace Context of what caused it."},
        },
    },
}


def _on(topic: str, golden: Mapping[str, GoldenEvent]) -> dict[str, GoldenEvent]:
    return {name: each for name, each in golden.items() if each.record.topic == topic}


def _topic_in_words(topic: str, golden: Mapping[str, GoldenEvent]) -> str:
    (who,) = {publisher(each.event_type) for each in _on(topic, golden).values()}
    return "What the bank's core tells." if who == CORE else f"What the {who} service tells."


def _page(line: DocumentedLine, golden: Mapping[str, GoldenEvent]) -> Iterator[str]:
    yield HEAD
    references, components = _components()
    schemas = Schemas(components, PREFIX)
    for topic in TOPICS:
        here = _on(topic, golden)
        yield from (f"## {topic}", "", _topic_in_words(topic, golden), "")
        yield from table(
            ("event", "key", "who listens"),
            [(f"[{name}](#{_anchor(name)})", each.key, _who(line, each, ", ")) for name, each in here.items()],
        )
        nested: dict[str, None] = {}
        for name, each in here.items():
            yield from (f"### {name}", "")
            if description := each.event_type.__doc__:
                yield from (cleandoc(description), "")
            yield f"{code(each.event_type.__name__)}, key {each.key}. Heard by {_heard(line, each)}."
            yield f"[JSON Schema](schemas/{name}.json)"
            yield ""
            own = schemas.name_of(references[each.event_type])
            assert own is not None
            yield from schemas.table(own)
            yield from ("```json", json.dumps(each.cloud_event, indent=2, ensure_ascii=False), "```", "")
            nested |= dict.fromkeys(table for table in schemas.tables_in(references[each.event_type]) if table != own)
        for own in nested:
            yield from (f"### {own}", "")
            if description := components[own].get("description"):
                yield from (one_line(description), "")
            yield from schemas.table(own)


def _who(line: DocumentedLine, golden: GoldenEvent, separator: str) -> str:
    return separator.join(name for name, service in line.services.items() if listeners(service, golden)) or "nobody yet"


def _heard(line: DocumentedLine, golden: GoldenEvent) -> str:
    heard = []
    for name, service in line.services.items():
        if found := listeners(service, golden):
            handler, ordered = found
            heard.append(f"{name} ({code(handler)}{', in order' if ordered else ''})")
    return ", ".join(heard) or "nobody yet"


def _anchor(heading: str) -> str:
    return heading.lower().replace(".", "")
