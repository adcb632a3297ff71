"""Which dates a bank can mean. One that it cannot would stand before or behind all others for ever."""

from datetime import date, datetime, timedelta

EARLIEST_YEAR, LATEST_YEAR = 1800, 2199
AHEAD = timedelta(days=2)
"""How far what has happened may lie ahead: time zones, and clocks that differ."""


def is_plausible(day: date) -> bool:
    """Of any date or instant, planned ones too."""
    return EARLIEST_YEAR <= day.year <= LATEST_YEAR


def may_have_happened(when: date, now: datetime) -> bool:
    """Of a day or an instant at which something was done; `when` is plausible."""
    limit = now + AHEAD
    return when <= limit if isinstance(when, datetime) else when <= limit.date()
