"""What is known of a set of customers, as the domain wants it: account days by columns, and histories."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from uuid import UUID

import numpy as np
import numpy.typing as npt
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from services.scoring.domain.features import LOOKBACK, AccountDays
from services.scoring.domain.history import FOREVER, OWN_MONEY, Account, Fact, History
from services.scoring.use_cases.arrays import uuid_array
from services.scoring.use_cases.columns import copy_out

# Of an account that had several holders, the greatest revision says whose it is.
_ACCOUNTS = text(
    "select cast(w.n as int) as customer, a.account_id, a.currency, a.kind, a.opened_on, a.matures_on, a.closed_on,"
    " not exists (select 1 from account b where b.account_id = a.account_id and b.revision > a.revision) as is_held"
    " from unnest(cast(:customers as uuid[])) with ordinality w (customer_id, n)"
    " join account a on a.customer_id = w.customer_id order by w.n, a.account_id"
)
_FACTS = text(
    "select cast(w.n as int) as customer, f.kind, f.began_on, f.ended_on, f.value"
    " from unnest(cast(:customers as uuid[])) with ordinality w (customer_id, n)"
    " join customer_fact f on f.customer_id = w.customer_id"
)
_DEPARTURES = text(
    "select cast(w.n as int) as customer, s.left_on"
    " from unnest(cast(:customers as uuid[])) with ordinality w (customer_id, n)"
    " join customer_scope s on s.customer_id = w.customer_id where s.left_on is not null"
)
# The balance with which an account enters: the last one stated before, and what was booked on the days after that.
_DAYS = """
    select cast(w.n as int), d.booked_on, d.salary_count, d.card_count, d.initiated_count, d.external_out_count,
        d.external_out_minor, d.credit_minor - d.debit_minor, cast(d.stated_sequence >= 0 as int), d.balance_minor
    from unnest(%(customers)s::uuid[], %(accounts)s::uuid[]) with ordinality w (customer_id, account_id, n)
    join daily_aggregate d on d.customer_id = w.customer_id and d.account_id = w.account_id
        and d.booked_on between %(first)s and %(last)s
    union all
    select cast(w.n as int), %(first)s::date - 1, 0, 0, 0, 0, bigint '0', bigint '0', 1,
        coalesce(s.balance_minor, 0) + r.change_minor
    from unnest(%(customers)s::uuid[], %(accounts)s::uuid[]) with ordinality w (customer_id, account_id, n)
    left join lateral (
        select d.booked_on, d.balance_minor from daily_aggregate d
        where d.customer_id = w.customer_id and d.account_id = w.account_id
            and d.booked_on < %(first)s and d.stated_sequence >= 0
        order by d.booked_on desc limit 1) s on true
    cross join lateral (
        select cast(coalesce(sum(d.credit_minor - d.debit_minor), 0) as bigint) as change_minor, count(*) as days
        from daily_aggregate d
        where d.customer_id = w.customer_id and d.account_id = w.account_id
            and d.booked_on < %(first)s and d.booked_on > coalesce(s.booked_on, '-infinity')) r
    where s.booked_on is not null or r.days > 0
"""
_DAY_TYPES = ("int4", "date", "int4", "int4", "int4", "int4", "int8", "int8", "int4", "int8")


@dataclass(frozen=True)
class Known:
    """Everything about some customers, who are numbered from 0 in the order asked for."""

    histories: list[History]
    currencies: list[str]
    customer_of: npt.NDArray[np.int64]
    counts_balance: npt.NDArray[np.bool_]
    days: AccountDays


async def read_histories(session: AsyncSession, customers: Sequence[UUID]) -> list[History]:
    """Facts and departures, without accounts."""
    histories = [History() for _ in customers]
    for row in await session.execute(_FACTS, {"customers": uuid_array(customers)}):
        fact = Fact(row.kind, row.began_on.toordinal(), _ordinal(row.ended_on), row.value)
        histories[row.customer - 1].facts.append(fact)
    for row in await session.execute(_DEPARTURES, {"customers": uuid_array(customers)}):
        histories[row.customer - 1].left = row.left_on.toordinal()
    return histories


async def read_known(
    session: AsyncSession, customers: Sequence[UUID], first_day: int, last_day: int, home_currency: str | None
) -> Known:
    """What the days from `first_day` to `last_day` need."""
    histories = await read_histories(session, customers)
    rows = (await session.execute(_ACCOUNTS, {"customers": uuid_array(customers)})).all()
    currencies = [home_currency or ""] * len(customers)
    for row in rows:
        customer = row.customer - 1
        currencies[customer] = currencies[customer] or row.currency
        if row.kind is not None and row.is_held:
            ends = _ordinal(row.matures_on), _ordinal(row.closed_on)
            histories[customer].accounts.append(Account(row.kind, row.opened_on.toordinal(), *ends))
    at_home = np.array([home_currency in {None, row.currency} for row in rows], np.bool_)
    holds_own = np.array([row.is_held and (row.kind is None or row.kind in OWN_MONEY) for row in rows], np.bool_)
    days = await _read_days(
        session,
        [customers[row.customer - 1] for row in rows],
        [row.account_id for row in rows],
        date.fromordinal(first_day - LOOKBACK),
        date.fromordinal(last_day),
    )
    return Known(
        histories,
        currencies,
        np.array([row.customer - 1 for row in rows], np.int64),
        holds_own & at_home,
        days._replace(external_out_minor=np.where(at_home[days.account], days.external_out_minor, 0)),
    )


async def _read_days(
    session: AsyncSession, customers: Sequence[UUID], accounts: Sequence[UUID], first: date, last: date
) -> AccountDays:
    """Daily aggregates of the accounts, numbered from 0."""
    parameters = {"customers": uuid_array(customers), "accounts": uuid_array(accounts), "first": first, "last": last}
    columns = dict(zip(AccountDays._fields, await copy_out(session, _DAYS, parameters, _DAY_TYPES), strict=True))
    columns["account"] -= 1
    is_stated = columns.pop("is_stated").astype(np.bool_)
    return AccountDays(is_stated=is_stated, **columns)


def _ordinal(day: date | None) -> int:
    return FOREVER if day is None else day.toordinal()
