"""The columns of a file, as an event type's fields: a whole chunk of rows at once."""

import re
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from functools import partial
from typing import Any, get_args
from zoneinfo import ZoneInfo

import msgspec

from feeds.files.amounts import decimal_places
from feeds.files.cells import (
    Column,
    Convert,
    Each,
    as_written,
    clean,
    day,
    instant,
    is_instant,
    negated,
    parties,
    related,
    renamed,
    units,
)
from feeds.files.facts import IDENTITY, Fact, Item, Misfit, PostedRows, id_of, namer
from feeds.files.layout import Amounts, Layout, short_name
from feeds.files.plain import PlainRows
from feeds.rows import FeedRefused, RowFault
from shared.events.corebanking import AccountRecorded, CoreBankingEvent, PartyRelation, TransactionPosted

TIME = "time"
"""A column may be this: the instant at which the fact became true, the `time` of its CloudEvent."""
CURRENCY = "currency"
_RELATIONS = tuple(relation.value for relation in PartyRelation)
_MINOR = "_minor"
_REPEATED = frozenset({"booked_on", "currency", "kind"})
"""Fields of a transaction that have few different values."""


class Columns:
    """How rows with this header become events of a type. Raises FeedRefused when they cannot."""

    def __init__(self, file: str, event_type: type[CoreBankingEvent], header: Sequence[str], layout: Layout) -> None:
        self._file = file
        self._event_type = event_type
        self._layout = layout
        self._zone = ZoneInfo(layout.timezone) if layout.timezone else None
        self._fields = {field.name: field for field in msgspec.structs.fields(event_type)}
        self._width = len(header)
        self._index = self._indexes(header)
        self._debit = self._debit_index(header)
        self._convert = {name: self._conversion(name) for name in self._fields}
        self._texts = {name for name, field in self._fields.items() if str in _types(field.type)} | {*_RELATIONS}
        self._names = [
            name
            for name in self._fields
            if name in self._index or name in layout.constants or (name == "parties" and self._relations)
        ]
        self._refuse_missing(header)
        self._many: Any = list[event_type]  # type: ignore[valid-type] # it is a type, at run time
        self._name = namer(event_type)
        self._places = Each(self._decimal_places)

    @property
    def _relations(self) -> list[str]:
        return [relation for relation in _RELATIONS if relation in self._index]

    def _wanted(self) -> dict[str, str]:
        """By what a column may be called without a mapping, the field that it is."""
        wanted = {_plain(name): name for name in (*self._fields, TIME, CURRENCY)}
        if self._layout.amounts is Amounts.MAJOR:
            wanted |= {_plain(name.removesuffix(_MINOR)): name for name in self._fields if name.endswith(_MINOR)}
        if self._event_type is AccountRecorded:
            wanted |= {relation: relation for relation in _RELATIONS}
        return wanted

    def _indexes(self, header: Sequence[str]) -> dict[str, int]:
        """Where each field's column is: the one that it was said to be, or one of its own name."""
        places: dict[str, list[int]] = {}
        for index, column in enumerate(header):
            places.setdefault(_plain(column), []).append(index)
        found: dict[str, int] = {}
        for plain, field in self._wanted().items():
            said = self._layout.columns.get(field)
            at = places.get(_plain(said)) if said is not None else None
            if at is None:
                at = places.get(plain) if field not in self._layout.constants else None
            if at is not None and (len(at) > 1 or found.setdefault(field, at[0]) != at[0]):
                raise FeedRefused("double_column", f"{self._file} has more than one column for {field}")
            if said is not None and field not in found and field in self._fields:
                raise FeedRefused("missing_column", f"{self._file} has no column {said}")
        return found

    def _debit_index(self, header: Sequence[str]) -> int | None:
        """Where the column is that tells debits, if one does."""
        if self._layout.debit is None or "amount_minor" not in self._fields:
            return None
        column, _ = self._layout.debit
        names = list(map(_plain, header))
        if names.count(_plain(column)) > 1:
            raise FeedRefused("double_column", f"{self._file} has more than one column {column}")
        if _plain(column) not in names:
            raise FeedRefused("missing_column", f"{self._file} has no column {column}")
        return names.index(_plain(column))

    def _refuse_missing(self, header: Sequence[str]) -> None:
        missing = [name for name, field in self._fields.items() if field.required and name not in self._names]
        if missing:
            hint = ""
            if len(header) == 1:
                hint = "; it has one column only: is its --delimiter another?"
            raise FeedRefused(
                "missing_column",
                f"{self._file} has no column for {', '.join(missing)} of {short_name(self._event_type)}"
                f" (--map COLUMN=field says which it is, --set field=value gives all rows the same){hint}",
            )

    def _conversion(self, name: str) -> Each | None:
        """What makes a field's value of a cell's, beyond what msgspec does."""
        steps: list[Convert] = []
        if name in self._layout.values:
            steps.append(partial(renamed, self._layout.values[name]))
        types = _types(self._fields[name].type)
        if datetime in types:
            steps.append(partial(instant, self._layout.dates, self._zone))
        elif date in types:
            steps.append(partial(day, self._layout.dates))
        elif name == "parties":
            steps.append(parties)
        if not steps:
            return None

        def convert(value: Any) -> Any:
            for step in steps:
                value = step(value)
            return value

        return Each(lambda value: None if value is None else convert(value))

    @property
    def used(self) -> list[int]:
        """The columns that are read at all."""
        return sorted({*self._index.values(), *([] if self._debit is None else [self._debit])})

    def plain_rows(self, delimiter: str) -> PlainRows | None:
        """What reads the text of transactions at once, if anything does."""
        if self._event_type is not TransactionPosted:
            return None
        return PlainRows.of(delimiter, self._width, self._index, self._convert, self._layout, self._debit)

    def read(self, rows: Sequence[Sequence[Any]], lines: Sequence[int]) -> Sequence[Item | None]:
        """What the rows are, in their order; `lines` says where each is. Blank rows are nothing."""
        faults: list[Item] = []
        if {*map(len, rows)} - {self._width}:
            kept = []
            for row, line in zip(rows, lines, strict=True):
                if len(row) == self._width:
                    kept.append((row, line))
                elif any(row):
                    detail = f"{len(row)} fields, the header has {self._width}"
                    faults.append(RowFault(self._file, line, "malformed_row", detail))
            rows, lines = [row for row, _ in kept], [line for _, line in kept]
        if not rows:
            return faults
        columns = self._columns(list(zip(*rows, strict=True)), len(rows))
        times = columns.pop(TIME, None)
        if self._event_type is TransactionPosted and times is None and not faults:
            posted = self._posted(columns, lines)
            if posted is not None:
                return posted
        names = list(columns)
        made = [dict(zip(names, values, strict=True)) for values in zip(*columns.values(), strict=True)]
        items = self._events(made, lines, times)
        return [*items, *faults] if faults else items

    def _columns(self, cells: Sequence[Column], count: int) -> dict[str, Column]:
        columns: dict[str, Column] = {}
        for name in self._names:
            if name not in self._index:
                if name in self._layout.constants:
                    columns[name] = [self._constant(name)] * count
                continue
            column = self._cleaned(name, cells)
            if name.endswith(_MINOR):
                column = self._amounts(name, column, cells)
            elif (convert := self._convert[name]) is not None:
                column = convert.of(column)
            default = self._fields[name].default
            if default is not msgspec.NODEFAULT and default is not None:
                column = [default if value is None else value for value in column]
            columns[name] = column
        if relations := self._relations:
            named = [(relation, self._cleaned(relation, cells)) for relation in relations]
            by_relation = [related([(relation, column[row]) for relation, column in named]) for row in range(count)]
            listed = columns.get("parties", [None] * count)
            columns["parties"] = [other if one is None else one for one, other in zip(listed, by_relation, strict=True)]
        if TIME in self._index:
            times = [
                None if value is None else instant(self._layout.dates, self._zone, value)
                for value in self._cleaned(TIME, cells)
            ]
            if any(time is not None for time in times):
                columns[TIME] = times
        return columns

    def _cleaned(self, name: str, cells: Sequence[Column]) -> Column:
        return clean(cells[self._index[name]], is_text=name in self._texts)

    def _posted(self, columns: Mapping[str, Column], lines: Sequence[int]) -> PostedRows | None:
        """None where not all of the rows are right: each by itself is told what is wrong with it."""
        read: dict[str, Column] = {}
        for name, field in self._fields.items():
            if name not in columns:
                read[name] = [field.default] * len(lines)
                continue
            column, wanted = columns[name], list[field.type]  # type: ignore[name-defined] # it is a type, at run time
            try:
                if name not in _REPEATED:
                    read[name] = msgspec.convert(column, wanted, strict=False)
                    continue
                different = list(set(column))
                values = msgspec.convert(different, wanted, strict=False)
            except (msgspec.ValidationError, TypeError, OverflowError):
                return None
            what = {said: getattr(value, "value", value) for said, value in zip(different, values, strict=True)}
            read[name] = [what[said] for said in column]
        return PostedRows(lines, read)

    def _constant(self, name: str) -> Any:
        convert, value = self._convert[name], self._layout.constants[name]
        return convert[value] if convert is not None else value

    def _decimal_places(self, currency: Any) -> int:
        """Of what a cell or a constant calls the currency."""
        called = renamed(self._layout.values.get(CURRENCY, {}), currency)
        return decimal_places(called if isinstance(called, str) else None)

    def _amounts(self, name: str, column: Column, cells: Sequence[Column]) -> Column:
        layout = self._layout
        if layout.amounts is Amounts.MAJOR:
            in_units = partial(units, layout.decimal_mark)
            if CURRENCY in self._index:
                column = list(map(in_units, column, self._places.of(self._cleaned(CURRENCY, cells))))
            else:
                places = self._places[layout.constants.get(CURRENCY)]
                column = [in_units(value, places) for value in column]
        if self._debit is not None and layout.debit is not None and name == "amount_minor":
            debit = layout.debit[1]
            signs = map(as_written, clean(cells[self._debit]))
            column = [negated(value) if sign == debit else value for value, sign in zip(column, signs, strict=True)]
        return column

    def _events(self, made: list[dict[str, Any]], lines: Sequence[int], times: Column | None) -> list[Item]:
        occurred = times if times is not None else [None] * len(made)
        try:
            events = msgspec.convert(made, self._many, strict=False)
        except (msgspec.ValidationError, TypeError, OverflowError):
            return [self._event(*each) for each in zip(made, lines, occurred, strict=True)]
        if not all(map(is_instant, occurred)):
            return [self._event(*each) for each in zip(made, lines, occurred, strict=True)]
        return list(map(Fact, lines, map(self._name, events), occurred, events))

    def _event(self, values: dict[str, Any], line: int, time: Any) -> Item:
        """Of one row, when not all of them are right."""
        if not is_instant(time):
            return RowFault(self._file, line, "malformed_time", "its time is no instant with an offset")
        try:
            event = msgspec.convert(values, self._event_type, strict=False)
        except (msgspec.ValidationError, TypeError, OverflowError):
            return self._misfit(values, line)
        return Fact(line, self._name(event), time, event)

    def _misfit(self, values: dict[str, Any], line: int) -> Misfit | RowFault:
        """What could be read is read, so that the ingestion finds the value that could not."""
        read = {}
        for name, value in values.items():
            try:
                read[name] = msgspec.convert(value, self._fields[name].type, strict=False)
            except (msgspec.ValidationError, TypeError, OverflowError):
                read[name] = value
        identity = IDENTITY[self._event_type]
        if nameless := [name for name in identity if read.get(name) is None]:
            return RowFault(self._file, line, "missing_identity", f"{', '.join(nameless)} is empty")
        event_id = id_of(self._event_type.TYPE, *[str(read[name]) for name in identity])
        data = msgspec.json.encode({name: value for name, value in read.items() if value is not None}, enc_hook=str)
        return Misfit(line, event_id, self._event_type.TYPE, data)


def usable_columns(event_type: type[CoreBankingEvent], layout: Layout) -> list[str]:
    """Where rows are objects with names of their own: the names that could be a field."""
    names = [*(field.name for field in msgspec.structs.fields(event_type)), TIME, CURRENCY]
    if layout.amounts is Amounts.MAJOR:
        names = [name.removesuffix(_MINOR) if name not in layout.columns else name for name in names]
    own = [name for name in names if name not in layout.columns and name not in layout.constants]
    debit = [layout.debit[0]] if layout.debit else []
    relations = list(_RELATIONS) if event_type is AccountRecorded else []
    return list(dict.fromkeys([*layout.columns.values(), *own, *relations, *debit]))


def _plain(column: str) -> str:
    """A column's name as it is compared: `Account ID` is `account_id`."""
    return re.sub(r"[^\w]+", "_", column.strip().casefold()).strip("_")


def _types(annotation: Any) -> set[Any]:
    parts = get_args(annotation)
    return set().union(*map(_types, parts)) if parts else {annotation}
