"""What changes when nobody asks: events that arrive, jobs, and what operators set going."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest
from sqlalchemy import text

from services.notification.app import notification_service
from shared.audit.records import MOST_CUSTOMERS, Access, customers, customers_of_keys
from shared.audit.unattended import reach, working_at
from shared.audit.verification import verify_service
from shared.audit.writer import AuditAway
from shared.clock import system_clock
from shared.ids import new_id
from shared.jobs import forget_unattributed, forget_what_is_past
from shared.messaging.dead_letters import Parked, park
from shared.messaging.records import Record
from tests.audit.ledger import KEYS
from tests.conftest import NewDatabase
from tests.harness import ServiceUnderTest, manager, operator, under_test
from tests.notification.bank import customer_changed, manager_changed, run_job, serving, told

M1 = manager()

_EDIT = text(
    "insert into dead_letter_edit"
    ' (id, letter_id, topic, partition, "offset", customer_id, headers, edited_at, edited_by)'
    " values (:id, :id, 'customer.events', 0, 1, :customer_id, '{}', :at, 'OP1')"
)
_LETTER = text(
    'insert into dead_letter (id, topic, partition, "offset", customer_id, headers, code, detail, parked_at)'
    " values (gen_random_uuid(), 'customer.events', 0, 1, :customer_id, '{}', 'handler_failed', '', :at)"
)
_ANSWER = text(
    "insert into idempotency_key (key_hash, body_hash, status, customer_id, sealed, created_at)"
    " values (:hash, '', 201, :customer_id, '', :at)"
)


@pytest.fixture
async def notification(new_database: NewDatabase) -> AsyncIterator[ServiceUnderTest]:
    service = notification_service("http://branchline.test")
    async with under_test(service, await new_database("notification"), audit_keys=KEYS) as running:
        yield running


async def kept(running: ServiceUnderTest, operation: str) -> list[dict[str, Any]]:
    async with running.database.jobs.connect() as connection:
        query = text("select * from audit_record where operation = :operation order by at")
        return [dict(row) for row in (await connection.execute(query, {"operation": operation})).mappings()]


async def test_a_delivery_is_recorded_as_the_services_doing(notification: ServiceUnderTest) -> None:
    one, two = new_id(), new_id()
    await notification.deliver([customer_changed(one), customer_changed(two)], partition=3)
    (row,) = await kept(notification, "deliver_events")
    told_of = {name: row[name] for name in ("actor", "role", "action", "outcome", "purpose", "resource")}
    assert told_of == {
        "actor": "notification",
        "role": "service",
        "action": "change",
        "outcome": "changed",
        "purpose": "processing",
        "resource": "topic/customer.events/3/0-1",
    }
    assert (set(row["customer_ids"]), row["customer_count"]) == ({one, two}, 2)


async def test_a_delivery_that_cannot_be_recorded_changes_nothing(notification: ServiceUnderTest) -> None:
    async with notification.database.jobs.begin() as connection:
        await connection.execute(text("revoke insert on audit_record from notification_api"))
    delivering = asyncio.ensure_future(notification.deliver([customer_changed(new_id())]))
    await asyncio.sleep(1)
    assert not delivering.done(), "it is tried again and again, and parked never"
    assert (await notification.count("customer_scope"), await notification.count("dead_letter")) == (0, 0)
    async with notification.database.jobs.begin() as connection:
        await connection.execute(text("grant insert on audit_record to notification_api"))
    await asyncio.wait_for(delivering, 30)
    assert await notification.count("customer_scope") == 1
    assert (await verify_service(notification.database.jobs_url, "notification", KEYS)).faults == []


async def test_what_a_job_tells_of_a_customer_is_recorded_under_its_name(notification: ServiceUnderTest) -> None:
    customer_id = new_id()
    async with notification.database.transaction():
        pass
    assert await notification.count("audit_record") == 0, "what changes no record is none of the audit's"
    with working_at("send_mails"):
        async with notification.database.transaction() as session:
            reach(session, [customer_id])
    (row,) = await kept(notification, "send_mails")
    assert (row["actor"], row["customer_ids"]) == ("notification", [customer_id])


async def test_what_jobs_forget_is_recorded_with_whose_it_was_or_how_much(notification: ServiceUnderTest) -> None:
    customer_id, long_ago = new_id(), datetime.now(UTC) - timedelta(days=200)
    async with notification.database.jobs.begin() as connection:
        for id_ in (customer_id, None):
            letter = {"id": new_id(), "customer_id": id_, "at": long_ago, "hash": new_id().bytes}
            await connection.execute(_EDIT, letter)
            await connection.execute(_ANSWER, letter)
            await connection.execute(_LETTER, letter)
    await forget_unattributed(notification.database, system_clock)
    await forget_what_is_past(notification.database, system_clock)
    rows = {
        (row["resource"], tuple(row["customer_ids"]), row["customer_count"]) for row in await kept(notification, "job")
    }
    assert rows == {
        ("dead_letter", (), 1),
        ("dead_letter_edit", (), 1),
        ("dead_letter_edit", (customer_id,), 1),
        ("idempotency_key", (customer_id,), 2),
    }


async def test_a_snoozed_item_that_comes_back_is_recorded(notification: ServiceUnderTest) -> None:
    raised = await told(notification)
    async with notification.database.jobs.begin() as connection:
        await connection.execute(text("update inbox_item set state = 'snoozed', snoozed_until = now()"))
    with working_at("return_snoozed_items"):
        await run_job(notification, "return_snoozed_items")
    (row,) = await kept(notification, "return_snoozed_items")
    assert row["customer_ids"] == [raised.customer_id]


async def test_an_operator_who_opens_a_letter_reaches_its_customers_record(notification: ServiceUnderTest) -> None:
    customer_id = new_id()
    await notification.deliver([customer_changed(customer_id)])
    async with notification.database.transaction() as session:
        record = Record("customer.events", 0, 7, str(customer_id).encode(), b"{}", ())
        await park(session, [Parked(record, "handler_failed", "of a test")])
    ((letter_id,),) = await notification.rows("select id from dead_letter")
    async with notification.http(operator()) as http:
        assert (await http.get("/dead-letters")).status_code == 200
        assert (await http.get(f"/dead-letters/{letter_id}")).status_code == 200
        await http.patch(f"/dead-letters/{letter_id}", json={"payload": "[]"}, headers={"If-Match": "*"})
        await http.post(f"/dead-letters/{letter_id}/replay")
        await http.post("/dead-letters/replay")
    one = [customer_id]
    reached = {
        name: [row["customer_ids"] for row in await kept(notification, name)]
        for name in (
            *("list_dead_letters", "read_dead_letter", "edit_dead_letter"),
            *("replay_dead_letter", "replay_dead_letters"),
        )
    }
    assert reached == {
        "list_dead_letters": [[]],
        "read_dead_letter": [one],
        "edit_dead_letter": [one],
        "replay_dead_letter": [one],
        "replay_dead_letters": [one],
    }


async def test_each_event_of_a_stream_waits_for_its_row(notification: ServiceUnderTest) -> None:
    customer_id = new_id()
    await notification.deliver([manager_changed(), customer_changed(customer_id)])
    token = notification.token(M1)
    async with (
        serving(notification) as url,
        httpx.AsyncClient(headers={"Authorization": f"Bearer {token}"}) as http,
        http.stream("GET", f"{url}/inbox/stream") as stream,
    ):
        lines = stream.aiter_lines()
        assert "position" in await anext(lines)
        (opened,) = await kept(notification, "stream_inbox")
        assert opened["customer_ids"] == []
        await told(notification)
        async for line in lines:
            if "inbox_item" in line:
                break
        *_, shown = await kept(notification, "stream_inbox")
        assert (shown["actor"], shown["outcome"], len(shown["customer_ids"])) == ("M1", "shown", 1)


async def test_a_stream_ends_when_its_rows_cannot_be_written(
    notification: ServiceUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    await notification.deliver([manager_changed()])
    async with (
        serving(notification) as url,
        httpx.AsyncClient(headers={"Authorization": f"Bearer {notification.token(M1)}"}) as http,
        http.stream("GET", f"{url}/inbox/stream") as stream,
    ):
        lines = stream.aiter_lines()
        assert "position" in await anext(lines)

        async def away(access: Access) -> None:
            if access.actor == "M1":
                raise AuditAway("gone")

        monkeypatch.setattr(notification.app.state.audit, "record", away)
        await told(notification)
        left = [line async for line in lines]
    assert not any("customer_id" in line for line in left)


def test_of_very_many_customers_the_first_are_named_and_all_are_counted() -> None:
    ids = [UUID(int=number) for number in range(MOST_CUSTOMERS + 5)]
    assert customers(ids) == customers_of_keys([*(str(each) for each in ids), "M1", str(ids[0])])
    code = "BRANCH-1-OF-A-BANK-WITH-LONG-CODES-1"
    odd = f"{ids[0]}".replace("0", "x")
    assert customers(ids) == customers_of_keys([*(str(each) for each in ids), code, odd])
    both = customers(ids) | customers([ids[0]])
    assert (len(both.ids), both.number) == (MOST_CUSTOMERS, MOST_CUSTOMERS + 5)
