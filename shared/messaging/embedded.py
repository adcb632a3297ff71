"""The embedded transport: a log in a database of its own, with Kafka's shape (topic, partition, offset, retention).

Relay, consumer, positions and fencing are the same code as on Kafka; only where records come from differs.
"""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from typing import NoReturn

import msgspec
from aiokafka.partitioner import murmur2
from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from shared.copying import copy_rows
from shared.messaging.consumer import Positions
from shared.messaging.records import Batch, Headers, Outgoing, Record, TopicPartition

PARTITIONS = 4

_SCHEMA = (
    "create table if not exists log_identity ("
    " id uuid primary key default gen_random_uuid(), one boolean not null default true unique check (one))",
    "insert into log_identity default values on conflict (one) do nothing",
    "create table if not exists topic_partition ("
    " topic text, partition integer, earliest_offset bigint not null default 0, next_offset bigint not null default 0,"
    " primary key (topic, partition))",
    'create table if not exists record (topic text, partition integer, "offset" bigint, key bytea, value bytea,'
    " headers bytea not null, appended_at timestamptz not null default now(),"
    ' primary key (topic, partition, "offset"))',
    "create index if not exists ix_record_appended_at on record using brin (appended_at)",
)
_COLUMNS = {
    "topic": "text",
    "partition": "int4",
    "offset": "int8",
    "key": "bytea",
    "value": "bytea",
    "headers": "bytea",
}
_RESERVE = text(
    "update topic_partition set next_offset = next_offset + :count"
    " where topic = :topic and partition = :partition returning next_offset - :count"
)
_NEWS = text("select topic, partition, earliest_offset, next_offset from topic_partition where topic = any(:topics)")
_READ = text(
    'select "offset", key, value, headers from record'
    ' where topic = :topic and partition = :partition and "offset" >= :offset order by "offset" limit :limit'
)
_FORGET = text(
    "with gone as (delete from record where appended_at < now() - cast(:keep as interval)"
    ' returning topic, partition, "offset"),'
    ' past as (select topic, partition, max("offset") + 1 as earliest from gone group by topic, partition)'
    " update topic_partition t set earliest_offset = greatest(t.earliest_offset, past.earliest)"
    " from past where t.topic = past.topic and t.partition = past.partition"
)


class OffsetOutOfRange(Exception):
    """Records were removed before they were read. Going on would skip them, so nothing goes on by itself."""


class EmbeddedLog:
    """The log: a publisher, and what its sources read from."""

    def __init__(self, url: str) -> None:
        self.engine: AsyncEngine = create_async_engine(
            make_url(url).set(drivername="postgresql+psycopg"), pool_size=10, max_overflow=10
        )
        self.cluster = ""
        self._partitions: dict[str, int] = {}
        self._news: set[asyncio.Event] = set()

    async def start(self, topics: Sequence[str], partitions: int = PARTITIONS) -> None:
        """Makes the log where it is not yet. The number of a topic's partitions is fixed when it is made."""
        async with self.engine.begin() as connection:
            for statement in _SCHEMA:
                await connection.execute(text(statement))
            await connection.execute(
                text(
                    "insert into topic_partition (topic, partition)"
                    " select t, p from unnest(cast(:topics as text[])) t, generate_series(0, :last) p"
                    " where not exists (select 1 from topic_partition x where x.topic = t)"
                ),
                {"topics": list(topics), "last": partitions - 1},
            )
            self.cluster = str(await connection.scalar(text("select id from log_identity")))
            counts = await connection.execute(text("select topic, count(*) from topic_partition group by topic"))
            self._partitions = {topic: int(count) for topic, count in counts}

    async def send(self, records: list[Outgoing]) -> None:
        """Appends in order, in one transaction."""
        by_partition: dict[TopicPartition, list[Outgoing]] = defaultdict(list)
        for record in records:
            partition = record.partition
            if partition is None:
                partition = partition_of(record.key, self._partitions[record.topic])
            by_partition[TopicPartition(record.topic, partition)].append(record)
        async with AsyncSession(self.engine) as session:
            rows = []
            for at in sorted(by_partition):
                outgoing = by_partition[at]
                where = {"topic": at.topic, "partition": at.partition, "count": len(outgoing)}
                first = (await session.execute(_RESERVE, where)).scalar_one()
                rows += [
                    (*at, first + i, record.key, record.value, _encode_headers(record.headers))
                    for i, record in enumerate(outgoing)
                ]
            await copy_rows(session, "record", _COLUMNS, rows)
            await session.commit()
        for news in self._news:
            news.set()

    async def ends(self) -> dict[TopicPartition, int]:
        """The offset behind the last record of each partition."""
        async with self.engine.connect() as connection:
            rows = await connection.execute(text("select topic, partition, next_offset from topic_partition"))
            return {TopicPartition(row.topic, row.partition): row.next_offset for row in rows}

    async def forget(self, keep: timedelta) -> None:
        """Removes records older than `keep`."""
        async with self.engine.begin() as connection:
            await connection.execute(_FORGET, {"keep": keep})

    def listen(self) -> asyncio.Event:
        """An event that is set whenever this process has appended."""
        news = asyncio.Event()
        self._news.add(news)
        return news

    def unlisten(self, news: asyncio.Event) -> None:
        self._news.discard(news)

    async def close(self) -> None:
        await self.engine.dispose()


class EmbeddedSource:
    """Reads all partitions of its topics; a group has one member."""

    POLL_SECONDS = 0.25  # how soon another process's records are seen

    def __init__(self, log: EmbeddedLog) -> None:
        self._log = log
        self._offsets: dict[TopicPartition, int] = {}
        self._news = log.listen()

    @property
    def cluster(self) -> str:
        return self._log.cluster

    async def start(self, group: str, topics: Sequence[str], positions: Positions) -> None:  # noqa: ARG002 - Kafka's
        async with self._log.engine.connect() as connection:
            rows = (await connection.execute(_NEWS, {"topics": list(topics)})).all()
        earliest = {TopicPartition(row.topic, row.partition): row.earliest_offset for row in rows}
        self._offsets = earliest | await positions(earliest.keys())

    async def seek(self, at: TopicPartition, offset: int | None) -> None:
        if offset is None:
            async with self._log.engine.connect() as connection:
                rows = (await connection.execute(_NEWS, {"topics": [at.topic]})).all()
            offset = next(row.earliest_offset for row in rows if row.partition == at.partition)
        self._offsets[at] = offset

    async def fetch(self, limit: int, wait: float) -> list[Batch]:
        deadline = asyncio.get_running_loop().time() + wait
        while True:
            self._news.clear()
            if batches := await self._read(limit):
                return batches
            remaining = deadline - asyncio.get_running_loop().time()
            if remaining <= 0:
                return []
            with suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), min(remaining, self.POLL_SECONDS))

    async def _read(self, limit: int) -> list[Batch]:
        topics = sorted({at.topic for at in self._offsets})
        batches = []
        async with self._log.engine.connect() as connection:
            await connection.execution_options(isolation_level="AUTOCOMMIT")
            for row in (await connection.execute(_NEWS, {"topics": topics})).all():
                at = TopicPartition(row.topic, row.partition)
                offset = self._offsets[at]
                if offset < row.earliest_offset or offset > row.next_offset:
                    _out_of_range(at, offset)
                if offset == row.next_offset:
                    continue
                found = (await connection.execute(_READ, {**at._asdict(), "offset": offset, "limit": limit})).all()
                records = [Record(*at, r.offset, r.key, r.value, _decode_headers(r.headers)) for r in found]
                batch = Batch(at, offset, records)
                self._offsets[at] = batch.next_offset
                batches.append(batch)
        return batches

    async def report_progress(self) -> None:
        """The offsets in the services' databases say it all."""

    async def stop(self) -> None:
        self._log.unlisten(self._news)


def partition_of(key: bytes, partitions: int) -> int:
    """Kafka's own: murmur2 of the key, so that a key has the same partition on both transports."""
    return int((murmur2(key) & 0x7FFFFFFF) % partitions)


def _encode_headers(headers: Headers) -> bytes:
    return msgspec.msgpack.encode(headers)


_headers_decoder = msgspec.msgpack.Decoder(Headers)


def _decode_headers(stored: bytes) -> Headers:
    return _headers_decoder.decode(stored)


def _out_of_range(at: TopicPartition, offset: int) -> NoReturn:
    raise OffsetOutOfRange(f"{at.topic}/{at.partition} no longer has, or never had, offset {offset}")
