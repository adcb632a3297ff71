"""Kafka's record batches (Kafka's documentation, "Record Batch", magic 2), read record by record or all by columns.

By columns, only the lengths of the records are read one after the other; all else of all records at once. What is read
so is what aiokafka's own parser reads. It does not read what is unusual, such as records that do not come out even:
the parser reads that, or says what is wrong with it.
"""

import struct
from bisect import bisect_right
from collections.abc import Generator, Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import google_crc32c
import numpy as np
from aiokafka.codec import gzip_decode, lz4_decode, snappy_decode, zstd_decode
from aiokafka.record.default_records import DefaultRecordBatch
from aiokafka.record.legacy_records import LegacyRecordBatch

from shared.byte_slices import (
    HIGH_BITS,
    NULL,
    SLACK,
    Ints,
    Slices,
    Template,
    Unusual,
    leading_bytes,
    with_slack,
    words,
)
from shared.messaging.record_columns import (
    ABSENT,
    NAMING,
    TOLD,
    Headers,
    Layout,
    RecordColumns,
    named_in,
)
from shared.messaging.records import Record, TopicPartition

HEADER = struct.Struct(">qiibIhiqqqhii")
CRC_AT = 17
CODEC = 0x07  # of the attributes
_DECODERS = {1: gzip_decode, 2: snappy_decode, 3: lz4_decode, 4: zstd_decode}
ROWS_AT_ONCE = 2_000  # stay in the processor's cache
LAYOUTS = 32  # of headers of one length; what has none of them is read by itself
LONGEST = SLACK - 8  # headers of which there is a layout
_new = tuple.__new__  # a named tuple's own constructor costs three times as much


class KafkaBatch(NamedTuple):
    """One of Kafka's batches: `fetched[first:last]`. `size` is how many records it has."""

    fetched: bytes
    first: int
    last: int
    base_offset: int
    codec: int
    size: int

    @property
    def bytes(self) -> memoryview:
        return memoryview(self.fetched)[self.first : self.last]

    def is_whole(self) -> bool:
        """Whether its checksum is right."""
        checked = self.first + CRC_AT + 4
        stated = int.from_bytes(self.fetched[checked - 4 : checked])
        whole: bool = stated == google_crc32c.value(self.fetched[checked : self.last])
        return whole

    def records(self, at: tuple[str, int]) -> list[Record]:
        return _records_of(at, DefaultRecordBatch(self.bytes))


class OldBatch:
    """A batch of Kafka before 0.11 (magic 0 and 1)."""

    def __init__(self, fetched: bytes, magic: int) -> None:
        self._batch = LegacyRecordBatch(fetched, magic)
        self._records = _records_of(("", 0), self._batch)
        self.base_offset: int = self._records[0].offset if self._records else 0
        self.size = len(self._records)

    def records(self, at: tuple[str, int]) -> list[Record]:
        return [record._replace(topic=at[0], partition=at[1]) for record in self._records]


def batch_in(fetched: bytes, at: slice) -> KafkaBatch | OldBatch:
    magic = fetched[at.start + 16]
    if magic < 2:
        return OldBatch(fetched[at], magic)
    base_offset, *_, count = HEADER.unpack_from(fetched, at.start)
    return KafkaBatch(fetched, at.start, at.stop, base_offset, fetched[at.start + 22] & CODEC, count)


def _records_of(at: tuple[str, int], batch: Iterable[Any]) -> list[Record]:
    topic, partition = at
    return [_new(Record, (topic, partition, each.offset, each.key, each.value, each.headers)) for each in batch]


def reading_columns(
    at: TopicPartition, batches: Sequence[KafkaBatch], layouts: "HeaderLayouts"
) -> Generator[None, None, RecordColumns]:
    """Step by step, the records of batches of one fetch. Raises Unusual."""
    buffer, bodies = _bodies(batches)
    begins: list[int] = []
    turns = 1
    for batch, (first, last) in zip(batches, bodies, strict=True):
        _read_lengths(buffer, first, last, batch.size, begins)
        if len(begins) > turns * ROWS_AT_ONCE:
            turns += 1
            yield
    counts = np.array([batch.size for batch in batches])
    ends = np.array([*begins[1:], 0])
    ends[np.cumsum(counts) - 1] = [last for _, last in bodies]
    base = np.repeat([batch.base_offset for batch in batches], counts)
    parts = []
    for row in range(0, len(begins), ROWS_AT_ONCE):
        parts.append(_fields(buffer, np.array(begins[row : row + ROWS_AT_ONCE]), ends[row : row + ROWS_AT_ONCE]))
        yield
    delta, *fields = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    key, value, headers = Slices(*fields[:2]), Slices(*fields[2:4]), Slices(*fields[4:])
    said = yield from layouts.reading(buffer, headers)
    offset = base + delta
    return RecordColumns(at, buffer, offset, key, value, said, _Rows(at, batches, buffer, offset, key, value, headers))


class _Rows:
    """The records as objects: one of its own, many as the parser makes them, a batch at a time."""

    def __init__(
        self,
        at: TopicPartition,
        batches: Sequence[KafkaBatch],
        buffer: bytes,
        offset: Ints,
        key: Slices,
        value: Slices,
        headers: Slices,
    ) -> None:
        self._at = at
        self._batches = batches
        self._starts = [0, *accumulate(batch.size for batch in batches)]
        self._buffer = buffer
        self._offset = offset
        self._parts = (key, value, headers)

    def one(self, row: int) -> Record:
        key, value, headers = (part.bytes_of(self._buffer, row) for part in self._parts)
        assert headers is not None, "a record ends with its headers"
        read = [(name, None if value is None else headers[value]) for name, value in _read_headers(headers)]
        return Record(*self._at, int(self._offset[row]), key, value, read)

    def some(self, rows: range) -> Iterator[Record]:
        row = rows.start
        while row < rows.stop:
            at = bisect_right(self._starts, row) - 1
            start = self._starts[at]
            yield from self._batches[at].records(self._at)[row - start : rows.stop - start]
            row = self._starts[at + 1]


def _bodies(batches: Sequence[KafkaBatch]) -> tuple[bytes, list[tuple[int, int]]]:
    """A buffer that has the records of all batches, and where in it those of each are. Raises Unusual."""
    if not any(batch.codec for batch in batches):
        spans = [(batch.first + HEADER.size, batch.last) for batch in batches]
        return with_slack(batches[0].fetched, batches[-1].last), spans
    bodies = []
    for batch in batches:
        body = bytes(batch.bytes[HEADER.size :])
        if batch.codec:
            try:
                body = bytes(_DECODERS[batch.codec](body))
            except Exception as fault:
                raise Unusual from fault
        bodies.append(body)
    ends = list(accumulate(map(len, bodies)))
    return b"".join([*bodies, bytes(SLACK)]), list(zip([0, *ends], ends, strict=False))


def _read_lengths(buffer: bytes, at: int, end: int, count: int, begins: list[int]) -> None:
    """Adds where each record begins. Raises Unusual if they do not fill the batch."""
    signs = 0
    for _ in range(count):
        if at >= end:
            raise Unusual
        begins.append(at)
        low = buffer[at]
        signs |= low
        if low < 0x80:
            at += 1 + (low >> 1)
            continue
        high = buffer[at + 1]
        if high < 0x80:
            at += 2 + ((low & 0x7F | high << 7) >> 1)
            continue
        top = buffer[at + 2]
        if top >= 0x80:  # a megabyte and more
            raise Unusual
        at += 3 + ((low & 0x7F | (high & 0x7F) << 7 | top << 14) >> 1)
    if at != end or signs & 1:
        raise Unusual


def _fields(buffer: bytes, begin: Ints, end: Ints) -> tuple[Ints, ...]:
    """Offset delta, then where key, value and headers are and how long. Raises Unusual."""
    _, at = _read_varints(buffer, begin, end)
    at = at + 1  # the attributes, of which none is in use
    if (np.frombuffer(buffer, np.uint8)[at - 1] >= 0x80).any():
        raise Unusual
    _, at = _read_varints(buffer, at, end, skipped=True)
    delta, at = _read_varints(buffer, at, end)
    key_length, key_at = _read_varints(buffer, at, end)
    value_length, value_at = _read_varints(buffer, _after(key_at, key_length, end), end)
    headers_at = _after(value_at, value_length, end)
    return delta, key_at, key_length, value_at, value_length, headers_at, end - headers_at


def _read_varints(buffer: bytes, at: Ints, end: Ints, *, skipped: bool = False) -> tuple[Ints, Ints]:
    """Zigzag numbers, and where they end. Raises Unusual for one of more than 28 bits that is not only skipped."""
    word = words(buffer, at)
    stops = ~word & HIGH_BITS
    size = leading_bytes(stops) + 1
    after = at + size
    longest = int(size.max(initial=1))
    if longest > (8 if skipped else 4) or (after > end).any():
        raise Unusual
    word = word & ((stops & (~stops + np.uint64(1))) - np.uint64(1))
    value = word & np.uint64(0x7F)
    for part in range(1, 0 if skipped else longest):
        value |= (word >> np.uint64(part)) & np.uint64(0x7F << 7 * part)
    return ((value >> np.uint64(1)) ^ (~(value & np.uint64(1)) + np.uint64(1))).view(np.int64), after


def _after(at: Ints, length: Ints, end: Ints) -> Ints:
    after = at + np.maximum(length, 0)
    if (length < -1).any() or (after > end).any():
        raise Unusual
    return after


class HeaderLayouts:
    """Layouts of headers that records have had: names, the lengths of the values, and what names the event."""

    def __init__(self) -> None:
        self._known: dict[int, list[tuple[Template, Layout]]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._known.values()))

    def reading(self, buffer: bytes, headers: Slices) -> Generator[None, None, Headers]:
        """Raises Unusual where headers do not end with the record, or have a name that is no UTF-8."""
        numbers: dict[Layout, int] = {}
        of = np.empty(len(headers.at), np.int64)
        for first in range(0, len(of), ROWS_AT_ONCE):
            rows = slice(first, first + ROWS_AT_ONCE)
            at, length = headers.part(rows)
            for each in np.unique(length).tolist():
                same = np.flatnonzero(length == each)
                for which, layout in self._divided(buffer, at[same], each):
                    of[first + same[which]] = numbers.setdefault(layout, len(numbers))
            yield
        return Headers(list(numbers), of, headers.at)

    def _divided(self, buffer: bytes, at: Ints, length: int) -> Iterator[tuple[Ints, Layout]]:
        """Of headers of one length the indexes of those that are laid out alike."""
        left = np.arange(len(at))
        known = self._known.setdefault(length, []) if length <= LONGEST else []
        for template, layout in [*known]:
            fits = template.fits(buffer, at[left])
            if fits is None:
                yield left, layout
                return
            yield left[fits], layout
            left = left[~fits]
        for _ in range(LAYOUTS if length <= LONGEST else 0):
            first = int(at[left[0]])
            template, layout = _layout_of(buffer[first : first + length])
            known.insert(0, (template, layout))
            del known[LAYOUTS:]
            fits = template.fits(buffer, at[left])
            if fits is None:
                yield left, layout
                return
            yield left[fits], layout
            left = left[~fits]
        for row in left.tolist():
            first = int(at[row])
            headers = buffer[first : first + length]
            yield np.array([row]), _laid_out(headers, _read_headers(headers))


def _layout_of(headers: bytes) -> tuple[Template, Layout]:
    """As wide as the headers: any with the same names and lengths fits, if it names the same event."""
    fixed = bytearray(b"\xff" * len(headers))
    read = _read_headers(headers)
    for name, value in read:
        if value is not None and name not in NAMING:
            fixed[value] = bytes(value.stop - value.start)
    return Template(headers, bytes(fixed)), _laid_out(headers, read)


def _laid_out(headers: bytes, read: list[tuple[str, slice | None]]) -> Layout:
    places = {name: (0, NULL) if value is None else (value.start, value.stop - value.start) for name, value in read}
    named = named_in([(name, None if value is None else headers[value]) for name, value in read])
    return Layout(named, tuple(places.get(name, (0, ABSENT)) for name in TOLD))


def _read_headers(headers: bytes) -> list[tuple[str, slice | None]]:
    """Names, and where the values are. Raises Unusual where they do not fill the bytes, or are no UTF-8."""
    read: list[tuple[str, slice | None]] = []
    try:
        count, at = _varint(headers, 0)
        if count < 0:
            raise Unusual
        for _ in range(count):
            length, at = _varint(headers, at)
            value_length, value_at = _varint(headers, at + length)
            if length < 0 or value_length < -1:
                raise Unusual
            name = headers[at : at + length].decode()
            at = value_at + max(value_length, 0)
            read.append((name, slice(value_at, at) if value_length >= 0 else None))
    except (IndexError, UnicodeDecodeError) as fault:
        raise Unusual from fault
    if at != len(headers):
        raise Unusual
    return read


def _varint(headers: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = headers[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return (value >> 1) ^ -(value & 1), at
        shift += 7
        if shift > 28:
            raise Unusual
