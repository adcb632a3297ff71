"""The sample's year. A day is a number: 0 is the first one, LAST_DAY is `until`; a minute of it is `when`."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple

DAYS = 365
LAST_DAY = DAYS - 1
MINUTES = 24 * 60

_CLOCK = [f"T{minute // 60:02d}:{minute % 60:02d}:00Z" for minute in range(MINUTES)]


class Span(NamedTuple):
    """A calendar month, or as much of it as belongs to the sample: both days included."""

    first: int
    last: int
    first_day_of_month: int
    month: int

    def on(self, day_of_month: int) -> int | None:
        """The day with that number in its month, if the span has it."""
        day = self.first + day_of_month - self.first_day_of_month
        return day if self.first <= day <= self.last else None

    def share_of_month(self) -> float:
        return (self.last - self.first + 1) / 30


class Calendar:
    def __init__(self, until: date) -> None:
        self.start = until - timedelta(days=LAST_DAY)
        self._days: list[date] = []
        self._isos: list[str] = []
        self._stamps: list[str] = []

    def day(self, number: int) -> date:
        return self.start + timedelta(days=number)

    def number(self, day: date) -> int:
        return (day - self.start).days

    def dated(self, number: int) -> tuple[date, str]:
        """A day at or after the first, and its YYMMDD."""
        self._reach(number)
        return self._days[number], self._stamps[number]

    def instant(self, when: int) -> str:
        """RFC 3339, UTC."""
        number, minute = divmod(when, MINUTES)
        self._reach(number)
        return self._isos[number] + _CLOCK[minute]

    def moment(self, when: int) -> datetime:
        return datetime.combine(self.start, datetime.min.time(), UTC) + timedelta(minutes=when)

    def spans(self, last: int = LAST_DAY) -> Iterator[Span]:
        """Month by month up to `last` or, after the sample, to the end of its month: LAST_DAY always ends a span."""
        first = 0
        while first <= last:
            begins = self.day(first)
            next_month = date(begins.year + begins.month // 12, begins.month % 12 + 1, 1)
            end = self.number(next_month) - 1
            if first <= LAST_DAY < end:
                end = LAST_DAY
            yield Span(first, end, begins.day, begins.month)
            first = end + 1

    def _reach(self, number: int) -> None:
        while len(self._days) <= number:
            day = self.day(len(self._days))
            self._days.append(day)
            self._isos.append(day.isoformat())
            self._stamps.append(f"{day:%y%m%d}")
