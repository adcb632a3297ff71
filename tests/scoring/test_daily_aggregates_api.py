"""What a customer's accounts did, day by day, as a manager can read it."""

from typing import Any
from uuid import UUID

import pytest

from shared.events.corebanking import AccountKind, TransactionKind
from shared.ids import new_id
from tests.harness import ServiceUnderTest, head_office
from tests.scoring.bank import account_changed, days_ago, posted, read, transaction


async def days_of(scoring: ServiceUnderTest, customer_id: UUID, **params: Any) -> list[dict[str, Any]]:
    body = await read(scoring, f"/customers/{customer_id}/daily-aggregates", **params)
    return list(body["items"])


def money(amount_minor: int, currency: str = "CNY") -> dict[str, Any]:
    return {"amount_minor": amount_minor, "currency": currency}


async def test_a_day_adds_up_what_was_booked_on_it(scoring: ServiceUnderTest, customer: UUID) -> None:
    account = new_id()
    await scoring.deliver(
        [
            posted(
                customer,
                transaction(account, days_ago(3), 5_000_00, kind=TransactionKind.SALARY, balance_after_minor=5_000_00),
                transaction(account, days_ago(3), -20_00, sequence=1, balance_after_minor=4_980_00),
                transaction(account, days_ago(3), -700_00, sequence=2, kind=TransactionKind.RENT, is_external=True),
                transaction(
                    account,
                    days_ago(3),
                    -80_00,
                    sequence=3,
                    kind=TransactionKind.TRANSFER_OUT,
                    is_external=True,
                    balance_after_minor=4_200_00,
                ),
            )
        ]
    )
    (day,) = await days_of(scoring, customer)
    assert day == {
        "booked_on": str(days_ago(3)),
        "currency": "CNY",
        "credit": {"amount": money(5_000_00), "count": 1},
        "debit": {"amount": money(800_00), "count": 3},
        "salary": {"amount": money(5_000_00), "count": 1},
        "card": {"amount": money(20_00), "count": 1},
        "external_out": {"amount": money(80_00), "count": 1},
        "initiated_count": 2,
        "closing_balance": money(4_200_00),
    }


async def test_a_redelivered_transaction_counts_once(scoring: ServiceUnderTest, customer: UUID) -> None:
    event = posted(customer, transaction(new_id(), days_ago(3), -500_00))
    ids = await scoring.deliver([event])
    await scoring.deliver([event], ids=ids)
    (day,) = await days_of(scoring, customer)
    assert day["debit"] == {"amount": money(500_00), "count": 1}


async def test_a_late_transaction_counts_on_the_day_it_is_booked_on(scoring: ServiceUnderTest, customer: UUID) -> None:
    account = new_id()
    for ago in (2, 9, 2):
        await scoring.deliver([posted(customer, transaction(account, days_ago(ago)))])
    counts = {day["booked_on"]: day["debit"]["count"] for day in await days_of(scoring, customer)}
    assert counts == {str(days_ago(2)): 2, str(days_ago(9)): 1}


async def test_the_closing_balance_is_over_all_accounts_with_own_money_as_last_stated(
    scoring: ServiceUnderTest, customer: UUID
) -> None:
    current, savings, loan = new_id(), new_id(), new_id()
    await scoring.deliver([account_changed(customer, loan, kind=AccountKind.LOAN)])
    await scoring.deliver(
        [
            posted(
                customer,
                transaction(savings, days_ago(30), 1_000_00, balance_after_minor=1_000_00),
                transaction(loan, days_ago(20), -5_000_00, balance_after_minor=-5_000_00),
                transaction(current, days_ago(5), 300_00, balance_after_minor=300_00),
                transaction(current, days_ago(4), -50_00),
            )
        ]
    )
    balances = [day["closing_balance"]["amount_minor"] for day in await days_of(scoring, customer)]
    assert balances == [1_250_00, 1_300_00, 1_000_00, 1_000_00]


async def test_currencies_are_not_added_up(scoring: ServiceUnderTest, customer: UUID) -> None:
    await scoring.deliver(
        [
            posted(
                customer,
                transaction(new_id(), days_ago(2), 100, balance_after_minor=100),
                transaction(new_id(), days_ago(2), 900, currency="EUR", balance_after_minor=900),
            )
        ]
    )
    days = await days_of(scoring, customer)
    assert [(day["currency"], day["closing_balance"]) for day in days] == [
        ("EUR", money(900, "EUR")),
        ("CNY", money(100)),
    ]


async def test_days_can_be_asked_for_from_one_to_another_and_come_in_pages(
    scoring: ServiceUnderTest, customer: UUID
) -> None:
    account = new_id()
    await scoring.deliver([posted(customer, *(transaction(account, days_ago(n)) for n in range(10)))])
    some = await days_of(scoring, customer, **{"from": str(days_ago(6)), "to": str(days_ago(3))})
    assert [day["booked_on"] for day in some] == [str(days_ago(n)) for n in (3, 4, 5, 6)]
    path = f"/customers/{customer}/daily-aggregates"
    first = await read(scoring, path, limit=7, sort="booked_on")
    second = await read(scoring, path, limit=7, sort="booked_on", cursor=first["next"])
    found = [day["booked_on"] for day in first["items"] + second["items"]]
    assert found == [str(days_ago(n)) for n in reversed(range(10))]
    assert second["next"] is None


@pytest.mark.parametrize("day", ["20261124", "0", "1795000000", "-1", ""])
async def test_a_number_is_no_day(scoring: ServiceUnderTest, customer: UUID, day: str) -> None:
    for path, name in ((f"/customers/{customer}/daily-aggregates", "from"), ("/alerts", "raised_since")):
        async with scoring.http(head_office()) as http:
            answer = await http.get(path, params={name: day})
        assert answer.status_code == 422
        assert [(e["pointer"], e["code"]) for e in answer.json()["errors"]] == [(f"/{name}", "not_iso_8601")]


async def test_transactions_without_any_order_take_the_balance_that_was_told_last(
    scoring: ServiceUnderTest, customer: UUID
) -> None:
    account = new_id()
    for balance in (700, 300):
        event = posted(customer, transaction(account, days_ago(2), -1, balance_after_minor=balance))
        await scoring.deliver([event])
    (day,) = await days_of(scoring, customer)
    assert day["closing_balance"] == money(300)
