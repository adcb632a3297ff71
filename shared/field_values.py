"""Values of an event's declared fields, of many rows at once: where they lie in a buffer, and what they are.

`event_columns` reads events so, and `feeds/files/plain.py` the rows of a file.
"""

from contextlib import suppress
from enum import Enum
from typing import Any, NamedTuple, get_type_hints

import msgspec
import numpy as np
from msgspec import inspect

from shared.byte_slices import HIGH_BITS, Bools, Ints, Words, blocks, hashed, leading_bytes, words
from shared.events.base import Event

LONGEST_TEXT = 200  # characters of a field
CHOICES = 4_096  # different values of a field that are remembered
CHOICE_WORDS = 3
CHOICE_BYTES = 8 * CHOICE_WORDS


class Choices:
    """A field's values, of which there are few different ones, each decoded once."""

    def __init__(self, of: Any) -> None:
        self._decoder = msgspec.json.Decoder(of)
        self.values: list[Any] = []
        self._said: list[bytes] = []
        self._index()

    def numbers(self, buffer: bytes, at: Ints, length: Ints) -> Ints:
        """Of the strings there, their indexes in `values`; -1 for what is no such value, or one too many."""
        fits = length <= CHOICE_BYTES
        kept = np.where(fits, length, 0)
        said = blocks(buffer, at, CHOICE_BYTES).view("<u8")
        columns = tuple(np.ascontiguousarray(said[:, at]) & _KEPT[at][kept] for at in range(CHOICE_WORDS))
        number = self._find(columns)
        missing = np.flatnonzero((number < 0) & fits)
        if len(missing):
            for item in np.unique(np.stack([each[missing] for each in columns], 1).view(f"S{CHOICE_BYTES}")).tolist():
                self._learn(item)
            self._index()
            number = self._find(columns)
        return np.where(fits, number, -1)

    def _learn(self, said: bytes) -> None:
        if len(self.values) < CHOICES:
            with suppress(msgspec.MsgspecError):
                self.values.append(self._decoder.decode(b'"%b"' % said))
                self._said.append(said)

    def _index(self) -> None:
        joined = b"".join([said.ljust(CHOICE_BYTES, b"\0") for said in self._said])
        said = np.frombuffer(joined, "<u8").reshape(-1, CHOICE_WORDS).T
        hashes = hashed(*said)
        self._order = np.argsort(hashes)
        self._words, self._hashes = said, hashes[self._order]

    def _find(self, said: tuple[Words, ...]) -> Ints:
        if not self._said:
            return np.full(len(said[0]), -1)
        if all(bool((word == word[0]).all()) for word in said):  # one currency, one day
            return np.full(len(said[0]), self._find_each(tuple(word[:1] for word in said))[0])
        return self._find_each(said)

    def _find_each(self, said: tuple[Words, ...]) -> Ints:
        place = np.searchsorted(self._hashes, hashed(*said))
        number = self._order[np.minimum(place, len(self._order) - 1)]
        same = self._words[0][number] == said[0]
        for known, word in zip(self._words[1:], said[1:], strict=True):
            same &= known[number] == word
        return np.where(same, number, -1)


_KEPT = (
    np.frombuffer(
        b"".join(bytes([255] * length).ljust(CHOICE_BYTES, b"\0") for length in range(CHOICE_BYTES + 1)), "<u8"
    )
    .reshape(-1, CHOICE_WORDS)
    .T.copy()
)
"""By a string's length, which bits of a choice's words are its own."""


class Kind(Enum):
    INTEGER = "integer"
    TEXT = "text"
    CHOICE = "choice"


class Field(NamedTuple):
    """How a declared field is read by columns. `least` and `most` are of an integer, or of a text's length."""

    name: str
    attribute: str
    kind: Kind
    least: int
    most: int
    nullable: bool
    choices: Choices | None = None


def field_of(event_type: type[Event], declared: inspect.Field) -> Field | None:
    """None where values of the type are not read by columns."""
    of = declared.type
    nullable = isinstance(of, inspect.UnionType)
    if isinstance(of, inspect.UnionType):
        types = [each for each in of.types if not isinstance(each, inspect.NoneType)]
        of = types[0] if len(types) == 1 else of
    if isinstance(of, inspect.Metadata):
        of = of.type
    named = (declared.encode_name, declared.name)
    match of:
        case inspect.IntType(gt=None, lt=None, multiple_of=None) if of.ge is not None and of.le is not None:
            return Field(*named, Kind.INTEGER, of.ge, of.le, nullable) if max(-of.ge, of.le) < 2**63 else None
        case inspect.StrType(pattern=None) if of.max_length is not None and of.max_length <= LONGEST_TEXT:
            return Field(*named, Kind.TEXT, of.min_length or 0, of.max_length, nullable)
        case inspect.StrType() | inspect.DateType() | inspect.EnumType():
            choices = Choices(get_type_hints(event_type, include_extras=True)[declared.name])
            return Field(*named, Kind.CHOICE, 0, CHOICE_BYTES, nullable, choices)
    return None


def read_integers(buffer: bytes, at: Ints, fits: Bools) -> tuple[Ints, Ints]:
    """Integers of up to 16 digits, and how many bytes each takes."""
    said = words(buffer, at)
    negative = (said & _LOW_BYTE) == ord("-")
    if negative.any():
        said = words(buffer, at + negative)
    value, digits = _digits(said)
    if (digits == 8).any():
        low, more = _digits(words(buffer, at + negative + 8))
        more = np.where(digits == 8, more, 0)
        value, digits = np.where(more > 0, value * _TENS[more] + low, value), digits + more
    zero = (said & _LOW_BYTE) == ord("0")
    fits &= (digits > 0) & ~(zero & (negative | (digits > 1)))
    number: Ints = np.where(negative, -value, value)
    return number, digits + negative


def _digits(said: Words) -> tuple[Ints, Ints]:
    """The number that the bytes begin with, and how many digits it has, up to 8 (Lemire 2022, as to the steps)."""
    digits = said ^ np.uint64(0x3030303030303030)
    count = leading_bytes(((digits + np.uint64(0x7676767676767676)) | digits) & HIGH_BITS)
    digits <<= (64 - 8 * count).astype(np.uint64)
    digits = (digits * np.uint64(10) + (digits >> np.uint64(8))) & np.uint64(0x00FF00FF00FF00FF)
    digits = (digits * np.uint64(100) + (digits >> np.uint64(16))) & np.uint64(0x0000FFFF0000FFFF)
    digits = (digits * np.uint64(10_000) + (digits >> np.uint64(32))) & np.uint64(0xFFFFFFFF)
    return digits.view(np.int64), count


_LOW_BYTE = np.uint64(0xFF)
_TENS = 10 ** np.arange(9)
