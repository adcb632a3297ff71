"""Alerts: raised once, for those who look after the customer; closed by what ends them."""

from datetime import date, timedelta
from uuid import UUID

from services.scoring.use_cases.alerts import alert_id_of
from shared.events.corebanking import ComplaintOutcome
from shared.events.interaction import Outcome, RetentionOutcomeRecorded
from shared.events.scoring import AlertClosure, ChurnAlertClosed, ChurnAlertRaised
from shared.ids import new_id
from tests.harness import ServiceUnderTest, manager
from tests.scoring.bank import (
    TODAY,
    account_changed,
    close,
    codes,
    complaint,
    customer_changed,
    days_ago,
    death_in_household,
    noon,
    points_of,
    posted,
    read,
    rejected,
    salaries,
    score_backlog,
    survey,
    transaction,
    until,
)
from tests.scoring.conftest import ScoringOn


def outcome(customer_id: UUID, alert_id: UUID, day: date = TODAY) -> RetentionOutcomeRecorded:
    return RetentionOutcomeRecorded(
        customer_id=customer_id,
        outcome_id=new_id(),
        alert_id=alert_id,
        outcome=Outcome.SAVED,
        recorded_by="M1",
        recorded_at=noon(day),
    )


async def test_an_alert_is_raised_once_when_the_score_crosses_the_threshold(
    scoring: ServiceUnderTest, customer: UUID
) -> None:
    await scoring.deliver([salaries(customer, new_id(), days_ago(41))])
    await scoring.deliver([rejected(customer, days_ago(9))])
    await close(scoring, *until(days_ago(3), 10))
    assert await scoring.published(ChurnAlertRaised) == []
    await close(scoring, days_ago(2), days_ago(1))
    await close(scoring, TODAY)
    (raised,) = await scoring.published(ChurnAlertRaised)
    assert (raised.customer_id, raised.raised_on, raised.points) == (customer, days_ago(1), 55)
    assert [reason.text for reason in raised.reasons] == [
        "A complaint was rejected on 22 March 2026.",
        "No salary has arrived for 40 days; before that one came every month.",
    ]
    assert not raised.is_historic
    (alert,) = (await read(scoring, "/alerts", manager("M1"), state="open"))["items"]
    assert (alert["alert_id"], alert["state"], alert["closure"]) == (str(raised.alert_id), "open", None)
    assert codes(alert) == ["complaint_rejected", "salary_stopped"]
    assert await read(scoring, f"/alerts/{raised.alert_id}") == alert
    assert (await read(scoring, "/alerts", manager("M2")))["items"] == []
    await read(scoring, f"/alerts/{raised.alert_id}", manager("M2"), 404)


async def test_an_open_day_alerts_for_what_cannot_be_taken_back(scoring: ServiceUnderTest, customer: UUID) -> None:
    await close(scoring, days_ago(1))
    await scoring.deliver([rejected(customer, TODAY)])
    assert await scoring.published(ChurnAlertRaised) == []
    await scoring.deliver([survey(customer, TODAY, 1)])
    (raised,) = await scoring.published(ChurnAlertRaised)
    assert (raised.raised_on, raised.points) == (TODAY, 50)
    await scoring.deliver([survey(customer, TODAY, 0)])
    await close(scoring, TODAY)
    assert len(await scoring.published(ChurnAlertRaised)) == 1
    assert await points_of(scoring, customer) == 50


async def test_the_open_day_waits_for_its_close_with_what_can_be_taken_back(
    scoring: ServiceUnderTest, customer: UUID
) -> None:
    await scoring.deliver([salaries(customer, new_id(), days_ago(45))])
    await close(scoring, days_ago(1))
    await scoring.deliver([rejected(customer, TODAY)])
    assert await scoring.published(ChurnAlertRaised) == []
    await close(scoring, TODAY)
    assert len(await scoring.published(ChurnAlertRaised)) == 1


async def test_an_outcome_closes_its_alert_at_once(scoring: ServiceUnderTest, customer: UUID) -> None:
    await scoring.deliver([rejected(customer, days_ago(3))])
    await scoring.deliver([survey(customer, days_ago(2), 0)])
    await close(scoring, *until(days_ago(1), 5))
    (raised,) = await scoring.published(ChurnAlertRaised)
    await scoring.deliver([outcome(customer, raised.alert_id)])
    (closed,) = await scoring.published(ChurnAlertClosed)
    assert (closed.alert_id, closed.closure, closed.closed_at) == (raised.alert_id, AlertClosure.OUTCOME, noon(TODAY))
    await close(scoring, TODAY)
    assert len(await scoring.published(ChurnAlertRaised)) == 1
    alert = await read(scoring, f"/alerts/{raised.alert_id}")
    assert (alert["state"], alert["closure"], alert["closed_on"]) == ("closed", "outcome", str(TODAY))


async def test_an_outcome_that_comes_twice_closes_once(scoring: ServiceUnderTest, customer: UUID) -> None:
    await scoring.deliver([rejected(customer, days_ago(3))])
    await scoring.deliver([survey(customer, days_ago(2), 0)])
    await close(scoring, *until(days_ago(1), 5))
    (raised,) = await scoring.published(ChurnAlertRaised)
    await scoring.deliver([outcome(customer, raised.alert_id)])
    await scoring.deliver([outcome(customer, raised.alert_id)])
    assert len(await scoring.published(ChurnAlertClosed)) == 1


async def test_an_outcome_before_its_alert_is_kept(scoring: ServiceUnderTest, customer: UUID) -> None:
    await scoring.deliver([outcome(customer, alert_id_of(customer, days_ago(2).toordinal()))])
    await scoring.deliver([rejected(customer, days_ago(3))])
    await scoring.deliver([survey(customer, days_ago(2), 0)])
    await close(scoring, *until(days_ago(1), 5))
    (closed,) = await scoring.published(ChurnAlertClosed)
    assert closed.closure is AlertClosure.OUTCOME


async def test_recovery_closes_an_alert(scoring: ServiceUnderTest, customer: UUID) -> None:
    account = new_id()
    await scoring.deliver([salaries(customer, account, days_ago(44))])
    await scoring.deliver([rejected(customer, days_ago(3))])
    await close(scoring, *until(days_ago(1), 5))
    (raised,) = await scoring.published(ChurnAlertRaised)
    await scoring.deliver([posted(customer, transaction(account, TODAY, 1_00, kind="salary"))])
    await close(scoring, TODAY)
    (closed,) = await scoring.published(ChurnAlertClosed)
    assert (closed.alert_id, closed.closure) == (raised.alert_id, AlertClosure.RECOVERY)


async def test_departure_closes_an_alert_and_opens_none(scoring: ServiceUnderTest, customer: UUID) -> None:
    await scoring.deliver([rejected(customer, days_ago(3))])
    await scoring.deliver([survey(customer, days_ago(3), 0)])
    await close(scoring, *until(days_ago(1), 5))
    await scoring.deliver([customer_changed(customer, revision=2, left_on=TODAY)])
    await close(scoring, TODAY)
    (closed,) = await scoring.published(ChurnAlertClosed)
    assert closed.closure is AlertClosure.DEPARTURE
    await scoring.deliver([survey(customer, TODAY, 0)])
    assert len(await scoring.published(ChurnAlertRaised)) == 1


async def test_a_sent_alert_is_closed_and_not_forgotten_when_a_late_event_takes_its_reason_away(
    scoring: ServiceUnderTest, customer: UUID
) -> None:
    account = new_id()
    await scoring.deliver([salaries(customer, account, days_ago(44))])
    await scoring.deliver([rejected(customer, days_ago(3))])
    await close(scoring, *until(TODAY, 5))
    (raised,) = await scoring.published(ChurnAlertRaised)
    await scoring.deliver([posted(customer, transaction(account, days_ago(14), 1_00, kind="salary"))])
    (closed,) = await scoring.published(ChurnAlertClosed)
    assert (closed.alert_id, closed.closure) == (raised.alert_id, AlertClosure.RECOVERY)
    assert (await read(scoring, f"/alerts/{raised.alert_id}"))["state"] == "closed"


async def test_an_alert_found_more_than_a_week_late_is_recorded_and_not_sent(
    scoring: ServiceUnderTest, customer: UUID
) -> None:
    await scoring.deliver([rejected(customer, days_ago(30))])
    await scoring.deliver([survey(customer, days_ago(20), 0)])
    await close(scoring, *until(TODAY, 60))
    (raised,) = await scoring.published(ChurnAlertRaised)
    assert (raised.raised_on, raised.is_historic) == (days_ago(20), True)
    assert (await read(scoring, "/alerts", is_historic=True))["items"]
    assert (await read(scoring, "/alerts", is_historic=False))["items"] == []


async def test_a_historic_alert_is_what_it_would_have_been_in_time(scoring: ServiceUnderTest, customer: UUID) -> None:
    first = complaint(customer, days_ago(41), days_ago(30), ComplaintOutcome.REJECTED)
    await scoring.deliver([first])
    await scoring.deliver([survey(customer, days_ago(20), 0)])
    await close(scoring, *until(TODAY, 60))
    await scoring.deliver([survey(customer, days_ago(26), 1)])
    ids = [row[0] for row in await scoring.rows("select alert_id from churn_alert")]
    assert ids == [alert_id_of(customer, days_ago(26).toordinal())]
    withdrawn = alert_id_of(customer, days_ago(20).toordinal())
    assert [closed.alert_id for closed in await scoring.published(ChurnAlertClosed)] == [withdrawn]


async def test_alerts_can_be_filtered_by_state_day_and_customer_and_come_by_points(scoring: ServiceUnderTest) -> None:
    customers = [new_id() for _ in range(3)]
    await scoring.deliver([customer_changed(customer) for customer in customers])
    await scoring.deliver([death_in_household(customers[1], days_ago(9))])
    for ago, customer in enumerate(customers, start=1):
        await scoring.deliver([rejected(customer, days_ago(ago))])
        await scoring.deliver([survey(customer, days_ago(ago), 0)])
    await close(scoring, *until(TODAY, 9))
    every = (await read(scoring, "/alerts"))["items"]
    assert [alert["raised_on"] for alert in every] == [str(days_ago(ago)) for ago in (1, 2, 3)]
    assert len((await read(scoring, "/alerts", raised_since=str(days_ago(2))))["items"]) == 2
    assert len((await read(scoring, "/alerts", customer_id=str(customers[0])))["items"]) == 1
    assert (await read(scoring, "/alerts", state="closed"))["items"] == []
    by_points = (await read(scoring, "/alerts", sort="-points"))["items"]
    assert [alert["points"] for alert in by_points] == [65, 50, 50]


async def test_a_loaded_history_is_scored_when_the_load_pauses(scoring_on: ScoringOn) -> None:
    async with scoring_on(TODAY + timedelta(days=1000)) as scoring:
        customer = new_id()
        await scoring.deliver([customer_changed(customer), account_changed(customer, new_id())])
        await scoring.deliver([rejected(customer, days_ago(30))])
        await scoring.deliver([survey(customer, days_ago(20), 0)])
        await close(scoring, *until(TODAY, 60))
        assert await points_of(scoring, customer) == 0
        await score_backlog(scoring)
        recorded = await scoring.rows("select customer_ids from audit_record where operation = 'job'")
        assert recorded == [([customer],)]
        assert await points_of(scoring, customer) == 50
        (raised,) = await scoring.published(ChurnAlertRaised)
        assert (raised.raised_on, raised.is_historic) == (days_ago(20), True)
        await score_backlog(scoring)
        assert len(await scoring.published(ChurnAlertRaised)) == 1
