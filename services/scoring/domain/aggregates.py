"""Daily aggregates: what one account did on one day, in exact integers.

A day's row is a sum over its transactions and the balance that the core stated last, so rows of the
same account and day merge in any order and any grouping. A transaction counts on the day it is
booked on, however late it comes. A reversal takes its transaction's amount and count back, on the
day that the reversal is booked on.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Unsigned = npt.NDArray[np.uint64]
Flags = npt.NDArray[np.bool_]

SALARY_KINDS = frozenset({"salary", "pension"})
CARD_KINDS = frozenset({"card_payment", "card_withdrawal"})
INITIATED_KINDS = CARD_KINDS | {"transfer_out", "cash_deposit", "cash_withdrawal", "deposit_placed"}
"""What a customer did on the day itself: no standing orders, nothing that the bank or an employer did."""

SUMS = (
    "credit_minor",
    "credit_count",
    "debit_minor",
    "debit_count",
    "salary_minor",
    "salary_count",
    "card_minor",
    "card_count",
    "external_out_minor",
    "external_out_count",
    "initiated_count",
)
"""What adds up over transactions. Amounts are positive in the direction of the name."""

UNSTATED = -1
"""The `stated_sequence` of a day on which the core stated no balance."""


class Transactions(NamedTuple):
    """A batch by columns. `account` counts the batch's accounts from 0, `day` is a date's ordinal."""

    account: Ints
    day: Ints
    sequence: Ints
    amount: Ints
    is_salary: Flags
    is_card: Flags
    is_external_out: Flags
    is_initiated: Flags
    is_reversal: Flags
    is_stated: Flags
    balance: Ints
    event_high: Unsigned
    event_low: Unsigned


class DailyAggregates(NamedTuple):
    """Rows by columns, ordered by account and day, each pair once.

    `sums` has a row for each name of SUMS. The balance is the one stated with the greatest sequence;
    among equals, the one that the latest event (by its id) told last.
    """

    account: Ints
    day: Ints
    sums: Ints
    stated_sequence: Ints
    stated_high: Unsigned
    stated_low: Unsigned
    balance: Ints


def aggregate(posted: Transactions) -> DailyAggregates:
    """One row for each account and day that the batch has transactions of."""
    order = np.lexsort(
        (posted.event_low, posted.event_high, posted.sequence, posted.is_stated, posted.day, posted.account)
    )
    account, day = posted.account[order], posted.day[order]
    starts = _group_starts(account, day)
    if not len(starts):
        return DailyAggregates(account, day, np.empty((len(SUMS), 0), np.int64), account, *_empty_ids(), account)

    reversal = posted.is_reversal[order]
    sign = np.where(reversal, -1, 1)
    original = posted.amount[order] * sign
    credit, debit = original > 0, original < 0
    counted = (
        (credit, 1),
        (debit, -1),
        (posted.is_salary[order] & credit, 1),
        (posted.is_card[order] & debit, -1),
        (posted.is_external_out[order] & debit, -1),
        (posted.is_initiated[order], None),
    )
    columns = []
    for holds, direction in counted:
        if direction is not None:
            columns.append(np.where(holds, sign * original * direction, 0))
        columns.append(np.where(holds, sign, 0))
    sums = np.add.reduceat(np.stack(columns), starts, axis=1)

    ends = np.append(starts[1:], len(account)) - 1
    last = order[ends]
    stated = posted.is_stated[last]
    return DailyAggregates(
        account[starts],
        day[starts],
        sums,
        np.where(stated, posted.sequence[last], UNSTATED),
        np.where(stated, posted.event_high[last], 0).astype(np.uint64),
        np.where(stated, posted.event_low[last], 0).astype(np.uint64),
        np.where(stated, posted.balance[last], 0),
    )


def merge(parts: list[DailyAggregates]) -> DailyAggregates:
    """The rows of several batches as one: sums add, the balance stated last stays."""
    account, day = (np.concatenate([part[column] for part in parts]) for column in (0, 1))
    sums = np.concatenate([part.sums for part in parts], axis=1)
    sequence, high, low, balance = (np.concatenate([part[column] for part in parts]) for column in (3, 4, 5, 6))
    order = np.lexsort((low, high, sequence, day, account))
    starts = _group_starts(account[order], day[order])
    if not len(starts):
        return DailyAggregates(account, day, sums, sequence, high, low, balance)
    last = order[np.append(starts[1:], len(order)) - 1]
    return DailyAggregates(
        account[last],
        day[last],
        np.add.reduceat(sums[:, order], starts, axis=1),
        sequence[last],
        high[last],
        low[last],
        balance[last],
    )


def _group_starts(account: Ints, day: Ints) -> Ints:
    """Where each run of equal (account, day) begins."""
    if not len(account):
        return np.empty(0, np.int64)
    changes = (account[1:] != account[:-1]) | (day[1:] != day[:-1])
    return np.concatenate(([0], np.flatnonzero(changes) + 1))


def _empty_ids() -> tuple[Unsigned, Unsigned]:
    return np.empty(0, np.uint64), np.empty(0, np.uint64)
