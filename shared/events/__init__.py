"""The published language: every event, declared once, one module per publisher."""

from shared.events import corebanking, customer, interaction, notification, scoring
from shared.events.base import CustomerEvent, Delivery, Event, Undecodable, concrete_events, decode, encode

EVENT_TYPES: dict[str, type[Event]] = {event_type.TYPE: event_type for event_type in concrete_events()}
TOPICS: tuple[str, ...] = tuple(sorted({event_type.TOPIC for event_type in EVENT_TYPES.values()}))

__all__ = [
    "EVENT_TYPES",
    "TOPICS",
    "CustomerEvent",
    "Delivery",
    "Event",
    "Undecodable",
    "corebanking",
    "customer",
    "decode",
    "encode",
    "interaction",
    "notification",
    "scoring",
]
