"""What other services tell counts once, whatever order it comes in."""

import random
from datetime import date, timedelta
from typing import Any

import pytest

from shared.events import Event
from shared.events.corebanking import ComplaintOutcome, ContactChannel, LifeEventKind
from shared.events.customer import DayReported, LifeEventReported
from shared.events.interaction import ComplaintChanged, ContactLogged, DayClosed, SurveyAnswered
from shared.events.notification import AlertAcknowledged, AlertDelivered, AlertSentToWebhook, AlertSnoozed, Channel
from shared.events.scoring import AlertClosure, RiskBand, RiskBandChanged
from shared.ids import new_id
from tests.harness import ServiceUnderTest
from tests.interaction.branch import (
    NOW,
    account_changed,
    alert_closed,
    alert_raised,
    complaint_reported,
    contact_reported,
    customer_changed,
    days_ago,
    get,
    kinds,
    survey_reported,
    timeline,
)


async def test_a_reported_contact_is_logged_and_told(interaction: ServiceUnderTest) -> None:
    customer = customer_changed()
    reported = contact_reported(customer.customer_id, days_ago(300), channel=ContactChannel.VISIT)
    await interaction.deliver([customer, reported])
    assert await interaction.published(ContactLogged) == [
        ContactLogged(
            customer_id=customer.customer_id,
            contact_id=reported.contact_id,
            channel=ContactChannel.VISIT,
            occurred_at=days_ago(300),
            manager_id="M1",
        )
    ]
    (entry,) = await timeline(interaction, customer.customer_id)
    assert entry["summary"] == "M1 met the customer"
    assert entry["occurred_at"] == "2026-01-28T09:30:00Z"
    assert entry["references"] == {"contact_id": str(reported.contact_id)}


async def test_a_redelivered_fact_counts_once(interaction: ServiceUnderTest) -> None:
    customer = customer_changed()
    events: list[Event] = [
        customer,
        contact_reported(customer.customer_id),
        complaint_reported(customer.customer_id),
        survey_reported(customer.customer_id),
        account_changed(customer.customer_id),
        alert_raised(customer.customer_id),
    ]
    ids = await interaction.deliver(events)
    before = await everything(interaction)
    await interaction.deliver(events, ids=ids)
    assert await everything(interaction) == before


async def test_a_fact_told_again_under_another_id_counts_once(interaction: ServiceUnderTest) -> None:
    customer = customer_changed()
    events: list[Event] = [
        customer,
        contact_reported(customer.customer_id),
        complaint_reported(customer.customer_id),
        survey_reported(customer.customer_id),
        account_changed(customer.customer_id),
    ]
    await interaction.deliver(events)
    before = await everything(interaction)
    await interaction.deliver(events)
    assert await everything(interaction) == before


async def test_a_fact_told_twice_in_one_batch_counts_once(interaction: ServiceUnderTest) -> None:
    customer = customer_changed()
    contact, survey = contact_reported(customer.customer_id), survey_reported(customer.customer_id)
    await interaction.deliver([customer, contact, survey, survey, contact])
    assert len(await interaction.published(ContactLogged)) == 1
    assert len(await interaction.published(SurveyAnswered)) == 1
    assert await kinds(interaction, customer.customer_id) == ["contact", "survey"]


async def test_what_an_event_causes_has_the_same_id_each_time(
    interaction: ServiceUnderTest,
) -> None:
    customer = customer_changed()
    contact = contact_reported(customer.customer_id)
    ids = await interaction.deliver([contact])
    (first,) = await interaction.rows("select event_id from outbox")
    async with interaction.database.transaction() as session:
        connection = await session.connection()
        for table in ("delivered_event", "contact", "outbox"):
            await connection.exec_driver_sql(f"delete from {table}")
    await interaction.deliver([contact], ids=ids)
    assert await interaction.rows("select event_id from outbox") == [first]


async def test_an_older_revision_of_a_complaint_changes_nothing(interaction: ServiceUnderTest) -> None:
    customer = customer_changed()
    opened = complaint_reported(customer.customer_id)
    resolved = complaint_reported(
        customer.customer_id,
        2,
        complaint_id=opened.complaint_id,
        resolved_at=days_ago(2),
        outcome=ComplaintOutcome.REJECTED,
    )
    await interaction.deliver([customer, resolved])
    await interaction.deliver([opened])
    assert [event.revision for event in await interaction.published(ComplaintChanged)] == [2]
    (complaint,) = (await get(interaction, f"/customers/{customer.customer_id}/complaints")).json()["items"]
    assert complaint["outcome"] == "rejected"
    told = [(e["kind"], e["summary"]) for e in await timeline(interaction, customer.customer_id)]
    assert told == [("complaint_resolved", "Complaint rejected"), ("complaint_opened", "The customer complained")]


async def test_of_a_complaints_revisions_in_one_batch_the_greatest_counts(interaction: ServiceUnderTest) -> None:
    customer = customer_changed()
    complaint_id = new_id()
    revisions = [
        complaint_reported(
            customer.customer_id, revision, complaint_id=complaint_id, resolved_at=days_ago(9 - revision)
        )
        for revision in (2, 5, 3)
    ]
    await interaction.deliver([customer, *revisions])
    assert [event.revision for event in await interaction.published(ComplaintChanged)] == [5]
    assert (await timeline(interaction, customer.customer_id))[0]["occurred_at"] == "2026-11-20T09:30:00Z"


async def test_a_complaint_that_is_opened_again_is_not_shown_as_resolved(interaction: ServiceUnderTest) -> None:
    customer = customer_changed()
    complaint_id = new_id()
    for revision, resolved_at in ((1, None), (2, days_ago(2)), (3, None)):
        await interaction.deliver(
            [
                customer,
                complaint_reported(customer.customer_id, revision, complaint_id=complaint_id, resolved_at=resolved_at),
            ]
        )
    assert await kinds(interaction, customer.customer_id) == ["complaint_opened"]
    path = f"/customers/{customer.customer_id}/complaints"
    assert len((await get(interaction, path, is_open=True)).json()["items"]) == 1
    assert (await get(interaction, path, is_open=False)).json()["items"] == []


async def test_an_account_tells_when_it_opened_and_closed(interaction: ServiceUnderTest) -> None:
    customer = customer_changed()
    opened = account_changed(customer.customer_id)
    closed = account_changed(customer.customer_id, 2, account_id=opened.account_id, closed_on=date(2026, 10, 1))
    await interaction.deliver([customer, closed, opened])
    told = [(e["occurred_at"], e["summary"]) for e in await timeline(interaction, customer.customer_id)]
    assert told == [
        ("2026-10-01T00:00:00Z", "Closed a savings account (CNY)"),
        ("2020-05-04T00:00:00Z", "Opened a savings account (CNY)"),
    ]


async def test_an_accounts_new_holder_takes_its_entries_along(interaction: ServiceUnderTest) -> None:
    before, after = customer_changed(), customer_changed()
    account = account_changed(before.customer_id)
    moved = account_changed(after.customer_id, 2, account_id=account.account_id)
    for events in ([before, after, moved], [account]):
        await interaction.deliver(events)
    assert await kinds(interaction, before.customer_id) == []
    assert await kinds(interaction, after.customer_id) == ["account_opened"]


async def test_the_timeline_tells_the_whole_story_of_an_alert(interaction: ServiceUnderTest) -> None:
    customer = customer_changed()
    about: dict[str, Any] = {"customer_id": customer.customer_id}
    raised = alert_raised(customer.customer_id)
    alert = {**about, "alert_id": raised.alert_id, "manager_id": "M1"}
    steps: list[Event] = [
        customer,
        RiskBandChanged(**about, scored_on=days_ago(20).date(), points=30, band=RiskBand.MEDIUM),
        LifeEventReported(
            **about, life_event_id=new_id(), kind=LifeEventKind.DEATH_IN_HOUSEHOLD, happened_on=days_ago(15).date()
        ),
        raised,
        AlertDelivered(**alert, channel=Channel.INBOX, delivered_at=NOW + timedelta(minutes=1)),
        AlertDelivered(**alert, channel=Channel.EMAIL, delivered_at=NOW + timedelta(minutes=2)),
        AlertSentToWebhook(**alert, sent_at=NOW + timedelta(minutes=2, seconds=30)),
        AlertAcknowledged(**alert, acknowledged_at=NOW + timedelta(minutes=3)),
    ]
    await interaction.deliver(steps, occurred_at=NOW)
    await interaction.deliver(
        [AlertSnoozed(**alert, snoozed_until=NOW + timedelta(days=2))], occurred_at=NOW + timedelta(minutes=4)
    )
    entries = await timeline(interaction, customer.customer_id)
    assert [entry["summary"] for entry in reversed(entries)] == [
        "Risk is now medium, 30 points",
        "Life event: a death in the household",
        "Churn alert, 72 points: The salary no longer arrives; The balance has halved",
        "M1 was told of the alert in the inbox",
        "M1 was told of the alert by e-mail",
        "M1 was told of the alert by a webhook",
        "M1 acknowledged the alert",
        "M1 put the alert off until 2026-11-26 09:30 UTC",
    ]
    assert entries[0]["references"] == {"alert_id": str(raised.alert_id)}


async def test_an_alert_found_in_history_stands_on_the_day_it_is_about(interaction: ServiceUnderTest) -> None:
    customer = customer_changed()
    raised = alert_raised(customer.customer_id, raised_on=date(2026, 3, 1), is_historic=True)
    await interaction.deliver([customer, raised], occurred_at=NOW)
    (entry,) = await timeline(interaction, customer.customer_id)
    assert entry["occurred_at"] == "2026-03-01T23:59:59.999999Z"
    assert entry["summary"].endswith("(found later, nobody was told)")


@pytest.mark.parametrize("at_once", [True, False])
async def test_an_alert_that_is_raised_again_is_open_again(interaction: ServiceUnderTest, at_once: bool) -> None:
    """Late facts of a history make scoring decide anew."""
    customer = customer_changed()
    raised = alert_raised(customer.customer_id, raised_on=date(2026, 3, 1), is_historic=True)
    heavier = alert_raised(
        customer.customer_id, raised.alert_id, raised_on=date(2026, 3, 1), points=80, reasons=(), is_historic=True
    )
    events: list[Event] = [customer, raised, alert_closed(raised), heavier]
    for batch in [events] if at_once else [[event] for event in events]:
        await interaction.deliver(batch)
    (entry,) = await timeline(interaction, customer.customer_id)
    assert entry["summary"] == "Churn alert, 80 points (found later, nobody was told)"
    await interaction.deliver([alert_closed(raised, AlertClosure.DEPARTURE)])
    assert (await timeline(interaction, customer.customer_id))[0]["summary"] == "Alert closed: the customer has left"


async def test_facts_may_come_before_their_customer(interaction: ServiceUnderTest) -> None:
    customer = customer_changed()
    await interaction.deliver([contact_reported(customer.customer_id), alert_raised(customer.customer_id)])
    path = f"/customers/{customer.customer_id}/timeline"
    assert (await get(interaction, path)).status_code == 404
    await interaction.deliver([customer])
    assert sorted(await kinds(interaction, customer.customer_id)) == ["alert_raised", "contact"]


async def test_any_order_of_the_events_leaves_the_same(interaction: ServiceUnderTest) -> None:
    """Only an alert is raised before it closes: they share a partition. Each shuffle is about its own customer."""
    stories = []
    for seed in range(12):
        customer = customer_changed()
        customer_id = customer.customer_id
        raised, complaint_id, account_id = alert_raised(customer_id), new_id(), new_id()
        events: list[Event] = [
            customer,
            customer_changed(customer_id, revision=2, manager_id="M2"),
            contact_reported(customer_id, days_ago(40)),
            contact_reported(customer_id, days_ago(3)),
            complaint_reported(customer_id, 1, complaint_id=complaint_id),
            complaint_reported(customer_id, 2, complaint_id=complaint_id, resolved_at=days_ago(4)),
            complaint_reported(customer_id, 3, complaint_id=complaint_id),
            account_changed(customer_id, 1, account_id=account_id),
            account_changed(customer_id, 2, account_id=account_id, closed_on=date(2026, 11, 1)),
            AlertAcknowledged(
                customer_id=customer_id, alert_id=raised.alert_id, manager_id="M1", acknowledged_at=days_ago(0.1)
            ),
        ]
        shuffled = random.Random(seed)
        shuffled.shuffle(events)
        first, then = sorted(shuffled.sample(range(len(events) + 2), 2))
        events.insert(first, raised)
        events.insert(then, alert_closed(raised))
        for event in events:
            await interaction.deliver([event], occurred_at=days_ago(0.2))
        rows = await interaction.rows(
            "select kind, occurred_at, facts from timeline_entry where customer_id = :id order by occurred_at, kind",
            id=customer_id,
        )
        rows += await interaction.rows(
            "select manager_id, last_contacted_at, raised_on, closure from customer_scope join coverage"
            " using (customer_id) join alert using (customer_id) where customer_id = :id",
            id=customer_id,
        )
        stories.append(rows)
    assert len(stories[0]) == 8 + 1
    assert all(story == stories[0] for story in stories)


async def test_an_instant_that_cannot_be_shown_is_parked_alone(interaction: ServiceUnderTest) -> None:
    customer = customer_changed()
    good = [contact_reported(customer.customer_id, days_ago(day)) for day in range(3)]
    bad = contact_reported(customer.customer_id, days_ago(0).replace(year=1066))
    await interaction.deliver([customer, good[0], bad, *good[1:]], parked=1)
    assert len(await timeline(interaction, customer.customer_id)) == 3
    assert await interaction.count("contact") == 3


async def everything(interaction: ServiceUnderTest) -> list[Any]:
    tables = ("contact", "complaint", "survey", "account", "alert", "coverage", "timeline_entry", "outbox")
    return [await interaction.rows(f"select * from {table} order by 1") for table in tables]


async def test_a_closed_day_goes_on_in_its_partition_behind_what_was_reported(interaction: ServiceUnderTest) -> None:
    await interaction.deliver([DayReported(business_date=date(2026, 3, 31))], partition=2)
    rows = await interaction.rows("select type, topic, partition from outbox")
    assert rows == [(DayClosed.TYPE, DayClosed.TOPIC, 2)]
