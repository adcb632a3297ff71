"""What the audit keeps of requests: who, whose record, from where, to what end, and with what answer."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any
from uuid import UUID

import httpx
import pytest
from sqlalchemy import text

from services.customer.app import customer_service
from shared.audit.verification import verify_service
from shared.audit.writer import AuditAway, AuditWriter
from shared.auth.principal import Principal
from shared.messaging.faults import is_transient
from shared.web.auditing import asked_in, shown_in
from tests.audit.ledger import KEYS, access, tamper
from tests.bank import party, posted, push
from tests.conftest import NewDatabase
from tests.customer.asking import HEAD_1, M1, M2, OFFICE, get, post, two_branches
from tests.harness import PARTITIONS, ServiceUnderTest, program, under_test


@pytest.fixture
async def customer(new_database: NewDatabase) -> AsyncIterator[ServiceUnderTest]:
    service = customer_service(partitions=PARTITIONS)
    async with under_test(service, await new_database("customer"), audit_keys=KEYS) as running:
        await two_branches(running)
        yield running


async def id_of(customer: ServiceUnderTest, party_id: str) -> str:
    ((customer_id,),) = await customer.rows("select customer_id from customer where party_id = :id", id=party_id)
    return str(customer_id)


async def kept(customer: ServiceUnderTest, operation: str) -> list[dict[str, Any]]:
    """The rows of an operation, in their order."""
    async with customer.database.jobs.connect() as connection:
        found = await connection.execute(
            text("select * from audit_record where operation = :operation order by at, sequence"),
            {"operation": operation},
        )
        return [dict(row) for row in found.mappings()]


async def test_a_read_says_who_saw_whose_record_from_where_and_to_what_end(customer: ServiceUnderTest) -> None:
    customer_id = await id_of(customer, "P1")
    answer = await get(customer, f"/customers/{customer_id}", M1, {"X-Purpose": "complaint"})
    assert answer.status_code == 200
    (row,) = await kept(customer, "read_customer")
    assert row["mac"]
    told = {name: value for name, value in row.items() if name not in ("chain_id", "sequence", "at", "mac", "trace_id")}
    assert told == {
        "action": "read",
        "outcome": "shown",
        "status": 200,
        "operation": "read_customer",
        "resource": f"/api/customer/v1/customers/{customer_id}",
        "purpose": "complaint",
        "actor": "M1",
        "role": "manager",
        "branch_id": "B1",
        "on_behalf_of": None,
        "address": "127.0.0.1",
        "request_id": answer.headers["x-request-id"],
        "customer_ids": [UUID(customer_id)],
        "customer_count": 1,
    }
    assert row["trace_id"] == answer.headers["traceparent"].split("-")[1]


async def test_who_acts_for_somebody_is_kept_beside_them(customer: ServiceUnderTest) -> None:
    await get(customer, f"/customers/{await id_of(customer, 'P1')}", replace(M1, acting="crm"))
    (row,) = await kept(customer, "read_customer")
    assert (row["actor"], row["on_behalf_of"]) == ("crm", "M1")


async def test_a_list_says_everybody_that_it_showed(customer: ServiceUnderTest) -> None:
    await push(customer, [party(f"P{number}", branch_id="B1", manager_id="M1") for number in range(10, 40)], ids="more")
    listed = (await get(customer, "/customers", M1, limit=20, sort="customer_number")).json()
    await get(customer, "/customers", M1, limit=20, sort="customer_number", cursor=listed["next"])
    first, second = await kept(customer, "list_customers")
    assert [str(customer_id) for customer_id in first["customer_ids"]] == [it["customer_id"] for it in listed["items"]]
    assert (first["customer_count"], second["customer_count"]) == (20, 11)
    assert second["resource"].endswith("/customers?limit=20&sort=customer_number"), "a cursor holds values of a row"


async def test_what_somebody_searches_for_is_not_kept(customer: ServiceUnderTest) -> None:
    answer = await post(customer, "/customers/search", {"query": "Customer P1"}, OFFICE)
    assert len(answer.json()["items"]) == 1
    (row,) = await kept(customer, "search_customers")
    assert (row["action"], row["customer_count"]) == ("read", 1)
    assert "Customer" not in str(row)


async def test_what_was_asked_for_in_vain_is_kept_too(customer: ServiceUnderTest) -> None:
    own, others, nobody = await id_of(customer, "P1"), await id_of(customer, "P2"), str(UUID(int=7))
    assert (await get(customer, f"/customers/{others}", M1)).status_code == 404
    (row,) = await kept(customer, "read_customer")
    assert (row["outcome"], row["status"], row["customer_ids"]) == ("refused", 404, [UUID(others)])
    await post(customer, "/customers/lookup", {"customer_ids": [own, others, nobody]}, M1)
    shown, missed = await kept(customer, "look_up_customers")
    assert (shown["outcome"], shown["customer_ids"]) == ("shown", [UUID(own)])
    assert (missed["outcome"], missed["customer_ids"]) == ("not_shown", [UUID(others), UUID(nobody)])
    async with customer.http(M1) as http:
        answer = await http.put(f"/customers/{own}/assignment", json={"manager_id": "M1"}, headers={"If-Match": "*"})
    assert answer.status_code == 403
    (row,) = await kept(customer, "assign_customer")
    assert (row["action"], row["outcome"], row["status"]) == ("change", "refused", 403)


async def test_what_is_not_as_it_must_be_is_not_repeated(customer: ServiceUnderTest) -> None:
    assert (await get(customer, "/customers/Lin", M1, sort="Meiqi", manager_id="+86 555")).status_code == 422
    (row,) = await kept(customer, "read_customer")
    assert row["resource"] == "/api/customer/v1/customers/{customer_id}"
    await get(customer, "/customers", M1, manager_id="Lin Mei qi")
    (row,) = await kept(customer, "list_customers")
    assert row["resource"].endswith("/customers?manager_id=-")
    async with customer.http(M1) as http:
        await http.get("/me", headers={"X-Request-Id": "Lin.Meiqi"})
    (row,) = await kept(customer, "read_me")
    assert row["request_id"] is None


async def test_what_has_not_changed_was_read_all_the_same(customer: ServiceUnderTest) -> None:
    customer_id = await id_of(customer, "P1")
    tag = (await get(customer, f"/customers/{customer_id}", M1)).headers["etag"]
    assert (await get(customer, f"/customers/{customer_id}", M1, {"If-None-Match": tag})).status_code == 304
    _, row = await kept(customer, "read_customer")
    assert (row["outcome"], row["status"], row["customer_ids"]) == ("shown", 304, [UUID(customer_id)])


async def test_a_change_says_whose_record_it_changed(customer: ServiceUnderTest) -> None:
    customer_id = await id_of(customer, "P1")
    async with customer.http(HEAD_1) as http:
        body = {"manager_id": "M1", "deputy_manager_id": None}
        await http.put(f"/customers/{customer_id}/assignment", json=body, headers={"If-Match": "*"})
    (row,) = await kept(customer, "assign_customer")
    assert (row["action"], row["outcome"], row["status"]) == ("change", "changed", 200)
    assert row["customer_ids"] == [UUID(customer_id)]


async def test_what_core_banking_sends_says_whose_records_it_changed(customer: ServiceUnderTest) -> None:
    await push(customer, [posted("T1", -5, account_id="A1"), posted("T2", -5, account_id="A2")], ids="t")
    *_, row = await kept(customer, "receive_core_events")
    assert (row["actor"], row["role"], row["action"]) == ("core-banking", "service", "change")
    assert {str(found) for found in row["customer_ids"]} == {await id_of(customer, "P1"), await id_of(customer, "P2")}


async def test_purposes_are_from_a_list_and_may_be_asked_of_a_role(new_database: NewDatabase) -> None:
    database = await new_database("customer")
    service = customer_service(partitions=PARTITIONS)
    async with under_test(service, database, purpose_required_of="head_office") as customer:
        await two_branches(customer)
        path = f"/customers/{await id_of(customer, 'P1')}"
        refused = await get(customer, path, OFFICE)
        assert (refused.status_code, refused.json()["code"]) == (422, "purpose_required")
        assert (await get(customer, path, OFFICE, {"X-Purpose": "quality"})).status_code == 200
        unknown = await get(customer, path, M1, {"X-Purpose": "Lin Meiqi"})
        assert unknown.json()["errors"][0]["pointer"] == "/X-Purpose"
        assert "Lin" not in unknown.text
        assert (await get(customer, path, M1)).status_code == 200
        purposes = [row["purpose"] for row in await kept(customer, "read_customer")]
    assert purposes == ["supervision", "quality", "customer_care", "customer_care"]


@pytest.mark.parametrize("who", [M1, M2, OFFICE])
async def test_nothing_is_shown_when_the_audit_cannot_be_written(customer: ServiceUnderTest, who: Principal) -> None:
    own = await id_of(customer, "P1")
    await customer.rows("select 1")
    async with customer.database.jobs.begin() as connection:
        await connection.execute(text("revoke insert on audit_record from customer_api"))
    for answer in (
        await get(customer, f"/customers/{own}", who),
        await get(customer, "/customers", who),
        await post(customer, "/customers/search", {"query": "customer"}, who),
        await get(customer, f"/customers/{UUID(int=9)}", who),
        await get(customer, "/me", who),
    ):
        assert (answer.status_code, answer.json()["code"]) == (503, "audit_unavailable")
        assert "retry-after" in answer.headers
        assert not any(word in answer.text for word in (own, "Customer", "1000000", "M1"))


STATE = "select version, manager_id, (select count(*) from outbox) from customer order by 1, 2"


async def test_nothing_is_changed_when_the_audit_cannot_be_written(customer: ServiceUnderTest) -> None:
    customer_id = await id_of(customer, "P1")
    before = await customer.rows(STATE)
    async with customer.database.jobs.begin() as connection:
        await connection.execute(text("revoke insert on audit_record from customer_api"))
    async with customer.http(HEAD_1) as http:
        body = {"manager_id": None, "deputy_manager_id": None}
        answer = await http.put(f"/customers/{customer_id}/assignment", json=body, headers={"If-Match": "*"})
    assert answer.json()["code"] == "audit_unavailable"
    async with customer.http(program("corebanking:write")) as http:
        answer = await http.post("/core-banking/events", json=[])
    after = await customer.rows(STATE)
    assert after == before


async def test_a_change_is_recorded_before_it_is_committed(
    customer: ServiceUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whenever the process is killed, no change is without its row."""
    customer_id = await id_of(customer, "P1")
    seen: list[Any] = []
    deputy = "select deputy_manager_id from customer where customer_id = :id"
    record = AuditWriter.record

    async def look(writer: AuditWriter, *accesses: Any) -> None:
        await record(writer, *accesses)
        seen.append(await customer.rows(deputy, id=customer_id))

    monkeypatch.setattr(AuditWriter, "record", look)
    async with customer.http(HEAD_1) as http:
        body = {"manager_id": "M1", "deputy_manager_id": "M1"}
        answer = await http.put(f"/customers/{customer_id}/assignment", json=body, headers={"If-Match": "*"})
    assert answer.status_code == 200
    assert seen == [[(None,)]]
    assert await customer.rows(deputy, id=customer_id) == [("M1",)]


async def test_a_change_that_is_not_committed_after_all_is_taken_back(
    customer: ServiceUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    customer_id = await id_of(customer, "P1")
    async with customer.database.jobs.begin() as connection:
        for statement in (
            "create function fail_late() returns trigger language plpgsql as"
            " $$ begin raise exception 'no' using errcode = 'serialization_failure'; end $$",
            "create constraint trigger fails_late after update on customer deferrable initially deferred"
            " for each row execute function fail_late()",
        ):
            await connection.execute(text(statement))
    async with customer.http(HEAD_1) as http:
        body = {"manager_id": None, "deputy_manager_id": None}
        answer = await http.put(f"/customers/{customer_id}/assignment", json=body, headers={"If-Match": "*"})
    assert (answer.status_code, answer.json()["code"]) == (503, "try_again")
    await customer.app.state.audit.record(access())  # comes after what nobody waited for
    rows = await kept(customer, "assign_customer")
    assert [row["outcome"] for row in rows] == ["changed", "undone", "failed"]
    assert len({row["request_id"] for row in rows}) == 1


async def test_two_hundred_at_once_are_gathered(customer: ServiceUnderTest) -> None:
    await get(customer, "/me", M1)
    ((before,),) = await customer.rows("select count(distinct xmin::text) from audit_record")
    async with customer.http(M1) as http:
        answers = await asyncio.gather(*(http.get("/me") for _ in range(200)))
    assert {answer.status_code for answer in answers} == {200}
    ((after,),) = await customer.rows("select count(distinct xmin::text) from audit_record")
    assert len(await kept(customer, "read_me")) == 201
    assert after - before < 40
    assert (await verify_service(customer.database.jobs_url, "customer", KEYS)).faults == []


async def test_a_body_that_quotes_a_customer_is_not_mistaken_for_an_answer() -> None:
    other = UUID(int=5)
    quoted = httpx.Response(200, json={"text": f'"customer_id":"{other}"'}).content
    assert shown_in(quoted) == []
    assert asked_in(b'{"customer_ids": ["%s"], "alert_id": "x"}' % str(other).upper().encode()) == [other]


def test_what_keeps_the_audit_away_is_transient_to_a_delivery() -> None:
    assert is_transient(AuditAway("gone"))


async def test_rows_of_requests_verify_and_are_found_when_edited(customer: ServiceUnderTest) -> None:
    await get(customer, "/customers", M1)
    await tamper(customer.database, "update audit_record set actor = 'M2' where operation = 'list_customers'")
    (first, *_) = (await verify_service(customer.database.jobs_url, "customer", KEYS)).faults
    assert first.code == "altered"
