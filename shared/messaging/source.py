"""What a consumer asks of a log, whichever it is."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

from shared.messaging.positions import LogIdentity
from shared.messaging.records import Batch, TopicPartition

Positions = Callable[[Mapping[TopicPartition, int], Mapping[str, LogIdentity]], Awaitable[dict[TopicPartition, int]]]
"""Where to begin in each partition, given its earliest offset and which logs the topics are."""


class Source(Protocol):
    """Where records come from: a log with topics, partitions and offsets."""

    async def start(self, group: str, topics: Sequence[str], positions: Positions) -> None:
        """Reads the topics; whenever partitions are assigned, begins where `positions` says. Raises Away."""

    async def fetch(self, limit: int, wait: float) -> list[Batch]:
        """Up to `limit` records, one batch a partition; empty after about `wait` seconds without any.

        Asking again says that what the last call gave is done with. Raises Away, and OffsetOutOfRange rather than
        skip records.
        """

    async def return_to_position(self, at: TopicPartition) -> None:
        """Reads the partition on from where its position says now, if it is still assigned."""

    async def unread(self) -> dict[TopicPartition, int]:
        """How many records of each partition that is read here were never fetched. Raises Away."""

    async def report_progress(self, positions: Mapping[TopicPartition, int]) -> None:
        """Tells the log's own lag tools where the consumer stands. Nothing reads it back."""

    async def stop(self) -> None:
        """Leaves the group."""
