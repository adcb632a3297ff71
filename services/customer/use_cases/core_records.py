"""Records of the core's topic, read: plain transactions by columns, all else one by one.

CloudEvents' Kafka binding in either mode: attributes in `ce_` headers, or the whole event in the value.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Annotated

import msgspec

from services.customer.domain.dates import EARLIEST_YEAR, LATEST_YEAR, is_plausible, may_have_happened
from services.customer.use_cases.receiving import (
    MAX_ID_LENGTH,
    NUL,
    Received,
    Unreadable,
    is_name,
    read_cloud_event,
    receive,
)
from services.customer.use_cases.transaction_columns import (
    AT_ONCE,
    PlainTransaction,
    Transactions,
    columns_of,
    fingerprints_of,
    joined,
    wrong_rows,
)
from shared.events.corebanking import TransactionPosted
from shared.messaging.records import Record, headers_of


@dataclass
class Read:
    """`line` in all of them is the record's index."""

    transactions: list[Transactions] = field(default_factory=list)
    events: list[Received] = field(default_factory=list)
    unreadable: list[Unreadable] = field(default_factory=list)


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


def read_records(records: Sequence[Record], now: datetime) -> Read:
    """What is wrong in any way is read one by one, which tells what it is."""
    parts: dict[str, list[Transactions]] = {}
    others: list[int] = []

    def receive_line(line: int) -> Received:
        one = read_record(records[line], now, line)
        assert isinstance(one, Received), "it has a name"
        return one

    for first in range(0, len(records), AT_ONCE):
        heads = [dict(record.headers) for record in records[first : first + AT_ONCE]]
        plain: dict[bytes, list[int]] = {}
        for line, head in enumerate(heads, first):
            if head.get("ce_type") == _POSTED and head.get("ce_specversion") == b"1.0":
                plain.setdefault(head.get("ce_source") or b"", []).append(line)
            else:
                others.append(line)
        for source, lines in plain.items():
            some, wrong = _read_plain(source, [(line, heads[line - first], records[line]) for line in lines], now)
            others += wrong
            if some is not None:
                parts.setdefault(some.source, []).append(some)
    read = Read([joined(some, receive_line) for some in parts.values()])
    for line in sorted(others):
        one = read_record(records[line], now, line)
        if isinstance(one, Received):
            read.events.append(one)
        else:
            read.unreadable.append(one)
    return read


_POSTED = TransactionPosted.TYPE.encode()
_Head = dict[str, bytes | None]
_decode = msgspec.json.Decoder(PlainTransaction).decode
_NOTHING = PlainTransaction()
_Instant = Annotated[datetime, msgspec.Meta(tz=True)]


def _read_plain(
    written_source: bytes, given: Sequence[tuple[int, _Head, Record]], now: datetime
) -> tuple[Transactions | None, list[int]]:
    """Those of one source; and the lines of those that are not as they should be."""
    source = _text(written_source)
    lines = [line for line, _, _ in given]
    if source.encode() != written_source or not is_name(source):
        return None, lines
    just_now = now.isoformat().encode()
    event_ids = _texts([head.get("ce_id") or b"" for _, head, _ in given])
    times = _instants(_texts([head.get("ce_time", just_now) or b"" for _, head, _ in given]))
    values = [record.value or b"" for _, _, record in given]
    rows = _rows(values)
    columns = columns_of(rows)
    wrong = wrong_rows(columns, now) | _nameless(event_ids) | _impossible(times, now)
    wrong.update(at for at, value in enumerate(values) if NUL in value)
    if not wrong:
        return Transactions(source, lines, event_ids, columns, fingerprints_of(rows)), []
    wrong_lines = [lines[at] for at in sorted(wrong)]
    if not (kept := sorted(set(range(len(lines))) - wrong)):
        return None, wrong_lines
    rows = [rows[at] for at in kept]
    lines, event_ids = [lines[at] for at in kept], [event_ids[at] for at in kept]
    return Transactions(source, lines, event_ids, columns_of(rows), fingerprints_of(rows)), wrong_lines


def _texts(values: Sequence[bytes]) -> list[str]:
    """Empty, which is no name and no instant, for what is no text."""
    try:
        return [value.decode() for value in values]
    except UnicodeDecodeError:
        return [_one_text(value) for value in values]


def _one_text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return ""


def _rows(values: Sequence[bytes]) -> list[PlainTransaction]:
    """With nothing in it, which breaks every rule, for what is none."""
    try:
        return [_decode(value) for value in values]
    except _UNDECODABLE:
        return [_row(value) for value in values]


def _row(value: bytes) -> PlainTransaction:
    try:
        return _decode(value)
    except _UNDECODABLE:
        return _NOTHING


_UNDECODABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


def _instants(texts: Sequence[str]) -> list[datetime | None]:
    try:
        return msgspec.convert(texts, list[_Instant | None])
    except msgspec.ValidationError:
        return [_instant(text) for text in texts]


def _instant(text: str) -> datetime | None:
    try:
        return msgspec.convert(text, _Instant)
    except msgspec.ValidationError:
        return None


def _impossible(times: Sequence[datetime | None], now: datetime) -> set[int]:
    if None not in times:
        first, last = min(times), max(times)  # type: ignore[type-var] # no None here
        if first and last and first.year > EARLIEST_YEAR and last.year < LATEST_YEAR and may_have_happened(last, now):
            return set()
    return {
        at for at, time in enumerate(times) if time is None or not (is_plausible(time) and may_have_happened(time, now))
    }


def _nameless(event_ids: Sequence[str]) -> set[int]:
    if "\x00" not in "".join(event_ids) and all(event_ids) and max(map(len, event_ids)) <= MAX_ID_LENGTH:
        return set()
    return {at for at, event_id in enumerate(event_ids) if not is_name(event_id)}


@lru_cache(maxsize=1_000)
def _text(header: bytes) -> str:
    """Of what many records have alike."""
    return header.decode("utf-8", "replace")
