"""Accounts with exact balances, and the day book that collects a month's events."""

from collections import defaultdict

from feeds.cloudevents import line
from feeds.sample_bank.calendar import LAST_DAY, MINUTES, Calendar
from shared.events.corebanking import AccountKind, AccountRecorded, CoreBankingEvent, TransactionKind, TransactionPosted

SOURCE = "sample-bank"
CURRENCY = "CNY"


class Daybook:
    """Events of the days that are not over, encoded as they are written."""

    def __init__(self, calendar: Calendar) -> None:
        self.calendar = calendar
        self._days: defaultdict[int, list[tuple[int, bytes]]] = defaultdict(list)

    def write(self, when: int, id: str, event: CoreBankingEvent) -> None:
        encoded = line(SOURCE, id, self.calendar.instant(when), event)
        self._days[when // MINUTES].append((when, encoded))

    def take(self, day: int) -> list[bytes]:
        """A day's lines in the order of their minutes, and within a minute as written."""
        written = self._days.pop(day, [])
        written.sort(key=_minute)
        return [encoded for _, encoded in written]


def _minute(entry: tuple[int, bytes]) -> int:
    return entry[0]


class Account:
    """States its balance after each booking, up to the sample's last day."""

    __slots__ = ("_book", "_day", "_sequence", "balance_minor", "recorded")

    def __init__(self, book: Daybook, when: int, recorded: AccountRecorded) -> None:
        self._book = book
        self._day = -1
        self._sequence = 0
        self.recorded = recorded
        self.balance_minor = 0
        book.write(when, f"{recorded.account_id}-{recorded.revision}", recorded)

    def post(self, when: int, kind: TransactionKind, amount_minor: int, bank: str | None = None) -> None:
        day = when // MINUTES
        if day != self._day:
            self._day, self._sequence = day, 0
        self._sequence += 1
        self.balance_minor += amount_minor
        booked_on, stamp = self._book.calendar.dated(day)
        account_id = self.recorded.account_id
        transaction_id = f"{account_id}-{stamp}-{self._sequence}"
        event = TransactionPosted(
            account_id=account_id,
            transaction_id=transaction_id,
            booked_on=booked_on,
            sequence=self._sequence,
            amount_minor=amount_minor,
            currency=CURRENCY,
            kind=kind,
            balance_after_minor=self.balance_minor if day <= LAST_DAY else None,
            counterparty_bank=bank,
        )
        self._book.write(when, transaction_id, event)

    def close(self, when: int) -> None:
        closed_on, _ = self._book.calendar.dated(when // MINUTES)
        old = self.recorded
        self.recorded = AccountRecorded(
            account_id=old.account_id,
            revision=old.revision + 1,
            kind=old.kind,
            currency=old.currency,
            branch_id=old.branch_id,
            parties=old.parties,
            opened_on=old.opened_on,
            matures_on=old.matures_on,
            closed_on=closed_on,
        )
        self._book.write(when, f"{old.account_id}-{old.revision + 1}", self.recorded)

    @property
    def is_open(self) -> bool:
        return self.recorded.closed_on is None

    @property
    def is_card(self) -> bool:
        return self.recorded.kind is AccountKind.CARD
