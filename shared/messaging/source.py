"""What a consumer asks of a log, whichever it is."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

from shared.messaging.positions import LogIdentity
from shared.messaging.records import Batch, Record, TopicPartition

Positions = Callable[[Mapping[TopicPartition, int], Mapping[str, LogIdentity]], Awaitable[dict[TopicPartition, int]]]
"""Where to begin in each partition, given its earliest offset and which logs the topics are."""

Prepare = Callable[[Sequence[Record]], Awaitable[Any]]
"""What is made of a batch's records ahead. It raises nothing."""


async def unprepared(_: Sequence[Record]) -> None: ...


class Source(Protocol):
    """Where records come from: a log with topics, partitions and offsets."""

    async def start(
        self, group: str, topics: Sequence[str], positions: Positions, prepare: Prepare = unprepared
    ) -> None:
        """Reads the topics; whenever partitions are assigned, begins where `positions` says. Raises Away.

        One that has the next batch at hand while the last is delivered may `prepare` it, one at a time.
        """

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
