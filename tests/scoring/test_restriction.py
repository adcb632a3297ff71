"""Who is restricted is not scored and has no open alert; who no longer is, is."""

from datetime import timedelta

from shared.events.scoring import AlertClosure, AlertEnding, ChurnAlertClosed, ChurnAlertRaised
from shared.ids import new_id
from tests.harness import ServiceUnderTest, manager
from tests.scoring.bank import (
    TODAY,
    close,
    customer_changed,
    days_ago,
    points_of,
    read,
    rejected,
    salaries,
    survey,
    until,
)


async def test_a_restricted_customer_is_not_scored_and_their_alert_closes_until_it_is_lifted(
    scoring: ServiceUnderTest,
) -> None:
    customer, other = new_id(), new_id()
    await scoring.deliver([customer_changed(customer), customer_changed(other)])
    for each in (customer, other):
        await scoring.deliver([salaries(each, new_id(), days_ago(41)), rejected(each, days_ago(9))])
    await close(scoring, *until(days_ago(1), 10))
    assert len(await scoring.published(ChurnAlertRaised)) == 2

    await scoring.deliver([customer_changed(customer, revision=2, restricted=True)])
    (closed,) = await scoring.published(ChurnAlertClosed)
    assert (closed.customer_id, closed.closure) == (customer, AlertClosure.DEPARTURE), "for older readers"
    assert closed.ended_by is AlertEnding.RESTRICTION
    await read(scoring, f"/customers/{customer}/score", manager("M1"), 404)
    assert len((await read(scoring, "/alerts", manager("M1")))["items"]) == 1
    (seen,) = (await read(scoring, "/alerts", state="closed"))["items"]
    assert (seen["customer_id"], seen["closure"]) == (str(customer), "restriction")

    before = await points_of(scoring, customer)
    await scoring.deliver([survey(customer, TODAY, 1), survey(other, TODAY, 1)])
    await close(scoring, TODAY)
    assert await points_of(scoring, customer) == before < await points_of(scoring, other)
    assert len(await scoring.published(ChurnAlertRaised)) == 2

    await scoring.deliver([customer_changed(customer, revision=3)])
    assert await points_of(scoring, customer) == await points_of(scoring, other)
    await close(scoring, TODAY + timedelta(days=1))
    raised = (await scoring.published(ChurnAlertRaised))[2:]
    assert [(alert.customer_id, alert.raised_on) for alert in raised] == [(customer, TODAY + timedelta(days=1))]
    (alert,) = (await read(scoring, "/alerts", manager("M1"), state="open", customer_id=customer))["items"]
    assert alert["alert_id"] == str(raised[0].alert_id)


async def test_an_open_day_raises_no_alert_about_a_restricted_customer(scoring: ServiceUnderTest) -> None:
    customer = new_id()
    await scoring.deliver([customer_changed(customer, restricted=True)])
    await close(scoring, days_ago(1))
    await scoring.deliver([rejected(customer, TODAY), survey(customer, TODAY, 1)])
    await close(scoring, TODAY)
    assert await scoring.published(ChurnAlertRaised) == []
