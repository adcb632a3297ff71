"""Records by columns, read at once."""

from collections.abc import Sequence

from shared.messaging.kafka_batches import HeaderLayouts, KafkaBatch, reading_columns
from shared.messaging.record_columns import RecordColumns
from shared.messaging.records import TopicPartition


def columns_of(at: TopicPartition, batches: Sequence[KafkaBatch], layouts: HeaderLayouts) -> RecordColumns:
    """Raises Unusual."""
    steps = reading_columns(at, batches, layouts)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            columns: RecordColumns = end.value
            return columns
