"""The sample bank's year as CloudEvents, day by day, and who left in it."""

from collections.abc import Iterator
from datetime import date
from typing import NamedTuple

from feeds.cloudevents import line
from feeds.sample_bank.calendar import LAST_DAY, MINUTES, Calendar
from feeds.sample_bank.customers import CUSTOMERS, customer, customer_number, story_of_customer
from feeds.sample_bank.ledger import SOURCE, Daybook
from feeds.sample_bank.life import Life
from feeds.sample_bank.staff import branches, managers
from shared.events.corebanking import BusinessDayClosed

END_OF_DAY = 959

EXPECTED_LINES = 307_000
"""About how many lines a sample has, for who shows progress: within 2 %."""


def lines(seed: int, until: date) -> Iterator[bytes]:
    """Twelve months up to and including `until`, in order of time: one CloudEvent each, without the line's end."""
    return _days(seed, Calendar(until), 0, LAST_DAY)


def later_lines(seed: int, until: date, first: date, last: date) -> Iterator[bytes]:
    """How everyday life goes on after a sample's `until`: whole days, without stated balances."""
    calendar = Calendar(until)
    return _days(seed, calendar, max(calendar.number(first), LAST_DAY + 1), calendar.number(last))


def _days(seed: int, calendar: Calendar, first: int, last: int) -> Iterator[bytes]:
    book = Daybook(calendar)
    staff = managers(seed)
    for branch in branches():
        book.write(0, branch.branch_id, branch)
    for manager in staff:
        book.write(0, manager.manager_id, manager.recorded)
    lives = [Life(seed, customer(seed, number, staff, calendar.start), book) for number in range(1, CUSTOMERS + 1)]
    for span in calendar.spans(last):
        for life in lives:
            life.live(span)
        for day in range(span.first, span.last + 1):
            written = book.take(day)
            if first <= day <= last:
                yield from written
                yield closed_day(calendar.day(day), calendar.instant(day * MINUTES + END_OF_DAY))


def closed_day(day: date, instant: str) -> bytes:
    return line(SOURCE, f"closed-{day.isoformat()}", instant, BusinessDayClosed(business_date=day))


class Departure(NamedTuple):
    """`how` someone leaves, from when on it shows, when the accounts close and when the bank records it."""

    how: str
    began_on: date
    closed_on: date
    left_on: date


def truth(seed: int, until: date) -> dict[str, Departure]:
    """By customer number, everyone who leaves or has begun to; no event says so. Dates may lie after `until`."""
    calendar = Calendar(until)
    leaving = {}
    for number in range(1, CUSTOMERS + 1):
        story = story_of_customer(seed, number)
        if story.leaves:
            days = (calendar.day(day) for day in (story.began, story.closes, story.left))
            leaving[customer_number(number)] = Departure(story.how, *days)
    return leaving


def look_alikes(seed: int, until: date) -> dict[str, tuple[str, date]]:
    """By customer number, everyone who at some time looks like a leaver and stays: how, and from when on."""
    calendar = Calendar(until)
    stories = {number: story_of_customer(seed, number) for number in range(1, CUSTOMERS + 1)}
    return {
        customer_number(number): (story.how, calendar.day(story.began))
        for number, story in stories.items()
        if not story.leaves and story.how != "everyday"
    }
