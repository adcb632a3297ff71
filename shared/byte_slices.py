"""Many slices of one buffer at once, by NumPy: without an object for each, and words of 8 bytes at a time.

Positions are of a buffer that goes on for SLACK bytes behind whatever is read: a load may go over a slice's end.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]

SLACK = 1_024
NULL = -1
HIGH_BITS = np.uint64(0x8080808080808080)
_ONE = np.uint64(1)


class Slices(NamedTuple):
    """Where bytes lie in a buffer; a length of NULL is null, and another below it what its owner says."""

    at: Ints
    length: Ints

    def part(self, rows: slice) -> "Slices":
        return Slices(self.at[rows], self.length[rows])

    def bytes_of(self, buffer: bytes, row: int) -> bytes | None:
        at, length = int(self.at[row]), int(self.length[row])
        return None if length < 0 else buffer[at : at + length]


class Unusual(Exception):
    """Bytes that are not read by columns; the ordinary way reads them, or says what is wrong with them."""


def with_slack(buffer: bytes, end: int) -> bytes:
    """The buffer, or a copy up to `end`, whichever has SLACK bytes behind `end`."""
    return buffer if len(buffer) - end >= SLACK else buffer[:end] + bytes(SLACK)


def blocks(buffer: bytes, at: Ints, width: int) -> npt.NDArray[np.uint8]:
    """The `width` bytes from each position on, as rows."""
    windows = np.ndarray((len(buffer) - width + 1,), f"V{width}", buffer, 0, (1,))
    return windows[at].view(np.uint8).reshape(len(at), width)


def words(buffer: bytes, at: Ints) -> Words:
    """The 8 bytes from each position on; the first is the least significant."""
    return blocks(buffer, at, 8).view("<u8")[:, 0]


def leading_bytes(stops: Words) -> Ints:
    """How many bytes come before the first whose high bit is set; 8 where there is none."""
    return (np.bitwise_count((stops & (~stops + _ONE)) - _ONE) >> np.uint8(3)).astype(np.int64)


class Template:
    """Bytes of which some are given and the others may be any."""

    def __init__(self, given: bytes, fixed: bytes | None = None) -> None:
        """`fixed` is 0xff where a byte must be as given, and 0 where it need not; without it, all must."""
        self.length = len(given)
        self._width = -(-len(given) // 8) * 8
        mask = np.frombuffer((fixed or b"\xff" * len(given)).ljust(self._width, b"\0"), "<u8")
        self._mask = None if (mask[:-1] == ~np.uint64(0)).all() else mask
        self._last = mask[-1]
        self._given = np.frombuffer(given.ljust(self._width, b"\0"), "<u8") & mask

    def fits(self, buffer: bytes, at: Ints) -> Bools | None:
        """Where the buffer has such bytes; None for everywhere."""
        found = blocks(buffer, at, self._width).view("<u8")
        if self._mask is None:
            found[:, -1] &= self._last
        else:
            found &= self._mask
        found ^= self._given
        if not found.any():
            return None
        return np.equal(found.any(axis=1), False)


def hashed(*columns: Words) -> Words:
    """64 bits for each row; words of zeros at its end change nothing."""
    hashes = np.zeros(len(columns[0]), np.uint64)
    for number, column in enumerate(columns):
        hashes += mixed(column * np.uint64(0x9E3779B97F4A7C15 * (2 * number + 1) & 0xFFFFFFFFFFFFFFFF))
    return hashes


def mixed(hashes: Words) -> Words:
    """The finalizer of SplitMix64 (Steele, Lea and Flood 2014)."""
    hashes = (hashes ^ (hashes >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    hashes = (hashes ^ (hashes >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return hashes ^ (hashes >> np.uint64(31))
