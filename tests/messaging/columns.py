"""Records by columns, read at once."""

from collections.abc import Sequence

from shared.columns import padded, texts
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


def hashes_of(*parts: Sequence[str]) -> Hashes:
    """What is remembered of ids of these parts."""
    return hashes_of_columns(*(padded(texts(part)) for part in parts))
