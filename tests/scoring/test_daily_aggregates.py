"""Daily aggregates are exact, whatever the batches and their order."""

from collections import defaultdict
from typing import NamedTuple

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from services.scoring.domain.aggregates import (
    CARD_KINDS,
    INITIATED_KINDS,
    SALARY_KINDS,
    SUMS,
    UNSTATED,
    DailyAggregates,
    Transactions,
    aggregate,
    merge,
)


class Posted(NamedTuple):
    account: int
    day: int
    sequence: int
    amount: int
    kind: str
    external: bool
    reversal: bool
    balance: int | None
    id: int


def batch(posted: list[Posted]) -> Transactions:
    def ints(values: list[int]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        return np.array(values, np.int64)

    def flags(values: list[bool]) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        return np.array(values, np.bool_)

    return Transactions(
        ints([p.account for p in posted]),
        ints([p.day for p in posted]),
        ints([p.sequence for p in posted]),
        ints([p.amount for p in posted]),
        flags([p.kind in SALARY_KINDS for p in posted]),
        flags([p.kind in CARD_KINDS for p in posted]),
        flags([p.kind == "transfer_out" and p.external for p in posted]),
        flags([p.kind in INITIATED_KINDS for p in posted]),
        flags([p.reversal for p in posted]),
        flags([p.balance is not None for p in posted]),
        ints([p.balance or 0 for p in posted]),
        np.array([p.id >> 64 for p in posted], np.uint64),
        np.array([p.id & (2**64 - 1) for p in posted], np.uint64),
    )


Key = tuple[int, int]
Row = tuple[dict[str, int], int, int, int]


def rows(aggregates: DailyAggregates) -> dict[Key, Row]:
    """Each (account, day) with its sums, the sequence and id of the last stated balance, and the balance."""
    keys = list(zip(aggregates.account.tolist(), aggregates.day.tolist(), strict=True))
    assert len(set(keys)) == len(keys)
    return {
        key: (
            dict(zip(SUMS, aggregates.sums[:, at].tolist(), strict=True)),
            int(aggregates.stated_sequence[at]),
            int(aggregates.stated_high[at]) << 64 | int(aggregates.stated_low[at]),
            int(aggregates.balance[at]),
        )
        for at, key in enumerate(keys)
    }


def counted_one_by_one(posted: list[Posted]) -> dict[Key, Row]:
    """The same, said as plainly as possible."""
    by_day: dict[Key, list[Posted]] = defaultdict(list)
    for p in posted:
        by_day[p.account, p.day].append(p)
    result: dict[Key, Row] = {}
    for key, of_day in by_day.items():
        sums = dict.fromkeys(SUMS, 0)
        for p in of_day:
            times = -1 if p.reversal else 1
            amount = p.amount * times
            names = []
            if amount > 0:
                names += ["credit"] + ["salary"] * (p.kind in ("salary", "pension"))
            if amount < 0:
                names += ["debit"] + ["card"] * (p.kind in ("card_payment", "card_withdrawal"))
                names += ["external_out"] * (p.external and p.kind == "transfer_out")
            for name in names:
                sums[f"{name}_minor"] += times * abs(amount)
                sums[f"{name}_count"] += times
            sums["initiated_count"] += times * (p.kind in INITIATED_KINDS)
        stated = [p for p in of_day if p.balance is not None]
        if stated:
            last = max(stated, key=lambda p: (p.sequence, p.id))
            result[key] = (sums, last.sequence, last.id, last.balance or 0)
        else:
            result[key] = (sums, UNSTATED, 0, 0)
    return result


KINDS = ("salary", "pension", "transfer_in", "transfer_out", "card_payment", "cash_deposit", "interest", "rent")
transactions = st.lists(
    st.builds(
        Posted,
        account=st.integers(0, 2),
        day=st.integers(730_000, 730_003),
        sequence=st.integers(0, 3),
        amount=st.integers(-(2**53), 2**53),
        kind=st.sampled_from(KINDS),
        external=st.booleans(),
        reversal=st.booleans(),
        balance=st.none() | st.integers(-(2**53), 2**53),
        id=st.integers(0, 2**128 - 1),
    ),
    unique_by=lambda p: p.id,
    max_size=40,
)


@given(transactions)
def test_aggregates_are_what_counting_one_by_one_gives(posted: list[Posted]) -> None:
    assert rows(aggregate(batch(posted))) == counted_one_by_one(posted)


@given(transactions, st.randoms(use_true_random=False), st.integers(1, 5))
def test_any_batching_and_any_order_give_the_same_aggregates(posted: list[Posted], random, batches: int) -> None:  # type: ignore[no-untyped-def] # hypothesis has no type for its random
    shuffled = random.sample(posted, len(posted))
    parts = [aggregate(batch(shuffled[n::batches])) for n in range(batches)]
    assert rows(merge(parts)) == rows(aggregate(batch(posted)))


def posted(amount: int, kind: str = "transfer_out", **more: object) -> Posted:
    values = {
        "account": 0,
        "day": 730_000,
        "sequence": 0,
        "external": False,
        "reversal": False,
        "balance": None,
        "id": 1,
    }
    return Posted(**{**values, **more, "amount": amount, "kind": kind})  # type: ignore[arg-type] # the fields are drawn


def test_a_reversal_takes_amount_and_count_back_on_its_own_day() -> None:
    day = rows(aggregate(batch([posted(-500), posted(500, day=730_001, reversal=True, id=2)])))
    assert day[0, 730_000][0]["debit_minor"] == 500
    assert day[0, 730_001][0] == {
        **dict.fromkeys(SUMS, 0),
        "debit_minor": -500,
        "debit_count": -1,
        "initiated_count": -1,
    }


def test_the_closing_balance_is_the_one_with_the_greatest_sequence_not_the_last_to_arrive() -> None:
    late_first = [posted(-1, sequence=7, balance=700, id=1), posted(-1, sequence=3, balance=300, id=2)]
    assert rows(aggregate(batch(late_first)))[0, 730_000][3] == 700


def test_no_transactions_make_no_rows() -> None:
    assert rows(aggregate(batch([]))) == {}
