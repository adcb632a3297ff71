"""Records by columns, read at once; and their events as each is by itself."""

from collections.abc import Sequence
from typing import TypeVar

from shared.columns import padded, texts
from shared.events import Event, Undecodable, decode
from shared.messaging.kafka_batches import HeaderLayouts, KafkaBatch, reading_columns
from shared.messaging.record_columns import RecordColumns
from shared.messaging.records import TopicPartition
from shared.messaging.seen import Hashes, hashes_of_columns


def columns_of(at: TopicPartition, batches: Sequence[KafkaBatch], layouts: HeaderLayouts) -> RecordColumns:
    """Raises Unusual."""
    steps = reading_columns(at, batches, layouts)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            columns: RecordColumns = end.value
            return columns


E = TypeVar("E", bound=Event)


def decode_each(event_type: type[E], payloads: Sequence[bytes | None]) -> tuple[list[E], dict[int, Undecodable]]:
    """The events, in order; and what is wrong with what is none, by its index among the payloads."""
    decoded: list[E] = []
    faults: dict[int, Undecodable] = {}
    for at, payload in enumerate(payloads):
        try:
            decoded.append(decode(event_type, payload or b""))
        except Undecodable as fault:
            faults[at] = fault
    return decoded, faults


def hashes_of(*parts: Sequence[str]) -> Hashes:
    """What is remembered of ids of these parts."""
    return hashes_of_columns(*(padded(texts(part)) for part in parts))
