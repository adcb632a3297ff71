"""The records of a batch by columns: where key, value and headers lie in one buffer, without an object for each.

A handler of records (`Subscriptions.on_records`) asks for them with `RecordColumns.of(records)`, from whichever log
they come, and reads the events out of them by `shared/events/columns.py`. They are a sequence of records as well.
"""

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import NamedTuple, Protocol, overload

import numpy as np

from shared.byte_slices import SLACK, Bools, Ints, blocks
from shared.events import Event
from shared.messaging.records import ReadHeaders, Record, TopicPartition

NAMING = ("ce_specversion", "ce_type")
Named = tuple[bytes, ...]
"""What a record's headers of these names say."""


class Slices(NamedTuple):
    """Where bytes lie in the buffer; a length of -1 is null."""

    at: Ints
    length: Ints

    def part(self, rows: slice) -> "Slices":
        return Slices(self.at[rows], self.length[rows])

    def bytes_of(self, buffer: bytes, row: int) -> bytes | None:
        at, length = int(self.at[row]), int(self.length[row])
        return None if length < 0 else buffer[at : at + length]


class Types(NamedTuple):
    """For each record, which of `named` its headers say."""

    named: list[Named]
    of: Ints


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
        types: Types,
        rows: Rows,
    ) -> None:
        self.at = at
        self.buffer = buffer
        self.offset = offset
        self.key = key
        self.value = value
        self._types = types
        self._rows = rows
        self._range = range(len(offset))  # of those of `rows`

    @classmethod
    def of(cls, records: Sequence[Record]) -> "RecordColumns":
        return records if isinstance(records, RecordColumns) else _joined(records)

    def are(self, event_type: type[Event]) -> Bools:
        """Which records say that they are events of this type."""
        wanted = (b"1.0", event_type.TYPE.encode())
        return np.array([named == wanted for named in self._types.named], np.bool_)[self._types.of]

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
        types = Types(self._types.named, self._types.of[index])
        key, value = self.key.part(index), self.value.part(index)
        part = RecordColumns(self.at, self.buffer, self.offset[index], key, value, types, self._rows)
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
    values = list(chain.from_iterable((record.key, record.value) for record in records))
    lengths = np.fromiter((-1 if value is None else len(value) for value in values), np.int64, len(values))
    starts = np.concatenate(([0], np.cumsum(np.maximum(lengths, 0))))[:-1]
    numbers: dict[Named, int] = {}
    of = [numbers.setdefault(named_in(record.headers), len(numbers)) for record in records]
    return RecordColumns(
        at,
        b"".join([*(value or b"" for value in values), bytes(SLACK)]),
        np.fromiter((record.offset for record in records), np.int64, len(records)),
        Slices(starts[::2], lengths[::2]),
        Slices(starts[1::2], lengths[1::2]),
        Types(list(numbers), np.array(of, np.int64)),
        _Given(records),
    )
