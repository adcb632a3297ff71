"""A timeline is read newest first, page by page, and stays put while it grows."""

from typing import Any

import pytest

from tests.harness import ServiceUnderTest
from tests.interaction.branch import (
    account_changed,
    complaint_reported,
    contact_reported,
    customer_changed,
    days_ago,
    get,
    post,
    survey_reported,
    timeline,
)


async def test_a_timeline_is_newest_first_and_whole_page_by_page(interaction: ServiceUnderTest) -> None:
    customer = customer_changed()
    contacts = [contact_reported(customer.customer_id, days_ago(day // 3)) for day in range(30)]
    await interaction.deliver([customer, *contacts])
    entries = await timeline(interaction, customer.customer_id, limit=7)
    instants = [entry["occurred_at"] for entry in entries]
    assert instants == sorted(instants, reverse=True)
    assert {entry["references"]["contact_id"] for entry in entries} == {str(c.contact_id) for c in contacts}
    assert len(entries) == 30
    assert await timeline(interaction, customer.customer_id, limit=200) == entries
    assert await timeline(interaction, customer.customer_id, limit=7, sort="occurred_at") == entries[::-1]


async def test_pages_are_stable_while_entries_are_added(interaction: ServiceUnderTest) -> None:
    customer = customer_changed()
    await interaction.deliver(
        [customer, *(contact_reported(customer.customer_id, days_ago(day)) for day in range(1, 21))]
    )
    before = await timeline(interaction, customer.customer_id)
    path = f"/customers/{customer.customer_id}/timeline"
    first = (await get(interaction, path, limit=10)).json()
    await post(interaction, f"/customers/{customer.customer_id}/contacts", {"channel": "call"})
    await interaction.deliver([contact_reported(customer.customer_id, days_ago(0.5))])
    second = (await get(interaction, path, limit=10, cursor=first["next"])).json()
    assert first["items"] + second["items"] == before
    assert second["next"] is None


async def test_a_timeline_shows_the_kinds_that_are_asked_for(interaction: ServiceUnderTest) -> None:
    customer = customer_changed()
    customer_id = customer.customer_id
    await interaction.deliver(
        [
            customer,
            contact_reported(customer_id),
            complaint_reported(customer_id),
            survey_reported(customer_id),
            account_changed(customer_id),
        ]
    )
    entries = await timeline(interaction, customer_id, kind=["survey", "account_opened"])
    assert [entry["kind"] for entry in entries] == ["survey", "account_opened"]
    answer = await get(interaction, f"/customers/{customer_id}/timeline", kind="rumour")
    assert answer.status_code == 422
    assert "rumour" not in answer.text


@pytest.mark.parametrize(
    ("score", "summary"),
    [
        (0, "Survey answered: 0 of 10 (detractor)"),
        (6, "Survey answered: 6 of 10 (detractor)"),
        (7, "Survey answered: 7 of 10 (passive)"),
        (8, "Survey answered: 8 of 10 (passive)"),
        (9, "Survey answered: 9 of 10 (promoter)"),
        (10, "Survey answered: 10 of 10 (promoter)"),
    ],
)
async def test_a_survey_is_told_with_its_band(interaction: ServiceUnderTest, score: int, summary: str) -> None:
    customer = customer_changed()
    await interaction.deliver([customer, survey_reported(customer.customer_id, score)])
    assert [entry["summary"] for entry in await timeline(interaction, customer.customer_id)] == [summary]


@pytest.mark.parametrize(
    "query",
    [
        {"cursor": "x"},
        {"cursor": "bm90IGpzb24"},
        {"cursor": "WyItb2NjdXJyZWRfYXQsLSIsImEiLCJiIl0"},
        {"cursor": "A" * 3000},
        {"limit": 0},
        {"limit": 201},
        {"limit": "ten"},
        {"sort": "summary"},
        {"sort": "occurred_at;drop table contact"},
        {"kind": ["contact"] * 50},
    ],
)
async def test_a_malformed_page_is_refused(interaction: ServiceUnderTest, query: dict[str, Any]) -> None:
    customer = customer_changed()
    await interaction.deliver([customer])
    answer = await get(interaction, f"/customers/{customer.customer_id}/timeline", **query)
    assert (answer.status_code, answer.headers["Content-Type"]) == (422, "application/problem+json")


@pytest.mark.parametrize("customer_id", ["1", "not-contacted'--", "0193a1c8-7d2e-7e3b-9a55-1f0c7a4e2b1g", "%2e%2e"])
async def test_a_customer_is_named_by_its_id(interaction: ServiceUnderTest, customer_id: str) -> None:
    answer = await get(interaction, f"/customers/{customer_id}/timeline")
    assert answer.status_code in (404, 422)
    assert answer.headers["Content-Type"] == "application/problem+json"
