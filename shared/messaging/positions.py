"""Where a consumer stands: in its own database, moved by compare-and-set in the delivery's transaction."""

from collections.abc import Mapping
from typing import NamedTuple

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from shared.messaging.records import TopicPartition

_READ = text("select topic, partition, next_offset, cluster, topic_id from consumer_offset where topic = any(:topics)")
_BEGIN = text(
    "insert into consumer_offset (topic, partition, next_offset, cluster, topic_id)"
    " values (:topic, :partition, :offset, :cluster, :topic_id) on conflict do nothing"
)
_IDENTIFY = text(
    "update consumer_offset set topic_id = :topic_id where topic = :topic and cluster = :cluster and topic_id is null"
)
_ADVANCE = text(
    "update consumer_offset set next_offset = :next, moved_at = now()"
    " where topic = :topic and partition = :partition and next_offset = :expected returning 1"
)


class Fenced(Exception):
    """The offset is not where this consumer thought: another one has the partition now."""


class WrongLog(Exception):
    """The stored offsets are of another log: going on would skip or repeat events."""


class LogIdentity(NamedTuple):
    """Which log an offset is of: a cluster, and a topic that may have been removed and made anew in it."""

    cluster: str
    topic_id: str | None = None


async def take_positions(
    session: AsyncSession, earliest: Mapping[TopicPartition, int], logs: Mapping[str, LogIdentity]
) -> dict[TopicPartition, int]:
    """The next offset of each partition. One that was never read is written down at its earliest. Raises WrongLog."""
    positions = await _read(session, earliest, logs)
    if new := sorted(earliest.keys() - positions.keys()):
        rows = [{**at._asdict(), "offset": earliest[at], **logs[at.topic]._asdict()} for at in new]
        await session.execute(_BEGIN, rows)
        positions = await _read(session, earliest, logs)
    return positions


async def _read(
    session: AsyncSession, wanted: Mapping[TopicPartition, int], logs: Mapping[str, LogIdentity]
) -> dict[TopicPartition, int]:
    positions = {}
    unidentified = set()
    for row in (await session.execute(_READ, {"topics": sorted({at.topic for at in wanted})})).all():
        at = TopicPartition(row.topic, row.partition)
        if at not in wanted:
            continue
        log = logs[at.topic]
        if row.cluster != log.cluster or (row.topic_id and log.topic_id and row.topic_id != log.topic_id):
            raise WrongLog(f"offsets of {at.topic}/{at.partition} are of another log than the one that is there now")
        if row.topic_id is None and log.topic_id:
            unidentified.add(at.topic)
        positions[at] = row.next_offset
    for topic in sorted(unidentified):
        await session.execute(_IDENTIFY, {"topic": topic, **logs[topic]._asdict()})
    return positions


async def advance(session: AsyncSession, at: TopicPartition, *, expected: int, next_offset: int) -> None:
    """Moves the partition's offset from `expected`; raises Fenced when it is not there."""
    moved = await session.scalar(_ADVANCE, {**at._asdict(), "next": next_offset, "expected": expected})
    if moved is None:
        raise Fenced(f"{at.topic}/{at.partition} is not at {expected}")
