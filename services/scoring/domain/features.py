"""Features of many customers on many days at once: rolling sums over daily aggregates, customers × days.

Every feature of a day looks at that day and the LOOKBACK days before it, so it is the same however
long a stretch of days is looked at together.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

NEVER = 0
"""The day of what has not happened; real days are ordinals of dates."""
LOOKBACK = 190
"""Days before a day that its features look at; the longest reach is a salary 120 days ago and the 66 before it."""
FORGOTTEN = 120
"""After so many days a habit that ended says nothing more."""
SALARY_SPAN, ACTIVITY_SPAN = 66, 60
RECENT, BEFORE = 30, 90


class AccountDays(NamedTuple):
    """Daily aggregates by columns, each account and day once, in any order.

    `account` counts the accounts from 0. `day` is an ordinal from `first_day - LOOKBACK` to the last
    day. `change_minor` is the sum of the day's amounts; `balance_minor` holds where `is_stated`. The
    balance with which an account enters is a row on `first_day - LOOKBACK - 1`.
    """

    account: Ints
    day: Ints
    salary_count: Ints
    card_count: Ints
    initiated_count: Ints
    external_out_count: Ints
    external_out_minor: Ints
    change_minor: Ints
    is_stated: Flags
    balance_minor: Ints


class Features(NamedTuple):
    """Matrices customers × days; column 0 is `first_day`. Last days are ordinals, NEVER when there is none."""

    first_day: int
    last_salary: Ints
    salaries_before: Ints
    """Salaries in the 66 days up to the last one, it included: three when one came every month."""
    last_initiated: Ints
    initiated_before: Ints
    """Own transactions in the 60 days up to the last one."""
    cards_recent: Ints
    cards_before: Ints
    external_recent: Ints
    external_recent_minor: Ints
    external_before_minor: Ints
    balance_recent: Ints
    """Mean closing balance of the last 30 days, minor units, rounded down."""
    balance_before: Ints
    """Mean closing balance of the 90 days before those, minor units, rounded down."""


def measure(
    days: AccountDays, *, customer_of: Ints, counts_balance: Flags, customers: int, first_day: int, last_day: int
) -> Features:
    """Features of `first_day` to `last_day`.

    `customer_of` names the customer of each account, from 0; accounts of one customer are together.
    `counts_balance` says which accounts hold the customer's own money: no loans, no credit cards.
    """
    width = last_day - first_day + 1
    start = first_day - LOOKBACK
    span = LOOKBACK + width
    inside = days.day >= start
    column = days.day[inside] - start
    row = customer_of[days.account[inside]]

    def dense(values: Ints) -> Ints:
        matrix = np.zeros((customers, span), np.int64)
        np.add.at(matrix, (row, column), values[inside])
        return matrix

    salaries = dense(days.salary_count)
    initiated = dense(days.initiated_count)
    cards = _running(dense(days.card_count))
    external = _running(dense(days.external_out_count))
    external_minor = _running(dense(days.external_out_minor))
    balances = _running(closing_balances(days, customer_of, counts_balance, customers, start, span))
    last_salary, salaries_before = _last_and_before(salaries, SALARY_SPAN, width, start)
    last_initiated, initiated_before = _last_and_before(initiated, ACTIVITY_SPAN, width, start)
    return Features(
        first_day,
        last_salary,
        salaries_before,
        last_initiated,
        initiated_before,
        _rolling(cards, RECENT, 0, width),
        _rolling(cards, BEFORE, RECENT, width),
        _rolling(external, RECENT, 0, width),
        _rolling(external_minor, RECENT, 0, width),
        _rolling(external_minor, BEFORE, RECENT, width),
        _rolling(balances, RECENT, 0, width) // RECENT,
        _rolling(balances, BEFORE, RECENT, width) // BEFORE,
    )


def closing_balances(
    days: AccountDays, customer_of: Ints, counts_balance: Flags, customers: int, start: int, span: int
) -> Ints:
    """Each customer's balance at the close of `start` and the days after it: the sum over the accounts that count.

    An account's balance is the one stated last, and what was booked on days after that; before anything is
    stated, the sum of what was booked.
    """
    accounts = len(customer_of)
    counted = counts_balance[days.account]
    account = days.account[counted]
    column = np.maximum(days.day[counted] - start + 1, 0)
    booked = np.zeros((accounts, span + 1), np.int64)
    np.add.at(booked, (account, column), days.change_minor[counted])
    np.cumsum(booked, axis=1, out=booked)

    stated = days.is_stated[counted]
    at = (account[stated], column[stated])
    correction = np.zeros_like(booked)
    correction[at] = days.balance_minor[counted][stated] - booked[at]
    known = np.zeros(booked.shape, np.int64)
    known[at] = column[stated]
    np.maximum.accumulate(known, axis=1, out=known)
    booked += np.take_along_axis(correction, known, axis=1)

    balances = np.zeros((customers, span), np.int64)
    if accounts:
        first = np.flatnonzero(np.diff(customer_of, prepend=-1))
        balances[customer_of[first]] = np.add.reduceat(booked[:, 1:], first, axis=0)
    return balances


def _running(values: Ints) -> Ints:
    """Sums up to and without each column, with one column more than `values`."""
    sums = np.zeros((values.shape[0], values.shape[1] + 1), np.int64)
    np.cumsum(values, axis=1, out=sums[:, 1:])
    return sums


def _rolling(running: Ints, length: int, ago: int, width: int) -> Ints:
    """For each of the last `width` days, the sum over the `length` days that ended `ago` days before it."""
    end = running.shape[1] - ago
    return running[:, end - width : end] - running[:, end - width - length : end - length]


def _last_and_before(counts: Ints, length: int, width: int, start: int) -> tuple[Ints, Ints]:
    """The last day with any, at most FORGOTTEN days ago, and how many there were in the `length` days up to it."""
    columns = np.arange(counts.shape[1])
    last = np.maximum.accumulate(np.where(counts > 0, columns, -1), axis=1)[:, -width:]
    last = np.where(last >= columns[-width:] - FORGOTTEN, last, -1)
    running = _running(counts)
    known = np.maximum(last, length - 1)
    before = np.take_along_axis(running, known + 1, axis=1) - np.take_along_axis(running, known + 1 - length, axis=1)
    return np.where(last >= 0, last + start, NEVER), np.where(last >= 0, before, 0)
