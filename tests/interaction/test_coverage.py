"""Who has waited for a contact, and how long."""

from datetime import date

import pytest

from shared.auth.principal import Principal
from tests.harness import ServiceUnderTest, branch_head, head_office, manager
from tests.interaction.branch import (
    contact_reported,
    customer_changed,
    days_ago,
    get,
    not_contacted,
    post,
)


async def test_who_waits_longest_comes_first_and_who_was_never_contacted_before_all(
    interaction: ServiceUnderTest,
) -> None:
    never, long, lately, today = (customer_changed() for _ in range(4))
    await interaction.deliver(
        [
            never,
            long,
            lately,
            today,
            contact_reported(long.customer_id, days_ago(200)),
            contact_reported(lately.customer_id, days_ago(400)),
            contact_reported(lately.customer_id, days_ago(31)),
            contact_reported(today.customer_id, days_ago(0)),
        ]
    )
    assert await not_contacted(interaction, days=30) == [
        (never.customer_id, None),
        (long.customer_id, "2026-05-08T09:30:00Z"),
        (lately.customer_id, "2026-10-24T09:30:00Z"),
    ]
    assert [customer_id for customer_id, _ in await not_contacted(interaction, days=180)] == [
        never.customer_id,
        long.customer_id,
    ]
    assert len(await not_contacted(interaction, days=0)) == 4


async def test_an_older_contact_that_comes_late_does_not_move_the_last_one_back(interaction: ServiceUnderTest) -> None:
    customer = customer_changed()
    await interaction.deliver([customer, contact_reported(customer.customer_id, days_ago(10))])
    await interaction.deliver([contact_reported(customer.customer_id, days_ago(100))])
    assert await not_contacted(interaction, days=50) == []


async def test_a_logged_contact_ends_the_wait(interaction: ServiceUnderTest) -> None:
    customer = customer_changed()
    await interaction.deliver([customer])
    assert len(await not_contacted(interaction, days=30)) == 1
    await post(interaction, f"/customers/{customer.customer_id}/contacts", {"channel": "call", "by_customer": True})
    assert await not_contacted(interaction, days=30) == []


async def test_a_contact_logged_for_a_day_before_the_last_one_does_not_move_it_back(
    interaction: ServiceUnderTest,
) -> None:
    customer = customer_changed()
    await interaction.deliver([customer, contact_reported(customer.customer_id, days_ago(1))])
    body = {"channel": "call", "occurred_at": days_ago(60).isoformat()}
    answer = await post(interaction, f"/customers/{customer.customer_id}/contacts", body)
    assert answer.status_code == 201
    assert await not_contacted(interaction, days=30) == []


async def test_who_has_left_the_bank_waits_for_nothing(interaction: ServiceUnderTest) -> None:
    customer = customer_changed(left_on=date(2026, 11, 1))
    await interaction.deliver([customer])
    assert await not_contacted(interaction, days=1) == []


@pytest.mark.parametrize(
    ("actor", "sees"),
    [
        (manager("M1"), {0, 2}),
        (manager("M2"), {1}),
        (manager("M3"), set()),
        (branch_head("B1"), {0, 1}),
        (branch_head("B2"), {2}),
        (branch_head("HQ"), {0, 1, 2}),
        (head_office(), {0, 1, 2}),
    ],
    ids=lambda value: f"{value.role}-{value.subject}-{value.branch_id}" if isinstance(value, Principal) else None,
)
async def test_a_manager_is_shown_their_own_and_a_branch_head_the_branch(
    interaction: ServiceUnderTest, actor: Principal, sees: set[int]
) -> None:
    """One's own are those whom one looks after, as manager or as deputy."""
    customers = [
        customer_changed(),
        customer_changed(manager_id="M2"),
        customer_changed(branch_id="B2", branch_path=("HQ", "B2"), manager_id="M4", deputy_manager_id="M1"),
    ]
    await interaction.deliver(customers)
    shown = {customer_id for customer_id, _ in await not_contacted(interaction, actor, days=30)}
    assert shown == {customers[number].customer_id for number in sees}


async def test_the_list_is_whole_and_in_order_page_by_page(interaction: ServiceUnderTest) -> None:
    customers = [customer_changed() for _ in range(40)]
    contacts = [contact_reported(c.customer_id, days_ago(40 + n // 4)) for n, c in enumerate(customers[10:])]
    await interaction.deliver([*customers, *contacts])
    rows = await not_contacted(interaction, days=30, limit=7)
    assert {customer_id for customer_id, _ in rows} == {c.customer_id for c in customers}
    assert len(rows) == 40
    assert [contact for _, contact in rows[:10]] == [None] * 10
    last = [contact or "" for _, contact in rows]
    assert last == sorted(last)
    assert await not_contacted(interaction, days=30, limit=7, sort="-last_contacted_at") == rows[::-1]


async def test_a_row_of_the_list_says_whom_to_call_and_who_should(interaction: ServiceUnderTest) -> None:
    customer = customer_changed(customer_number="10004217")
    await interaction.deliver([customer])
    (item,) = (await get(interaction, "/customers/not-contacted", days=30)).json()["items"]
    assert item == {
        "customer_id": str(customer.customer_id),
        "customer_number": "10004217",
        "branch_id": "B1",
        "manager_id": "M1",
        "last_contacted_at": None,
    }


@pytest.mark.parametrize("days", ["", "-1", "36501", "9" * 30, "ten", "1.5", "NaN"])
async def test_days_is_a_number_of_days(interaction: ServiceUnderTest, days: str) -> None:
    answer = await get(interaction, "/customers/not-contacted", days=days)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input")


async def test_any_number_of_days_that_is_allowed_can_be_asked_for(interaction: ServiceUnderTest) -> None:
    customer = customer_changed()
    await interaction.deliver([customer])
    assert len(await not_contacted(interaction, days=36_500)) == 1
