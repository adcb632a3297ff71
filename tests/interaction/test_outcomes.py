"""An alert has one outcome; it is recorded once and told once."""

import asyncio

import pytest

from shared.events.interaction import Outcome, RetentionOutcomeRecorded
from shared.events.notification import AlertDelivered, Channel
from shared.events.scoring import AlertClosure, RiskBand, RiskBandChanged
from shared.ids import new_id
from tests.harness import ServiceUnderTest, branch_head
from tests.interaction.branch import (
    NOW,
    ORIGIN,
    alert_closed,
    alert_raised,
    customer_changed,
    days_ago,
    get,
    kinds,
    post,
    timeline,
)


@pytest.mark.parametrize("outcome", list(Outcome))
async def test_an_outcome_is_recorded_told_and_shown(interaction: ServiceUnderTest, outcome: Outcome) -> None:
    customer = customer_changed()
    raised = alert_raised(customer.customer_id)
    await interaction.deliver([customer, raised])
    body = {"alert_id": str(raised.alert_id), "outcome": outcome.value}
    answer = await post(interaction, f"/customers/{customer.customer_id}/outcomes", body)
    assert answer.status_code == 201
    recorded = answer.json()
    assert answer.headers["Location"] == f"/api/interaction/v1/outcomes/{recorded['outcome_id']}"
    assert (recorded["recorded_by"], recorded["recorded_at"]) == ("M1", "2026-11-24T09:30:00Z")
    assert (await get(interaction, ORIGIN + answer.headers["Location"])).json() == recorded
    (event,) = await interaction.published(RetentionOutcomeRecorded)
    assert str(event.outcome_id) == recorded["outcome_id"]
    assert (event.customer_id, event.alert_id, event.outcome) == (customer.customer_id, raised.alert_id, outcome)
    assert (event.recorded_by, event.recorded_at) == ("M1", NOW)
    (told,) = await timeline(interaction, customer.customer_id, kind="outcome_recorded")
    assert told["summary"] == f"M1 recorded: {outcome.value.replace('_', ' ')}"
    assert told["references"] == {"outcome_id": recorded["outcome_id"], "alert_id": str(raised.alert_id)}


async def test_a_second_outcome_of_an_alert_is_refused(interaction: ServiceUnderTest) -> None:
    customer = customer_changed()
    raised = alert_raised(customer.customer_id)
    await interaction.deliver([customer, raised])
    path = f"/customers/{customer.customer_id}/outcomes"
    await post(interaction, path, {"alert_id": str(raised.alert_id), "outcome": "saved"})
    for outcome in ("saved", "lost"):
        answer = await post(interaction, path, {"alert_id": str(raised.alert_id), "outcome": outcome}, branch_head())
        assert (answer.status_code, answer.json()["code"]) == (409, "outcome_already_recorded")
    (event,) = await interaction.published(RetentionOutcomeRecorded)
    assert event.outcome is Outcome.SAVED


async def test_of_outcomes_recorded_at_the_same_moment_one_counts(interaction: ServiceUnderTest) -> None:
    customer = customer_changed()
    raised = alert_raised(customer.customer_id)
    await interaction.deliver([customer, raised])
    path = f"/customers/{customer.customer_id}/outcomes"
    body = {"alert_id": str(raised.alert_id), "outcome": "saved"}
    answers = await asyncio.gather(*(post(interaction, path, body) for _ in range(5)))
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409, 409]
    assert len(await interaction.published(RetentionOutcomeRecorded)) == 1
    assert (await kinds(interaction, customer.customer_id)).count("outcome_recorded") == 1


async def test_a_repeated_request_records_once(interaction: ServiceUnderTest) -> None:
    customer = customer_changed()
    raised = alert_raised(customer.customer_id)
    await interaction.deliver([customer, raised])
    path = f"/customers/{customer.customer_id}/outcomes"
    body = {"alert_id": str(raised.alert_id), "outcome": "lost"}
    first = await post(interaction, path, body, Idempotency_Key="k")
    second = await post(interaction, path, body, Idempotency_Key="k")
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json() == second.json()
    assert len(await interaction.published(RetentionOutcomeRecorded)) == 1


async def test_an_outcome_is_of_an_alert_of_its_customer(interaction: ServiceUnderTest) -> None:
    customer, other = customer_changed(), customer_changed()
    raised = alert_raised(other.customer_id)
    await interaction.deliver([customer, other, raised])
    path = f"/customers/{customer.customer_id}/outcomes"
    for alert_id in (raised.alert_id, new_id()):
        answer = await post(interaction, path, {"alert_id": str(alert_id), "outcome": "saved"})
        assert (answer.status_code, answer.json()["code"]) == (404, "alert_not_found")
    assert await interaction.published(RetentionOutcomeRecorded) == []


@pytest.mark.parametrize("closure", [AlertClosure.RECOVERY, AlertClosure.DEPARTURE])
async def test_an_alert_that_closed_by_itself_still_takes_its_outcome(
    interaction: ServiceUnderTest, closure: AlertClosure
) -> None:
    customer = customer_changed()
    raised = alert_raised(customer.customer_id)
    await interaction.deliver([customer, raised, alert_closed(raised, closure)])
    body = {"alert_id": str(raised.alert_id), "outcome": "lost"}
    answer = await post(interaction, f"/customers/{customer.customer_id}/outcomes", body)
    assert answer.status_code == 201
    assert len(await interaction.published(RetentionOutcomeRecorded)) == 1


async def test_a_timeline_shows_causes_before_their_consequences(interaction: ServiceUnderTest) -> None:
    """Even where both have the same instant: the band and the alert, the outcome and the alert's end."""
    for _ in range(4):
        customer = customer_changed()
        raised = alert_raised(customer.customer_id)
        band = RiskBandChanged(
            customer_id=customer.customer_id, scored_on=raised.raised_on, points=72, band=RiskBand.HIGH
        )
        await interaction.deliver([customer, raised, band], occurred_at=days_ago(0.1))
        body = {"alert_id": str(raised.alert_id), "outcome": "saved"}
        await post(interaction, f"/customers/{customer.customer_id}/outcomes", body)
        await interaction.deliver([alert_closed(raised, AlertClosure.OUTCOME)])
        assert (await kinds(interaction, customer.customer_id))[::-1] == [
            "risk_band_changed",
            "alert_raised",
            "outcome_recorded",
            "alert_closed",
        ]


async def test_who_was_told_of_an_alert_may_record_at_once(interaction: ServiceUnderTest) -> None:
    """Notification's word may overtake scoring's: the manager who has the mail need not wait."""
    customer = customer_changed()
    raised = alert_raised(customer.customer_id)
    delivered = AlertDelivered(
        customer_id=customer.customer_id,
        alert_id=raised.alert_id,
        manager_id="M1",
        channel=Channel.EMAIL,
        delivered_at=NOW,
    )
    await interaction.deliver([customer, delivered])
    body = {"alert_id": str(raised.alert_id), "outcome": "saved"}
    answer = await post(interaction, f"/customers/{customer.customer_id}/outcomes", body)
    assert answer.status_code == 201
    await interaction.deliver([raised])
    assert sorted(await kinds(interaction, customer.customer_id)) == [
        "alert_delivered",
        "alert_raised",
        "outcome_recorded",
    ]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"outcome": "saved"},
        {"alert_id": "x", "outcome": "saved"},
        {"alert_id": "0193a1c8-9b40-7c11-8d02-5a3c1e9f7d21", "outcome": "forgotten"},
        {"alert_id": "0193a1c8-9b40-7c11-8d02-5a3c1e9f7d21", "outcome": "saved", "recorded_by": "M9"},
    ],
)
async def test_a_malformed_outcome_is_refused(interaction: ServiceUnderTest, body: dict[str, str]) -> None:
    customer = customer_changed()
    await interaction.deliver([customer])
    answer = await post(interaction, f"/customers/{customer.customer_id}/outcomes", body)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input")
