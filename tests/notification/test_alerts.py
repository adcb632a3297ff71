"""Who is told of an alert: whoever looks after the customer, once, whatever comes first."""

import asyncio
from itertools import permutations

import pytest
from sqlalchemy import text

from services.notification.use_cases import alerts
from shared.events import Delivery, Event
from shared.events.notification import AlertDelivered, Channel
from shared.events.scoring import AlertClosure
from shared.ids import new_id
from tests.harness import ServiceUnderTest, branch_head, head_office
from tests.notification.bank import (
    M1,
    M2,
    NOW,
    Watch,
    alert_closed,
    alert_ids,
    alert_raised,
    customer_changed,
    deliveries,
    get,
    inbox,
    mail_of,
    manager_changed,
    run_job,
    told,
)


async def test_an_alert_lies_in_its_managers_inbox_and_is_to_be_mailed(notification: ServiceUnderTest) -> None:
    raised = await told(notification)
    (item,) = await inbox(notification)
    assert item["customer_id"] == str(raised.customer_id)
    assert (item["customer_number"], item["points"], item["raised_on"]) == ("10004217", 65, "2026-11-23")
    assert [reason["code"] for reason in item["reasons"]] == ["card_quiet", "salary_stopped"]
    assert (item["state"], item["created_at"]) == ("open", "2026-11-24T09:30:00Z")
    shown = await deliveries(notification, raised)
    assert shown["state"] == "delivered"
    assert {(d["staff_id"], d["channel"], d["state"], d["attempts"]) for d in shown["items"]} == {
        ("M1", "inbox", "delivered", 1),
        ("M1", "email", "pending", 0),
    }
    (event,) = await notification.published(AlertDelivered)
    assert (event.alert_id, event.manager_id, event.channel) == (raised.alert_id, "M1", Channel.INBOX)
    assert (event.customer_id, event.delivered_at) == (raised.customer_id, NOW)


@pytest.mark.parametrize("same_id", [True, False])
async def test_a_redelivered_alert_is_told_once(notification: ServiceUnderTest, same_id: bool) -> None:
    customer = customer_changed()
    raised = alert_raised(customer.customer_id)
    await notification.deliver([manager_changed(), customer])
    first = await notification.deliver([raised])
    await notification.deliver([raised, raised], ids=[first[0] if same_id else new_id(), first[0]])
    assert len(await inbox(notification)) == 1
    assert await notification.count("delivery") == 2
    assert len(await notification.published(AlertDelivered)) == 1


@pytest.mark.parametrize("order", list(permutations(range(3))))
async def test_whatever_comes_last_the_alert_is_delivered(
    notification: ServiceUnderTest, order: tuple[int, int, int]
) -> None:
    customer = customer_changed()
    events: list[Event] = [customer, manager_changed(), alert_raised(customer.customer_id)]
    for which in order[:2]:
        await notification.deliver([events[which]])
    assert await notification.count("inbox_item") == 0
    await notification.deliver([events[order[2]]])
    assert len(await inbox(notification)) == 1
    assert len(await notification.published(AlertDelivered)) == 1


async def test_an_alert_waits_as_unresolved_while_nobody_is_known(notification: ServiceUnderTest) -> None:
    customer = customer_changed()
    raised = alert_raised(customer.customer_id)
    await notification.deliver([customer])
    await notification.deliver([raised])
    assert await deliveries(notification, raised) == {
        "alert_id": str(raised.alert_id),
        "state": "unresolved",
        "items": [],
    }
    assert await notification.published_types() == []


async def test_the_deputy_is_told_for_an_inactive_manager(notification: ServiceUnderTest) -> None:
    customer = customer_changed(deputy_manager_id="M2")
    await notification.deliver([manager_changed("M1", is_active=False), manager_changed("M2"), customer])
    raised = alert_raised(customer.customer_id)
    await notification.deliver([raised])
    assert await alert_ids(notification, M2) == [str(raised.alert_id)]
    assert await alert_ids(notification, M1) == []


@pytest.mark.parametrize(
    ("active", "head"), [(("H1", "H2", "H3"), "H3"), (("H1", "H2"), "H2"), (("H1",), "H1"), ((), None)]
)
async def test_else_the_head_of_the_nearest_branch_is_told(
    notification: ServiceUnderTest, active: tuple[str, ...], head: str | None
) -> None:
    customer = customer_changed(branch_id="B3", branch_path=("B1", "B2", "B3"), manager_id=None)
    heads = [
        manager_changed(f"H{level}", branch_id=f"B{level}", is_branch_head=True, is_active=f"H{level}" in active)
        for level in (1, 2, 3)
    ]
    other = manager_changed("H9", branch_id="B9", is_branch_head=True)
    colleague = manager_changed("M3", branch_id="B3")
    await notification.deliver([customer, *heads, other, colleague])
    await notification.deliver([alert_raised(customer.customer_id)])
    assert await notification.rows("select staff_id from inbox_item") == ([(head,)] if head else [])


async def test_a_manager_who_heads_the_branch_too_is_told_once(notification: ServiceUnderTest) -> None:
    customer = customer_changed(deputy_manager_id="M1")
    await notification.deliver([manager_changed("M1", is_branch_head=True), customer])
    await notification.deliver([alert_raised(customer.customer_id)])
    assert await notification.rows("select staff_id from inbox_item") == [("M1",)]


async def test_nobody_is_told_of_a_historic_alert(notification: ServiceUnderTest) -> None:
    customer = customer_changed()
    raised = alert_raised(customer.customer_id, is_historic=True)
    await notification.deliver([manager_changed(), customer])
    await notification.deliver([raised])
    await run_job(notification, "tell_those_responsible")
    assert await inbox(notification) == []
    assert (await deliveries(notification, raised))["state"] == "historic"
    assert await notification.published_types() == []


async def test_of_two_states_of_a_manager_the_newer_counts(notification: ServiceUnderTest) -> None:
    customer = customer_changed(deputy_manager_id="M2")
    await notification.deliver([manager_changed("M2"), customer])
    await notification.deliver([manager_changed("M1", revision=7, is_active=False)])
    await notification.deliver([manager_changed("M1", revision=6)])
    await notification.deliver([alert_raised(customer.customer_id)])
    assert await notification.rows("select staff_id from inbox_item") == [("M2",)]


async def test_a_closed_alert_closes_its_item_and_is_not_mailed_any_more(notification: ServiceUnderTest) -> None:
    raised = await told(notification)
    closed = alert_closed(raised, closure=AlertClosure.RECOVERY)
    await notification.deliver([closed])
    (item,) = await inbox(notification)
    assert (item["state"], item["closure"], item["closed_at"]) == ("closed", "recovery", "2026-11-24T09:30:00Z")
    mail = await mail_of(notification, raised)
    assert (mail["state"], mail["code"], mail["next_attempt_at"]) == ("cancelled", "alert_closed", None)
    changes = await notification.rows("select last_sequence from inbox")
    await notification.deliver([closed])
    assert await notification.rows("select last_sequence from inbox") == changes, "closed again changes nothing"


async def test_nobody_is_told_of_an_alert_whose_end_came_first(notification: ServiceUnderTest) -> None:
    customer = customer_changed()
    raised = alert_raised(customer.customer_id)
    await notification.deliver([manager_changed(), customer])
    await notification.deliver([alert_closed(raised)])
    assert (await deliveries(notification, raised))["state"] == "closed"
    await notification.deliver([raised])
    await notification.deliver([alert_closed(raised), raised])
    assert await inbox(notification) == []
    assert (await deliveries(notification, raised))["state"] == "closed"
    assert await notification.published_types() == []


async def test_an_alert_that_closed_while_it_waited_is_not_delivered_later(notification: ServiceUnderTest) -> None:
    customer = customer_changed()
    raised = alert_raised(customer.customer_id)
    await notification.deliver([customer])
    await notification.deliver([raised, alert_closed(raised)])
    await notification.deliver([manager_changed()])
    assert await inbox(notification) == []


async def test_an_alert_follows_its_customer_to_another_manager(notification: ServiceUnderTest) -> None:
    raised = await told(notification)
    await notification.deliver(
        [manager_changed("M2"), customer_changed(raised.customer_id, revision=2, manager_id="M2")]
    )
    assert await alert_ids(notification, M2) == [str(raised.alert_id)]
    assert await alert_ids(notification, M1) == [], "who has handed the customer over reads no more of them"
    assert (await get(notification, "/inbox/count", M1)).json()["open"] == 0
    shown = await deliveries(notification, raised, M2)
    assert {(d["staff_id"], d["channel"], d["state"], d["code"]) for d in shown["items"]} == {
        ("M1", "inbox", "delivered", None),
        ("M1", "email", "cancelled", "reassigned"),
        ("M2", "inbox", "delivered", None),
        ("M2", "email", "pending", None),
    }
    await notification.deliver([alert_closed(raised)])
    assert await notification.rows("select distinct state from inbox_item") == [("closed",)]


async def test_an_alert_of_a_manager_who_leaves_goes_to_the_branch_head(notification: ServiceUnderTest) -> None:
    raised = await told(notification)
    await notification.deliver([manager_changed("H1", is_branch_head=True)])
    assert await alert_ids(notification, branch_head("B1", "H1")) == [], "it is the manager's"
    await notification.deliver([manager_changed("M1", revision=2, is_active=False)])
    assert await alert_ids(notification, branch_head("B1", "H1")) == [str(raised.alert_id)]


async def test_an_alert_and_its_manager_delivered_at_the_same_moment_still_find_each_other(
    notification: ServiceUnderTest, watch: Watch
) -> None:
    """Two consumers, two transactions: neither sees the other's rows."""
    customer = customer_changed()
    raised = alert_raised(customer.customer_id)
    await notification.deliver([customer])
    async with notification.database.transaction() as one, notification.database.transaction() as other:
        await alerts.record_alerts(one, [Delivery(new_id(), raised, NOW)], NOW)
        await other.execute(text("insert into recipient values ('M1', 1, 'B1', 'm1@bank.example', false, true)"))
        assert await alerts.tell_those_responsible(other, NOW) == 0
    assert await inbox(notification) == []
    await run_job(notification, "tell_those_responsible")
    await run_job(notification, "tell_those_responsible")
    assert await alert_ids(notification) == [str(raised.alert_id)]
    assert len(await notification.published(AlertDelivered)) == 1


async def test_an_alert_that_closes_while_it_is_being_delivered_ends_closed(notification: ServiceUnderTest) -> None:
    customer = customer_changed()
    raised = alert_raised(customer.customer_id)
    await notification.deliver([customer])
    await notification.deliver([raised])
    async with notification.database.transaction() as delivering:
        await delivering.execute(text("insert into recipient values ('M1', 1, 'B1', 'm1@bank.example', false, true)"))
        assert await alerts.tell_those_responsible(delivering, NOW) == 1
        closing = asyncio.create_task(notification.deliver([alert_closed(raised)]))
        await asyncio.sleep(0.3)
        assert not closing.done(), "it waits for the delivery"
    await closing
    assert [item["state"] for item in await inbox(notification)] == ["closed"]
    assert (await mail_of(notification, raised))["state"] == "cancelled"


async def test_an_alert_that_is_being_closed_is_not_delivered(notification: ServiceUnderTest) -> None:
    customer = customer_changed()
    raised = alert_raised(customer.customer_id)
    await notification.deliver([customer])
    await notification.deliver([raised])
    async with notification.database.transaction() as closing:
        await alerts.close_alerts(closing, [Delivery(new_id(), alert_closed(raised), NOW)])
        delivering = asyncio.create_task(notification.deliver([manager_changed()]))
        await asyncio.sleep(0.3)
        assert not delivering.done(), "it waits for the end"
    await delivering
    assert await inbox(notification) == []
    assert await notification.count("delivery") == 0


async def test_two_who_deliver_the_same_alert_at_the_same_moment_tell_once(notification: ServiceUnderTest) -> None:
    customer = customer_changed()
    await notification.deliver([customer])
    await notification.deliver([alert_raised(customer.customer_id)])
    async with notification.database.transaction() as session:
        await session.execute(text("insert into recipient values ('M1', 1, 'B1', 'm1@bank.example', false, true)"))
    await asyncio.gather(*(run_job(notification, "tell_those_responsible") for _ in range(3)))
    assert len(await inbox(notification)) == 1
    assert len(await notification.published(AlertDelivered)) == 1


async def test_many_alerts_in_one_batch_are_each_told_once(notification: ServiceUnderTest) -> None:
    customers = [customer_changed(manager_id=f"M{number % 3 + 1}") for number in range(300)]
    await notification.deliver([manager_changed(f"M{number}") for number in (1, 2, 3)])
    await notification.deliver(customers)
    await notification.deliver([alert_raised(customer.customer_id) for customer in customers])
    assert await notification.rows(
        "select staff_id, count(*), count(distinct sequence) from inbox_item group by staff_id order by staff_id"
    ) == [(f"M{number}", 100, 100) for number in (1, 2, 3)]
    assert len(await notification.published(AlertDelivered)) == 300


async def test_deliveries_are_seen_with_the_customer(notification: ServiceUnderTest) -> None:
    raised = await told(notification)
    for who in (M1, branch_head("B1"), branch_head("HQ"), head_office()):
        assert len((await deliveries(notification, raised, who))["items"]) == 2
    for who in (M2, branch_head("B2")):
        answer = await get(notification, f"/alerts/{raised.alert_id}/deliveries", who)
        assert (answer.status_code, answer.json()["code"]) == (404, "alert_not_found")
