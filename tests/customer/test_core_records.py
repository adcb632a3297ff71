"""What is read of the core's records by columns is what is read of each by itself, whatever their headers say."""

import random
import sys
from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from typing import Any

import msgspec
import pytest

from services.customer.use_cases import header_columns
from services.customer.use_cases.core_records import Read, RecordReader, read_record
from services.customer.use_cases.receiving import Outcome, Received
from services.customer.use_cases.transaction_columns import Facts, Transactions, finished, texts_in
from shared.event_columns import EventReader
from shared.events import encode
from shared.events.corebanking import TOPIC, TransactionPosted
from shared.messaging.records import Record
from tests.customer.asking import NOW
from tests.customer.hostile import HEADERS, TIMES, as_fetched, plain, record


@pytest.fixture(scope="module", autouse=True)
def few() -> Iterator[None]:
    """Layouts are tried on one event, too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(EventReader, "FEW", 0)
        yield


UUID7 = "019abcde-0000-7000-8000-%012d"


def read(records: Sequence[Record], reader: RecordReader | None = None) -> Read:
    return finished((reader or RecordReader()).reading(records, NOW))


def assert_same(found: Read, records: Sequence[Record]) -> int:
    """How many were read by columns."""
    by_line: dict[int, tuple[Transactions, int]] = {}
    for transactions in found.transactions:
        assert transactions.lines.tolist() == sorted(transactions.lines.tolist())
        by_line |= {line: (transactions, at) for at, line in enumerate(transactions.lines.tolist())}
    assert sorted([*by_line, *found.others]) == list(range(len(records)))
    assert len({each.source for each in found.transactions}) == len(found.transactions)
    for line, (transactions, at) in by_line.items():
        one = read_record(records[line], NOW, line)
        assert isinstance(one, Received)
        assert one.outcome is Outcome.APPLIED
        assert transactions.event_ids is not None
        assert (one.source, [one.event_id]) == (transactions.source, texts_in(transactions.event_ids, [at]))
        assert one.event == event_of(transactions.facts, at)
        assert one.digest == transactions.fingerprints[at]
        named = transactions.named
        assert named.names[named.of[at]] == one.event.account_id
        assert transactions.told.rows()[at] in encode(one.event)
        received = transactions.receive_line(line)
        assert msgspec.structs.asdict(received) == msgspec.structs.asdict(one)
    return len(by_line)


def event_of(facts: Facts, at: int) -> TransactionPosted:
    return TransactionPosted(
        account_id=texts_in(facts.account_id, [at])[0],
        transaction_id=texts_in(facts.transaction_id, [at])[0],
        booked_on=date.fromordinal(int(facts.day[at])),
        sequence=int(facts.sequence[at]),
        amount_minor=int(facts.amount[at]),
        currency=texts_in(facts.currency, [at])[0],
        kind=msgspec.convert(texts_in(facts.kind, [at])[0], TransactionPosted.__annotations__["kind"]),
        balance_after_minor=int(facts.stated[at]) if facts.states[at] else None,
        counterparty_bank=texts_in(facts.bank, [at])[0] if facts.is_external[at] else None,
    )


def numbered(records: Sequence[Record]) -> list[Record]:
    return [each._replace(offset=offset) for offset, each in enumerate(records)]


def ordinary(dice: random.Random, number: int, **changed: Any) -> Record:
    return record(UUID7 % number, plain(dice, number, ("A1", "A22")), number, **changed)


@pytest.mark.parametrize("from_kafka", [True, False])
def test_whatever_headers_say_records_are_read_as_each_is_by_itself(from_kafka: bool) -> None:
    dice = random.Random(1)
    records = [ordinary(dice, number) for number in range(40)]
    for number, changed in enumerate(HEADERS):
        odd = ordinary(dice, 100 + number)
        records.insert(dice.randrange(len(records)), odd._replace(headers=changed(list(odd.headers))))
    records = numbered(records)
    found = read(as_fetched(records) if from_kafka else records)
    assert 40 < assert_same(found, records) < len(records) - 10


@pytest.mark.parametrize("from_kafka", [True, False])
@pytest.mark.parametrize("changed", HEADERS)
def test_whatever_all_headers_say_alike_records_are_read_as_each_is_by_itself(changed: Any, from_kafka: bool) -> None:
    """What is alone in its batch meets nothing that is right."""
    dice = random.Random(3)
    odd = [ordinary(dice, number) for number in range(3)]
    records = numbered([each._replace(headers=changed(list(each.headers))) for each in odd])
    assert_same(read(as_fetched(records) if from_kafka else records), records)


@pytest.mark.parametrize("name", ["ce_id", "ce_source", "ce_time", "ce_type"])
def test_a_header_that_is_too_long_is_not_remembered(name: str) -> None:
    """A thousand of them, of a megabyte each, would be a gigabyte."""
    header = name.encode() * 1_000
    held = sys.getrefcount(header)
    read([ordinary(random.Random(4), 1, headers={name: header})]).one_by_one(NOW)
    assert sys.getrefcount(header) == held


def test_times_are_read_as_each_is_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    dice = random.Random(2)
    said = [*TIMES, *(some_time(dice) for _ in range(1_500))]
    for time in TIMES[:12]:
        said += [time[:at] + bytes([byte]) + time[at + 1 :] for at in range(len(time)) for byte in b"0159+-.:TZ ,\xff"]
    records = [ordinary(dice, number, headers={"ce_time": time}) for number, time in enumerate(said)]
    singly: list[bytes] = []
    has_happened = header_columns._has_happened

    def counted(text: bytes, now: Any) -> bool:
        singly.append(text)
        return has_happened(text, now)

    monkeypatch.setattr(header_columns, "_has_happened", counted)
    found = read(records)
    by_columns = {records[line].headers[4][1] for each in found.transactions for line in each.lines.tolist()}
    assert assert_same(found, records) > 800
    for line in found.others:
        one = read_record(records[line], NOW, line)
        assert not isinstance(one, Received) or one.outcome is Outcome.PARKED, records[line].headers
    assert len(by_columns - set(singly)) > 700, "most are not read singly"


def some_time(dice: random.Random) -> bytes:
    day = NOW + timedelta(days=dice.choice((-900, -30, -2, -1, 0, 1, 2, 3)), minutes=dice.randrange(-900, 900))
    fraction = dice.choice(
        ("", "", f".{dice.randrange(10)}", f".{dice.randrange(10**3):03}", f".{dice.randrange(10**6):06}")
    )
    hours, minutes = dice.choice((0, 1, 5, 9, 14, 23)), dice.choice((0, 30, 59))
    zone = dice.choice(("Z", f"+{hours:02}:{minutes:02}", f"-{hours:02}:{minutes:02}"))
    return f"{day:%Y-%m-%dT%H:%M:%S}{fraction}{zone}".encode()


PAYLOADS = [
    b'"account_id":"A\\u0041","was":',
    b'"account_id":"\xc3\xa9","was":',
    b'"account_id":"a\\"b\\\\","was":',
    b'"account_id":"A\\u0000","was":',
    b'"account_id":"A\\\\u0000","was":',
    b'"account_id":"\x7f","was":',
    b'"account_id":"%b","was":' % (b"A" * 64),
    b'"counterparty_bank":"","account_id":',
    b'"counterparty_bank":"B\\n","account_id":',
    b'"currency":"EUR\\n","account_id":',
    b'"core text":"\\u0000","account_id":',
    b'"core text":"\\\\u0000","account_id":',
    b'"sequence":9007199254740992,"account_id":',
    b'"booked_on":"2026-02-29","account_id":',
    b'"booked_on":"1799-12-31","account_id":',
    b'"booked_on":"2200-01-01","account_id":',
    *(b'"booked_on":"%b","account_id":' % str(NOW.date() + timedelta(days=n)).encode() for n in (1, 2, 3)),
]


def test_whatever_the_payload_is_it_is_read_as_each_is_by_itself() -> None:
    dice = random.Random(3)
    records = [ordinary(dice, number) for number in range(20)]
    for number, written in enumerate(PAYLOADS * 2):
        odd = ordinary(dice, 100 + number)
        value = (odd.value or b"").replace(b'"account_id":', written, 1)
        for name in (b"currency", b"booked_on", b"sequence"):
            if written.startswith(b'"%b"' % name):
                first, _, last = value.rpartition(b'"%b":' % name)
                value = first + b'"was_%b":' % name + last
        records.insert(dice.randrange(len(records)), odd._replace(value=value))
    reader = RecordReader()
    for size in (len(records), 7, 1, len(records)):
        reader._transactions.FEW = 60 if size == 7 else 0
        counts = [
            assert_same(read(numbered(records[first : first + size]), reader), numbered(records[first : first + size]))
            for first in range(0, len(records), size)
        ]
        assert 20 + 12 < sum(counts) < len(records) - 10


def test_sources_are_told_apart_and_each_has_its_order() -> None:
    dice = random.Random(4)
    sources = ("core", "core2", "c\u00f6re", "core\x00", "")
    records = [record(UUID7 % n, plain(dice, n, ("A1",)), n, dice.choice(sources)) for n in range(60)]
    found = read(records)
    assert {each.source for each in found.transactions} == set(sources[:3])
    assert_same(found, records)


def test_no_records_and_none_that_are_plain_are_read() -> None:
    assert read([]).transactions == []
    odd = [Record(TOPIC, 0, number, None, None, ()) for number in range(3)]
    assert read(odd).others == [0, 1, 2]
