"""One cell of a file, or a column of them, as an event's field takes it: without blanks, days, instants, amounts."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from feeds.files.amounts import minor_units

_SPACE = re.compile(r"\s")

Column = Sequence[Any]
Convert = Callable[[Any], Any]


class Each(dict[Any, Any]):
    """What a conversion makes of each value; columns repeat themselves."""

    MOST = 100_000

    def __init__(self, convert: Convert) -> None:
        super().__init__()
        self._convert = convert

    def __missing__(self, value: Any) -> Any:
        if len(self) >= self.MOST:
            self.clear()
        converted = self[value] = self._convert(value)
        return converted

    def of(self, column: Column) -> Column:
        try:
            return list(map(self.__getitem__, column))
        except TypeError:  # a list or an object among them, which no dict has as a key
            return list(map(self._convert, column))


def clean(column: Column, *, is_text: bool = False) -> Column:
    """Without blanks around values; an empty one is none. Where text is wanted, a whole number is its digits."""
    try:
        joined = "".join(column)
    except TypeError:  # numbers, dates or nulls, from a format that has them
        if is_text:
            column = [str(value) if type(value) is int else value for value in column]
        return [value.strip() or None if isinstance(value, str) else value for value in column]
    if _SPACE.search(joined):
        return [value.strip() or None for value in column]
    return [value or None for value in column] if "" in column else column


def as_written(value: Any) -> str:
    """As whoever says what a value means writes it: 1, true."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def renamed(names: Mapping[str, str], value: Any) -> Any:
    return names.get(as_written(value), names.get("*", value))


def day(written: str | None, value: Any) -> Any:
    """What cannot be read stays as it is: the event's own rules refuse it."""
    if isinstance(value, datetime):
        return value.date()
    if written is None or isinstance(value, date):
        return value
    try:
        return datetime.strptime(str(value), written).date()  # noqa: DTZ007 - a day has no zone
    except ValueError:
        return value


def instant(written: str | None, zone: ZoneInfo | None, value: Any) -> Any:
    """What cannot be read stays as it is."""
    when = _read_instant(written, value) if isinstance(value, str) else value
    if isinstance(when, datetime) and when.tzinfo is None and zone is not None:
        return when.replace(tzinfo=zone)
    return when


def _read_instant(written: str | None, value: str) -> datetime | str:
    """As it is said that days are written, or else as ISO 8601 has it."""
    with suppress(ValueError):
        if written is not None:
            return datetime.strptime(value, written)  # noqa: DTZ007 - whoever asks knows the zone
    with suppress(ValueError):
        return datetime.fromisoformat(value)
    return value


def is_instant(time: Any) -> bool:
    return time is None or (isinstance(time, datetime) and time.tzinfo is not None)


def units(mark: str, value: Any, places: int) -> Any:
    if value is None:
        return None
    units = minor_units(value, places, mark)
    return str(value) if units is None else units


def negated(value: Any) -> Any:
    """One that has a sign of its own is refused: `--5` is no number."""
    if isinstance(value, (int, float, Decimal)) and not isinstance(value, bool) and value >= 0:
        return -value
    return None if value is None else f"-{value}"


def parties(value: Any) -> Any:
    """A list of objects, or JSON of one."""
    if isinstance(value, str):
        try:
            return msgspec.json.decode(value)
        except msgspec.DecodeError:
            return value
    return value


def related(named: Iterable[tuple[str, Any]]) -> list[dict[str, Any]]:
    """Ids of one relation are separated by `|`. What is no text stays as it is: the event's own rules refuse it."""
    return [
        {"party_id": party_id, "relation": relation}
        for relation, ids in named
        if ids is not None
        for party_id in (filter(None, map(str.strip, ids.split("|"))) if isinstance(ids, str) else [ids])
    ]
