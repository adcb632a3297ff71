"""Columns in PostgreSQL's binary format: many rows at once, exactly, without an object for each value.

A value is 4 bytes of its length, -1 for null, and its bytes, all big-endian; a row is 2 bytes of how many fields, and
its fields (PostgreSQL's documentation, "COPY", Binary Format). So rows of one width are a structured array of NumPy;
for others the widest row is laid out, and the bytes that a row does not have are taken out of it.
"""

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt

from shared.byte_slices import blocks

Array = npt.NDArray[Any]
Lengths = npt.NDArray[np.int32]

EPOCH_DAY = 730_120
"""The ordinal of 2000-01-01, from which PostgreSQL counts days."""
EPOCH_MICROSECONDS = 946_684_800_000_000
"""From 1970-01-01 to 2000-01-01, from which PostgreSQL counts instants."""

HEADER = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
TRAILER = b"\xff\xff"
ROWS_AT_ONCE = 2_000  # stay in the processor's cache while they are laid out
BYTES_AT_ONCE = 4_000_000  # of a layout, whose every row is as wide as its widest


class Column(NamedTuple):
    """`values` are PostgreSQL's bytes: an array with an item of one width for each row, or texts of any length.

    `lengths` says how many of an item's bytes count, -1 for null; without it, all do.
    """

    type: str
    values: Array | list[bytes]
    lengths: Lengths | None = None

    def take(self, index: Array) -> "Column":
        """The rows of `index`, in its order; a row may be taken more than once."""
        if isinstance(self.values, list):
            values: Array | list[bytes] = [self.values[at] for at in index.tolist()]
        else:
            values = self.values[index]
        return Column(self.type, values, None if self.lengths is None else self.lengths[index])

    def part(self, first: int, last: int) -> "Column":
        return Column(self.type, self.values[first:last], None if self.lengths is None else self.lengths[first:last])

    def items(self) -> list[bytes]:
        """What each row is written as, with zeros behind it where the values are an array: equal for equal texts."""
        return self.values if isinstance(self.values, list) else self.values.tolist()

    @property
    def width(self) -> int:
        """Of its widest item, in bytes."""
        if isinstance(self.values, list):
            assert self.lengths is not None, "texts have lengths"
            return max(1, int(self.lengths.max(initial=0)))
        return self.values.itemsize


def numbers(values: Sequence[int]) -> npt.NDArray[np.int64]:
    """Raises OverflowError for what has no 64 bits, TypeError for None."""
    return np.fromiter(values, np.int64, len(values))


def nullable_numbers(values: Sequence[int | None]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """The values, 0 for None; and where there is one."""
    if None not in values:
        return np.fromiter(values, np.int64, len(values)), np.ones(len(values), np.bool_)
    there = np.fromiter((value is not None for value in values), np.bool_, len(values))
    return numbers([value or 0 for value in values]), there


def integers(type_name: str, values: Array, nulls: Array | None = None) -> Column:
    """`type_name` is int2, int4 or int8. Raises OverflowError for what does not fit."""
    width = int(type_name[3:])
    limit = 1 << (8 * width - 1)
    if len(values) and not -limit <= int(values.min()) <= int(values.max()) < limit:
        raise OverflowError(f"a value does not fit into {type_name}")
    return _fixed(type_name, values.astype(f">i{width}"), nulls)


def words_of(texts: Column) -> tuple[npt.NDArray[np.uint64], ...]:
    """8 bytes of each text at a time, of a column that is an array; zeros behind its end."""
    assert isinstance(texts.values, np.ndarray), "an array of items"
    width = texts.values.itemsize
    wide = texts.values.astype(f"V{-(-width // 8) * 8}") if width % 8 else texts.values
    return tuple(np.ascontiguousarray(wide).view("<u8").reshape(len(wide), -1).T)


def booleans(values: Array, nulls: Array | None = None) -> Column:
    return _fixed("bool", values.astype(np.bool_).view("u1"), nulls)


def dates(ordinals: Array, nulls: Array | None = None) -> Column:
    """Days by `date.toordinal`."""
    return _fixed("date", (ordinals - EPOCH_DAY).astype(">i4"), nulls)


def instants(microseconds: Array, nulls: Array | None = None) -> Column:
    """Microseconds since 1970-01-01 UTC."""
    return _fixed("timestamptz", (microseconds - EPOCH_MICROSECONDS).astype(">i8"), nulls)


def uuids(joined: bytes) -> Column:
    """Their 16 bytes each, one after the other."""
    return Column("uuid", np.frombuffer(joined, "V16"))


def texts(values: Sequence[str | None]) -> Column:
    return _of_any_length("text", [None if value is None else value.encode() for value in values])


def codes(values: Sequence[str]) -> Column:
    """As `texts` without nulls; in a third of the time where all are ASCII and equally long."""
    joined = "".join(values)
    if joined.isascii():
        lengths = np.fromiter(map(len, values), np.int32, len(values))
        longest = int(lengths.max(initial=0))
        if longest and longest * len(values) == len(joined):
            return Column("text", np.frombuffer(joined.encode(), f"V{longest}"))
    return texts(values)


def choices(values: Sequence[str | None]) -> Column:
    """As `texts`, for what has few different values."""
    index: dict[str | None, int] = {}
    which = [index.setdefault(value, len(index)) for value in values]
    return chosen(list(index), np.array(which, np.int64))


def chosen(different: Sequence[str | None], which: Array) -> Column:
    """As `texts` of `different[which]`."""
    distinct = texts(different)
    width = distinct.width
    return _even(Column("text", np.array(distinct.values, f"S{width}").view(f"V{width}"), distinct.lengths).take(which))


def padded(texts: Column) -> Column:
    """The same as an array of items, with zeros behind what is shorter."""
    if not isinstance(texts.values, list):
        return texts
    width = texts.width
    return _even(Column(texts.type, np.array(texts.values, f"S{width}").view(f"V{width}"), texts.lengths))


def stacked(columns: Sequence[Column]) -> Column:
    """One after the other, of columns that are arrays; as wide as the widest."""
    width = max(column.width for column in columns)
    values = np.concatenate([cast("Array", column.values).astype(f"V{width}") for column in columns])
    lengths = [np.full(len(c.values), c.width, np.int32) if c.lengths is None else c.lengths for c in columns]
    return _even(Column(columns[0].type, values, np.concatenate(lengths)))


def texts_at(buffer: bytes, at: Array, length: Array) -> Column:
    """The texts that lie in a buffer, which goes on behind them for as long as the longest is; -1 for null."""
    width = max(1, int(length.max(initial=0)))
    items = blocks(buffer, at, width)
    if not bool((length == width).all()):
        items *= np.arange(width) < length[:, None]
    return _even(Column("text", items.view(f"V{width}")[:, 0], length.astype(np.int32)))


def _even(column: Column) -> Column:
    return column if column.lengths is None or (column.lengths != column.width).any() else column._replace(lengths=None)


def constant(value: str, count: int) -> Column:
    encoded = value.encode()
    return Column("text", np.full(count, np.void(encoded))) if encoded else texts([value] * count)


def byteas(values: Sequence[bytes | None]) -> Column:
    return _of_any_length("bytea", values)


def _of_any_length(type_name: str, values: Sequence[bytes | None]) -> Column:
    if None not in values:
        given = cast("Sequence[bytes]", values)
        return Column(type_name, list(given), np.fromiter(map(len, given), np.int32, len(given)))
    lengths = np.fromiter((-1 if value is None else len(value) for value in values), np.int32, len(values))
    return Column(type_name, [value or b"" for value in values], lengths)


def _fixed(type_name: str, values: Array, nulls: Array | None) -> Column:
    if nulls is None or not nulls.any():
        return Column(type_name, values)
    return Column(type_name, values, np.where(nulls, -1, values.itemsize).astype(np.int32))


def items_of(array: bytes | None, item: str) -> Array:
    """The items of an array as `array_of` writes them, of which none is null: `item` is NumPy's type of each.

    An empty array for None, which `array_agg` says of no rows. Raises ValueError for an item of another width.
    """
    if array is None:
        return np.empty(0, item)
    items = np.frombuffer(array, [("length", ">i4"), ("value", item)], offset=20)
    if (items["length"] != items["value"].itemsize).any():
        raise ValueError(f"an item is no {item}")
    values: Array = items["value"]
    return values


def rows_of(columns: Sequence[Column], index: Array | None = None) -> Iterator[bytes]:
    """The rows as COPY takes them between HEADER and TRAILER, some at a time; of `index`, as `Column.take` has them."""
    count = len(columns[0].values) if index is None else len(index)
    for first in range(0, count, ROWS_AT_ONCE):
        last = min(first + ROWS_AT_ONCE, count)
        if index is None:
            yield from _narrow([column.part(first, last) for column in columns])
        else:
            yield from _narrow([column.take(index[first:last]) for column in columns])


def array_of(column: Column, oid: int) -> bytes:
    """The column as a one-dimensional array of items whose type has this oid."""
    count = len(column.values)
    has_nulls = column.lengths is not None and bool((column.lengths < 0).any())
    items = [_laid_out([column.part(first, first + ROWS_AT_ONCE)], None) for first in range(0, count, ROWS_AT_ONCE)]
    return b"".join([np.array([1, has_nulls, oid, count, 1], ">i4").tobytes(), *items])


def _narrow(parts: Sequence[Column]) -> Iterator[bytes]:
    """Halves the rows until a wide one among them does not make all of them too wide."""
    count = len(parts[0].values)
    if len(parts) > 1 and isinstance(parts[-1].values, list) and all(part.lengths is None for part in parts[:-1]):
        yield _with_last(parts[:-1], parts[-1])
        return
    if count > 1 and count * sum(part.width for part in parts) > BYTES_AT_ONCE:
        yield from _narrow([part.part(0, count // 2) for part in parts])
        yield from _narrow([part.part(count // 2, count) for part in parts])
    else:
        yield _laid_out(parts, len(parts))


def _with_last(columns: Sequence[Column], last: Column) -> bytes:
    """Rows of one width but for their last field, which is not laid out: it may be long, and be of any length."""
    assert last.lengths is not None, "texts have lengths"
    heads = _laid_out([*columns, Column("", last.lengths.astype(">i4"))], len(columns) + 1)
    width = len(heads) // len(last.values)
    # Of the field that stands for the last one, its own length is taken out.
    pieces = [heads[at : at + width - 8] + heads[at + width - 4 : at + width] for at in range(0, len(heads), width)]
    return b"".join(chain.from_iterable(zip(pieces, last.values, strict=True)))


def _laid_out(columns: Sequence[Column], fields: int | None) -> bytes:
    """The rows one after the other, each led by how many fields it has, if that is given."""
    layout: list[tuple[str, str]] = [] if fields is None else [("fields", ">i2")]
    for at, column in enumerate(columns):
        layout += [(f"length{at}", ">i4"), (f"value{at}", f"V{column.width}")]
    rows = np.empty(len(columns[0].values), np.dtype(layout))
    if fields is not None:
        rows["fields"] = fields
    there: npt.NDArray[np.bool_] | None = None
    for at, column in enumerate(columns):
        width = column.width
        # An S item's zeros at its end are padding or its own: `lengths` tells which.
        values = np.array(column.values, f"S{width}") if isinstance(column.values, list) else column.values
        rows[f"value{at}"] = values.view(f"V{width}")
        if column.lengths is None:
            rows[f"length{at}"] = width
            continue
        rows[f"length{at}"] = column.lengths
        if there is None:
            there = np.ones((len(rows), rows.itemsize), np.bool_)
        assert rows.dtype.fields is not None, "a structured array has fields"
        offset = rows.dtype.fields[f"value{at}"][1]
        there[:, offset : offset + width] = np.arange(width) < column.lengths[:, None]
    if there is None:
        return rows.tobytes()
    return rows.view(np.uint8).reshape(there.shape)[there].tobytes()
