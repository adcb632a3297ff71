"""Records of the core's topic, read: plain transactions by columns, all else one by one.

CloudEvents' Kafka binding in either mode: attributes in `ce_` headers, or the whole event in the value.
"""

import re
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import lru_cache

import msgspec
import numpy as np

from services.customer.domain.dates import AHEAD, EARLIEST_YEAR, LATEST_YEAR
from services.customer.use_cases.header_columns import are_names, have_happened
from services.customer.use_cases.receiving import (
    MAX_ID_LENGTH,
    NUL,
    Received,
    Unreadable,
    is_name,
    read_cloud_event,
    receive,
)
from services.customer.use_cases.transaction_columns import Facts, Flags, Ints, Transactions, making
from shared.byte_slices import Slices, Template
from shared.columns import chosen, texts_at
from shared.event_columns import EventColumns, EventReader
from shared.events.corebanking import TransactionPosted
from shared.messaging.record_columns import RecordColumns
from shared.messaging.records import Record, headers_of


@dataclass(frozen=True)
class Read:
    """Records, of which the plain transactions are read. `others` are the indexes of those that are none."""

    records: Sequence[Record]
    transactions: Sequence[Transactions]
    others: Sequence[int]

    def one_by_one(self, now: datetime) -> tuple[list[Received], list[Unreadable]]:
        """The others, read; `line` in all is the record's index."""
        received: list[Received] = []
        unreadable: list[Unreadable] = []
        for line in self.others:
            one = read_record(self.records[line], now, line)
            if isinstance(one, Received):
                received.append(one)
            else:
                unreadable.append(one)
        return received, unreadable


def read_record(record: Record, now: datetime, line: int = 0) -> Received | Unreadable:
    value = record.value or b""
    headers = headers_of(record)
    if "ce_type" not in headers:
        return read_cloud_event(value, received_at=now, line=line)
    event_id = headers.get("ce_id", b"").decode("utf-8", "replace")
    if headers.get("ce_specversion") != b"1.0":
        detail = "ce_specversion must be 1.0"
        return Unreadable("unknown_specversion", "/specversion", detail, line, event_id[:MAX_ID_LENGTH])
    try:
        occurred_at = msgspec.convert(_text(headers["ce_time"]), datetime) if "ce_time" in headers else now
    except msgspec.ValidationError:
        return Unreadable("malformed_cloud_event", "/time", "ce_time must be an RFC 3339 instant", line)
    source, type_name = _text(headers.get("ce_source", b"")), _text(headers["ce_type"])
    return receive(source, event_id, type_name, occurred_at, value, received_at=now, line=line)


class RecordReader:
    """Remembers how the core lays out its events."""

    def __init__(self) -> None:
        self._transactions = EventReader(TransactionPosted)

    def reading(self, records: Sequence[Record], now: datetime) -> Generator[None, None, Read]:
        """Bit by bit. What is wrong or odd in any way is left to be read by itself, which tells what it is."""
        columns = RecordColumns.of(records)
        event_id, source = columns.header("ce_id"), columns.header("ce_source")
        plain = columns.are(TransactionPosted) & are_names(columns.buffer, event_id)
        plain &= (source.length > 0) & (source.length <= MAX_ID_LENGTH)
        yield
        plain &= have_happened(columns.buffer, columns.header("ce_time"), now)
        yield
        for read in self._transactions.reading(columns, np.flatnonzero(plain)):
            events = read
            yield
        events.keep_only(_are_storable(events) & _are_possible(events, now))
        facts = _facts(events)
        yield

        def receive_line(line: int) -> Received:
            received = read_record(columns[line], now, line)
            assert isinstance(received, Received), "it has a name"
            return received

        transactions = []
        is_other = np.ones(len(columns), np.bool_)
        for name, which in _sources(columns.buffer, source, events.rows):
            lines, some = (events.rows[which], facts.take(which)) if which is not None else (events.rows, facts)
            is_other[lines] = False
            ids = texts_at(columns.buffer, event_id.at[lines], event_id.length[lines])
            transactions.append((yield from making(name, lines, ids, some, receive_line)))
        return Read(columns, transactions, np.flatnonzero(is_other).tolist())


def _are_storable(events: EventColumns[TransactionPosted]) -> Flags:
    """What was read by columns has no escapes, and so no NUL."""
    storable = np.ones(len(events), np.bool_)
    for row in events.singly:
        if NUL in events.bytes_of(row):
            storable[np.searchsorted(events.rows, row)] = False
    return storable


_CURRENCY = re.compile("[A-Z]{3}")


def _are_possible(events: EventColumns[TransactionPosted], now: datetime) -> Flags:
    """The day is one that a bank can mean; and the currency has no line break behind it, which a pattern lets pass."""
    first, last = date(EARLIEST_YEAR, 1, 1), min(date(LATEST_YEAR, 12, 31), (now + AHEAD).date())
    days, day = events.choices("booked_on")
    currencies, currency = events.choices("currency")
    is_day = np.array([each is not None and first <= each <= last for each in days])
    is_currency = np.array([each is not None and _CURRENCY.fullmatch(each) is not None for each in currencies])
    possible: Flags = is_day[day] & is_currency[currency]
    return possible


def _facts(events: EventColumns[TransactionPosted]) -> Facts:
    days, day = events.choices("booked_on")
    unstated = events.nulls("balance_after_minor")
    return Facts(
        account_id=events.texts("account_id"),
        transaction_id=events.texts("transaction_id"),
        day=np.array([0 if each is None else each.toordinal() for each in days])[day],
        sequence=events.integers("sequence"),
        amount=events.integers("amount_minor"),
        currency=chosen(*events.choices("currency")),
        kind=chosen(*events.choices("kind")),
        stated=events.integers("balance_after_minor"),
        states=np.ones(len(events), np.bool_) if unstated is None else ~unstated,
        bank=events.texts("counterparty_bank"),
    )


def _sources(buffer: bytes, source: Slices, rows: Ints) -> Iterator[tuple[str, Ints | None]]:
    """The names there are, and which of the rows each has; None for all."""
    at, length = source.at[rows], source.length[rows]
    if not len(rows):
        return
    first = buffer[at[0] : at[0] + length[0]]
    if bool((length == len(first)).all()) and Template(first).fits(buffer, at) is None:
        said, of = [first], None
    else:
        numbers: dict[bytes, int] = {}
        each = (buffer[begin:end] for begin, end in zip(at.tolist(), (at + length).tolist(), strict=True))
        of = np.fromiter((numbers.setdefault(one, len(numbers)) for one in each), np.int64, len(rows))
        said = list(numbers)
    for number, written in enumerate(said):
        name = _text(written)
        if is_name(name) and name.encode() == written:
            yield name, None if of is None else np.flatnonzero(of == number)


def _text(header: bytes) -> str:
    return _known_text(header) if len(header) <= MAX_ID_LENGTH else header.decode("utf-8", "replace")


@lru_cache(maxsize=1_000)
def _known_text(header: bytes) -> str:
    """Of what many records have alike."""
    return header.decode("utf-8", "replace")
