"""What is read by columns is what msgspec reads, whatever the bytes are."""

from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Meta

from shared.event_columns import EventColumns, EventReader
from shared.events import Event
from shared.events.corebanking import (
    AccountRecorded,
    LifeEventKind,
    LifeEventRecorded,
    PartyRecorded,
    TransactionKind,
    TransactionPosted,
)
from shared.field_values import CHOICES
from shared.messaging.record_columns import RecordColumns
from shared.messaging.records import Record
from tests.messaging.columns import decode_each


@pytest.fixture(scope="module", autouse=True)
def few() -> Iterator[None]:
    """Layouts are tried on one event, too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(EventReader, "FEW", 0)
        yield


TEXTS = [b'"AC1"', b'"AC0000000001"', b'"T%s"' % (b"1" * 63), b'"%s"' % (b"1" * 65), b'""', b'"\xc3\xa9"', b'"\xff"']
TEXTS += [b'"a\\"b"', b'"a\\u0041"', b'"a\x1fb"', b'"a\nb"', b'"a\x00"', b'"\x7f"', b'"\\ud800"']
WHOLE = [
    b"0",
    b"7",
    b"-7",
    b"-0",
    b"00",
    b"01",
    b"-01",
    b"12345678",
    b"123456789",
    b"-1234567890123456",
    b"1.0",
    b"1e2",
]
WHOLE += [b"9007199254740992", b"9007199254740993", b"-9007199254740992", b"-9007199254740993", b"12345678901234567"]
WHOLE += [b"-", b"", b"18446744073709551617", b"true", b"+1", b"0x1", b"1_0", b"\xb21"]
OTHERS = [
    b"null",
    b"true",
    b"[]",
    b"{}",
    b'{"a":"b"}',
    b"1.5",
    b"-1e-3",
    b'"%s"' % (b"-" * 120),
    b'"%s"' % (b"x" * 1_500),
]
DAYS = [
    b'"2026-11-02"',
    b'"2026-02-29"',
    b'"2024-02-29"',
    b'"2026-13-01"',
    b'"0001-01-01"',
    b'"2026-1-01"',
    b'"20261102"',
]
KINDS = [b'"%s"' % kind.encode() for kind in TransactionKind] + [b'"refund"', b'"FEE"', b'"transfer_inn"']
ANY = st.sampled_from([*TEXTS, *WHOLE, *OTHERS, *DAYS, *KINDS, b'"EUR"', b'"EURO"', b'"eur"'])
USUAL: dict[bytes, list[bytes]] = {
    b"account_id": [b'"AC0000000001"', b'"AC0000000002"', b'"AC12"'],
    b"transaction_id": [b'"T1"', b'"T%s"' % (b"1" * 63)],
    b"booked_on": DAYS[:1] * 3 + [b'"2026-11-03"'],
    b"sequence": [b"0", b"123456789", b"9007199254740992"],
    b"amount_minor": [b"-1", b"99999999", b"-9007199254740992", b"1234567890123456"],
    b"currency": [b'"EUR"', b'"CHF"'],
    b"kind": KINDS[:-3],
    b"balance_after_minor": [b"0", b"-5", b"null"],
    b"counterparty_bank": [b'"BANK"', b"null", b'"B"'],
    b"note": [*OTHERS, *TEXTS, *WHOLE],
}
KEYS = st.sampled_from(
    [
        list(USUAL),
        list(USUAL)[:7],
        [b"note", *list(USUAL)[6::-1]],
        [*list(USUAL)[:7], b"amount_minor"],
        list(USUAL)[:6],
        [*list(USUAL)[:7], b"n\\u006fte", b"k\xc3\xa9y"],
    ]
)
SPACES = st.sampled_from([(b"", b""), (b" ", b""), (b"\n", b" \t\r"), (b"\x0b", b"")])


@st.composite
def payloads(draw: st.DrawFn) -> bytes:
    """A transaction, or nearly one."""
    space, end = draw(SPACES)
    values = [[key, draw(st.sampled_from(USUAL.get(key, [b"1"])))] for key in draw(KEYS)]
    if draw(st.integers(0, 2)) == 0:
        draw(st.sampled_from(values))[1] = draw(ANY)
    pairs = [b'"%s":%s%s' % (key, space, value) for key, value in values]
    text = b"%s{%s}%s" % (space, (b"," + space).join(pairs), end)
    if draw(st.integers(0, 5)) == 0:
        at = draw(st.integers(0, len(text)))
        text = (
            text[:at]
            + draw(st.sampled_from([b"", b",", b'"', b"}", b"1", b"\\"]))
            + text[at + draw(st.integers(0, 1)) :]
        )
    return text


def recorded(values: Sequence[bytes | None]) -> list[Record]:
    return [Record("topic", 0, offset, None, value, []) for offset, value in enumerate(values)]


def assert_same(events: EventColumns[Any], event_type: type[Event], values: Sequence[bytes | None]) -> None:
    decoded, faults = decode_each(event_type, values)
    assert {row: str(fault) for row, fault in events.faults.items()} == {
        row: str(fault) for row, fault in faults.items()
    }
    assert events.rows.tolist() == [row for row in range(len(values)) if row not in faults]
    for name in events.names:
        assert list(values_of(events, name)) == [getattr(event, name) for event in decoded], name


def values_of(events: EventColumns[Any], name: str) -> list[Any]:
    if events.kind(name) == "choice":
        values, index = events.choices(name)
        return [values[at] for at in index]
    if events.kind(name) == "integer":
        nulls = events.nulls(name)
        read = events.integers(name).tolist()
        return read if nulls is None else [None if null else value for value, null in zip(read, nulls, strict=True)]
    column = events.texts(name)
    items = [bytes(item) for item in column.values]
    if column.lengths is None:
        return [item.decode() for item in items]
    assert all(not any(item[max(0, n) :]) for item, n in zip(items, column.lengths, strict=True)), "zeros behind"
    return [None if n < 0 else item[:n].decode() for item, n in zip(items, column.lengths.tolist(), strict=True)]


@settings(max_examples=120, deadline=None)
@given(st.lists(st.lists(payloads() | st.none(), min_size=1, max_size=12), min_size=1, max_size=3))
def test_any_bytes_are_read_as_msgspec_reads_them(batches: list[list[bytes | None]]) -> None:
    reader = EventReader(TransactionPosted)
    for values in batches:
        assert_same(reader.read(RecordColumns.of(recorded(values))), TransactionPosted, values)
    again = [value for values in batches for value in values]
    assert_same(reader.read(RecordColumns.of(recorded(again))), TransactionPosted, again)


GOOD = (
    b'{"account_id":"AC0000000001","transaction_id":"T000000000001","booked_on":"2026-11-02","sequence":1,'
    b'"amount_minor":-15,"currency":"EUR","kind":"fee","balance_after_minor":17,"note":"----"}'
)


def test_whatever_byte_is_wrong_an_event_is_read_as_msgspec_reads_it() -> None:
    reader = EventReader(TransactionPosted)
    values = [GOOD, *[GOOD.replace(b":17", b':17,"balance_after_minor":null')] * 2]
    for at in range(len(GOOD)):
        values += [GOOD[:at] + bytes([byte]) + GOOD[at + 1 :] for byte in b'\x00\n "\\-0a,:}\x7f\x80\xff']
        values += [GOOD[:at], GOOD[:at] + GOOD[at + 1 :], GOOD[:at] + GOOD[at : at + 1] + GOOD[at:]]
    assert_same(reader.read(RecordColumns.of(recorded(values))), TransactionPosted, values)


@pytest.mark.parametrize("value", [*TEXTS, *WHOLE, *OTHERS, *DAYS, *KINDS])
def test_whatever_value_a_layout_gets_it_is_read_as_msgspec_reads_it(value: bytes) -> None:
    reader = EventReader(TransactionPosted)
    old = [b'"AC0000000001"', b'"T000000000001"', b'"2026-11-02"', b":1,", b"-15", b'"EUR"', b'"fee"', b"17", b'"----"']
    values = [GOOD, *(GOOD.replace(each, b":%s," % value if each == b":1," else value) for each in old)]
    assert_same(reader.read(RecordColumns.of(recorded(values))), TransactionPosted, values)


def test_most_events_of_one_layout_are_not_decoded_by_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    values: list[bytes | None] = [GOOD.replace(b"-15", b"%d" % (number * 997 - 1_000_000)) for number in range(9_000)]
    values[4_321], values[8_000] = b"{", None
    reader = EventReader(TransactionPosted)
    decoded = 0
    keep_one = EventColumns.keep_one

    def counted(events: EventColumns[Any], row: int, event: Any) -> None:
        nonlocal decoded
        decoded += 1
        keep_one(events, row, event)

    monkeypatch.setattr(EventColumns, "keep_one", counted)
    events = reader.read(RecordColumns.of(recorded(values)))
    assert decoded == 1
    assert_same(events, TransactionPosted, values)


def test_a_few_events_are_decoded_one_by_one_and_are_the_same() -> None:
    few = EventReader(TransactionPosted)
    few.FEW = 60
    for count, singly in ((1, 1), (60, 60), (61, 1), (60, 60), (130, 0)):
        values: list[bytes | None] = [GOOD.replace(b"-15", b"%d" % -number) for number in range(count)]
        events = few.read(RecordColumns.of(recorded(values)))
        assert len(events.singly) == singly
        assert_same(events, TransactionPosted, values)


def test_what_has_too_many_different_values_is_read_nevertheless() -> None:
    values = [
        b'{"life_event_id":"L%d","party_id":"P","kind":"move","happened_on":"%04d-%02d-%02d"}'
        % (number, 1900 + number // 336, 1 + number // 28 % 12, 1 + number % 28)
        for number in range(CHOICES + 300)
    ]
    reader = EventReader(LifeEventRecorded)
    for _ in range(2):
        assert_same(reader.read(RecordColumns.of(recorded(values))), LifeEventRecorded, values)


def test_a_type_with_other_fields_is_read_by_msgspec() -> None:
    accounts = [
        b'{"account_id":"A%d","revision":%d,"kind":"current","currency":"EUR","opened_on":"2026-11-02",'
        b'"parties":[{"party_id":"P","relation":"holder"}]}' % (number, number)
        for number in range(30)
    ]
    assert_same(EventReader(AccountRecorded).read(RecordColumns.of(recorded(accounts))), AccountRecorded, accounts)
    parties = [
        b'{"party_id":"P","revision":1,"customer_number":"C","branch_id":"B","name":"\xc3\x89va %d"}' % n
        for n in range(9)
    ]
    assert_same(EventReader(PartyRecorded).read(RecordColumns.of(recorded(parties))), PartyRecorded, parties)


class Opened(Event, frozen=True, kw_only=True):
    """With what our events do not have: other defaults, names and limits."""

    number: Annotated[int, Meta(ge=0, le=9)] = msgspec.field(default=7, name="no")
    label: Annotated[str, Meta(max_length=5)] = "usual"
    kind: LifeEventKind = LifeEventKind.MOVE
    any_number: int = 3
    flag: bool = False


def test_defaults_and_names_are_the_types() -> None:
    values = [
        b'{"no":1}',
        b'{"no":8}',
        b'{"no":10}',
        b"{}",
        b'{"label":"x"}',
        b'{"label":"x","flag":true}',
        b'{"x":"y"}',
    ]
    values += [b'{"label":"long"}', b'{"label":"longer"}', b'{"any_number":12}', b'{"no":1,"kind":"birth","label":""}']
    assert_same(EventReader(Opened).read(RecordColumns.of(recorded(values * 3))), Opened, values * 3)


def test_no_records_are_no_events() -> None:
    events = EventReader(TransactionPosted).read(RecordColumns.of([]))
    assert len(events) == len(events.texts("account_id").values) == len(events.integers("sequence")) == 0
