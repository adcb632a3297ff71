"""The Berka bank (PKDD'99, a Czech bank of the 1990s): its files to core-banking events. See docs/feeds.md.

`read` reads the folder, `events` is a pure function of what was read, `lines` puts them on the wire.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import partial
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

import msgspec

from feeds.cloudevents import instant, line
from feeds.rows import FeedRefused, OnFault, Row, RowRefused, day_of, parsed
from shared.events.corebanking import (
    AccountKind,
    AccountRecorded,
    BranchRecorded,
    BusinessDayClosed,
    CoreBankingEvent,
    PartyRecorded,
    PartyRelation,
    RelatedParty,
    TransactionKind,
    TransactionPosted,
)
from shared.masking import masked

SOURCE = "berka"
CURRENCY = "CZK"
ROUNDING_MINOR = 15
"""By how much a stated balance may miss the one before plus the amount: the bank rounds interest."""
LONGEST_SEARCH = 12
"""Up to how many transactions of an account and day every order is tried."""

SIGNS = {"PRIJEM": 1, "VYDAJ": -1, "VYBER": -1}
KINDS_BY_SYMBOL = {
    "UROK": TransactionKind.INTEREST,
    "SANKC. UROK": TransactionKind.PENALTY_INTEREST,
    "SLUZBY": TransactionKind.FEE,
    "SIPO": TransactionKind.HOUSEHOLD,
    "POJISTNE": TransactionKind.INSURANCE,
    "DUCHOD": TransactionKind.PENSION,
    "UVER": TransactionKind.LOAN_PAYMENT,
    "LEASING": TransactionKind.LOAN_PAYMENT,
}
KINDS_BY_OPERATION = {
    "VKLAD": TransactionKind.CASH_DEPOSIT,
    "VYBER": TransactionKind.CASH_WITHDRAWAL,
    "VYBER KARTOU": TransactionKind.CARD_WITHDRAWAL,
    "PREVOD Z UCTU": TransactionKind.TRANSFER_IN,
    "PREVOD NA UCET": TransactionKind.TRANSFER_OUT,
}
RELATIONS = {"OWNER": PartyRelation.HOLDER, "DISPONENT": PartyRelation.PROXY}

TRANSACTION_COLUMNS = ("trans_id", "account_id", "date", "type", "operation", "amount", "balance", "k_symbol", "bank")

BOOKING_MINUTE, LAST_MINUTE = 12 * 60, 24 * 60 - 1
"""The files know days; the wire wants instants."""


class District(NamedTuple):
    district_id: str
    name: str


@masked
class Client(NamedTuple):
    client_id: str
    birth_on: date
    district_id: str


class Account(NamedTuple):
    account_id: str
    district_id: str
    opened_on: date
    parties: tuple[RelatedParty, ...]


class Transaction(msgspec.Struct, frozen=True, gc=False):
    transaction_id: str
    account_id: str
    booked_on: date
    amount_minor: int
    balance_minor: int
    kind: TransactionKind
    bank: str | None


class Fact(NamedTuple):
    """An event, its day in the files and its id."""

    day: date
    minute: int
    id: str
    event: CoreBankingEvent


@dataclass
class Files:
    """What a folder holds, in the files' order; transactions by day."""

    districts: list[District]
    clients: list[Client]
    accounts: list[Account]
    transactions: list[Transaction]

    @property
    def last_transaction_on(self) -> date:
        """Raises FeedRefused when there are none."""
        if not self.transactions:
            raise FeedRefused("no_transactions", "the trans file holds no transaction that can be read")
        return self.transactions[-1].booked_on


def read(folder: Path, on_fault: OnFault) -> Files:
    """Raises FeedRefused when a file is missing or unreadable; a bad row goes to `on_fault` and is left out."""
    districts = list(parsed(folder, "district", ("A1", "A2"), district, on_fault))
    clients = list(parsed(folder, "client", ("client_id", "birth_number", "district_id"), client, on_fault))
    parties: dict[str, list[RelatedParty]] = defaultdict(list)
    for account_id, party in parsed(folder, "disp", ("client_id", "account_id", "type"), disposition, on_fault):
        parties[account_id].append(party)
    account_of = partial(account, parties=parties)
    accounts = list(parsed(folder, "account", ("account_id", "district_id", "date"), account_of, on_fault))
    transactions = list(parsed(folder, "trans", TRANSACTION_COLUMNS, transaction, on_fault))
    transactions.sort(key=attrgetter("booked_on"))
    return Files(districts, clients, accounts, transactions)


def district(row: Row) -> District:
    return District(row.text("A1"), row.text("A2"))


def client(row: Row) -> Client:
    return Client(row.text("client_id"), birth_on(row.text("birth_number")), row.text("district_id"))


def birth_on(birth_number: str) -> date:
    """YYMMDD, with 50 added to the month for women."""
    month = birth_number[2:4]
    if month.isdecimal() and int(month) > 50:
        birth_number = f"{birth_number[:2]}{int(month) - 50:02d}{birth_number[4:]}"
    return day_of(birth_number, "birth_number")


def disposition(row: Row) -> tuple[str, RelatedParty]:
    if (relation := RELATIONS.get(row.text("type"))) is None:
        raise RowRefused("unknown_disposition", f"type is none of {', '.join(RELATIONS)}")
    return row.text("account_id"), RelatedParty(party_id=row.text("client_id"), relation=relation)


def account(row: Row, parties: Mapping[str, list[RelatedParty]]) -> Account:
    """Raises RowRefused unless exactly one of its parties is its holder."""
    account_id = row.text("account_id")
    related = sorted(parties.get(account_id, ()), key=lambda party: party.relation is not PartyRelation.HOLDER)
    if sum(party.relation is PartyRelation.HOLDER for party in related) != 1:
        raise RowRefused("account_without_one_owner", "the disp file does not name exactly one OWNER")
    return Account(account_id, row.text("district_id"), row.day("date"), tuple(related))


def transaction(row: Row) -> Transaction:
    if (sign := SIGNS.get(row.text("type"))) is None:
        raise RowRefused("unknown_transaction_type", f"type is none of {', '.join(SIGNS)}")
    return Transaction(
        transaction_id=row.text("trans_id"),
        account_id=row.text("account_id"),
        booked_on=row.day("date"),
        amount_minor=sign * row.minor("amount"),
        balance_minor=row.minor("balance"),
        kind=kind_of(row.optional("operation"), row.optional("k_symbol")),
        bank=row.optional("bank"),
    )


def kind_of(operation: str | None, symbol: str | None) -> TransactionKind:
    """What the payment was for says more than how it was made."""
    return KINDS_BY_SYMBOL.get(symbol or "") or KINDS_BY_OPERATION.get(operation or "") or TransactionKind.OTHER


def booking_order(transactions: Sequence[Transaction], balance_minor: int) -> list[Transaction]:
    """One account's transactions of one day in the order of their stated balances, from the day before's.

    Each balance less its amount is the balance before, up to ROUNDING_MINOR. Where a row is missing the chain
    starts again at the first transaction that follows none of the others.
    """
    if len(transactions) <= LONGEST_SEARCH:
        whole = chain(transactions, balance_minor) or chain(transactions, None)
        if whole is not None:
            return whole
    ordered: list[Transaction] = []
    left = list(transactions)
    while left:
        next_up = [one for one in left if follows(one, balance_minor)]
        firsts = [one for one in left if not any(follows(one, o.balance_minor) for o in left if o is not one)]
        one = (next_up or firsts or left)[0]
        left.remove(one)
        ordered.append(one)
        balance_minor = one.balance_minor
    return ordered


def follows(transaction: Transaction, balance_minor: int | None) -> bool:
    if balance_minor is None:
        return True
    return abs(transaction.balance_minor - transaction.amount_minor - balance_minor) <= ROUNDING_MINOR


def chain(left: Sequence[Transaction], balance_minor: int | None) -> list[Transaction] | None:
    """All of `left` in one chain of balances; of several the one nearest to the files' order."""
    if not left:
        return []
    for position, one in enumerate(left):
        if follows(one, balance_minor):
            rest = chain([*left[:position], *left[position + 1 :]], one.balance_minor)
            if rest is not None:
                return [one, *rest]
    return None


def events(files: Files, *, until: date | None = None, shift_days: int = 0) -> Iterator[Fact]:
    """The bank's history, day by day; a BusinessDayClosed ends each day with a transaction.

    `until` is the last day, a day of the files. `shift_days` moves every date, births too. A client is known
    from the day of the first account they are a party of.
    """
    shift = timedelta(days=shift_days)
    known_from: dict[str, date] = {}
    opened: dict[date, list[Account]] = defaultdict(list)
    for one in files.accounts:
        opened[one.opened_on].append(one)
        for party in one.parties:
            known_from[party.party_id] = min(one.opened_on, known_from.get(party.party_id, one.opened_on))
    booked = {day: list(those) for day, those in groupby(files.transactions, key=attrgetter("booked_on"))}
    days = sorted({*opened, *booked})
    if not days:
        return

    known: dict[date, list[Client]] = defaultdict(list)
    for person in files.clients:
        known[known_from.get(person.client_id, days[0])].append(person)
    balances: dict[str, int] = {}
    for place in files.districts:
        yield Fact(days[0], 0, f"branch-{place.district_id}", branch_recorded(place))
    for day in days:
        if until is not None and day > until:
            return
        for person in known[day]:
            since = known_from.get(person.client_id)
            yield Fact(day, 0, f"party-{person.client_id}", party_recorded(person, since, shift))
        for one in opened[day]:
            yield Fact(day, 0, f"account-{one.account_id}", account_recorded(one, shift))
        if day in booked:
            yield from posted(booked[day], balances, shift)
            closed = BusinessDayClosed(business_date=day + shift)
            yield Fact(day, LAST_MINUTE, f"closed-{day.isoformat()}", closed)


def posted(transactions: Iterable[Transaction], balances: dict[str, int], shift: timedelta) -> Iterator[Fact]:
    """One day's transactions; `balances` are the accounts' last ones, brought up to date."""
    by_account: dict[str, list[Transaction]] = defaultdict(list)
    for one in transactions:
        by_account[one.account_id].append(one)
    for account_id, those in by_account.items():
        for sequence, one in enumerate(booking_order(those, balances.get(account_id, 0)), start=1):
            balances[account_id] = one.balance_minor
            event = transaction_posted(one, sequence, shift)
            yield Fact(one.booked_on, BOOKING_MINUTE, f"transaction-{one.transaction_id}", event)


def branch_recorded(place: District) -> BranchRecorded:
    return BranchRecorded(branch_id=place.district_id, revision=1, name=place.name, city=place.name)


def party_recorded(person: Client, since: date | None, shift: timedelta) -> PartyRecorded:
    return PartyRecorded(
        party_id=person.client_id,
        revision=1,
        customer_number=person.client_id,
        branch_id=person.district_id,
        birth_on=person.birth_on + shift,
        customer_since=since and since + shift,
    )


def account_recorded(one: Account, shift: timedelta) -> AccountRecorded:
    return AccountRecorded(
        account_id=one.account_id,
        revision=1,
        kind=AccountKind.CURRENT,
        currency=CURRENCY,
        branch_id=one.district_id,
        parties=one.parties,
        opened_on=one.opened_on + shift,
    )


def transaction_posted(one: Transaction, sequence: int, shift: timedelta) -> TransactionPosted:
    return TransactionPosted(
        account_id=one.account_id,
        transaction_id=one.transaction_id,
        booked_on=one.booked_on + shift,
        sequence=sequence,
        amount_minor=one.amount_minor,
        currency=CURRENCY,
        kind=one.kind,
        balance_after_minor=one.balance_minor,
        counterparty_bank=one.bank,
    )


def shift_to(files: Files, today: date) -> int:
    """The whole days that bring the last transaction to `today`. Store it: fed again, the same shift is the same feed.

    Facts after the last transaction are to be left out too: `until=files.last_transaction_on`.
    """
    return (today - files.last_transaction_on).days


def lines(files: Files, *, until: date | None = None, shift_days: int = 0) -> Iterator[bytes]:
    """`events` as CloudEvents."""
    shift = timedelta(days=shift_days)
    for fact in events(files, until=until, shift_days=shift_days):
        yield line(SOURCE, fact.id, instant(fact.day + shift, fact.minute), fact.event)
