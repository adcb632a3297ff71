"""An inbox is its owner's, shows the customers that they look after, and remembers what they did."""

import asyncio
from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import text

from services.notification.use_cases.inbox import RETURNED_AT_ONCE
from shared.auth.principal import Principal, Role
from shared.events.notification import AlertAcknowledged, AlertSnoozed
from shared.ids import new_id
from tests.harness import ServiceUnderTest, branch_head, head_office, program
from tests.notification.bank import (
    M1,
    M2,
    NOW,
    Watch,
    alert_closed,
    alert_ids,
    alert_raised,
    customer_changed,
    get,
    inbox,
    manager_changed,
    post,
    run_job,
    told,
)


async def test_the_newest_item_comes_first_and_pages_miss_none(notification: ServiceUnderTest, watch: Watch) -> None:
    customers = [customer_changed(customer_number=str(number)) for number in range(5)]
    await notification.deliver([manager_changed(), *customers])
    for customer in customers:
        watch.forward(minutes=1)
        await notification.deliver([alert_raised(customer.customer_id)])
    numbers: list[str] = []
    cursor = ""
    while True:
        page = (await get(notification, f"/inbox?limit=2{cursor}")).json()
        numbers += [item["customer_number"] for item in page["items"]]
        if page["next"] is None:
            break
        cursor = f"&cursor={page['next']}"
    assert numbers == ["4", "3", "2", "1", "0"]


async def test_items_are_listed_and_counted_by_state(notification: ServiceUnderTest) -> None:
    raised = [await told(notification) for _ in range(5)]
    await notification.deliver([alert_closed(raised[0])])
    items = {item["alert_id"]: item["item_id"] for item in await inbox(notification)}
    await post(notification, f"/inbox/{items[str(raised[1].alert_id)]}/acknowledge")
    until = {"until": (NOW + timedelta(days=1)).isoformat()}
    await post(notification, f"/inbox/{items[str(raised[2].alert_id)]}/snooze", until)
    for query, expected in (
        ("?state=closed", {raised[0]}),
        ("?state=acknowledged", {raised[1]}),
        ("?state=snoozed", {raised[2]}),
        ("?state=open", {raised[3], raised[4]}),
        ("?state=open&state=snoozed", {raised[2], raised[3], raised[4]}),
        ("", set(raised)),
    ):
        assert set(await alert_ids(notification, M1, query)) == {str(alert.alert_id) for alert in expected}
    assert (await get(notification, "/inbox/count")).json() == {"open": 2, "snoozed": 1, "acknowledged": 1}
    assert (await get(notification, "/inbox/count", M2)).json() == {"open": 0, "snoozed": 0, "acknowledged": 0}
    assert (await get(notification, "/inbox?state=lost")).status_code == 422


async def test_one_item_is_read_until_it_changes(notification: ServiceUnderTest) -> None:
    await told(notification)
    (item,) = await inbox(notification)
    path = f"/inbox/{item['item_id']}"
    first = await get(notification, path)
    assert first.json() == item
    assert (await get(notification, path, If_None_Match=first.headers["ETag"])).status_code == 304
    changed = await post(notification, f"{path}/acknowledge")
    again = await get(notification, path, If_None_Match=first.headers["ETag"])
    assert (again.status_code, again.headers["ETag"]) == (200, changed.headers["ETag"])
    assert again.json()["state"] == "acknowledged"


async def test_nobody_reads_or_changes_anothers_item(notification: ServiceUnderTest) -> None:
    await told(notification, deputy_manager_id="M2")
    (item,) = await inbox(notification)
    path = f"/inbox/{item['item_id']}"
    for who in (M2, branch_head("B1"), head_office()):
        assert (await get(notification, path, who)).json()["code"] == "inbox_item_not_found"
        assert (await post(notification, f"{path}/acknowledge", who=who)).status_code == 404
        assert await inbox(notification, who) == []
    assert (await get(notification, f"/inbox/{new_id()}")).status_code == 404


async def test_a_branch_head_has_an_inbox_of_their_own(notification: ServiceUnderTest) -> None:
    customer = customer_changed(manager_id=None)
    raised = alert_raised(customer.customer_id)
    await notification.deliver([manager_changed("H1", is_branch_head=True), customer])
    await notification.deliver([raised])
    head = branch_head("B1", "H1")
    assert await alert_ids(notification, head) == [str(raised.alert_id)]
    (item,) = await inbox(notification, head)
    assert (await post(notification, f"/inbox/{item['item_id']}/acknowledge", who=head)).status_code == 200


@pytest.mark.parametrize(
    "who",
    [
        program("corebanking:write"),
        Principal(subject="A1", role=Role.AUDITOR, staff_id="A1"),
        Principal(subject="O1", role=Role.OPERATOR, staff_id="O1"),
    ],
)
@pytest.mark.parametrize("path", ["/inbox", "/inbox/count", "/inbox/stream", f"/inbox/{UUID(int=0)}"])
async def test_an_inbox_is_for_those_who_look_after_customers(
    notification: ServiceUnderTest, who: Principal, path: str
) -> None:
    assert (await get(notification, path, who)).status_code == 403


async def test_the_database_itself_keeps_inboxes_apart(notification: ServiceUnderTest) -> None:
    """Whatever a query forgets to say."""
    await told(notification)
    async with notification.database.requests.connect() as connection:

        async def seen(staff_id: str, role: str, table: str) -> int:
            for name, value in (("role", role), ("staff_id", staff_id), ("branch_id", "B1")):
                setting = text("select set_config(:name, :value, true)")
                await connection.execute(setting, {"name": f"branchline.{name}", "value": value})
            return int(await connection.scalar(text(f"select count(*) from {table}")) or 0)

        for table, expected in (("inbox_item", (1, 0, 0, 0)), ("inbox", (1, 0, 0, 1)), ("delivery", (2, 0, 2, 0))):
            assert (
                await seen("M1", "manager", table),
                await seen("M2", "manager", table),
                await seen("H1", "branch_head", table),
                await seen("M1", "auditor", table),
            ) == expected
        for statement in ("select * from recipient", "update inbox_item set staff_id = 'M2'", "delete from inbox_item"):
            await connection.rollback()
            with pytest.raises(Exception, match="permission denied"):
                await connection.execute(text(statement))


async def test_acknowledging_is_told_once_however_often_it_is_done(
    notification: ServiceUnderTest, watch: Watch
) -> None:
    raised = await told(notification)
    (item,) = await inbox(notification)
    path = f"/inbox/{item['item_id']}/acknowledge"
    first = await post(notification, path)
    assert (first.status_code, first.json()["state"]) == (200, "acknowledged")
    assert first.json()["acknowledged_at"] == "2026-11-24T09:30:00Z"
    watch.forward(minutes=5)
    again = await asyncio.gather(*(post(notification, path) for _ in range(3)))
    assert [answer.json() for answer in again] == [first.json()] * 3
    (event,) = await notification.published(AlertAcknowledged)
    assert (event.alert_id, event.customer_id) == (raised.alert_id, raised.customer_id)
    assert (event.manager_id, event.acknowledged_at) == ("M1", NOW)


async def test_of_acknowledgements_at_the_same_moment_one_counts(notification: ServiceUnderTest) -> None:
    await told(notification)
    (item,) = await inbox(notification)
    answers = await asyncio.gather(*(post(notification, f"/inbox/{item['item_id']}/acknowledge") for _ in range(5)))
    assert {answer.status_code for answer in answers} == {200}
    assert len(await notification.published(AlertAcknowledged)) == 1


async def test_a_snooze_with_an_unknown_member_is_refused(notification: ServiceUnderTest) -> None:
    await told(notification)
    (item,) = await inbox(notification)
    body = {"until": "2026-11-25T10:00:00+02:00", "for_everybody": True}
    answer = await post(notification, f"/inbox/{item['item_id']}/snooze", body)
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/for_everybody")


async def test_a_snoozed_item_comes_back_at_its_time(notification: ServiceUnderTest, watch: Watch) -> None:
    raised = await told(notification)
    (item,) = await inbox(notification)
    path = f"/inbox/{item['item_id']}"
    body = {"until": "2026-11-25T10:00:00+02:00"}
    for _ in range(2):
        answer = await post(notification, f"{path}/snooze", body)
        assert answer.json()["snoozed_until"] == "2026-11-25T08:00:00Z"
    (event,) = await notification.published(AlertSnoozed)
    assert (event.alert_id, event.manager_id) == (raised.alert_id, "M1")
    assert event.snoozed_until.isoformat() == "2026-11-25T08:00:00+00:00"
    watch.now = event.snoozed_until - timedelta(seconds=1)
    await run_job(notification, "return_snoozed_items")
    assert (await get(notification, path)).json()["state"] == "snoozed"
    watch.forward(seconds=1)
    await run_job(notification, "return_snoozed_items")
    back = await get(notification, path)
    assert (back.json()["state"], back.json()["snoozed_until"]) == ("open", None)
    assert back.headers["ETag"] != answer.headers["ETag"]


async def test_more_snoozed_items_than_fit_one_turn_all_come_back(notification: ServiceUnderTest, watch: Watch) -> None:
    customers = [customer_changed() for _ in range(RETURNED_AT_ONCE + 20)]
    await notification.deliver([manager_changed(), *customers])
    await notification.deliver([alert_raised(customer.customer_id) for customer in customers])
    async with notification.database.transaction() as session:
        await session.execute(text("update inbox_item set state = 'snoozed', snoozed_until = :now"), {"now": NOW})
    await run_job(notification, "return_snoozed_items")
    assert await notification.rows("select state, count(distinct sequence) from inbox_item group by state") == [
        ("open", len(customers))
    ]


@pytest.mark.parametrize("until", ["2026-11-24T09:30:00Z", "2026-11-20T00:00:00Z", "2026-12-24T09:30:01Z"])
async def test_an_item_is_put_off_into_the_next_30_days_only(notification: ServiceUnderTest, until: str) -> None:
    await told(notification)
    (item,) = await inbox(notification)
    answer = await post(notification, f"/inbox/{item['item_id']}/snooze", {"until": until})
    assert answer.status_code == 422
    assert [error["pointer"] for error in answer.json()["errors"]] == ["/until"]
    assert await notification.published(AlertSnoozed) == []


@pytest.mark.parametrize("until", ["tomorrow", "2026-11-25T08:00:00", None, 1])
async def test_a_time_without_a_zone_is_refused(notification: ServiceUnderTest, until: object) -> None:
    await told(notification)
    (item,) = await inbox(notification)
    assert (await post(notification, f"/inbox/{item['item_id']}/snooze", {"until": until})).status_code == 422


async def test_a_snoozed_item_can_be_acknowledged_and_an_acknowledged_one_put_off(
    notification: ServiceUnderTest,
) -> None:
    await told(notification)
    (item,) = await inbox(notification)
    path, body = f"/inbox/{item['item_id']}", {"until": "2026-11-25T08:00:00Z"}
    await post(notification, f"{path}/snooze", body)
    assert (await post(notification, f"{path}/acknowledge")).json()["snoozed_until"] is None
    assert (await post(notification, f"{path}/snooze", body)).json()["state"] == "snoozed"


@pytest.mark.parametrize(("verb", "body"), [("acknowledge", None), ("snooze", {"until": "2026-11-25T08:00:00Z"})])
async def test_a_closed_item_takes_no_more_changes(
    notification: ServiceUnderTest, verb: str, body: dict[str, str] | None
) -> None:
    raised = await told(notification)
    await notification.deliver([alert_closed(raised)])
    (item,) = await inbox(notification)
    answer = await post(notification, f"/inbox/{item['item_id']}/{verb}", body)
    assert (answer.status_code, answer.json()["code"]) == (409, "inbox_item_closed")


async def test_the_inbox_holds_no_name_of_a_customer(notification: ServiceUnderTest) -> None:
    columns = await notification.rows(
        "select column_name from information_schema.columns where table_schema = 'public'"
        " and table_name not like 'audit_record%' and table_name <> 'service_key'"  # not a customer's
    )
    assert not {name for (name,) in columns} & {"name", "customer_name", "phone", "address", "birth_on"}
