"""JSON of many rows at once, by NumPy, as msgspec would write it: from columns, without an object for each value.

A row is laid out as wide as the widest, and the bytes that it does not have are taken out of it.
"""

from collections.abc import Sequence
from datetime import date
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from shared.byte_slices import Bools, Ints, Words, blocks, leading_bytes
from shared.columns import Array, Column

Bytes = npt.NDArray[np.uint8]

MOST_DIGITS = 16
_HALF = np.uint64(10**8)
_POINTS = np.array(ord("0") * 0x0101010101010101, np.uint64)


class Part(NamedTuple):
    """A piece of every row: its item's bytes from `first` to `last`."""

    items: Bytes
    first: Ints | int
    last: Ints | int

    def where(self, there: Bools) -> "Part":
        """Nothing, elsewhere."""
        return Part(self.items, self.first, np.where(there, self.last, self.first))


def literal(text: bytes, there: Bools) -> Part:
    """The same in each row, where it is there."""
    items = np.broadcast_to(np.frombuffer(text, np.uint8), (len(there), len(text)))
    return Part(items, 0, np.where(there, len(text), 0))


def texts(column: Column) -> Part:
    """Of texts that are an array, without what JSON escapes; of null, nothing."""
    assert isinstance(column.values, np.ndarray), "an array of items"
    whole = fixed(column.values)
    return whole if column.lengths is None else whole._replace(last=np.maximum(column.lengths, 0).astype(np.int64))


def dates(ordinals: Ints) -> Part:
    """Of few different days."""
    days, which = np.unique(ordinals, return_inverse=True)
    said = b"".join([date.fromordinal(day).isoformat().encode() for day in days.tolist()])
    return fixed(np.frombuffer(said, "V10")[which])


def fixed(items: Array) -> Part:
    """Items of one width, as they are."""
    return Part(np.ascontiguousarray(items).view(np.uint8).reshape(len(items), -1), 0, items.itemsize)


def has_special(column: Column) -> Bools | None:
    """Which texts, without NUL, hold what JSON escapes; None where none does."""
    items = texts(column).items
    special = np.less(items, ord(" ")) & np.not_equal(items, 0)
    special |= np.equal(items, ord('"'))
    special |= np.equal(items, ord("\\"))
    return np.equal(special.any(axis=1), True) if special.any() else None


def integers(values: Ints) -> Part:
    """Raises OverflowError for more than MOST_DIGITS."""
    sizes = np.abs(values).view(np.uint64)
    if len(sizes) and int(sizes.max()) >= 10**MOST_DIGITS:
        raise OverflowError("an integer of too many digits")
    high = sizes // _HALF
    if high.any():
        words = np.stack([_digits(high), _digits(sizes - high * _HALF)], axis=1)
        zeros = leading_bytes(words[:, 0])
        zeros = np.where(zeros == 8, 8 + leading_bytes(words[:, 1]), zeros)
    else:
        words = _digits(sizes)[:, None]
        zeros = leading_bytes(words[:, 0])
    width = 8 * words.shape[1]
    items = np.empty((len(values), 1 + width), np.uint8)
    items[:, 1:] = (words + _POINTS).view(np.uint8).reshape(-1, width)
    negative = np.flatnonzero(values < 0)
    first = 1 + np.minimum(zeros, width - 1)
    if len(negative):
        first[negative] -= 1
        items[negative, first[negative]] = ord("-")
    return Part(items, first, 1 + width)


def _digits(values: Words) -> Words:
    """Eight digits of each, a byte each, the first in the least significant byte (Khuong 2017, as to the steps)."""
    high = values // np.uint64(10_000)
    fours = high | (values - high * np.uint64(10_000)) << np.uint64(32)
    hundreds = (fours * np.uint64(10_486) >> np.uint64(20)) & np.uint64(0x0000007F_0000007F)
    twos = hundreds | (fours - hundreds * np.uint64(100)) << np.uint64(16)
    tens = (twos * np.uint64(103) >> np.uint64(10)) & np.uint64(0x000F000F_000F000F)
    digits: Words = tens | (twos - tens * np.uint64(10)) << np.uint64(8)
    return digits


class Written(NamedTuple):
    """Rows that are written: `buffer[at:at + length]` each."""

    buffer: bytes
    at: Ints
    length: Ints

    def part(self, index: Ints) -> Part:
        """Some rows, as a part of others; `joined` has made them."""
        length = self.length[index]
        return Part(blocks(self.buffer, self.at[index], max(1, int(length.max(initial=0)))), 0, length)

    def rows(self) -> list[bytes]:
        buffer = self.buffer
        return [buffer[at:end] for at, end in zip(self.at.tolist(), (self.at + self.length).tolist(), strict=True)]


def joined(some: Sequence[Written]) -> Written:
    """With as many bytes behind the last row as the longest has, for who loads rows of one width."""
    longest = max((int(each.length.max(initial=0)) for each in some), default=0)
    starts = np.cumsum([0, *(len(each.buffer) for each in some)])
    at = [each.at + start for each, start in zip(some, starts.tolist(), strict=False)]
    return Written(
        b"".join([*(each.buffer for each in some), bytes(longest)]),
        np.concatenate(at or [np.empty(0, np.int64)]),
        np.concatenate([each.length for each in some] or [np.empty(0, np.int64)]),
    )


def lengths(parts: Sequence[bytes | Part]) -> Ints | int:
    """Of the parts of each row together."""
    length: Ints | int = 0
    for part in parts:
        length += len(part) if isinstance(part, bytes) else part.last - part.first
    return length


def written(parts: Sequence[bytes | Part], count: int) -> Written:
    """The parts of each row one after the other, for as many rows as stay in the processor's cache."""
    given = b"".join([part if isinstance(part, bytes) else bytes(part.items.shape[1]) for part in parts])
    rows = np.full(count, np.void(given))
    there = np.full(count, np.void(b"\1" * len(given)))
    length = np.zeros(count, np.int64) + lengths(parts)
    at = 0
    for part in parts:
        if isinstance(part, bytes):
            at += len(part)
            continue
        width = part.items.shape[1]
        _field(rows, at, width)[:] = np.ascontiguousarray(part.items).view(f"V{width}")[:, 0]
        if isinstance(part.first, np.ndarray) or isinstance(part.last, np.ndarray):
            _field(there, at, width)[:] = _kept(width)[part.first, part.last]
        at += width
    flags = there.view(np.bool_).reshape(count, -1)
    return Written(rows.view(np.uint8).reshape(count, -1)[flags].tobytes(), np.cumsum(length) - length, length)


def _field(rows: npt.NDArray[np.void], at: int, width: int) -> npt.NDArray[np.void]:
    return np.ndarray(len(rows), f"V{width}", rows, at, (rows.itemsize,))


@lru_cache(maxsize=64)
def _kept(width: int) -> npt.NDArray[np.void]:
    """By `first` and `last`, which of an item's bytes are there."""
    place = np.arange(width)
    first, last = np.ogrid[: width + 1, : width + 1]
    return ((place >= first[..., None]) & (place < last[..., None])).view(f"V{width}")[..., 0]
