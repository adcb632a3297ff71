"""The oracle: what must be there when all of a bank's events have had their effects, folded from the events alone.

Nothing of the product's is used but the scorecard itself (services/scoring/domain), which says how many points a
customer's aggregates and history are worth on a day. The order of arrival plays no part here.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import NamedTuple

import numpy as np

from services.scoring.domain.features import AccountDays, measure
from services.scoring.domain.history import Account, Fact, History
from services.scoring.domain.scores import score
from shared.events.corebanking import (
    AccountRecorded,
    ComplaintOutcome,
    ComplaintRecorded,
    ContactRecorded,
    CoreBankingEvent,
    LifeEventKind,
    LifeEventRecorded,
    PartyRecorded,
    SurveyAnswered,
    TransactionPosted,
    TransactionReversed,
)
from tests.torture.bank import Bank

THRESHOLD, MATERIAL_MINOR = 50, 50_000
"""The defaults of SCORING_ALERT_THRESHOLD and SCORING_MATERIAL_AMOUNT_MINOR."""

Booking = tuple[str, str]
"""(the core's account, its transaction)"""


class Posting(NamedTuple):
    booked_on: date
    sequence: int
    amount_minor: int
    kind: str
    balance_after_minor: int | None
    is_external: bool
    reverses: str | None


@dataclass
class Day:
    """A row of `daily_aggregate`."""

    credit_minor: int = 0
    credit_count: int = 0
    debit_minor: int = 0
    debit_count: int = 0
    salary_minor: int = 0
    salary_count: int = 0
    card_minor: int = 0
    card_count: int = 0
    external_out_minor: int = 0
    external_out_count: int = 0
    initiated_count: int = 0
    stated_sequence: int = -1
    balance_minor: int = 0

    def count(self, posting: Posting) -> None:
        """A reversal takes back what its transaction counted."""
        sign = -1 if posting.reverses else 1
        original = posting.amount_minor * sign
        size = abs(original) * sign
        for name, holds in _COUNTED.items():
            if holds(posting.kind, original, posting.is_external):
                if name != "initiated":
                    setattr(self, f"{name}_minor", getattr(self, f"{name}_minor") + size)
                setattr(self, f"{name}_count", getattr(self, f"{name}_count") + sign)
        if posting.balance_after_minor is not None and posting.sequence > self.stated_sequence:
            self.stated_sequence, self.balance_minor = posting.sequence, posting.balance_after_minor


_CARD = {"card_payment", "card_withdrawal"}
_INITIATED = _CARD | {"transfer_out", "cash_deposit", "cash_withdrawal", "deposit_placed"}
_COUNTED: dict[str, Callable[[str, int, bool], bool]] = {
    "credit": lambda kind, amount, external: amount > 0,
    "debit": lambda kind, amount, external: amount < 0,
    "salary": lambda kind, amount, external: amount > 0 and kind in {"salary", "pension"},
    "card": lambda kind, amount, external: amount < 0 and kind in _CARD,
    "external_out": lambda kind, amount, external: amount < 0 and external,
    "initiated": lambda kind, amount, external: kind in _INITIATED,
}


@dataclass
class Expected:
    """By the core's ids. `alerts` are (party, day), each to be raised and told once; `managers` who is told."""

    postings: dict[Booking, Posting] = field(default_factory=dict)
    balances: dict[str, int] = field(default_factory=dict)
    days: dict[tuple[str, date], Day] = field(default_factory=dict)
    revisions: dict[str, int] = field(default_factory=dict)
    managers: dict[str, str] = field(default_factory=dict)
    contacts: set[str] = field(default_factory=set)
    complaints: set[str] = field(default_factory=set)
    surveys: set[str] = field(default_factory=set)
    points: dict[str, int] = field(default_factory=dict)
    alerts: set[tuple[str, date]] = field(default_factory=set)


def fold(bank: Bank) -> Expected:
    expected = Expected()
    holders: dict[str, str] = {}
    histories: dict[str, History] = {}
    for event in sorted(bank.facts.values(), key=lambda event: getattr(event, "revision", 0)):
        _count(event, expected, holders, histories)
    _reverse(bank, expected)
    for (account, _), posting in expected.postings.items():
        expected.days.setdefault((account, posting.booked_on), Day()).count(posting)
        expected.balances[account] = expected.balances.get(account, 0) + posting.amount_minor
    _score(bank, expected, holders, histories)
    return expected


def _count(event: CoreBankingEvent, expected: Expected, holders: dict[str, str], histories: dict[str, History]) -> None:
    match event:
        case PartyRecorded():
            histories.setdefault(event.party_id, History())
            expected.revisions[event.party_id] = event.revision
            expected.managers[event.party_id] = event.manager_id or ""
        case AccountRecorded():
            holder = event.parties[0].party_id
            holders[event.account_id] = holder
            histories.setdefault(holder, History()).accounts.append(
                Account(event.kind.value, event.opened_on.toordinal())
            )
        case TransactionPosted():
            expected.postings[event.account_id, event.transaction_id] = Posting(
                event.booked_on,
                event.sequence,
                event.amount_minor,
                event.kind.value,
                event.balance_after_minor,
                event.counterparty_bank is not None,
                None,
            )
        case ContactRecorded():
            expected.contacts.add(event.contact_id)
            _happened(histories, event.party_id, Fact("contact", event.occurred_at.date().toordinal()))
        case ComplaintRecorded():
            expected.complaints.add(event.complaint_id)
            _complain(histories, event)
        case SurveyAnswered():
            expected.surveys.add(event.survey_id)
            answered = event.answered_at.date().toordinal()
            _happened(histories, event.party_id, Fact("survey", answered, value=event.score))
        case LifeEventRecorded() if event.kind is LifeEventKind.DEATH_IN_HOUSEHOLD:
            _happened(histories, event.party_id, Fact("death_in_household", event.happened_on.toordinal()))


def _happened(histories: dict[str, History], party: str, fact: Fact) -> None:
    histories.setdefault(party, History()).facts.append(fact)


def _complain(histories: dict[str, History], event: ComplaintRecorded) -> None:
    """At its greatest revision; events come here in the order of their revisions. A bank's customers have one each."""
    history = histories.setdefault(event.party_id, History())
    history.facts = [fact for fact in history.facts if fact.kind != "complaint"]
    opened = event.opened_at.date().toordinal()
    if event.resolved_at is None:
        history.facts.append(Fact("complaint", opened))
        return
    resolved = event.resolved_at.date().toordinal()
    is_rejected = event.outcome is ComplaintOutcome.REJECTED
    history.facts.append(Fact("complaint", opened, resolved, 0 if is_rejected else 1))
    if is_rejected:
        history.facts.append(Fact("rejection", resolved))


def _reverse(bank: Bank, expected: Expected) -> None:
    """No reversal is reversed in these banks."""
    for event in bank.facts.values():
        if isinstance(event, TransactionReversed):
            original = expected.postings[event.account_id, event.reverses_transaction_id]
            expected.postings[event.account_id, event.transaction_id] = Posting(
                event.booked_on,
                event.sequence,
                -original.amount_minor,
                original.kind,
                event.balance_after_minor,
                original.is_external,
                event.reverses_transaction_id,
            )


def _score(bank: Bank, expected: Expected, holders: dict[str, str], histories: dict[str, History]) -> None:
    """The points at the last close, and the days on which they crossed the threshold from below."""
    parties = sorted(histories)
    accounts = sorted(holders, key=lambda account: (holders[account], account))
    first_day, last_day = bank.first_closed.toordinal() - 1, bank.last_closed.toordinal()
    features = measure(
        _account_days(expected, accounts),
        customer_of=np.array([parties.index(holders[account]) for account in accounts], np.int64),
        counts_balance=np.ones(len(accounts), np.bool_),
        customers=len(parties),
        first_day=first_day,
        last_day=last_day,
    )
    scores = score(
        features,
        [histories[party] for party in parties],
        material_minor=MATERIAL_MINOR,
        scored_from=bank.first_closed.toordinal(),
    )
    for row, party in enumerate(parties):
        points = scores.points[row].tolist()
        expected.points[party] = points[-1]
        for column in range(1, len(points)):
            if points[column - 1] < THRESHOLD <= points[column]:
                expected.alerts.add((party, bank.first_closed + timedelta(days=column - 1)))


def _account_days(expected: Expected, accounts: list[str]) -> AccountDays:
    number = {account: index for index, account in enumerate(accounts)}
    rows = [(number[account], day.toordinal(), row) for (account, day), row in expected.days.items()]

    def column(of: Callable[[Day], int]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        return np.array([of(row) for _, _, row in rows], np.int64)

    return AccountDays(
        account=np.array([account for account, _, _ in rows], np.int64),
        day=np.array([day for _, day, _ in rows], np.int64),
        salary_count=column(lambda row: row.salary_count),
        card_count=column(lambda row: row.card_count),
        initiated_count=column(lambda row: row.initiated_count),
        external_out_count=column(lambda row: row.external_out_count),
        external_out_minor=column(lambda row: row.external_out_minor),
        change_minor=column(lambda row: row.credit_minor - row.debit_minor),
        is_stated=np.array([row.stated_sequence >= 0 for _, _, row in rows], np.bool_),
        balance_minor=column(lambda row: row.balance_minor),
    )
