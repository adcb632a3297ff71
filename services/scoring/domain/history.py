"""What happened to a customer outside their transactions, and when each of it weighs on the score.

Everything here is dated: a fact weighs from one day until another, whenever it became known.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from itertools import pairwise
from typing import NamedTuple

FOREVER = date.max.toordinal()

OWN_MONEY = frozenset({"current", "savings", "term_deposit"})
"""Kinds of account that hold the customer's own money; a loan and a credit card hold the bank's."""

COMPLAINT, REJECTION, CONTACT, SURVEY = "complaint", "rejection", "contact", "survey"
DEATH_IN_HOUSEHOLD = "death_in_household"
UPHELD = 1
"""The value of a complaint in which the customer was right."""


class Account(NamedTuple):
    """Days are ordinals, FOREVER when there is none."""

    kind: str
    opened: int
    matures: int = FOREVER
    closed: int = FOREVER


class Fact(NamedTuple):
    """`value` is a survey's score, or how a complaint ended."""

    kind: str
    began: int
    ended: int = FOREVER
    value: int | None = None


@dataclass
class History:
    """What is known of one customer. `left` is the day of departure."""

    accounts: list[Account] = field(default_factory=list)
    facts: list[Fact] = field(default_factory=list)
    left: int = FOREVER

    def of(self, kind: str) -> Iterator[Fact]:
        return (fact for fact in self.facts if fact.kind == kind)


class Span(NamedTuple):
    """From `start` until before `until`, with the dates and numbers that the reason's sentence names."""

    start: int
    until: int
    figures: Mapping[str, int]


Spans = Callable[[History], Iterable[Span]]

COMPLAINT_WEIGHS = SURVEY_WEIGHS = 90
SETTLED_FAST = 14
DEATH_WEIGHS = 180
PRODUCT_WEIGHS = CLOSING_WEIGHS = 60
RENEWAL_GRACE = 7
CONTACT_WITHIN = 180
SURVEY_LOW, SURVEY_VERY_LOW = 6, 2


def open_complaints(history: History) -> Iterator[Span]:
    for fact in history.of(COMPLAINT):
        yield Span(fact.began, fact.ended, {"opened_on": fact.began})


def rejections(history: History) -> Iterator[Span]:
    for fact in history.of(REJECTION):
        yield Span(fact.began, fact.began + COMPLAINT_WEIGHS, {"rejected_on": fact.began})


def complaints_settled_fast(history: History) -> Iterator[Span]:
    for fact in history.of(COMPLAINT):
        if fact.value == UPHELD and fact.ended - fact.began <= SETTLED_FAST:
            figures = {"upheld_on": fact.ended, "took_days": fact.ended - fact.began}
            yield Span(fact.ended, fact.ended + COMPLAINT_WEIGHS, figures)


def surveys_up_to(most: int) -> Spans:
    """Answers of at most `most`: the worst of the last 90 days counts, so a better one takes nothing back."""

    def spans(history: History) -> Iterator[Span]:
        for fact in history.of(SURVEY):
            if fact.value is not None and fact.value <= most:
                figures = {"answered_on": fact.began, "score": fact.value}
                yield Span(fact.began, fact.began + SURVEY_WEIGHS, figures)

    return spans


def deaths_in_household(history: History) -> Iterator[Span]:
    for fact in history.of(DEATH_IN_HOUSEHOLD):
        yield Span(fact.began, fact.began + DEATH_WEIGHS, {"happened_on": fact.began})


def deposits_not_renewed(history: History) -> Iterator[Span]:
    for account in history.accounts:
        ended = min(account.matures, account.closed)
        if account.kind == "term_deposit" and ended < FOREVER:
            until = _next_opening(history, account, ended, {"term_deposit"})
            yield Span(ended + RENEWAL_GRACE, min(until, ended + RENEWAL_GRACE + CLOSING_WEIGHS), {"ended_on": ended})


def accounts_closed(history: History) -> Iterator[Span]:
    for account in history.accounts:
        if account.kind in {"current", "savings"} and account.closed < FOREVER:
            until = _next_opening(history, account, account.closed, OWN_MONEY)
            yield Span(account.closed, min(until, account.closed + CLOSING_WEIGHS), {"closed_on": account.closed})


def _next_opening(history: History, ended: Account, day: int, kinds: Collection[str]) -> int:
    """The first day on which another account of `kinds` was opened after `day`, or shortly before it."""
    others = (account for account in history.accounts if account is not ended and account.kind in kinds)
    return min((other.opened for other in others if other.opened >= day - RENEWAL_GRACE), default=FOREVER)


def contacts_overdue(history: History) -> Iterator[Span]:
    days = sorted(fact.began for fact in history.of(CONTACT))
    for day, following in pairwise([*days, FOREVER]):
        yield Span(day + CONTACT_WITHIN, following, {"last_contact_on": day})


def products_opened(history: History) -> Iterator[Span]:
    """The account with which the relationship began is not a new product."""
    for account in sorted(history.accounts, key=lambda account: account.opened)[1:]:
        yield Span(account.opened, account.opened + PRODUCT_WEIGHS, {"opened_on": account.opened})
