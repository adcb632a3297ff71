"""A bank made from a seed: what its core sends, in which order it arrives, and what is wrong with some of it.

Nobody's alert may depend on the order of arrival, or there were nothing to compare with. So who comes to
be at risk does by what no part of it could do alone, on the day on which the whole of it does, and never
recovers; and who stays calm could not reach the threshold by any part of what is told of them.
"""

import random
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from enum import Enum

from feeds.cloudevents import instant, line
from shared.events.corebanking import (
    BusinessDayClosed,
    ComplaintRecorded,
    ContactChannel,
    CoreBankingEvent,
    TransactionKind,
    TransactionPosted,
    TransactionReversed,
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

SOURCE = "torture"
CURRENCY = "CNY"
DAYS = 6
"""Days that the core closes, up to yesterday: what happens in them is news, and told."""
BRANCHES = ("V1", "V2", "V3")
MANAGERS_OF_A_BRANCH = 3
DUPLICATED = LATE = 0.05
NEARBY = 60
"""So many places an event may come before or behind its place in the core's order."""

CREDITS = (TransactionKind.TRANSFER_IN, TransactionKind.CASH_DEPOSIT, TransactionKind.INTEREST)
DEBITS = (
    TransactionKind.CARD_PAYMENT,
    TransactionKind.TRANSFER_OUT,
    TransactionKind.RENT,
    TransactionKind.FEE,
    TransactionKind.CASH_WITHDRAWAL,
)


class Fate(Enum):
    CALM = "calm"
    OFFENDED = "offended"
    """A rejected complaint and the worst of answers, on one day; neither alone is enough."""
    DRIFTING = "drifting"
    """The card and the customer have been quiet for weeks; then the salary has been missing for 40 days."""


@dataclass(frozen=True)
class Sent:
    """An event as it is put on the topic. `event_id` is the CloudEvent's; `fact` the one that it tells of."""

    event_id: str
    fact: str
    event: CoreBankingEvent
    payload: bytes


@dataclass
class Bank:
    """`arrivals` is everything that is sent, duplicates too, in the order of sending; `facts` has each fact once."""

    today: date
    facts: dict[str, CoreBankingEvent] = field(default_factory=dict)
    fates: dict[str, Fate] = field(default_factory=dict)
    arrivals: list[Sent] = field(default_factory=list)
    duplicates: int = 0
    late: int = 0

    @property
    def first_closed(self) -> date:
        return self.today - timedelta(days=DAYS)

    @property
    def first_close(self) -> str:
        """The fact with which scoring begins. What is closed before it is known would count as the beginning."""
        return f"closed-{self.first_closed}"

    @property
    def last_closed(self) -> date:
        return self.today - timedelta(days=1)


def make_bank(seed: int, customers: int, today: date | None = None) -> Bank:
    return _Core(random.Random(seed), customers, today or datetime.now(UTC).date()).bank


class _Core:
    def __init__(self, dice: random.Random, customers: int, today: date) -> None:
        self.dice = dice
        self.bank = Bank(today)
        self._days: dict[date, list[tuple[str, CoreBankingEvent]]] = {}
        self._managers: dict[str, str] = {}
        self._records_staff()
        for number in range(customers):
            self._opens(f"{number:05d}", (Fate.OFFENDED, Fate.DRIFTING)[number % 2] if number % 7 < 2 else Fate.CALM)
        for day in range(DAYS):
            closed = BusinessDayClosed(business_date=self.bank.first_closed + timedelta(days=day))
            self._tells(closed.business_date, f"closed-{closed.business_date}", closed)
        self._arranges()

    def _tells(self, day: date, fact: str, event: CoreBankingEvent) -> None:
        assert fact not in self.bank.facts
        self.bank.facts[fact] = event
        self._days.setdefault(day, []).append((fact, event))

    def _ago(self, days: int) -> date:
        return self.bank.today - timedelta(days=days)

    def _records_staff(self) -> None:
        """No heads of branches: whoever is told of an alert is then the same, whichever of it came first."""
        for branch_id in BRANCHES:
            self._tells(self._ago(900), branch_id, branch(branch_id))
            for position in range(MANAGERS_OF_A_BRANCH):
                manager_id = f"M{branch_id}{position}"
                self._managers[manager_id] = branch_id
                self._tells(self._ago(900), manager_id, manager_recorded(manager_id, branch_id))

    def _opens(self, number: str, fate: Fate) -> None:
        party_id, account_id = f"P{number}", f"A{number}"
        self.bank.fates[party_id] = fate
        manager_id, branch_id = self.dice.choice(sorted(self._managers.items()))
        for revision in range(1, self.dice.choice((2, 2, 2, 3, 4))):
            known = {"customer_number": f"9{number}", "phone": f"+86 10 {revision:04d}{number}"}
            recorded = party(party_id, revision, branch_id, manager_id=manager_id, **known)
            self._tells(self._ago(900 - revision), f"{party_id}/{revision}", recorded)
        self._tells(self._ago(890), f"{account_id}/1", account(account_id, party_id, opened_on=self._ago(890)))
        self._met(party_id, manager_id)
        match fate:
            case Fate.CALM:
                self._lives_on(account_id, elsewhere=0.3)
            case Fate.OFFENDED:
                self._lives_on(account_id)
                self._offends(party_id)
            case Fate.DRIFTING:
                self._drifts(account_id)

    def _met(self, party_id: str, manager_id: str) -> None:
        day = self._ago(self.dice.randrange(1, 60))
        channel = self.dice.choice(tuple(ContactChannel))
        met = contact(party_id, party_id, _noon(day), manager_id=manager_id, channel=channel)
        self._tells(day, met.contact_id, met)

    def _lives_on(self, account_id: str, elsewhere: float = 0.0) -> None:
        """Since a few weeks only: there is no habit to break and no balance to fall.

        `elsewhere` is the share of transfers that go to other banks: money that leaves weighs.
        """
        books = _Books(account_id)
        for ago in sorted((self.dice.randrange(1, 25) for _ in range(self.dice.randrange(6, 22))), reverse=True):
            is_credit = books.balance < 100_00 or self.dice.random() < 0.3
            amount = self.dice.randrange(10_00, 4_000_00) if is_credit else -self.dice.randrange(1, books.balance)
            kind = self.dice.choice(CREDITS if is_credit else DEBITS)
            is_external = kind is TransactionKind.TRANSFER_OUT and self.dice.random() < elsewhere
            is_stated = self.dice.random() < 0.8
            fact, posted = books.post(self._ago(ago), amount, kind, is_stated=is_stated, is_external=is_external)
            self._tells(posted.booked_on, fact, posted)
            if self.dice.random() < 0.04:
                fact, taken_back = books.reverse(posted)
                self._tells(taken_back.booked_on, fact, taken_back)

    def _offends(self, party_id: str) -> None:
        day = self._ago(self.dice.randrange(1, DAYS + 1))
        complaint = ComplaintRecorded(
            complaint_id=f"C{party_id}", revision=1, party_id=party_id, opened_at=_noon(day - timedelta(days=3))
        )
        self._tells(day - timedelta(days=3), f"{complaint.complaint_id}/1", complaint)
        rejected = complaint_rejected(party_id, party_id, _noon(day), opened_at=complaint.opened_at, revision=2)
        self._tells(day, f"{complaint.complaint_id}/2", rejected)
        answered = worst_answer(party_id, party_id, _noon(day))
        self._tells(day, answered.survey_id, answered)
        if self.dice.random() < 0.5:
            died = death(party_id, party_id, day)
            self._tells(day, died.life_event_id, died)

    def _drifts(self, account_id: str) -> None:
        """Three salaries, the least of which a habit consists; amounts too small for the balance to weigh."""
        books = _Books(account_id)
        day = self.dice.randrange(1, DAYS + 1)
        salaries = {day + 40 + 30 * back for back in range(3)}
        cards = {day + ago for ago in self.dice.sample(range(52, 95), 16)}
        for ago in sorted(salaries | cards, reverse=True):
            if ago in salaries:
                fact, posted = books.post(self._ago(ago), 120_00, TransactionKind.SALARY)
                self._tells(posted.booked_on, fact, posted)
            if ago in cards:
                amount = -self.dice.randrange(1_00, 9_00)
                fact, posted = books.post(self._ago(ago), amount, TransactionKind.CARD_PAYMENT)
                self._tells(posted.booked_on, fact, posted)

    def _arranges(self) -> None:
        """Each day's events behind those of the days before; then most of them nearby, some late, some twice."""
        dice, bank = self.dice, self.bank
        closes = {fact for fact, event in bank.facts.items() if isinstance(event, BusinessDayClosed)}
        told = [each for day in sorted(self._days) for each in sorted(self._days[day], key=lambda e: e[0] in closes)]
        placed: list[tuple[float, Sent]] = []
        opened = next(place for place, (fact, _) in enumerate(told) if fact == self.bank.first_close)
        for place, (fact, event) in enumerate(told):
            at = place + dice.uniform(-NEARBY, NEARBY)
            if dice.random() < LATE:
                bank.late += 1
                at = dice.uniform(place, len(told) * 1.05)
            if fact in closes:
                at = opened if fact == self.bank.first_close else max(at, opened + 1)
            placed.append((at, _sent(fact, fact, event)))
            if dice.random() < DUPLICATED:
                bank.duplicates += 1
                is_told_anew = isinstance(event, TransactionPosted) and dice.random() < 0.5
                again = _sent(f"{fact}/again" if is_told_anew else fact, fact, event)
                placed.append((at + abs(dice.gauss(0, len(told) / 10)), again))
        placed.sort(key=lambda each: each[0])
        bank.arrivals = [sent for _, sent in placed]


class _Books:
    """One account, as the core keeps it. Transactions come in the order of booking."""

    def __init__(self, account_id: str) -> None:
        self._account_id = account_id
        self._sequences: dict[date, int] = {}
        self._count = 0
        self.balance = 0

    def post(
        self,
        day: date,
        amount: int,
        kind: TransactionKind,
        *,
        is_stated: bool = True,
        is_external: bool = False,
    ) -> tuple[str, TransactionPosted]:
        self.balance += amount
        posted = TransactionPosted(
            account_id=self._account_id,
            transaction_id=self._next_id(),
            booked_on=day,
            sequence=self._next_sequence(day),
            amount_minor=amount,
            currency=CURRENCY,
            kind=kind,
            balance_after_minor=self.balance if is_stated else None,
            counterparty_bank="OTHER" if is_external else None,
        )
        return f"{self._account_id}/{posted.transaction_id}", posted

    def reverse(self, posted: TransactionPosted) -> tuple[str, TransactionReversed]:
        self.balance -= posted.amount_minor
        taken_back = TransactionReversed(
            account_id=self._account_id,
            transaction_id=self._next_id(),
            reverses_transaction_id=posted.transaction_id,
            booked_on=posted.booked_on,
            sequence=self._next_sequence(posted.booked_on),
            balance_after_minor=self.balance,
        )
        return f"{self._account_id}/{taken_back.transaction_id}", taken_back

    def _next_id(self) -> str:
        self._count += 1
        return f"T{self._count:04d}"

    def _next_sequence(self, day: date) -> int:
        self._sequences[day] = self._sequences.get(day, -1) + 1
        return self._sequences[day]


def _noon(day: date) -> datetime:
    return datetime.combine(day, time(12), UTC)


def told_again(sent: Sent, event_id: str) -> Sent:
    """The same fact under another id."""
    return _sent(event_id, sent.fact, sent.event)


def _sent(event_id: str, fact: str, event: CoreBankingEvent) -> Sent:
    day = next((getattr(event, name) for name in ("booked_on", "business_date") if hasattr(event, name)), None)
    payload = line(SOURCE, event_id, instant(day or date(2026, 1, 1), 600), event)
    return Sent(event_id, fact, event, payload)
