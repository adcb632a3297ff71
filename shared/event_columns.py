"""Events of one type by columns: a batch of JSON objects at once, by NumPy, without an object for each.

What a publisher writes is laid out alike in nearly every event: the same keys in the same order, with the same white
space. The layout of one event is learnt from it and tried on the others: what lies between the values must be equal,
and the values must be what the declared type allows. An event that has no such layout, or a value that is not read so
(escapes in a string, more than 16 digits), is decoded by msgspec alone; so the result is msgspec's for all.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import numpy as np
from msgspec import inspect

from shared.byte_slices import Bools, Ints, Slices, Template, blocks
from shared.columns import Column
from shared.events.base import Event, Undecodable, decode
from shared.field_values import Field, Kind, field_of, read_integers

E = TypeVar("E", bound=Event)

ROWS_AT_ONCE = 4_000  # stay in the processor's cache
LAYOUTS = 16  # that are kept
LEARNT_AT_ONCE = 4  # from rows that no layout fits; the others are decoded by themselves
SHORT = 32  # bytes of a string, in which its end is looked for first
WIDE_ROWS = 500  # of long strings, as above
LONGEST = 900  # of a string, and of what lies between values; a load goes so far over an event's end

_SPACE = rb"[ \t\n\r]*"
_PAIR = re.compile(
    _SPACE
    + rb'"([ !#-\[\]-~]*)"'
    + _SPACE
    + b":"
    + _SPACE
    + rb'(?:"([^"\\\x00-\x1f]*)"|(-?[0-9]+)|(null|true|false))'
    + _SPACE
)
_OPENED, _CLOSED = re.compile(_SPACE + rb"\{"), re.compile(rb"\}" + _SPACE)
_TEXT, _INTEGER, _CONSTANT = 2, 3, 4  # its groups


_TOKENS = {Kind.INTEGER: {_INTEGER, _CONSTANT}, Kind.TEXT: {_TEXT, _CONSTANT}, Kind.CHOICE: {_TEXT, _CONSTANT}}


class Values(Protocol):
    """The events' bytes, as `RecordColumns` has them: slices of a buffer that goes on for SLACK bytes behind them."""

    @property
    def buffer(self) -> bytes: ...

    @property
    def value(self) -> Slices: ...

    def __len__(self) -> int: ...


class Read(NamedTuple):
    """Values of one field: integers, or where strings lie, or which of the choices they are."""

    values: Ints
    length: Ints | None = None


class _Step(NamedTuple):
    """A value of a layout: what comes before it, and what it was in the event that the layout was learnt from."""

    before: Template
    is_text: bool
    length: int
    field: Field | None


class _Layout(NamedTuple):
    """How an event is laid out. `constants` are fields that it has no value of, or null; None is null."""

    steps: list[_Step]
    after: Template
    constants: dict[str, int | None]

    def read(self, buffer: bytes, at: Ints, end: Ints) -> tuple[Bools, dict[str, Read]]:
        """Which of the events between `at` and `end` are laid out so and have allowed values, and those."""
        fits = np.ones(len(at), np.bool_)
        read: dict[str, Read] = {}
        for step in self.steps:
            _keep(fits, step.before.fits(buffer, at))
            at = np.minimum(at + step.before.length, end)
            if step.is_text:
                length = _read_texts(buffer, at, end, step)
                if step.field is not None:
                    read[step.field.name] = self._checked(buffer, at, length, step.field, fits)
            else:
                values, length = read_integers(buffer, at, fits)
                if step.field is not None:
                    read[step.field.name] = Read(values)
                    if len(values) and not step.field.least <= values.min() <= values.max() <= step.field.most:
                        fits &= (step.field.least <= values) & (values <= step.field.most)
            at = np.minimum(at + length, end)
        _keep(fits, self.after.fits(buffer, at))
        _keep(fits, at + self.after.length == end)
        return fits, read

    @staticmethod
    def _checked(buffer: bytes, at: Ints, length: Ints, field: Field, fits: Bools) -> Read:
        if field.choices is None:
            fits &= (field.least <= length) & (length <= field.most)
            return Read(at, length)
        numbers = field.choices.numbers(buffer, at, np.where(fits, length, LONGEST))
        fits &= numbers >= 0
        return Read(numbers)


def _keep(fits: Bools, those: Bools | None) -> None:
    if those is not None:
        fits &= those


def _read_texts(buffer: bytes, at: Ints, end: Ints, step: _Step) -> Ints:
    """The lengths of strings, 0 for one that has no end; many are as long as that of which the layout was learnt."""
    if step.length < SHORT:
        special = _special(buffer, at, step.length + 1, step)
        if special[:, -1].all() and np.count_nonzero(special) == len(at):
            return np.full(len(at), step.length)
        special = _special(buffer, at, SHORT, step)
        if special.any(axis=1).all():
            length: Ints = special.argmax(axis=1)
            return length
    width = min(LONGEST, int((end - at).max()) + 1)
    parts = range(0, len(at), WIDE_ROWS)
    return np.concatenate([_special(buffer, at[row : row + WIDE_ROWS], width, step).argmax(axis=1) for row in parts])


def _special(buffer: bytes, at: Ints, width: int, step: _Step) -> Bools:
    """What a string ends with, or is left to msgspec for: a quote, an escape, a control, and in a field no ASCII."""
    text = blocks(buffer, at, width)
    special: Bools = np.less(text.view(np.int8) if step.field is not None else text, ord(" "))
    mark = np.equal(text, ord('"'))
    special |= mark
    special |= np.equal(text, ord("\\"), out=mark)
    return special


class EventColumns(Generic[E]):
    """Events of a batch by columns, by the names of the struct.

    `rows` are their indexes among the records; `faults` say of the others, by index, what is wrong with them.
    """

    def __init__(self, records: Values, rows: Ints, fields: Sequence[Field]) -> None:
        count = len(records)
        self.faults: dict[int, Undecodable] = {}
        self.rows = rows
        self.singly: list[int] = []
        """The records that no layout fits, each decoded by itself."""
        self._buffer = records.buffer
        self._at, self._ends = records.value.at, records.value.at + records.value.length
        self._fields = {field.attribute: field for field in fields}
        self._values = {field.name: np.zeros(count, np.int64) for field in fields}
        self._nulls = {field.name: np.zeros(count, np.bool_) for field in fields if field.nullable}
        self._lengths = {field.name: np.zeros(count, np.int32) for field in fields if field.kind is Kind.TEXT}
        self._others: dict[str, dict[int, Any]] = {field.name: {} for field in fields}
        """Texts and choices that were not read by columns, by row."""

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def names(self) -> list[str]:
        """Of the fields that there are columns of."""
        return list(self._fields)

    def kind(self, name: str) -> str:
        """Which of the following reads it: integer, choice or text."""
        return self._fields[name].kind.value

    def integers(self, name: str) -> Ints:
        """0 for null."""
        return self._values[self._fields[name].name][self.rows]

    def nulls(self, name: str) -> Bools | None:
        """None where there is no null."""
        nulls = self._nulls.get(self._fields[name].name)
        return nulls[self.rows] if nulls is not None and nulls.any() else None

    def choices(self, name: str) -> tuple[list[Any], Ints]:
        """Different values, and which of them each event has. The last of the values is None, which stands for null."""
        field = self._fields[name]
        assert field.choices is not None, "a field of few values"
        values = [*field.choices.values]
        index = self._values[field.name]
        for row, value in self._others[field.name].items():
            index[row] = len(values)
            values.append(value)
        if (nulls := self._nulls.get(field.name)) is not None:
            index = np.where(nulls, len(values), index)
        return [*values, None], index[self.rows]

    def texts(self, name: str) -> Column:
        """As PostgreSQL has texts: rows of one width, with zeros behind what is shorter."""
        field = self._fields[name]
        others = {row: value.encode() for row, value in self._others[field.name].items()}
        lengths = self._lengths[field.name]
        for row, value in others.items():
            lengths[row] = len(value)
        if (nulls := self._nulls.get(field.name)) is not None:
            lengths[nulls] = -1
        width = max(1, int(lengths.max(initial=0)))
        items = blocks(self._buffer, self._values[field.name], width)
        for row, value in others.items():
            items[row, : len(value)] = np.frombuffer(value, np.uint8)
        all_wide = bool((lengths == width).all())
        if not all_wide:
            items *= np.arange(width) < lengths[:, None]
        return Column("text", items.view(f"V{width}")[self.rows, 0], None if all_wide else lengths[self.rows])

    def keep(self, rows: Ints, layout: _Layout) -> Ints:
        """Reads the events of these rows that are laid out so; returns the others' rows."""
        if not len(rows):
            return rows
        fits, read = layout.read(self._buffer, self._at[rows], self._ends[rows])
        kept: Ints | slice = rows[fits]
        which: Bools | slice = fits
        if fits.all() and len(rows) == rows[-1] + 1 - rows[0]:
            kept, which = slice(int(rows[0]), int(rows[-1]) + 1), slice(None)
        for name, (values, length) in read.items():
            self._values[name][kept] = values[which]
            if length is not None:
                self._lengths[name][kept] = length[which]
        for name, value in layout.constants.items():
            self._values[name][kept] = value or 0
            if value is None:
                self._nulls[name][kept] = True
        return rows[~fits]

    def keep_only(self, which: Bools) -> None:
        """Forgets the other rows."""
        if not which.all():
            self.rows = self.rows[which]

    def bytes_of(self, row: int) -> bytes:
        """The event as it came."""
        return self._buffer[self._at[row] : max(self._at[row], self._ends[row])]

    def keep_one(self, row: int, event: E) -> None:
        self.singly.append(row)
        for field in self._fields.values():
            value = getattr(event, field.attribute)
            if value is None:
                self._nulls[field.name][row] = True
            elif field.kind is Kind.INTEGER:
                self._values[field.name][row] = value
            else:
                self._others[field.name][row] = value


class EventReader(Generic[E]):
    """Reads events of one type, and remembers how they are laid out."""

    FEW = 60  # events that msgspec decodes one by one sooner than any layout is tried on them

    def __init__(self, event_type: type[E]) -> None:
        self._type = event_type
        declared = inspect.type_info(event_type)
        assert isinstance(declared, inspect.StructType), "an event is a struct"
        self._fields = {each.encode_name: field_of(event_type, each) for each in declared.fields}
        self._layouts: list[_Layout] = []

    def read(self, records: Values, rows: Ints | None = None) -> EventColumns[E]:
        """What the values of these rows are, or of all, whatever type the headers say."""
        *_, events = self.reading(records, rows)
        return events

    def reading(self, records: Values, rows: Ints | None = None) -> Iterator[EventColumns[E]]:
        """As `read`, some thousands at a time: what comes last is whole. In between, others may have the event loop."""
        rows = np.arange(len(records)) if rows is None else rows
        fields = [field for field in self._fields.values() if field is not None]
        events: EventColumns[E] = EventColumns(records, rows, fields)
        for first in range(0, len(rows), ROWS_AT_ONCE):
            self._read(records, rows[first : first + ROWS_AT_ONCE], events)
            yield events
        if events.faults:
            events.rows = np.setdiff1d(rows, list(events.faults), assume_unique=True)
        yield events

    def _read(self, records: Values, rows: Ints, events: EventColumns[E]) -> None:
        """By the layouts that are known, then by those that are learnt from what these do not fit, then one by one."""
        for layout in self._layouts:
            if len(rows) > self.FEW:
                rows = events.keep(rows, layout)
        learnt: list[_Layout] = []
        while len(rows):
            sample = self._decode(records, int(rows[0]), events)
            rows = rows[1:]
            learns = len(learnt) < LEARNT_AT_ONCE and len(rows) >= self.FEW
            layout_learnt = _layout_of(*sample, self._fields) if sample is not None and learns else None
            if layout_learnt is not None:
                learnt.append(layout_learnt)
                rows = events.keep(rows, layout_learnt)
        self._layouts = [*learnt, *self._layouts][:LAYOUTS]

    def _decode(self, records: Values, row: int, events: EventColumns[E]) -> tuple[bytes, E] | None:
        value = records.value.bytes_of(records.buffer, row) or b""
        try:
            event = decode(self._type, value)
        except Undecodable as fault:
            events.faults[row] = fault
            return None
        events.keep_one(row, event)
        return value, event


def _layout_of(sample: bytes, event: Event, fields: Mapping[str, Field | None]) -> _Layout | None:
    """None for what is not read by columns."""
    opened = _OPENED.match(sample)
    steps: list[_Step] = []
    names: list[str] = []
    at, before = opened.end() if opened else 0, 0
    while pair := _PAIR.match(sample, at):
        name, which = pair[1].decode(), pair.lastindex or 0
        names.append(name)
        field = fields.get(name)
        if name in fields and (field is None or which not in _TOKENS[field.kind]):
            return None
        if which != _CONSTANT:
            first, last = pair.span(which)
            steps.append(_Step(Template(sample[before:first]), which == _TEXT, last - first, field))
            before = last
        at = pair.end()
        if sample[at : at + 1] != b",":
            break
        at += 1
    if not opened or not steps or not _CLOSED.fullmatch(sample, at) or len(names) != len(set(names)):
        return None
    if max(len(sample) - before, *(max(step.before.length, step.length) for step in steps)) > LONGEST:
        return None
    given = {step.field.name for step in steps if step.field is not None}
    left = [field for field in fields.values() if field is not None and field.name not in given]
    constants = {field.name: getattr(event, field.attribute) for field in left}
    if any(constants[field.name] is not None and field.kind is not Kind.INTEGER for field in left):
        return None
    return _Layout(steps, Template(sample[before:]), constants)
