"""The records of a batch by columns: where key, value and headers lie in one buffer, without an object for each.

A handler of records (`Subscriptions.on_records`) asks for them with `RecordColumns.of(records)`, from whichever log
they come, and reads the events out of them by `shared/events/columns.py`. They are a sequence of records as well.
"""

from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple, Protocol, overload

import numpy as np

from shared.byte_slices import NULL, SLACK, Bools, Ints, Slices, blocks
from shared.events import Event
from shared.messaging.records import ReadHeaders, Record, TopicPartition

NAMING = ("ce_specversion", "ce_type")
Named = tuple[bytes, ...]
"""What a record's headers of these names say."""
TOLD = ("ce_id", "ce_source", "ce_time")
"""Headers that are read by columns."""
ABSENT = -2
"""The length of a header that there is none of."""


class Layout(NamedTuple):
    """What headers name, and for each of TOLD where it lies, counted from where they begin, and how long it is."""

    named: Named
    places: tuple[tuple[int, int], ...]


class Headers(NamedTuple):
    """For each record where its headers begin, and which of the layouts they have."""

    layouts: Sequence[Layout]
    of: Ints
    at: Ints

    def part(self, rows: slice) -> "Headers":
        return Headers(self.layouts, self.of[rows], self.at[rows])


class Rows(Protocol):
    """Records as objects, made when they are asked for."""

    def one(self, row: int) -> Record: ...

    def some(self, rows: range) -> Iterator[Record]: ...


class RecordColumns(Sequence[Record]):
    """Records of one partition, in order. `key` and `value` are slices of `buffer`."""

    def __init__(
        self,
        at: TopicPartition,
        buffer: bytes,
        offset: Ints,
        key: Slices,
        value: Slices,
        headers: Headers,
        rows: Rows,
    ) -> None:
        self.at = at
        self.buffer = buffer
        self.offset = offset
        self.key = key
        self.value = value
        self._headers = headers
        self._rows = rows
        self._range = range(len(offset))  # of those of `rows`

    @classmethod
    def of(cls, records: Sequence[Record]) -> "RecordColumns":
        return records if isinstance(records, RecordColumns) else _joined(records)

    def are(self, event_type: type[Event]) -> Bools:
        """Which records say that they are events of this type."""
        wanted = (b"1.0", event_type.TYPE.encode())
        return np.array([each.named == wanted for each in self._headers.layouts], np.bool_)[self._headers.of]

    def header(self, name: str) -> Slices:
        """Where the records' headers of one of TOLD lie: of several the last, which is what counts."""
        number = TOLD.index(name)
        places = np.array([each.places[number] for each in self._headers.layouts], np.int64).reshape(-1, 2)
        return Slices(self._headers.at + places[self._headers.of, 0], places[self._headers.of, 1])

    def __len__(self) -> int:
        return len(self.offset)

    def __iter__(self) -> Iterator[Record]:
        return self._rows.some(self._range)

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> "RecordColumns": ...
    def __getitem__(self, index: int | slice) -> "Record | RecordColumns":
        if isinstance(index, int):
            return self._rows.one(self._range[index])
        if index.step not in (None, 1):
            raise ValueError("records come one after the other")
        key, value, headers = self.key.part(index), self.value.part(index), self._headers.part(index)
        part = RecordColumns(self.at, self.buffer, self.offset[index], key, value, headers, self._rows)
        part._range = self._range[index]
        return part

    def distinct_keys(self, length: int) -> list[bytes]:
        """The keys that are so many bytes long, each once."""
        at = self.key.at[self.key.length == length]
        keys = np.unique(blocks(self.buffer, at, length).view(f"S{length}")).tolist() if len(at) else []
        return [key.ljust(length, b"\0") for key in keys]  # an S item ends before the zeros at its end


class _Given(NamedTuple):
    records: Sequence[Record]

    def one(self, row: int) -> Record:
        return self.records[row]

    def some(self, rows: range) -> Iterator[Record]:
        return iter(self.records[rows.start : rows.stop])


def named_in(headers: ReadHeaders) -> Named:
    said = dict(headers)
    return tuple(said.get(name) or b"" for name in NAMING)


def _joined(records: Sequence[Record]) -> RecordColumns:
    """Of records that are objects already."""
    at = TopicPartition(*records[0][:2]) if records else TopicPartition("", 0)
    numbers: dict[Layout, int] = {}
    values: list[bytes | None] = []
    of = []
    for record in records:
        said = dict(record.headers)
        told = [said.get(name) for name in TOLD]
        ends = accumulate(len(value or b"") for value in told)
        places = tuple(
            (end - len(value or b""), ABSENT if name not in said else NULL if value is None else len(value))
            for name, value, end in zip(TOLD, told, ends, strict=True)
        )
        of.append(numbers.setdefault(Layout(named_in(record.headers), places), len(numbers)))
        values += [record.key, record.value, b"".join(value or b"" for value in told)]
    lengths = np.fromiter((NULL if value is None else len(value) for value in values), np.int64, len(values))
    starts = np.concatenate(([0], np.cumsum(np.maximum(lengths, 0))))[:-1]
    return RecordColumns(
        at,
        b"".join([*(value or b"" for value in values), bytes(SLACK)]),
        np.fromiter((record.offset for record in records), np.int64, len(records)),
        Slices(starts[::3], lengths[::3]),
        Slices(starts[1::3], lengths[1::3]),
        Headers(list(numbers), np.array(of, np.int64), starts[2::3]),
        _Given(records),
    )
