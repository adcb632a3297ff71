"""During a holiday alerts go to whoever looks after the customers meanwhile, and to nobody who no longer does."""

from datetime import timedelta

from shared.events.customer import PortfolioDelegated
from shared.ids import new_id
from tests.conftest import NewDatabase
from tests.harness import ServiceUnderTest
from tests.notification.bank import (
    M1,
    M2,
    NOW,
    Watch,
    alert_ids,
    alert_raised,
    customer_changed,
    get,
    manager_changed,
    notifying,
    run_job,
    told,
)
from tests.notification.relay import ScriptedRelay, relaying


def delegated(**more: object) -> PortfolioDelegated:
    stated = {"manager_id": "M1", "delegate_id": "M2", "starts_at": NOW, "ends_at": NOW + timedelta(days=7), **more}
    return PortfolioDelegated(delegation_id=new_id(), revision=1, delegated_by="M1", **stated)  # type: ignore[arg-type] # tests' own


async def test_the_delegate_is_told_and_when_it_ends_the_manager(notification: ServiceUnderTest, watch: Watch) -> None:
    customer = customer_changed()
    await notification.deliver([manager_changed("M1"), manager_changed("M2"), customer, delegated()])
    raised = alert_raised(customer.customer_id)
    await notification.deliver([raised])
    assert await alert_ids(notification, M2) == [str(raised.alert_id)]
    assert await alert_ids(notification, M1) == []
    watch.forward(days=7)
    await run_job(notification, "tell_those_responsible")
    assert await alert_ids(notification, M1) == [str(raised.alert_id)]
    assert await alert_ids(notification, M2) == [], "it is not theirs to see any more"
    assert (await get(notification, f"/alerts/{raised.alert_id}/deliveries", M2)).status_code == 404


async def test_open_alerts_are_told_to_the_delegate_when_it_is_heard_of(notification: ServiceUnderTest) -> None:
    raised = await told(notification)
    await notification.deliver([manager_changed("M2")])
    await notification.deliver([delegated(customer_ids=(new_id(),))])
    assert await alert_ids(notification, M2) == [], "another customer is delegated"
    await notification.deliver([delegated()])
    assert await alert_ids(notification, M2) == [str(raised.alert_id)]


async def test_a_mail_that_waits_does_not_go_to_whom_the_customer_is_no_longer_given(
    new_database: NewDatabase, watch: Watch
) -> None:
    relay = ScriptedRelay()
    async with relaying(relay) as port, notifying(await new_database("notification"), watch, smtp_port=port) as running:
        raised = await told(running)
        await running.deliver([manager_changed("M2")])
        await run_job(running, "send_mails")
        await running.deliver([delegated()])
        watch.forward(days=7)
        await run_job(running, "send_mails")
        states = await running.rows(
            "select staff_id, state, code from delivery where alert_id = :id and channel = 'email' order by 1",
            id=raised.alert_id,
        )
    assert states == [("M1", "delivered", None), ("M2", "cancelled", "reassigned")]
    assert [b"m1@bank.example" in mail for mail in relay.accepted] == [True]
