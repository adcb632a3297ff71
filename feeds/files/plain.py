"""Rows of a CSV file that are plain transactions, by columns: from the file's bytes, without an object for each cell.

Quotes around a whole cell and amounts in major units are plain. Quotes in a cell, line ends in one, blanks around or
in what is read, other ids than of ASCII and whatever else is out of the ordinary: then the rows are read as any others
are, which also tells what is wrong with them.
"""

from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from feeds.files.amounts import decimal_places
from feeds.files.cells import Each, as_written
from feeds.files.facts import PostedColumns, PostedValues
from feeds.files.layout import Amounts, Layout
from shared.byte_slices import SLACK
from shared.columns import Column, chosen, texts_at
from shared.events.corebanking import TransactionPosted
from shared.field_values import Choices, field_of, read_integers

Ints = npt.NDArray[np.int64]

FEW = ("booked_on", "currency", "kind")
_DEBIT = "debit"
"""Stands for the column that tells debits, which is no field."""
_QUOTE = ord('"')
_TYPE = msgspec.inspect.type_info(TransactionPosted)
assert isinstance(_TYPE, msgspec.inspect.StructType), "an event is a struct"
_DECLARED = {each.name: found for each in _TYPE.fields if (found := field_of(TransactionPosted, each)) is not None}
_FIELDS = {field.name: field for field in msgspec.structs.fields(TransactionPosted)}
MOST_OF_A_CELL = 131_072
"""Characters; Python's csv takes no more."""
MOST_WHOLE = 10**14
"""Major units of an amount, which is a number of 64 bits in minor ones."""
_TENS = 10 ** np.arange(5)


class _Unusual(Exception):
    """The rows are not plain."""


class _Where(NamedTuple):
    at: Ints
    length: Ints


class _Few:
    """A field's values, of which there are few: what each cell is converted to."""

    def __init__(self, name: str, convert: Each | None) -> None:
        self._choices = Choices(str)
        self._convert = convert
        self._wanted = _FIELDS[name].type
        self._values: list[Any] = []

    def read(self, buffer: bytes, cells: _Where) -> tuple[list[Any], Ints]:
        """Different values, and which each cell is."""
        which = self._choices.numbers(buffer, cells.at, cells.length)
        for said in self._choices.values[len(self._values) :]:
            self._values.append(self.value_of(said))
        used = np.unique(which).tolist()
        if used[0] < 0 or any(self._values[at] is None for at in used):
            raise _Unusual
        _refuse_escapes(self._choices, cells, which)
        return self._values, which

    def value_of(self, said: str) -> Any:
        """None for what is no such value."""
        try:
            converted = self._convert[said] if self._convert is not None else said
            value = msgspec.convert(converted, self._wanted, strict=False)
        except (msgspec.ValidationError, TypeError, OverflowError):
            return None
        return getattr(value, "value", value)


def _refuse_escapes(choices: Choices, cells: _Where, which: Ints) -> None:
    """A choice is read as JSON has strings; a cell has no escapes, so it is as long as what it says."""
    lengths = np.array([len(said.encode()) for said in choices.values], np.int64)
    if not (lengths[which] == cells.length).all():
        raise _Unusual


class _Debits:
    """The column that tells debits, where amounts have no sign of their own."""

    def __init__(self, said: str) -> None:
        self._said = said
        self._choices = Choices(str)

    def read(self, buffer: bytes, cells: _Where) -> npt.NDArray[np.bool_]:
        which = self._choices.numbers(buffer, cells.at, cells.length)
        if which.min() < 0:
            raise _Unusual
        _refuse_escapes(self._choices, cells, which)
        tells = [as_written(said.strip() or None) == self._said for said in self._choices.values]
        return np.array(tells, np.bool_)[which]


class PlainRows:
    """How the rows of a file with these columns are read so."""

    def __init__(
        self,
        delimiter: str,
        width: int,
        index: dict[str, int],
        constants: dict[str, Any],
        few: dict[str, _Few],
        layout: Layout,
    ) -> None:
        self._delimiter, self._width = ord(delimiter), width
        self._index, self._constants = index, constants
        self._few = few
        self._debits = _Debits(layout.debit[1]) if layout.debit is not None else None
        self._mark = ord(layout.decimal_mark) if layout.amounts is Amounts.MAJOR else None

    @classmethod
    def of(
        cls,
        delimiter: str,
        width: int,
        index: dict[str, int],
        convert: dict[str, Each | None],
        layout: Layout,
        debit: int | None = None,
    ) -> "PlainRows | None":
        """None where such rows are not read so. `debit` is where the column is that tells debits."""
        index = {name: at for name, at in index.items() if name in _FIELDS or name == "time"}
        given = {*layout.constants} - {*index}
        if "time" in index or not delimiter.isascii() or delimiter == '"':
            return None
        if debit is not None:
            index[_DEBIT] = debit
        if not {*given, *layout.values} <= {*FEW} or not {*FEW, "account_id", "transaction_id", "amount_minor"} <= {
            *index,
            *given,
        }:
            return None
        few = {name: _Few(name, convert[name]) for name in FEW}
        constants = {name: few[name].value_of(layout.constants[name]) for name in given}
        return None if None in constants.values() else cls(delimiter, width, index, constants, few, layout)

    def read(self, text: str, lines: range) -> PostedColumns | None:
        """None where not all of the rows are plain."""
        if "\r" in text:
            text = text.replace("\r\n", "\n")
        try:
            buffer = text.encode() if text.endswith("\n") else f"{text}\n".encode()
            return self._read(buffer, lines) if "\r" not in text else None
        except (UnicodeEncodeError, _Unusual):  # it has bytes that its encoding does not have, or is not plain
            return None

    def _read(self, buffer: bytes, lines: range) -> PostedColumns:
        cells, count = self._cells(buffer, len(lines)), len(lines)
        buffer += bytes(SLACK)
        currencies, which = self._one_of("currency", buffer, cells, count)
        currency, places = chosen(currencies, which), np.zeros(0, np.int64)
        if self._mark is not None:
            places = np.array([decimal_places(each) for each in currencies], np.int64)[which]
        kind = chosen(*self._one_of("kind", buffer, cells, count))
        days, which = self._one_of("booked_on", buffer, cells, count)
        ordinals = np.array([day.toordinal() if day is not None else 0 for day in days], np.int64)[which]
        stated, states = self._amounts("balance_after_minor", buffer, cells, places, count)
        account_id, transaction_id = (self._text(name, buffer, cells) for name in ("account_id", "transaction_id"))
        sequence, _ = self._numbers("sequence", buffer, cells, count)
        amount, there = self._amounts("amount_minor", buffer, cells, places, count)
        if not there.all():
            raise _Unusual
        if self._debits is not None:
            debits = self._debits.read(buffer, cells[_DEBIT])
            if (debits & (amount < 0)).any():
                raise _Unusual
            amount = np.where(debits, -amount, amount)
        bank = self._bank(buffer, cells, count)
        values = PostedValues(
            account_id, transaction_id, ordinals, sequence, amount, currency, kind, stated, states, bank
        )
        return PostedColumns(lines, values)

    def _cells(self, buffer: bytes, count: int) -> dict[str, _Where]:
        said = np.frombuffer(buffer, np.uint8)
        found = np.flatnonzero((said == self._delimiter) | (said == ord("\n")))
        if len(found) != count * self._width:
            raise _Unusual
        ends = found.reshape(count, self._width)
        if not (said[ends[:, -1]] == ord("\n")).all():
            raise _Unusual
        starts = np.concatenate(([0], found[:-1] + 1)).reshape(count, self._width)
        lengths = ends - starts
        if (quotes := int(np.count_nonzero(said == _QUOTE))) > 0:
            starts, lengths = _unquoted(said, starts, lengths, quotes)
        if lengths.max() > MOST_OF_A_CELL:
            raise _Unusual
        return {
            name: _Where(np.ascontiguousarray(starts[:, at]), np.ascontiguousarray(lengths[:, at]))
            for name, at in self._index.items()
        }

    def _one_of(self, name: str, buffer: bytes, cells: dict[str, _Where], count: int) -> tuple[list[Any], Ints]:
        if name in self._constants:
            return [self._constants[name]], np.zeros(count, np.int64)
        return self._few[name].read(buffer, cells[name])

    @staticmethod
    def _text(name: str, buffer: bytes, cells: dict[str, _Where]) -> Column:
        """An id: visible ASCII without the slash that stands between two of them."""
        at, length = cells[name]
        declared = _DECLARED[name]
        if not declared.least <= int(length.min()) <= int(length.max()) <= declared.most:
            raise _Unusual
        return _visible(texts_at(buffer, at, length), length, b"/")

    @staticmethod
    def _bank(buffer: bytes, cells: dict[str, _Where], count: int) -> Column:
        if (where := cells.get("counterparty_bank")) is None or not where.length.any():
            return Column("text", np.zeros(count, "V1"), np.full(count, -1, np.int32))
        if int(where.length.max()) > _DECLARED["counterparty_bank"].most:
            raise _Unusual
        length = np.where(where.length == 0, -1, where.length)
        return _visible(texts_at(buffer, where.at, length), where.length)

    def _amounts(
        self, name: str, buffer: bytes, cells: dict[str, _Where], places: Ints, count: int
    ) -> tuple[Ints, npt.NDArray[np.bool_]]:
        """In minor units, of digits and as many behind the mark as `places`, or fewer; as `_numbers`."""
        if self._mark is None:
            return self._numbers(name, buffer, cells, count)
        if (where := cells.get(name)) is None:
            return np.zeros(count, np.int64), np.zeros(count, np.bool_)
        said, there = np.frombuffer(buffer, np.uint8), where.length > 0
        negative = (said[where.at] == ord("-")) & there
        at, length = where.at + negative, where.length - negative
        fits = said[at] != ord("-")
        whole, digits = read_integers(buffer, at, fits)
        written = length - digits - 1  # places behind the mark; -1 where there is no mark
        at += digits
        fits &= (written == -1) | ((said[at] == self._mark) & (written > 0) & (written <= places))
        fits &= whole < MOST_WHOLE
        behind = np.zeros(count, np.int64)
        for place in range(1, int(places.max(initial=0)) + 1):
            digit = said[at + np.minimum(place, length)].astype(np.int64) - ord("0")
            is_written = place <= written
            fits &= ~is_written | ((digit >= 0) & (digit <= 9))
            behind = behind * 10 + np.where(is_written, digit, 0)  # zeros stand for what is not written
        highest = int(places.max(initial=0))
        values = whole * _TENS[places] + behind // _TENS[highest - places]
        if not (fits | ~there).all():
            raise _Unusual
        values = np.where(there, np.where(negative, -values, values), 0)
        _refuse_beyond(name, values)
        return values, there

    @staticmethod
    def _numbers(name: str, buffer: bytes, cells: dict[str, _Where], count: int) -> tuple[Ints, npt.NDArray[np.bool_]]:
        """The numbers, 0 where there is none; and where there is one."""
        if (where := cells.get(name)) is None:
            return np.zeros(count, np.int64), np.zeros(count, np.bool_)
        fits = np.ones(count, np.bool_)
        values, length = read_integers(buffer, where.at, fits)
        there = where.length > 0
        if not ((fits & (length == where.length)) | ~there).all():
            raise _Unusual
        values = np.where(there, values, 0)
        _refuse_beyond(name, values)
        return values, there


def _refuse_beyond(name: str, values: Ints) -> None:
    declared = _DECLARED[name]
    if not declared.least <= int(values.min()) <= int(values.max()) <= declared.most:
        raise _Unusual


def _unquoted(said: npt.NDArray[np.uint8], starts: Ints, lengths: Ints, quotes: int) -> tuple[Ints, Ints]:
    """Where cells are of which some have quotes around them, and none has another one."""
    opens = (said[starts] == _QUOTE) & (lengths > 0)
    closes = said[np.maximum(starts + lengths - 1, 0)] == _QUOTE
    if quotes != 2 * np.count_nonzero(opens) or not ((closes & (lengths > 1)) | ~opens).all():
        raise _Unusual
    return starts + opens, lengths - 2 * opens


def _visible(texts: Column, length: Ints, besides: bytes = b"") -> Column:
    assert isinstance(texts.values, np.ndarray), "an array of items"
    said = texts.values.view(np.uint8)
    others = np.count_nonzero(said - np.uint8(0x21) > np.uint8(0x5D))
    if others != len(said) - int(length.sum()) or any((said == byte).any() for byte in besides):
        raise _Unusual
    return texts
