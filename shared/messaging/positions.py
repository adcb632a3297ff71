"""Where a consumer stands: in its own database, moved by compare-and-set in the delivery's transaction."""

from collections.abc import Collection

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from shared.messaging.records import TopicPartition

_READ = text("select topic, partition, next_offset, cluster from consumer_offset where topic = any(:topics)")
_ADVANCE = text(
    "insert into consumer_offset as o (topic, partition, next_offset, cluster)"
    " values (:topic, :partition, :next, :cluster)"
    " on conflict (topic, partition) do update set next_offset = excluded.next_offset, moved_at = now()"
    " where o.next_offset = :expected and o.cluster = :cluster returning 1"
)


class Fenced(Exception):
    """The offset is not where this consumer thought: another one has the partition now."""


class WrongLog(Exception):
    """The stored offsets are of another cluster's log: going on would skip or repeat events."""


async def read_positions(
    session: AsyncSession, assigned: Collection[TopicPartition], cluster: str
) -> dict[TopicPartition, int]:
    """The next offset of each partition that was ever read. Raises WrongLog."""
    rows = (await session.execute(_READ, {"topics": sorted({at.topic for at in assigned})})).all()
    positions = {}
    for row in rows:
        at = TopicPartition(row.topic, row.partition)
        if at in assigned:
            if row.cluster != cluster:
                raise WrongLog(f"offsets of {at.topic}/{at.partition} belong to log {row.cluster!r}, not {cluster!r}")
            positions[at] = row.next_offset
    return positions


async def advance(session: AsyncSession, at: TopicPartition, *, expected: int, next_offset: int, cluster: str) -> None:
    """Moves the partition's offset from `expected`; raises Fenced when it is not there."""
    moved = await session.scalar(
        _ADVANCE,
        {"topic": at.topic, "partition": at.partition, "next": next_offset, "expected": expected, "cluster": cluster},
    )
    if moved is None:
        raise Fenced(f"{at.topic}/{at.partition} is not at {expected}")
