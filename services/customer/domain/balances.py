"""An account's balance: what the core stated last, and what is booked after that."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date
from typing import NamedTuple


class Point(NamedTuple):
    """A place in an account's order of booking."""

    day: date
    sequence: int


class Booked(NamedTuple):
    """A transaction, as far as balances go; `stated_minor` is the balance after it, if the core said so."""

    at: Point
    amount_minor: int
    stated_minor: int | None


@dataclass(frozen=True, slots=True)
class Balance:
    """`since_minor` sums the amounts booked after `stated_at`, or all of them while nothing was stated."""

    stated_minor: int | None = None
    stated_at: Point | None = None
    since_minor: int = 0
    latest_at: Point | None = None

    def restated_by(self, booked: Iterable[Booked]) -> Booked | None:
        """The transaction whose statement becomes the last one, if any does; the later of two at one point."""
        last: Booked | None = None
        for one in booked:
            if one.stated_minor is None or (self.stated_at is not None and one.at < self.stated_at):
                continue
            if last is None or one.at >= last.at:
                last = one
        return last

    def looks_back(self, restated: Booked | None) -> bool:
        """Whether earlier bookings lie behind the new statement, so that the ledger must tell their sum."""
        return restated is not None and self.latest_at is not None and self.latest_at > restated.at

    def after(self, booked: list[Booked], restated: Booked | None, behind_minor: int = 0) -> "Balance":
        """The balance with `booked`; `behind_minor` sums what was there before and lies behind `restated`."""
        latest = max([one.at for one in booked] + ([self.latest_at] if self.latest_at else []))
        if restated is not None:
            since = behind_minor + sum(one.amount_minor for one in booked if one.at > restated.at)
            return Balance(restated.stated_minor, restated.at, since, latest)
        since = sum(one.amount_minor for one in booked if self.stated_at is None or one.at > self.stated_at)
        return replace(self, since_minor=self.since_minor + since, latest_at=latest)
