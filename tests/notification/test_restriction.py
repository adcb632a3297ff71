"""Nobody is told about a customer whose record is restricted."""

from tests.harness import ServiceUnderTest, head_office
from tests.notification.bank import alert_ids, alert_raised, customer_changed, deliveries, manager_changed, told


async def test_a_restricted_customers_alert_leaves_the_inbox_and_is_not_mailed(notification: ServiceUnderTest) -> None:
    raised = await told(notification)
    await notification.deliver([customer_changed(raised.customer_id, revision=2, restricted=True)])
    assert await alert_ids(notification) == []
    shown = await deliveries(notification, raised, head_office())
    assert {(each["channel"], each["state"], each["code"]) for each in shown["items"]} == {
        ("inbox", "delivered", None),
        ("email", "cancelled", "restricted"),
    }
    await notification.deliver([customer_changed(raised.customer_id, revision=3)])
    assert await alert_ids(notification) == [str(raised.alert_id)]


async def test_an_alert_about_a_restricted_customer_waits_until_it_is_lifted(notification: ServiceUnderTest) -> None:
    customer = customer_changed(restricted=True)
    await notification.deliver([manager_changed(), customer])
    raised = alert_raised(customer.customer_id)
    await notification.deliver([raised])
    assert (await alert_ids(notification), await notification.count("delivery")) == ([], 0)
    await notification.deliver([customer_changed(customer.customer_id, revision=2)])
    assert await alert_ids(notification) == [str(raised.alert_id)]
