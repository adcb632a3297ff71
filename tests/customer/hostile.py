"""A stream of records as no core should send them, from a seed; and all that it became, by the core's own ids."""

import random
from collections.abc import Callable, Sequence
from datetime import date, timedelta
from typing import Any

import msgspec
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from sqlalchemy import text

from shared.database import Database
from shared.events import decode, encode
from shared.events.corebanking import (
    TOPIC,
    CoreBankingEvent,
    TransactionKind,
    TransactionPosted,
    TransactionReversed,
)
from shared.events.customer import TransactionsPosted
from shared.ids import derived_id
from shared.messaging.kafka_batches import HeaderLayouts, KafkaBatch, batch_in
from shared.messaging.record_columns import RecordColumns
from shared.messaging.records import Record, TopicPartition
from tests.bank import account, branch, day_closed, lines, manager_recorded, party
from tests.messaging.columns import columns_of

FIRST_DAY = date(2026, 3, 1)
QUIET = tuple(f"Q{n}" for n in range(24))
"""Accounts of which hardly anything comes but transactions, some of them twice."""
KNOWN, LATE, ERASED, NEVER = ("A0", "A1", "A2", "A3", "A4"), ("L0", "L1"), "E0", "X0"
BANK: tuple[CoreBankingEvent, ...] = (
    branch(),
    manager_recorded(),
    *(party(f"P{n}") for n in range(4)),
    party("PE"),
    *(account(each, f"P{n // 2 % 4}") for n, each in enumerate((*KNOWN, *QUIET))),
    account(ERASED, "PE"),
)
WRONG: Sequence[dict[str, Any]] = (
    {"value": b"{"},
    {"value": None},
    {"value": lambda value: value.replace(b'"CNY"', b'"cny"')},
    {"value": lambda value: value.replace(b'"sequence"', b'"sequences"')},
    {"value": lambda value: value.replace(b'"T', b'"T\\u0000')},
    {"value": lambda value: value.replace(b'"T', b'"' + b"T" * 65)},
    {"value": lambda value: value.replace(b"2026-03-", b"1026-03-")},
    {"value": lambda value: value.replace(b'"kind":"', b'"kind":"un')},
    {"value": lambda value: value.replace(b'"amount_minor":', b'"amount_minor":9007199254740993,"was":')},
    {"value": lambda value: value.replace(b'"amount_minor":', b'"amount_minor":99999999999999999999,"was":')},
    {"value": lambda value: value.replace(b'"account_id":', b'"account_id":null,"was":')},
    {"value": lambda value: b" " + value.replace(b":", b" : ", 1).replace(b"}", b',"of the core\'s own":"\\\\u0000"}')},
    {"headers": {"ce_time": b"yesterday"}},
    {"headers": {"ce_time": b"2026-03-01T09:00:00"}},
    {"headers": {"ce_time": b"2036-03-01T09:00:00Z"}},
    {"headers": {"ce_time": None}},
    {"headers": {"ce_specversion": b"0.3"}},
    {"headers": {"ce_id": b""}},
    {"headers": {"ce_id": b"\xff\xfe"}},
    {"headers": {"ce_source": b"\xff"}},
    {"headers": {"ce_type": b"corebanking.transaction_posted.v9"}},
    {"without": "ce_time"},
)


Said = list[tuple[str, bytes | None]]
TIMES: Sequence[bytes] = (
    b"2026-03-01T09:00:00Z",
    b"2026-03-01T09:00:00+00:00",
    b"2026-03-01T09:00:00.5-11:30",
    b"2026-03-01T09:00:00.123456Z",
    b"2026-02-28T23:59:59.123+23:59",
    b"2024-02-29T09:00:00Z",
    b"2026-03-01T09:00:00.123456789Z",
    b"2026-03-01T09:00:00.1234567+01:00",
    b"1800-01-01T00:00:00+05:00",
    b"2026-03-01T00:00:00-23:59",
    b"2026-03-01t09:00:00z",
    b"2026-03-01 09:00:00Z",
    b"2026-02-29T09:00:00Z",
    b"2026-03-01T24:00:00Z",
    b"2026-03-01T09:60:00Z",
    b"2026-03-01T09:00:60Z",
    b"2026-03-01T09:00:00",
    b"2026-03-01T09:00Z",
    b"2026-03-01T09:00:00+0100",
    b"2026-03-01T09:00:00+24:00",
    b"2026-03-01T09:00:00.Z",
    b"2026-13-01T09:00:00Z",
    b"0001-01-01T00:00:00+10:00",
    b"9999-12-31T23:59:59-10:00",
    b"1799-12-31T23:59:59Z",
    b"2036-03-01T09:00:00Z",
    b"yesterday",
    b"2026-03-01T09:00:00Z" + b" " * 80,
    b"",
    b"\xff" * 20,
)


def _with(name: str, value: bytes | None) -> Callable[[Said], Said]:
    return lambda said: [(each, value if each == name else was) for each, was in said]


HEADERS: Sequence[Callable[[Said], Said]] = (
    *(_with("ce_time", time) for time in (*TIMES, None)),
    *(_with("ce_id", one) for one in (b"", None, b"17", b"\xff\xfe", "e\u0301".encode(), b"a\0b", b"a\0", b" ", b'"')),
    *(_with("ce_id", b"x" * length) for length in (200, 201, 3_000)),
    _with("ce_id", "\u540d".encode() * 200),
    *(
        _with("ce_source", one)
        for one in (b"", None, b"\xff", b"\xfe", b"core\0", "c\u00f6re".encode(), b"s" * 200, b"s" * 201)
    ),
    *(_with("ce_specversion", one) for one in (b"", None, b"1", b"1.0 ", b"0.3")),
    *(_with("ce_type", one) for one in (b"", None, b"corebanking.transaction_posted.v9", b"\xff")),
    *(lambda said, name=name: [each for each in said if each[0] != name] for name in ("ce_id", "ce_source", "ce_time")),
    *(lambda said, name=name: [each for each in said if each[0] != name] for name in ("ce_type", "ce_specversion")),
    lambda said: said[::-1],
    lambda said: said[2:] + said[:2],
    lambda said: [*said, ("ce_id", b"another"), ("ce_time", b"2026-02-01T09:00:00Z")],
    lambda said: [("ce_id", b"another"), ("ce_time", b"never"), *said],
    lambda said: [*said, ("ce_id", None)],
    lambda said: [*said, ("ce_type", b"corebanking.life_event_recorded.v1")],
    lambda said: [*said, ("ce_specversion", b"1.0"), ("ce_source", b"other")],
    lambda said: [*said, ("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")],
    lambda said: [("content-type", b"application/json"), *said, ("", b""), ("\u540d", b"\xff" * 9_000)],
    lambda said: [(name.upper(), value) for name, value in said],
    lambda said: [],
)
"""What headers may become: a core that is one event's sender in many is not always as careful."""


def as_fetched(records: Sequence[Record]) -> RecordColumns:
    """As Kafka's bytes hold them."""
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, 0, 10_000_000)
    for at, one in enumerate(records):
        assert builder.append(at, 10**12, one.key, one.value, list(one.headers)) is not None
    fetched = bytearray(builder.build())
    fetched[:8] = records[0].offset.to_bytes(8)
    batch = batch_in(bytes(fetched), slice(0, len(fetched)))
    assert isinstance(batch, KafkaBatch)
    return columns_of(TopicPartition(*records[0][:2]), [batch], HeaderLayouts())


def hostile(seed: int, count: int) -> list[Record]:
    dice = random.Random(seed)
    events: list[tuple[str, CoreBankingEvent]] = []
    records: list[Record] = []

    def add(event_id: str, event: CoreBankingEvent, **changed: Any) -> None:
        events.append((event_id, event))
        records.append(record(event_id, event, len(records), dice.choice(("core",) * 9 + ("other",)), **changed))

    for number in range(count):
        quiet = dice.random() < 0.5
        new = plain(dice, number, QUIET if quiet else (*KNOWN * 4, *LATE, ERASED, NEVER))
        if quiet:
            again = dice.choice(events) if events and dice.random() < 0.2 else (f"e{number}", new)
            add(again[0] if dice.random() < 0.5 else f"e{number}", again[1])
            continue
        earlier_id, earlier = dice.choice(events) if events else ("none", new)
        match dice.randrange(26):
            case 0:
                add(earlier_id, earlier)
            case 1:
                add(f"e{number}", earlier)
            case 2:
                add(earlier_id, new)
            case 3 if isinstance(earlier, TransactionPosted):
                add(f"e{number}", msgspec.structs.replace(earlier, sequence=earlier.sequence + 7))
            case 4 if isinstance(earlier, (TransactionPosted, TransactionReversed)):
                add(f"e{number}", _reversal(dice, number, earlier))
            case 5:
                add(f"e{number}", msgspec.structs.replace(new, currency="EUR"))
            case 6:
                add(f"e{number}", dice.choice((account(dice.choice(LATE), "P1"), day_closed(dice.randrange(1, 4)))))
            case 7:
                add(f"e{number}", _changed_account(dice, number))
            case 8:
                add(f"e{number}", new, **dice.choice(WRONG))
            case 10:
                add(f"e{number}", new)
                records[-1] = records[-1]._replace(headers=tuple(dice.choice(HEADERS)(list(records[-1].headers))))
            case 9:
                structured = lines([new], ids=f"e{number}")
                records.append(Record(TOPIC, 0, len(records), None, structured, ()))
            case _:
                add(f"e{number}", new)
    return records


def plain(dice: random.Random, number: int, accounts: Sequence[str]) -> TransactionPosted:
    return TransactionPosted(
        account_id=dice.choice(accounts),
        transaction_id=f"T{dice.randrange(number + 1) if dice.random() < 0.05 else number}",
        booked_on=FIRST_DAY + timedelta(days=dice.randrange(3)),
        sequence=dice.randrange(3),
        amount_minor=dice.choice((-5_00, 70_00, 1, -3, 0, 9, 8, 7, dice.choice((-(2**53), 2**41, 8)))),
        currency="CNY",
        kind=dice.choice(list(TransactionKind)),
        balance_after_minor=dice.choice((None, None, dice.randrange(1_000))),
        counterparty_bank=dice.choice((None, "BANK 2")),
    )


def _reversal(dice: random.Random, number: int, of: TransactionPosted | TransactionReversed) -> TransactionReversed:
    """Of one that came, or of one that comes later or never."""
    wanted = dice.choice((of.transaction_id, f"T{number + dice.randrange(9)}"))
    return TransactionReversed(
        account_id=of.account_id,
        transaction_id=f"R{number}",
        reverses_transaction_id=wanted,
        booked_on=of.booked_on + timedelta(days=dice.randrange(2)),
        balance_after_minor=dice.choice((None, 5)),
    )


def _changed_account(dice: random.Random, number: int) -> CoreBankingEvent:
    return account(
        dice.choice(KNOWN), f"P{dice.randrange(5)}", revision=number, currency=dice.choice(("CNY", "CNY", "EUR"))
    )


def record(
    event_id: str,
    event: CoreBankingEvent,
    offset: int,
    source: str = "core",
    *,
    value: Any = b"",
    headers: dict[str, bytes | None] | None = None,
    without: str = "",
) -> Record:
    written = encode(event)
    if callable(value):
        written = value(written)
    elif value != b"":
        written = value
    attributes: dict[str, bytes | None] = {
        "ce_specversion": b"1.0",
        "ce_id": event_id.encode(),
        "ce_type": event.TYPE.encode(),
        "ce_source": source.encode(),
        "ce_time": b"2026-03-01T09:00:00Z",
        **(headers or {}),
    }
    attributes.pop(without, None)
    return Record(TOPIC, 0, offset, event.key.encode(), written, tuple(attributes.items()))


_TABLES = {
    "accounts": "select a.source, core_account_id, a.revision, a.fingerprint, a.version, party_id, currency,"
    " stated_minor, stated_on, stated_sequence, posted_since_minor, posted_minor, latest_on, latest_sequence,"
    " transaction_count, reconciled_version from account a join customer using (customer_id)",
    "postings": "select a.source, core_account_id, core_transaction_id, p.fingerprint, party_id, booked_on, sequence,"
    " amount_minor, p.kind, balance_after_minor, is_external, reverses_transaction_id from posting p"
    " join account a using (account_id) left join customer c on c.customer_id = p.customer_id",
    "receipts": "select source, event_id, type, fingerprint, outcome from received_event"
    " union all select a.source, 'corebanking.transaction_posted.v1:' || core_account_id || '/' || core_transaction_id,"
    "  'corebanking.transaction_posted.v1', p.fingerprint, 'applied' from posting p join account a using (account_id)"
    "  where is_receipt",
    "kept": "select source, event_id, fingerprint, waits_for, code, pointer, detail, names, customer_id is null"
    " from kept_event",
    "findings": "select core_account_id, as_of, f.stated_minor, f.posted_minor from reconciliation_finding f"
    " join account using (account_id)",
    "letters": 'select "offset", type, event_id, code, detail, cast(headers as text) from dead_letter',
    "days": "select source, business_date from business_day",
    "events": "select type, key = 'business-day', count(*) from outbox where type <> 'customer.transactions_posted.v1'"
    " group by 1, 2",
}


async def became(database: Database) -> dict[str, Any]:
    """`told` is what customers' events say of each account, in their order."""
    found: dict[str, Any] = {}
    async with database.jobs.connect() as connection:
        for name, query in _TABLES.items():
            found[name] = sorted(map(str, await connection.execute(text(query))))
        ids = await connection.execute(
            text(
                "select p.account_id, source || core_account_id, p.core_transaction_id, p.customer_id from posting p"
                " join account using (account_id)"
            )
        )
        named = {derived_id(account_id, core_id): (whose, core_id, to) for account_id, whose, core_id, to in ids}
        outbox = await connection.execute(
            text("select key, payload from outbox where type = :type order by id"), {"type": TransactionsPosted.TYPE}
        )
        told: dict[str, list[Any]] = {}
        for key, payload in outbox:
            event = decode(TransactionsPosted, bytes(payload))
            assert encode(event) == bytes(payload), "it is written as every event is"
            for each in event.transactions:
                if each.transaction_id in named:  # else its account was erased
                    whose, core_id, to = named[each.transaction_id]
                    assert key == str(event.customer_id) == str(to)
                    facts = msgspec.structs.astuple(each)[2:]
                    told.setdefault(whose, []).append((core_id, *facts))
        found["told"] = told
    return found
