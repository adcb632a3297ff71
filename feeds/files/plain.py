"""Rows of a CSV file that are plain transactions, by columns: from the file's bytes, without an object for each cell.

Quotes, blanks around or in what is read, amounts in major units and whatever else is out of the ordinary: then the
rows are read as any others are, which also tells what is wrong with them.
"""

from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from feeds.files.cells import Each
from feeds.files.facts import PostedColumns, PostedValues
from feeds.files.layout import Amounts, Layout
from shared.byte_slices import SLACK
from shared.columns import Column, chosen, texts_at
from shared.events.corebanking import TransactionPosted
from shared.field_values import Choices, field_of, read_integers

Ints = npt.NDArray[np.int64]

FEW = ("booked_on", "currency", "kind")
_TYPE = msgspec.inspect.type_info(TransactionPosted)
assert isinstance(_TYPE, msgspec.inspect.StructType), "an event is a struct"
_DECLARED = {each.name: found for each in _TYPE.fields if (found := field_of(TransactionPosted, each)) is not None}
_FIELDS = {field.name: field for field in msgspec.structs.fields(TransactionPosted)}
MOST_OF_A_CELL = 131_072
"""Characters; Python's csv takes no more."""


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
        return self._values, which

    def value_of(self, said: str) -> Any:
        """None for what is no such value."""
        try:
            converted = self._convert[said] if self._convert is not None else said
            value = msgspec.convert(converted, self._wanted, strict=False)
        except (msgspec.ValidationError, TypeError, OverflowError):
            return None
        return getattr(value, "value", value)


class PlainRows:
    """How the rows of a file with these columns are read so."""

    def __init__(self, delimiter: str, width: int, index: dict[str, int], constants: dict[str, Any], few: Any) -> None:
        self._delimiter, self._width = ord(delimiter), width
        self._index, self._constants = index, constants
        self._few: dict[str, _Few] = few

    @classmethod
    def of(
        cls, delimiter: str, width: int, index: dict[str, int], convert: dict[str, Each | None], layout: Layout
    ) -> "PlainRows | None":
        """None where such rows are not read so."""
        index = {name: at for name, at in index.items() if name in _FIELDS or name == "time"}
        given = {*layout.constants} - {*index}
        if (
            layout.amounts is not Amounts.MINOR
            or layout.debit is not None
            or "time" in index
            or not delimiter.isascii()
        ):
            return None
        if not {*given, *layout.values} <= {*FEW} or not {*FEW, "account_id", "transaction_id", "amount_minor"} <= {
            *index,
            *given,
        }:
            return None
        few = {name: _Few(name, convert[name]) for name in FEW}
        constants = {name: few[name].value_of(layout.constants[name]) for name in given}
        return None if None in constants.values() else cls(delimiter, width, index, constants, few)

    def read(self, text: str, lines: range) -> PostedColumns | None:
        """None where not all of the rows are plain."""
        if '"' in text:
            return None
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
        currency, kind = (chosen(*self._one_of(name, buffer, cells, count)) for name in ("currency", "kind"))
        days, which = self._one_of("booked_on", buffer, cells, count)
        ordinals = np.array([day.toordinal() if day is not None else 0 for day in days], np.int64)[which]
        stated, states = self._numbers("balance_after_minor", buffer, cells, count)
        account_id, transaction_id = (self._text(name, buffer, cells) for name in ("account_id", "transaction_id"))
        sequence, _ = self._numbers("sequence", buffer, cells, count)
        amount, there = self._numbers("amount_minor", buffer, cells, count)
        if not there.all():
            raise _Unusual
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
        declared = _DECLARED[name]
        if not declared.least <= int(values.min()) <= int(values.max()) <= declared.most:
            raise _Unusual
        return values, there


def _visible(texts: Column, length: Ints, besides: bytes = b"") -> Column:
    assert isinstance(texts.values, np.ndarray), "an array of items"
    said = texts.values.view(np.uint8)
    others = np.count_nonzero(said - np.uint8(0x21) > np.uint8(0x5D))
    if others != len(said) - int(length.sum()) or any((said == byte).any() for byte in besides):
        raise _Unusual
    return texts
