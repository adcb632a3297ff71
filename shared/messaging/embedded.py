"""The embedded transport: a log in a database of its own, with Kafka's shape (topic, partition, offset, retention).

Relay, consumer, positions and fencing are the same code as on Kafka; only where records come from differs.
"""

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import timedelta

import msgspec
from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from shared.copying import copy_rows
from shared.messaging.crash_points import CrashPoint, reached
from shared.messaging.faults import OffsetOutOfRange
from shared.messaging.partitioning import partition_of
from shared.messaging.positions import LogIdentity
from shared.messaging.records import Batch, Headers, NotSent, Outgoing, Record, TopicPartition
from shared.messaging.source import Positions, Prepare, unprepared

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
    "select w.topic, w.partition, r.* from unnest(cast(:topics as text[]), cast(:partitions as integer[]),"
    " cast(:offsets as bigint[])) as w (topic, partition, first)"
    ' cross join lateral (select "offset", key, value, headers from (select *,'
    '  sum(octet_length(value)) over (order by "offset" rows between unbounded preceding and 1 preceding) as before'
    '  from (select "offset", key, value, headers from record r where r.topic = w.topic'
    '   and r.partition = w.partition and r."offset" >= w.first order by r."offset" limit :limit) as oldest) as read'
    ' where coalesce(before, 0) < :bytes order by "offset") r'
)
_FORGET = text(
    'with past as (select topic, partition, max("offset") + 1 as earliest from record'
    " where appended_at < now() - cast(:keep as interval) group by topic, partition),"
    " moved as (update topic_partition t set earliest_offset = greatest(t.earliest_offset, past.earliest)"
    " from past where t.topic = past.topic and t.partition = past.partition)"
    " delete from record r using past where r.topic = past.topic and r.partition = past.partition"
    ' and r."offset" < past.earliest'
)


class EmbeddedLog:
    """The log: a publisher, and what its sources read from."""

    def __init__(self, url: str) -> None:
        self.engine: AsyncEngine = create_async_engine(
            make_url(url).set(drivername="postgresql+psycopg"), pool_size=10, max_overflow=10, pool_pre_ping=True
        )
        self.identity = LogIdentity("")
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
            self.identity = LogIdentity(str(await connection.scalar(text("select id from log_identity"))))
            counts = await connection.execute(text("select topic, count(*) from topic_partition group by topic"))
            self._partitions = {topic: int(count) for topic, count in counts}

    async def send(self, records: list[Outgoing]) -> None:
        """Appends in order, in one transaction."""
        by_partition: dict[TopicPartition, list[Outgoing]] = defaultdict(list)
        for record in records:
            by_partition[self._place_of(record)].append(record)
        async with AsyncSession(self.engine) as session:
            rows = []
            for at in sorted(by_partition):
                outgoing = by_partition[at]
                first = (await session.execute(_RESERVE, {**at._asdict(), "count": len(outgoing)})).scalar_one()
                rows += [
                    (*at, first + i, record.key, record.value, _encode_headers(record.headers))
                    for i, record in enumerate(outgoing)
                ]
            await copy_rows(session, "record", _COLUMNS, rows)
            reached(CrashPoint.HALF_SENT)
            await session.commit()
        for news in self._news:
            news.set()

    def _place_of(self, record: Outgoing) -> TopicPartition:
        count = self._partitions.get(record.topic, 0)
        partition = record.partition
        if partition is None and count:
            partition = partition_of(record.key, count)
        if partition is None or not 0 <= partition < count:
            raise NotSent(f"there is no partition {partition} of {record.topic}")
        return TopicPartition(record.topic, partition)

    async def ends(self) -> dict[TopicPartition, int]:
        """The offset behind the last record of each partition."""
        async with self.engine.connect() as connection:
            rows = await connection.execute(text("select topic, partition, next_offset from topic_partition"))
            return {TopicPartition(row.topic, row.partition): row.next_offset for row in rows}

    async def forget(self, keep: timedelta) -> None:
        """Removes the records that are older than `keep`, and those before them."""
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

    MOST_BYTES = 8 * 2**20  # of each partition's values in a batch, and one record's at the least
    POLL_SECONDS = 0.25  # how soon another process's records are seen

    def __init__(self, log: EmbeddedLog) -> None:
        self._log = log
        self._topics: list[str] = []
        self._positions: Positions | None = None
        self._offsets: dict[TopicPartition, int] = {}
        self._news = asyncio.Event()
        self._turn = 0

    async def start(
        self,
        group: str,  # noqa: ARG002 - Kafka's
        topics: Sequence[str],
        positions: Positions,
        prepare: Prepare = unprepared,  # noqa: ARG002 - it has nothing at hand before it is asked
    ) -> None:
        self._news = self._log.listen()
        self._topics = list(topics)
        self._positions = positions
        self._offsets = await self._place({at: earliest for at, (earliest, _next) in (await self._bounds()).items()})

    async def return_to_position(self, at: TopicPartition) -> None:
        self._offsets |= await self._place({at: self._offsets[at]})

    async def _place(self, earliest: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
        assert self._positions is not None, "the source has not been started"
        return await self._positions(earliest, dict.fromkeys(self._topics, self._log.identity))

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
        """Each partition that has news gets its share of the limit, so that none waits for another."""
        unread = {at: count for at, count in (await self.unread()).items() if count}
        if not unread:
            return []
        self._turn += 1
        first = self._turn % len(unread)
        wanted = [*unread][first:] + [*unread][:first]
        parameters = {
            "topics": [at.topic for at in wanted[:limit]],
            "partitions": [at.partition for at in wanted[:limit]],
            "offsets": [self._offsets[at] for at in wanted[:limit]],
            "limit": limit if sum(unread.values()) <= limit else max(1, limit // len(wanted)),
            "bytes": self.MOST_BYTES,
        }
        read: dict[TopicPartition, list[Record]] = {}
        async with self._log.engine.connect() as connection:
            await connection.execution_options(isolation_level="AUTOCOMMIT")
            for topic, partition, offset, key, value, headers in await connection.execute(_READ, parameters):
                record = Record(topic, partition, offset, key, value, _decode_headers(headers))
                read.setdefault(TopicPartition(topic, partition), []).append(record)
        batches = [Batch(at, self._offsets[at], records) for at, records in read.items()]
        for batch in batches:
            if batch.records[0].offset != batch.expected:  # removed since its bounds were read
                raise _out_of_range(batch.at, batch.expected)
            self._offsets[batch.at] = batch.next_offset
        return batches

    async def unread(self) -> dict[TopicPartition, int]:
        unread = {}
        bounds = await self._bounds()
        for at, offset in self._offsets.items():
            earliest, following = bounds[at]
            if not earliest <= offset <= following:
                raise _out_of_range(at, offset)
            unread[at] = following - offset
        return unread

    async def _bounds(self) -> dict[TopicPartition, tuple[int, int]]:
        """The earliest and the next offset of each partition."""
        async with self._log.engine.connect() as connection:
            await connection.execution_options(isolation_level="AUTOCOMMIT")
            rows = await connection.execute(_NEWS, {"topics": self._topics})
            return {TopicPartition(row.topic, row.partition): (row.earliest_offset, row.next_offset) for row in rows}

    async def report_progress(self, positions: Mapping[TopicPartition, int]) -> None:
        """The offsets in the services' databases say it all."""

    async def stop(self) -> None:
        self._log.unlisten(self._news)


def _out_of_range(at: TopicPartition, offset: int) -> OffsetOutOfRange:
    return OffsetOutOfRange(f"{at.topic}/{at.partition} no longer has, or never had, offset {offset}")


def _encode_headers(headers: Headers) -> bytes:
    return msgspec.msgpack.encode(headers)


_headers_decoder = msgspec.msgpack.Decoder(Headers)


def _decode_headers(stored: bytes) -> Headers:
    return _headers_decoder.decode(stored)
