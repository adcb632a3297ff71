"""Conversations are logged by those who look after the customer, and by nobody else."""

from datetime import timedelta
from typing import Any

import pytest

from services.interaction.models import Contact
from shared.auth.principal import Principal, Role
from shared.events.corebanking import ContactChannel
from shared.events.interaction import ContactLogged
from shared.ids import new_id
from tests.harness import ServiceUnderTest, branch_head, head_office, manager, program
from tests.interaction.branch import (
    M1,
    NOW,
    ORIGIN,
    alert_raised,
    contact_reported,
    customer_changed,
    get,
    post,
    timeline,
)

CALL = {"channel": "call"}


async def test_a_logged_contact_can_be_read_where_the_answer_says(interaction: ServiceUnderTest) -> None:
    customer = customer_changed()
    raised = alert_raised(customer.customer_id)
    await interaction.deliver([customer, raised])
    body = {"channel": "visit", "occurred_at": "2026-11-24T10:00:00+01:00", "alert_id": str(raised.alert_id)}
    answer = await post(interaction, f"/customers/{customer.customer_id}/contacts", body)
    assert answer.status_code == 201
    contact = answer.json()
    assert answer.headers["Location"] == f"/api/interaction/v1/contacts/{contact['contact_id']}"
    assert contact["occurred_at"] == "2026-11-24T09:00:00Z"
    assert (contact["manager_id"], contact["by_customer"]) == ("M1", False)
    read = await get(interaction, ORIGIN + answer.headers["Location"])
    assert read.json() == contact
    async with interaction.http(M1) as http:
        again = await http.get(ORIGIN + answer.headers["Location"], headers={"If-None-Match": read.headers["ETag"]})
    assert again.status_code == 304
    (event,) = await interaction.published(ContactLogged)
    assert (str(event.contact_id), event.channel, event.alert_id, event.manager_id) == (
        contact["contact_id"],
        ContactChannel.VISIT,
        raised.alert_id,
        "M1",
    )
    told = [entry for entry in await timeline(interaction, customer.customer_id) if entry["kind"] == "contact"]
    assert [entry["references"] for entry in told] == [
        {"contact_id": contact["contact_id"], "alert_id": str(raised.alert_id)}
    ]


async def test_a_contact_without_a_time_was_just_now(interaction: ServiceUnderTest) -> None:
    customer = customer_changed()
    await interaction.deliver([customer])
    answer = await post(interaction, f"/customers/{customer.customer_id}/contacts", CALL)
    assert answer.json()["occurred_at"] == "2026-11-24T09:30:00Z"


async def test_a_repeated_request_logs_once(interaction: ServiceUnderTest) -> None:
    customer = customer_changed()
    await interaction.deliver([customer])
    path = f"/customers/{customer.customer_id}/contacts"
    first = await post(interaction, path, CALL, Idempotency_Key="k")
    second = await post(interaction, path, CALL, Idempotency_Key="k")
    assert second.json() == first.json()
    assert second.headers["Location"] == first.headers["Location"]
    assert second.headers["Idempotency-Replayed"] == "true"
    assert len(await interaction.published(ContactLogged)) == 1
    other = await post(interaction, path, {"channel": "visit"}, Idempotency_Key="k")
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


@pytest.mark.parametrize(
    ("occurred_at", "code"),
    [
        ((NOW + timedelta(minutes=2)).isoformat(), "in_the_future"),
        ("9999-12-31T23:59:59-14:00", "in_the_future"),
        ((NOW - timedelta(days=91)).isoformat(), "too_long_ago"),
        ("0001-01-01T00:00:00+14:00", "too_long_ago"),
        ("2026-11-24T09:00:00", "timezone_aware"),
        ("yesterday", "datetime_from_date_parsing"),
        (int(NOW.timestamp()), "not_iso_8601"),
        (str(NOW.timestamp()), "not_iso_8601"),
    ],
)
async def test_a_conversation_is_logged_within_its_time(
    interaction: ServiceUnderTest, occurred_at: str | int, code: str
) -> None:
    customer = customer_changed()
    await interaction.deliver([customer])
    body = {"channel": "call", "occurred_at": occurred_at}
    answer = await post(interaction, f"/customers/{customer.customer_id}/contacts", body)
    assert answer.status_code == 422
    assert [(e["pointer"], e["code"]) for e in answer.json()["errors"]] == [("/occurred_at", code)]
    assert await interaction.count("contact") == 0


@pytest.mark.parametrize(
    "body",
    [
        {},
        [],
        "call",
        {"channel": "telepathy"},
        {"channel": "call\x00"},
        {"channel": None},
        {"channel": "call", "alert_id": "1 or 1=1"},
        {"channel": "call", "by_customer": "perhaps"},
        {"channel": "call", "note": "Lives alone since May."},
        {"channel": "call", "manager_id": "M2"},
        {"channel": "call", "occurred_at": 1e300},
        {"channel": "call", "occurred_at": {"$gt": ""}},
    ],
)
async def test_a_malformed_contact_is_refused_without_its_values(interaction: ServiceUnderTest, body: Any) -> None:
    customer = customer_changed()
    await interaction.deliver([customer])
    answer = await post(interaction, f"/customers/{customer.customer_id}/contacts", body)
    assert answer.status_code == 422
    assert answer.headers["Content-Type"] == "application/problem+json"
    for value in ("telepathy", "Lives alone", "1 or 1=1"):
        assert value not in answer.text


async def test_a_contact_may_be_about_an_alert_of_its_customer_only(interaction: ServiceUnderTest) -> None:
    customer, other = customer_changed(), customer_changed()
    raised = alert_raised(other.customer_id)
    await interaction.deliver([customer, other, raised])
    for alert_id in (raised.alert_id, new_id()):
        answer = await post(
            interaction, f"/customers/{customer.customer_id}/contacts", {**CALL, "alert_id": str(alert_id)}
        )
        assert (answer.status_code, answer.json()["code"]) == (404, "alert_not_found")


@pytest.mark.parametrize(
    ("actor", "refused"),
    [
        (manager("M1"), None),
        (manager("M2"), None),
        (manager("M3"), 404),
        (branch_head("B1"), None),
        (branch_head("B2"), 404),
        (branch_head("HQ"), None),
        (head_office(), None),
        (Principal("A1", Role.AUDITOR, "A1"), 403),
        (Principal("O1", Role.OPERATOR, "O1"), 403),
        (program("corebanking:write"), 403),
    ],
    ids=lambda value: f"{value.role}-{value.subject}-{value.branch_id}" if isinstance(value, Principal) else None,
)
async def test_only_who_looks_after_a_customer_reads_and_writes(
    interaction: ServiceUnderTest, actor: Principal, refused: int | None
) -> None:
    """Their manager, the deputy, the heads above, head office; for their colleagues it is not there."""
    customer = customer_changed(deputy_manager_id="M2")
    customer_id = customer.customer_id
    contact, raised = contact_reported(customer_id), alert_raised(customer_id)
    await interaction.deliver([customer, contact, raised])
    outcome = {"alert_id": str(raised.alert_id), "outcome": "saved"}
    answers = [
        await get(interaction, f"/contacts/{contact.contact_id}", actor),
        await get(interaction, f"/customers/{customer_id}/timeline", actor),
        await get(interaction, f"/customers/{customer_id}/complaints", actor),
        await post(interaction, f"/customers/{customer_id}/contacts", CALL, actor),
        await post(interaction, f"/customers/{customer_id}/outcomes", outcome, actor),
    ]
    assert [answer.status_code for answer in answers] == ([refused] * 5 if refused else [200, 200, 200, 201, 201])
    assert await interaction.count("retention_outcome") == (0 if refused else 1)
    if refused:
        (recorded,) = await interaction.rows(
            "insert into retention_outcome values (:o, :c, :a, 'saved', 'M1', now()) returning outcome_id",
            o=new_id(),
            c=customer_id,
            a=raised.alert_id,
        )
        assert (await get(interaction, f"/outcomes/{recorded[0]}", actor)).status_code == refused


async def test_a_customer_given_to_another_manager_is_no_longer_the_first_ones(interaction: ServiceUnderTest) -> None:
    customer = customer_changed()
    await interaction.deliver([customer_changed(customer.customer_id, revision=2, manager_id="M2"), customer])
    path = f"/customers/{customer.customer_id}/timeline"
    assert (await get(interaction, path, manager("M1"))).status_code == 404
    assert (await get(interaction, path, manager("M2"))).status_code == 200


async def test_row_level_security_holds_where_a_query_forgets_it(interaction: ServiceUnderTest) -> None:
    """Every table that requests may read shows a stranger nothing and takes nothing from one."""
    customer = customer_changed()
    raised = alert_raised(customer.customer_id)
    await interaction.deliver([customer, raised, contact_reported(customer.customer_id)])
    tables = await interaction.rows(
        "select c.relname, c.relrowsecurity and c.relforcerowsecurity,"
        " exists (select 1 from pg_attribute a where a.attrelid = c.oid and a.attname = 'customer_id')"
        " from pg_class c where c.relkind = 'r' and c.relnamespace = 'public'::regnamespace"
        " and has_any_column_privilege('interaction_api', c.oid, 'select')"
    )
    assert len(tables) >= 8
    unsecured = [name for name, secured, about_customer in tables if about_customer and not secured]
    assert unsecured == ["idempotency_key"], "whose rows are sealed, and found only by a hash of the caller's own key"
    assert {name for name, _, about_customer in tables if not about_customer} == {"service_key", "delegation"}
    async with interaction.database.requests.connect() as connection:
        for name, _, about_customer in tables:
            if about_customer:
                seen = await connection.exec_driver_sql(f"select count(*) from {name}")
                assert (name, seen.scalar()) == (name, 0)


async def test_the_owners_of_facts_are_the_models(interaction: ServiceUnderTest) -> None:
    """No column takes free text of a person: what is text is a code, an id of staff or a currency."""
    texts = {column.name for column in Contact.__table__.c if str(column.type) == "TEXT"}
    assert texts == {"channel", "manager_id"}
