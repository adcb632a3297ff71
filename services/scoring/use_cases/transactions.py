"""Transactions become daily aggregates."""

from collections.abc import Sequence
from datetime import date
from uuid import UUID

import numpy as np
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from services.scoring.domain.aggregates import (
    CARD_KINDS,
    INITIATED_KINDS,
    SALARY_KINDS,
    SUMS,
    DailyAggregates,
    Transactions,
    aggregate,
)
from services.scoring.use_cases.arrays import uuid_array
from services.scoring.use_cases.due import mark_due
from shared.columns import dates, integers, uuids
from shared.copying import copy_columns
from shared.events import Delivery
from shared.events.corebanking import TransactionKind
from shared.events.customer import TransactionsPosted

SALARY, CARD, TRANSFER_OUT, INITIATED = 1, 2, 4, 8
CLASSES = {
    kind: SALARY * (kind in SALARY_KINDS)
    | CARD * (kind in CARD_KINDS)
    | TRANSFER_OUT * (kind is TransactionKind.TRANSFER_OUT)
    | INITIATED * (kind in INITIATED_KINDS)
    for kind in TransactionKind
}

_STATED = ("stated_sequence", "stated_by", "balance_minor")
_COLUMNS = ", ".join(("customer_id", "account_id", "booked_on", *SUMS, *_STATED))
_STAGING = text("create temporary table if not exists aggregate_staging (like daily_aggregate) on commit delete rows")
_MERGED = ", ".join(
    [f"{name} = d.{name} + excluded.{name}" for name in SUMS]
    + [
        f"{name} = case when (excluded.stated_sequence, excluded.stated_by) > (d.stated_sequence, d.stated_by)"
        f" then excluded.{name} else d.{name} end"
        for name in _STATED
    ]
)
_UPSERT = text(
    f"insert into daily_aggregate as d ({_COLUMNS})"  # noqa: S608 - names of columns
    f" select {_COLUMNS} from aggregate_staging order by customer_id, account_id, booked_on"
    f" on conflict (customer_id, account_id, booked_on) do update set {_MERGED}"
)
_EMPTY_STAGING = text("delete from aggregate_staging")
_ACCOUNTS = text(
    "insert into account (customer_id, account_id, currency)"
    " select * from unnest(cast(:customers as uuid[]), cast(:accounts as uuid[]), cast(:currencies as text[]))"
    " on conflict do nothing"
)

Account = tuple[UUID, UUID]
"""(customer id, account id)"""


async def aggregate_transactions(session: AsyncSession, deliveries: Sequence[Delivery[TransactionsPosted]]) -> None:
    """Adds the transactions to the aggregates of the days they are booked on."""
    currencies: dict[Account, str] = {}
    index: dict[Account, int] = {}
    posted = _columns(deliveries, index, currencies)
    aggregates = aggregate(posted)
    accounts = list(index)
    first_days: dict[UUID, int] = {}
    for at, day in zip(aggregates.account.tolist(), aggregates.day.tolist(), strict=True):
        customer_id = accounts[at][0]
        first_days[customer_id] = min(first_days.get(customer_id, day), day)
    days: dict[UUID, date | None] = {customer: date.fromordinal(day) for customer, day in first_days.items()}
    await mark_due(session, deliveries[0].partition, days)
    named = sorted(currencies)
    await session.execute(
        _ACCOUNTS,
        {
            "customers": uuid_array(customer_id for customer_id, _ in named),
            "accounts": uuid_array(account_id for _, account_id in named),
            "currencies": [currencies[account] for account in named],
        },
    )
    await _upsert(session, accounts, aggregates)


def _columns(
    deliveries: Sequence[Delivery[TransactionsPosted]], index: dict[Account, int], currencies: dict[Account, str]
) -> Transactions:
    """The transactions by columns. Numbers the accounts in `index`, and notes their currencies."""
    accounts: list[int] = []
    told_by: list[bytes] = []
    transactions = []
    for delivery in deliveries:
        customer_id = delivery.event.customer_id
        event_id = delivery.id.bytes
        for transaction in delivery.event.transactions:
            account = (customer_id, transaction.account_id)
            number = index.get(account)
            if number is None:
                number = index[account] = len(index)
                currencies[account] = transaction.currency
            accounts.append(number)
            told_by.append(event_id)
            transactions.append(transaction)
    classes = np.array([CLASSES[t.kind] for t in transactions], np.int64)
    event_ids = np.frombuffer(b"".join(told_by), ">u8").astype(np.uint64)
    external = np.array([t.is_external for t in transactions], np.bool_)
    return Transactions(
        account=np.array(accounts, np.int64),
        day=np.array([t.booked_on.toordinal() for t in transactions], np.int64),
        sequence=np.array([t.sequence for t in transactions], np.int64),
        amount=np.array([t.amount_minor for t in transactions], np.int64),
        is_salary=(classes & SALARY) > 0,
        is_card=(classes & CARD) > 0,
        is_external_out=((classes & TRANSFER_OUT) > 0) & external,
        is_initiated=(classes & INITIATED) > 0,
        is_reversal=np.array([t.is_reversal for t in transactions], np.bool_),
        is_stated=np.array([t.balance_after_minor is not None for t in transactions], np.bool_),
        balance=np.array([t.balance_after_minor or 0 for t in transactions], np.int64),
        event_high=event_ids[0::2],
        event_low=event_ids[1::2],
    )


async def _upsert(session: AsyncSession, accounts: Sequence[Account], aggregates: DailyAggregates) -> None:
    customers = uuids(b"".join([customer_id.bytes for customer_id, _ in accounts]))
    account_ids = uuids(b"".join([account_id.bytes for _, account_id in accounts]))
    stated_by = np.stack([aggregates.stated_high, aggregates.stated_low], axis=1).astype(">u8").tobytes()
    await session.execute(_STAGING)
    await copy_columns(
        session,
        "aggregate_staging",
        {
            "customer_id": customers.take(aggregates.account),
            "account_id": account_ids.take(aggregates.account),
            "booked_on": dates(aggregates.day),
            **{
                name: integers("int8" if name.endswith("_minor") else "int4", sums)
                for name, sums in zip(SUMS, aggregates.sums, strict=True)
            },
            "stated_sequence": integers("int8", aggregates.stated_sequence),
            "stated_by": uuids(stated_by),
            "balance_minor": integers("int8", aggregates.balance),
        },
    )
    await session.execute(_UPSERT)
    await session.execute(_EMPTY_STAGING)
