"""The moments of a rebalance, one by one: a client stands in for aiokafka's that does only what it is told."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from types import SimpleNamespace

import pytest
from aiokafka import TopicPartition as KafkaPartition

from shared.messaging import kafka
from shared.messaging.kafka import KafkaSource, _Assignment
from shared.messaging.kafka_connection import KafkaConnection
from shared.messaging.positions import LogIdentity
from shared.messaging.records import Record, TopicPartition

AT = TopicPartition("topic", 0)


class Client:
    """What aiokafka's consumer is to the source: records to give, and where it was told to read."""

    def __init__(self) -> None:
        self.given: asyncio.Queue[list[Record]] = asyncio.Queue()
        self.asked: list[tuple[KafkaPartition, ...]] = []
        self.paused: set[KafkaPartition] = set()
        self.at: dict[KafkaPartition, int] = {}
        self._fetcher = SimpleNamespace(error_future=asyncio.get_running_loop().create_future())

    async def take(self, wanted: Collection[KafkaPartition], *_: object) -> list[Record]:
        self.asked.append(tuple(wanted))
        return await self.given.get()

    async def beginning_offsets(self, partitions: list[KafkaPartition]) -> dict[KafkaPartition, int]:
        return dict.fromkeys(partitions, 0)

    def pause(self, *partitions: KafkaPartition) -> None:
        self.paused |= set(partitions)

    def resume(self, *partitions: KafkaPartition) -> None:
        self.paused -= set(partitions)

    def seek(self, partition: KafkaPartition, offset: int) -> None:
        self.at[partition] = offset

    async def stop(self) -> None: ...


@pytest.fixture
async def client(monkeypatch: pytest.MonkeyPatch) -> Client:
    async def identify(*_: object) -> dict[str, LogIdentity]:
        return {"topic": LogIdentity("cluster")}

    monkeypatch.setattr(kafka, "identify", identify)
    monkeypatch.setattr(KafkaSource, "REVOKE_SECONDS", 0.05)
    return Client()


async def offsets_of(records: Sequence[Record]) -> list[int]:
    return [record.offset for record in records]


def source_at(client: Client, position: int) -> KafkaSource:
    """A source whose client has just been assigned the partition; the database says `position`."""

    async def positions(
        earliest: Mapping[TopicPartition, int], _: Mapping[str, LogIdentity]
    ) -> dict[TopicPartition, int]:
        return dict.fromkeys(earliest, position)

    source = KafkaSource(KafkaConnection("nowhere:9092"))
    source._consumer = client
    source._fetched = client  # type: ignore[assignment] # what was fetched is taken from it too
    source._positions = positions
    source._prepare = offsets_of
    return source


def messages(first: int, count: int) -> list[Record]:
    return [Record(*AT, first + i, b"", b"", ()) for i in range(count)]


async def test_nothing_is_read_before_it_is_placed_where_the_database_says(client: Client) -> None:
    source = source_at(client, 7)
    await _Assignment(source, client).on_partitions_assigned({KafkaPartition(*AT)})
    assert client.paused == {KafkaPartition(*AT)}
    client.given.put_nowait(messages(7, 3))
    (batch,) = await source.fetch(100, 0.1)
    assert client.at == {KafkaPartition(*AT): 7}
    assert client.paused == set()
    assert (batch.expected, batch.next_offset) == (7, 10)


async def test_without_a_partition_the_client_is_asked_for_none(client: Client) -> None:
    """It takes part in its group only while it is asked for records."""
    source = source_at(client, 7)
    assert await source.fetch(100, 0.01) == []
    assert client.asked == [()]


async def test_what_was_fetched_across_a_rebalance_is_fetched_again(client: Client) -> None:
    """It may be from before the partition was placed anew, and its client has moved on behind it."""
    source = source_at(client, 7)
    assignment = _Assignment(source, client)
    await assignment.on_partitions_assigned({KafkaPartition(*AT)})
    assert await source.fetch(100, 0.01) == [], "the client waits"
    await assignment.on_partitions_revoked({KafkaPartition(*AT)})
    await assignment.on_partitions_assigned({KafkaPartition(*AT)})
    assert await source.fetch(100, 0.01) == [], "placed again, the client still waits"
    client.given.put_nowait(messages(9, 3))
    client.at[KafkaPartition(*AT)] = 12
    assert await source.fetch(100, 0.1) == []
    assert client.at == {KafkaPartition(*AT): 7}


async def test_a_partition_that_was_lost_while_the_database_was_asked_is_not_placed(client: Client) -> None:
    source = source_at(client, 7)
    assignment = _Assignment(source, client)

    async def positions_and_a_rebalance(
        earliest: Mapping[TopicPartition, int], _: Mapping[str, LogIdentity]
    ) -> dict[TopicPartition, int]:
        await assignment.on_partitions_revoked({KafkaPartition(*AT)})
        return dict.fromkeys(earliest, 7)

    source._positions = positions_and_a_rebalance
    await assignment.on_partitions_assigned({KafkaPartition(*AT)})
    await source.fetch(100, 0.01)
    assert client.at == {}
    assert client.asked == [()]


async def test_a_delivery_under_way_has_time_to_commit_before_its_partition_goes(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(KafkaSource, "REVOKE_SECONDS", 30.0)
    source = source_at(client, 7)
    assignment = _Assignment(source, client)
    await assignment.on_partitions_assigned({KafkaPartition(*AT)})
    client.given.put_nowait(messages(7, 3))
    assert await source.fetch(100, 0.1)
    revoking = asyncio.ensure_future(assignment.on_partitions_revoked({KafkaPartition(*AT)}))
    await asyncio.sleep(0.05)
    assert not revoking.done(), "the batch is being delivered"
    await source.fetch(100, 0.01)
    await asyncio.wait_for(revoking, 1)


async def test_a_listener_of_a_client_that_was_replaced_is_not_heard(client: Client) -> None:
    source = source_at(client, 7)
    await _Assignment(source, Client()).on_partitions_assigned({KafkaPartition(*AT)})
    await source.fetch(100, 0.01)
    assert client.asked == [()]


async def test_a_fenced_partition_is_placed_again_where_the_database_says(client: Client) -> None:
    source = source_at(client, 7)
    await _Assignment(source, client).on_partitions_assigned({KafkaPartition(*AT)})
    client.given.put_nowait(messages(7, 3))
    await source.fetch(100, 0.1)
    await source.return_to_position(AT)
    assert client.paused == {KafkaPartition(*AT)}
    client.given.put_nowait(messages(10, 3))
    assert await source.fetch(100, 0.1) == [], "taken before it was placed anew, from behind what is to come again"
    client.given.put_nowait(messages(7, 3))
    (batch,) = await source.fetch(100, 0.1)
    assert (client.at[KafkaPartition(*AT)], batch.expected) == (7, 7)


async def test_a_lower_limit_holds_for_what_was_taken_before_it(client: Client) -> None:
    source = source_at(client, 7)
    await _Assignment(source, client).on_partitions_assigned({KafkaPartition(*AT)})
    client.given.put_nowait(messages(7, 5))
    sizes = [len((await source.fetch(limit, 0.1))[0].records) for limit in (2, 1, 2)]
    assert sizes == [2, 1, 2]
    await asyncio.sleep(0.01)
    assert client.asked == [(AT,), (AT,)], "and the next is asked for once that is given"


async def test_the_next_batch_is_prepared_while_one_is_delivered(client: Client) -> None:
    source = source_at(client, 7)
    await _Assignment(source, client).on_partitions_assigned({KafkaPartition(*AT)})
    client.given.put_nowait(messages(7, 3))
    (batch,) = await source.fetch(100, 0.1)
    assert batch.prepared == [7, 8, 9]
    prepared: list[list[int]] = []

    async def prepare(records: Sequence[Record]) -> list[int]:
        prepared.append(await offsets_of(records))
        return prepared[-1]

    source._prepare = prepare
    for first in (10, 12, 14):
        client.given.put_nowait(messages(first, 2))
    await asyncio.sleep(0.01)
    assert prepared == [[10, 11]], "and one at a time"
    (batch,) = await source.fetch(100, 0.1)
    assert (batch.expected, batch.prepared) == (10, [10, 11])


async def test_what_was_prepared_is_thrown_away_with_its_partition(client: Client) -> None:
    source = source_at(client, 7)
    assignment = _Assignment(source, client)
    await assignment.on_partitions_assigned({KafkaPartition(*AT)})
    client.given.put_nowait(messages(7, 3))
    await source.fetch(100, 0.1)
    client.given.put_nowait(messages(10, 3))
    await asyncio.sleep(0.01)
    await assignment.on_partitions_revoked({KafkaPartition(*AT)})
    assert await source.fetch(100, 0.01) == []
    await assignment.on_partitions_assigned({KafkaPartition(*AT)})
    assert await source.fetch(100, 0.01) == []
    client.given.put_nowait(messages(7, 2))
    (batch,) = await source.fetch(100, 0.1)
    assert (batch.expected, batch.prepared) == (7, [7, 8])


async def test_what_was_prepared_is_thrown_away_when_the_batch_before_is_fenced(client: Client) -> None:
    source = source_at(client, 7)
    await _Assignment(source, client).on_partitions_assigned({KafkaPartition(*AT)})
    client.given.put_nowait(messages(7, 3))
    await source.fetch(100, 0.1)
    client.given.put_nowait(messages(10, 3))
    await asyncio.sleep(0.01)
    await source.return_to_position(AT)
    assert await source.fetch(100, 0.1) == []
    client.given.put_nowait(messages(7, 1))
    (batch,) = await source.fetch(100, 0.1)
    assert (batch.expected, batch.prepared) == (7, [7])


async def test_a_part_of_a_batch_has_nothing_prepared(client: Client) -> None:
    """What was prepared is of all of it."""
    source = source_at(client, 7)
    await _Assignment(source, client).on_partitions_assigned({KafkaPartition(*AT)})
    client.given.put_nowait(messages(7, 3))
    batches = [(await source.fetch(2, 0.1))[0] for _ in range(2)]
    assert [(len(batch.records), batch.prepared) for batch in batches] == [(2, None), (1, None)]
