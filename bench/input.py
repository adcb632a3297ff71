"""The bench's input: core-banking transactions as the core's own topic has them, and what they come to.

CloudEvents in binary mode, 400 bytes of JSON each. DUPLICATES of them came before in their partition: half as the
same event, as a relay repeats it, half as a new event about the same transaction, as a core does.
"""

import random
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, timedelta
from typing import NamedTuple
from uuid import UUID

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from shared.events.corebanking import TransactionKind, TransactionPosted
from shared.messaging.partitioning import partition_of

PAYLOAD_BYTES = 400
DUPLICATES = 0.05
LATE = 0.01
FIRST_DAY = date(2026, 11, 2)
EVENTS_A_DAY = 100_000
REMEMBERED = 50_000  # from which duplicates are chosen
KINDS = tuple(TransactionKind)


class Posted(NamedTuple):
    """One event, in no form yet."""

    account_id: str
    number: int
    booked_on: date
    amount_minor: int
    kind: str
    balance_after_minor: int

    @property
    def transaction_id(self) -> str:
        return f"T{self.number:012d}"


class Sent(NamedTuple):
    posted: Posted
    event_id: UUID
    partition: int


Day = tuple[UUID, date]
Totals = tuple[int, int, int]
"""How many transactions, and the sums of the debits and of the credits."""


def generate(seed: int, count: int, customers: int, partitions: int) -> Iterator[Sent]:
    """The same events for the same arguments, in the order in which they are produced."""
    chance = random.Random(seed)  # noqa: S311 - reproducible, guards nothing
    places = {account: partition_of(account.encode(), partitions) for account in holders(customers)}
    accounts = list(places)
    before: list[list[Sent]] = [[] for _ in range(partitions)]
    for number in range(count):
        account = accounts[int(chance.random() * customers)]
        partition = places[account]
        remembered = before[partition]
        if remembered and chance.random() < DUPLICATES:
            again = remembered[int(chance.random() * len(remembered))]
            yield again if chance.random() < 0.5 else again._replace(event_id=_event_id(chance, number))
            continue
        day = FIRST_DAY + timedelta(days=number // EVENTS_A_DAY - (chance.random() < LATE))
        cents = 1 + int(chance.random() * 200_000)
        amount = cents if chance.random() < 0.2 else -cents
        kind = KINDS[int(chance.random() * len(KINDS))]
        sent = Sent(Posted(account, number, day, amount, kind, cents * 7), _event_id(chance, number), partition)
        if len(remembered) < REMEMBERED // partitions:
            remembered.append(sent)
        else:
            remembered[int(chance.random() * len(remembered))] = sent
        yield sent


def _event_id(chance: random.Random, number: int) -> UUID:
    return UUID(int=(0x0197_0000_0000 + number) << 80 | 7 << 76 | 2 << 62 | chance.getrandbits(60))


def payload(posted: Posted) -> bytes:
    """The event's JSON, with what a core adds of its own, up to 400 bytes."""
    text = (
        f'{{"account_id":"{posted.account_id}","transaction_id":"{posted.transaction_id}"'
        f',"booked_on":"{posted.booked_on}","sequence":{posted.number},"amount_minor":{posted.amount_minor}'
        f',"currency":"EUR","kind":"{posted.kind}","balance_after_minor":{posted.balance_after_minor}'
        f',"value_on":"{posted.booked_on}","terminal":"{posted.number % 9973:08d}","core_text":"'
    )
    return f'{text}{"-" * (PAYLOAD_BYTES - len(text) - 2)}"}}'.encode()


def headers(sent: Sent) -> list[tuple[str, bytes]]:
    return [
        ("ce_specversion", b"1.0"),
        ("ce_id", str(sent.event_id).encode()),
        ("ce_type", TransactionPosted.TYPE.encode()),
        ("ce_source", b"corebanking"),
        ("ce_time", f"{sent.posted.booked_on}T10:00:00+00:00".encode()),
        ("content-type", b"application/json"),
    ]


async def produce(bootstrap: str, topic: str, partitions: int, events: Iterable[Sent]) -> None:
    """Makes the topic and appends the events."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, partitions, 1)])
    finally:
        await admin.close()
    options = {"acks": "all", "enable_idempotence": True, "max_batch_size": 262_144}
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, **options) as producer:
        batches = [producer.create_batch() for _ in range(partitions)]
        for sent in events:
            record = {
                "key": sent.posted.account_id.encode(),
                "value": payload(sent.posted),
                "timestamp": None,
                "headers": headers(sent),
            }
            if batches[sent.partition].append(**record) is None:
                await producer.send_batch(batches[sent.partition], topic, partition=sent.partition)
                batches[sent.partition] = producer.create_batch()
                batches[sent.partition].append(**record)
        for partition, batch in enumerate(batches):
            batch.close()
            await producer.send_batch(batch, topic, partition=partition)
        await producer.flush()


def place(events: Iterable[Sent], partitions: int) -> list[list[Posted]]:
    """What each partition holds, in order."""
    placed: list[list[Posted]] = [[] for _ in range(partitions)]
    for sent in events:
        placed[sent.partition].append(sent.posted)
    return placed


def fold(events: Iterable[Posted], customers: int) -> dict[Day, Totals]:
    """What the events come to, every transaction once."""
    holder = holders(customers)
    counted: set[int] = set()
    totals: dict[Day, list[int]] = defaultdict(lambda: [0, 0, 0])
    for posted in events:
        if posted.number not in counted:
            counted.add(posted.number)
            day = totals[holder[posted.account_id], posted.booked_on]
            day[0] += 1
            day[1 if posted.amount_minor < 0 else 2] += abs(posted.amount_minor)
    return {day: (count, debit, credit) for day, (count, debit, credit) in totals.items()}


def up_to(placed: Sequence[Sequence[Posted]], offsets: Mapping[int, int]) -> Iterator[Posted]:
    """The events of each partition before its offset."""
    for partition, events in enumerate(placed):
        yield from events[: offsets.get(partition, 0)]


def holders(customers: int) -> dict[str, UUID]:
    """Who holds each account: every contender keeps this in memory."""
    return {f"AC{number:010d}": UUID(int=(0x0197_0000_7000_8000 << 64) | number) for number in range(customers)}
