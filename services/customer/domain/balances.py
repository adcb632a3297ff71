"""An account's balance: what the core stated last, and what is booked after that."""

from dataclasses import dataclass
from datetime import date

Point = tuple[date, int]
"""A place in an account's order of booking: day and sequence."""

LIMIT_MINOR = 2**62
"""No sum of amounts reaches this: differences of two still fit PostgreSQL's bigint."""


@dataclass(slots=True)
class Balance:
    """`since_minor` sums the amounts booked after `stated_at`, or all of them while nothing was stated.

    Book in the order of points; of two at one point, the one that came later is the later one.
    """

    stated_minor: int | None = None
    stated_at: Point | None = None
    since_minor: int = 0
    latest_at: Point | None = None
    posted_minor: int = 0
    looks_back: bool = False
    """Earlier bookings lie behind a new statement: `since_minor` lacks their sum, which the ledger must tell."""

    def book(self, at: Point, amount_minor: int, stated_minor: int | None) -> None:
        """`stated_minor` is the balance after the transaction, if the core said so."""
        self.posted_minor += amount_minor
        is_last = self.latest_at is None or at >= self.latest_at
        if stated_minor is not None and (self.stated_at is None or at >= self.stated_at):
            self.stated_minor, self.stated_at, self.since_minor = stated_minor, at, 0
            self.looks_back = not is_last
        elif self.stated_at is None or at > self.stated_at:
            self.since_minor += amount_minor
        if is_last:
            self.latest_at = at

    @property
    def is_countable(self) -> bool:
        return abs(self.posted_minor) < LIMIT_MINOR and abs(self.since_minor) < LIMIT_MINOR
