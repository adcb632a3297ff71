"""Accounts and their balances by columns: `Balance.book` for all accounts of a batch at once."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from sqlalchemy.ext.asyncio import AsyncSession

from services.customer.domain.balances import LIMIT_MINOR
from services.customer.use_cases.transaction_columns import Ints
from shared.columns import EPOCH_DAY, Array, Column, dates, integers, items_of, texts
from shared.copying import fetch_arrays, write_with_columns

Flags = npt.NDArray[np.bool_]

NEVER = -1_000_000_000
"""The day of what was never stated, or of the last transaction where there is none: before all days."""
MOST_MINOR = 2**40
"""Of one amount: a million of them add up and do not overflow. One with a greater amount goes the way of objects."""


class Accounts(NamedTuple):
    """Accounts that are locked, by our id; `named` is which of the names asked for each is. Days are ordinals."""

    named: Ints
    account_id: Array
    customer_id: Array
    currency: Array
    posted: Ints
    since: Ints
    stated: Ints
    stated_on: Ints
    stated_sequence: Ints
    latest_on: Ints
    latest_sequence: Ints


# The customers first, in their order, as everybody locks them; then the accounts, as the close of a day does.
# An account that has got another holder meanwhile is not found.
_LOCK = (
    "with found as materialized ("
    "  select n.named, a.account_id, a.customer_id from unnest(%(names)s::text[]) with ordinality n (name, named)"
    "  join account a on a.source = %(source)s and a.core_account_id = n.name),"
    " whose as materialized ("
    "  select customer_id from customer where customer_id in (select customer_id from found)"
    "  order by customer_id for no key update)"
    " select array_agg(named - 1), array_agg(account_id), array_agg(customer_id), array_agg(currency),"
    "  array_agg(posted_minor), array_agg(posted_since_minor), array_agg(coalesce(stated_minor, 0)),"
    "  array_agg(coalesce((stated_on - date '2000-01-01')::bigint, -2000000000)),"
    "  array_agg(coalesce(stated_sequence, 0)),"
    "  array_agg(coalesce((latest_on - date '2000-01-01')::bigint, -2000000000)),"
    "  array_agg(coalesce(latest_sequence, 0))"
    " from (select f.named, a.* from found f"
    "  join account a on a.account_id = f.account_id and a.customer_id = f.customer_id"
    "  where (select count(*) from whose) >= 0 order by a.account_id for no key update of a) locked"
)


async def lock_named(session: AsyncSession, source: str, names: Sequence[str]) -> Accounts:
    """Those of the accounts that are known, and their customers."""
    arrays = await fetch_arrays(session, _LOCK, {"names": texts(names)}, source=source)
    named, account_id, customer_id, currency = (
        items_of(array, item) for array, item in zip(arrays[:4], (">i8", "V16", "V16", "S3"), strict=True)
    )
    posted, since, stated, stated_on, stated_sequence, latest_on, latest_sequence = (
        items_of(array, ">i8").astype(np.int64) for array in arrays[4:]
    )
    return Accounts(
        named.astype(np.int64),
        account_id,
        customer_id,
        currency,
        posted,
        since,
        stated,
        np.maximum(stated_on + EPOCH_DAY, NEVER),
        stated_sequence,
        np.maximum(latest_on + EPOCH_DAY, NEVER),
        latest_sequence,
    )


class Booked(NamedTuple):
    """Rows of the ledger to be, ordered by `account`, an index of `Accounts`, and by day and sequence."""

    account: Ints
    day: Ints
    sequence: Ints
    amount: Ints
    stated: Ints
    states: Flags
    """Whether the core stated the balance after it."""

    def take(self, index: Ints) -> "Booked":
        return Booked(
            self.account[index],
            self.day[index],
            self.sequence[index],
            self.amount[index],
            self.stated[index],
            self.states[index],
        )


class Balances(NamedTuple):
    """Of the accounts that moved. `odd` are those whose balances cannot be told from this alone."""

    account: Ints
    transactions: Ints
    posted: Ints
    since: Ints
    stated: Ints
    stated_on: Ints
    stated_sequence: Ints
    latest_on: Ints
    latest_sequence: Ints
    odd: Flags


def moved(accounts: Accounts, rows: Booked) -> Balances:
    """What `Balance.book` comes to, row by row."""
    starts = _starts(rows.account)
    ends = np.append(starts[1:], len(rows.account))
    account = rows.account[starts]
    before = Accounts(*(column[account] for column in accounts))
    sums = np.concatenate(([0], np.cumsum(rows.amount)))
    total = sums[ends] - sums[starts]
    last = ends - 1

    # The core's last statement among the rows, and the end of the rows at its point.
    index = np.arange(len(rows.account))
    stating = np.maximum.reduceat(np.where(rows.states, index, -1), starts)
    states = stating >= starts
    stating = np.where(states, stating, last)
    point = np.cumsum(_begins(rows.account) | _begins(rows.day) | _begins(rows.sequence)) - 1
    point_ends = np.append(np.flatnonzero(np.diff(point)) + 1, len(point))
    stated_on, stated_sequence = rows.day[stating], rows.sequence[stating]
    states &= _not_before(stated_on, stated_sequence, before.stated_on, before.stated_sequence)
    looks_back = states & ~_not_before(stated_on, stated_sequence, before.latest_on, before.latest_sequence)
    since_new = sums[ends] - sums[point_ends[point[stating]]]

    # Else what lies after the statement that there was before.
    each = np.repeat(np.arange(len(starts)), ends - starts)
    after = ~_not_before(before.stated_on[each], before.stated_sequence[each], rows.day, rows.sequence)
    since_old = before.since + np.add.reduceat(np.where(after, rows.amount, 0), starts)

    is_last = _not_before(rows.day[last], rows.sequence[last], before.latest_on, before.latest_sequence)
    posted, since = before.posted + total, np.where(states, since_new, since_old)
    great = np.maximum.reduceat(np.abs(rows.amount), starts) > MOST_MINOR
    return Balances(
        account=account,
        transactions=ends - starts,
        posted=posted,
        since=since,
        stated=np.where(states, rows.stated[stating], before.stated),
        stated_on=np.where(states, stated_on, before.stated_on),
        stated_sequence=np.where(states, stated_sequence, before.stated_sequence),
        latest_on=np.where(is_last, rows.day[last], before.latest_on),
        latest_sequence=np.where(is_last, rows.sequence[last], before.latest_sequence),
        odd=looks_back | great | (np.abs(posted) >= LIMIT_MINOR) | (np.abs(since) >= LIMIT_MINOR),
    )


def _begins(values: Ints) -> Flags:
    """Where a value differs from the one before it."""
    return np.concatenate(([True], values[1:] != values[:-1]))


def _starts(values: Ints) -> Ints:
    return np.flatnonzero(_begins(values))


def _not_before(day: Ints, sequence: Ints, other_day: Ints, other_sequence: Ints) -> Flags:
    """Whether a point is the other one or after it."""
    later: Flags = (day > other_day) | ((day == other_day) & (sequence >= other_sequence))
    return later


_MOVE = (
    "update account a set posted_minor = m.posted, transaction_count = a.transaction_count + m.count,"
    " version = a.version + 1, stated_minor = m.stated, stated_on = m.stated_on, stated_sequence = m.stated_sequence,"
    " posted_since_minor = m.since, latest_on = m.latest_on, latest_sequence = m.latest_sequence"
    " from unnest(%(accounts)s::uuid[], %(counts)s::bigint[], %(posted)s::bigint[], %(stated)s::bigint[],"
    "  %(stated_on)s::date[], %(stated_sequences)s::bigint[], %(since)s::bigint[], %(latest_on)s::date[],"
    "  %(latest_sequences)s::bigint[])"
    " m (account_id, count, posted, stated, stated_on, stated_sequence, since, latest_on, latest_sequence)"
    " where a.account_id = m.account_id"
)


async def move_balances(session: AsyncSession, accounts: Accounts, balances: Balances) -> None:
    unstated = balances.stated_on == NEVER
    columns = {
        "accounts": Column("uuid", accounts.account_id[balances.account]),
        "counts": integers("int8", balances.transactions),
        "posted": integers("int8", balances.posted),
        "stated": integers("int8", balances.stated, unstated),
        "stated_on": dates(np.where(unstated, EPOCH_DAY, balances.stated_on), unstated),
        "stated_sequences": integers("int8", balances.stated_sequence, unstated),
        "since": integers("int8", balances.since),
        "latest_on": dates(balances.latest_on),
        "latest_sequences": integers("int8", balances.latest_sequence),
    }
    await write_with_columns(session, _MOVE, columns)
