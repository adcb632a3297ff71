"""A small bank whose events are known to the last booking, so that what was sent tells what must be there."""

import random
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta

from feeds.cloudevents import instant, line
from shared.events.corebanking import (
    AccountKind,
    BusinessDayClosed,
    CoreBankingEvent,
    TransactionKind,
    TransactionPosted,
)
from tests.bank import (
    account,
    branch,
    complaint_rejected,
    contact,
    death,
    manager_recorded,
    party,
    worst_answer,
)

SOURCE = "compose-test"
CURRENCY = "CNY"
DAYS = 6
"""Up to yesterday: what happens in them is news, and told."""
BRANCHES = ("Z1", "Z2", "Z3")
MANAGERS_OF_A_BRANCH = 3
CUSTOMERS = 900
ONE_AT_RISK_OF = 9
# So many places later than in the order of its day an event may come: before the account that it names, after the
# day that it belongs to.
LATE = 150

CREDITS = (TransactionKind.SALARY, TransactionKind.TRANSFER_IN, TransactionKind.CASH_DEPOSIT)
DEBITS = (TransactionKind.CARD_PAYMENT, TransactionKind.TRANSFER_OUT, TransactionKind.RENT, TransactionKind.FEE)


@dataclass
class Account:
    customer_number: str
    count: int = 0
    posted_minor: int = 0
    balance_minor: int = 0


@dataclass
class Bank:
    """`lines` are what the core sends; the rest is what it adds up to."""

    lines: list[bytes] = field(default_factory=list)
    event_ids: set[str] = field(default_factory=set)
    managers: dict[str, str] = field(default_factory=dict)
    accounts: dict[str, Account] = field(default_factory=dict)
    credits: Counter[tuple[str, date]] = field(default_factory=Counter)
    debits: Counter[tuple[str, date]] = field(default_factory=Counter)
    bookings: Counter[tuple[str, date]] = field(default_factory=Counter)
    contacts: Counter[str] = field(default_factory=Counter)
    at_risk: set[str] = field(default_factory=set)


def open_bank(seed: int, today: date | None = None) -> Bank:
    """Whoever is at risk becomes so in these days, by what nothing takes back."""
    return _Core(seed, today or datetime.now(UTC).date()).bank


class _Core:
    def __init__(self, seed: int, today: date) -> None:
        self.dice = random.Random(seed)
        self.bank = Bank()
        self.first = today - timedelta(days=DAYS)
        self._written: list[tuple[float, bytes]] = []
        self._records_staff()
        for number in range(CUSTOMERS):
            self._records_customer(f"Z{number:05d}", at_risk=number % ONE_AT_RISK_OF == 0)
        for day in range(DAYS):
            for account_id in self.bank.accounts:
                for sequence in range(self.dice.choice((0, 1, 1, 2, 2))):
                    self._books(account_id, day, sequence)
            self._closes(day)
        self._written.sort()
        self.bank.lines = [written for _, written in self._written]

    def _writes(self, event_id: str, day: int, event: CoreBankingEvent) -> None:
        self.bank.event_ids.add(event_id)
        place = len(self._written) + self.dice.choice((0, 0, 0, self.dice.uniform(0, LATE)))
        self._written.append((place, line(SOURCE, event_id, instant(self._date(day), 600), event)))

    def _date(self, day: int) -> date:
        return self.first + timedelta(days=day)

    def _records_staff(self) -> None:
        for branch_id in BRANCHES:
            self._writes(branch_id, 0, branch(branch_id))
            for position in range(MANAGERS_OF_A_BRANCH):
                manager_id = f"M{branch_id}{position}"
                self.bank.managers[manager_id] = branch_id
                self._writes(manager_id, 0, manager_recorded(manager_id, branch_id, is_branch_head=position == 0))

    def _records_customer(self, number: str, *, at_risk: bool) -> None:
        manager_id, branch_id = self.dice.choice(sorted(self.bank.managers.items()))
        known = party(f"P{number}", 1, branch_id, customer_number=number, manager_id=manager_id)
        self._writes(known.party_id, 0, known)
        for position in range(self.dice.choice((1, 1, 2))):
            kind = AccountKind.SAVINGS if position else AccountKind.CURRENT
            opened = account(f"A{number}-{position}", known.party_id, kind=kind, opened_on=self._date(-900))
            self.bank.accounts[opened.account_id] = Account(number)
            self._writes(opened.account_id, 0, opened)
        day = self.dice.randrange(DAYS)
        met = contact(number, known.party_id, _midnight(self._date(day)), manager_id=manager_id)
        self.bank.contacts[number] += 1
        self._writes(met.contact_id, day, met)
        if at_risk:
            self._puts_at_risk(number, known.party_id)

    def _puts_at_risk(self, number: str, party_id: str) -> None:
        day = self.dice.randrange(1, DAYS)
        told_at = _midnight(self._date(day))
        rejected = complaint_rejected(number, party_id, told_at, opened_at=told_at - timedelta(days=3), revision=2)
        self._writes(rejected.complaint_id, day, rejected)
        answered = worst_answer(number, party_id, told_at)
        self._writes(answered.survey_id, day, answered)
        died = death(number, party_id, self._date(day))
        self._writes(died.life_event_id, day, died)
        self.bank.at_risk.add(number)

    def _books(self, account_id: str, day: int, sequence: int) -> None:
        account, booked_on = self.bank.accounts[account_id], self._date(day)
        is_credit = account.balance_minor < 100_00 or self.dice.random() < 0.3
        amount = self.dice.randrange(10_00, 5_000_00) if is_credit else -self.dice.randrange(1, account.balance_minor)
        account.count += 1
        account.posted_minor += amount
        account.balance_minor += amount
        posted = TransactionPosted(
            account_id=account_id,
            transaction_id=f"T{day:02d}{sequence}",
            booked_on=booked_on,
            sequence=sequence,
            amount_minor=amount,
            currency=CURRENCY,
            kind=self.dice.choice(CREDITS if is_credit else DEBITS),
            balance_after_minor=account.balance_minor,
        )
        self.bank.bookings[account_id, booked_on] += 1
        (self.bank.credits if is_credit else self.bank.debits)[account_id, booked_on] += abs(amount)
        self._writes(f"{account_id}-{posted.transaction_id}", day, posted)

    def _closes(self, day: int) -> None:
        closed = BusinessDayClosed(business_date=self._date(day))
        self._writes(f"closed-{closed.business_date}", day, closed)


def _midnight(day: date) -> datetime:
    return datetime.combine(day, datetime.min.time(), UTC)
