"""What auditors are shown and take with them, and that it is recorded."""

import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import httpx
import pytest

from services.customer.app import customer_service
from shared.audit.exports import verify_export
from shared.keyring import AuditKeys
from tests.audit.ledger import KEYS
from tests.conftest import NewDatabase
from tests.customer.asking import HEAD_1, M1, M2, OFFICE, OPERATOR, get, two_branches
from tests.harness import PARTITIONS, ServiceUnderTest, auditor, under_test

AUDITOR = auditor()


@pytest.fixture
async def customer(new_database: NewDatabase) -> AsyncIterator[ServiceUnderTest]:
    """M1 has read P1 five times, and M2 P2 once and P1 in vain."""
    service = customer_service(partitions=PARTITIONS)
    async with under_test(service, await new_database("customer"), audit_keys=KEYS) as running:
        await two_branches(running)
        one, two = [await id_of(running, party) for party in ("P1", "P2")]
        for _ in range(5):
            await get(running, f"/customers/{one}", M1, {"X-Purpose": "retention"})
        await get(running, f"/customers/{two}", M2)
        await get(running, f"/customers/{one}", M2)
        yield running


async def id_of(customer: ServiceUnderTest, party_id: str) -> str:
    ((customer_id,),) = await customer.rows("select customer_id from customer where party_id = :id", id=party_id)
    return str(customer_id)


async def export(customer: ServiceUnderTest, **query: Any) -> httpx.Response:
    async with customer.http(AUDITOR) as http:
        return await http.get("/audit/export", params=query)


async def listed(customer: ServiceUnderTest, **query: Any) -> list[dict[str, Any]]:
    async with customer.http(AUDITOR) as http:
        answer = await http.get("/audit", params=query)
    assert answer.status_code == 200, answer.text
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


async def test_auditors_find_who_saw_a_customer(customer: ServiceUnderTest) -> None:
    one = await id_of(customer, "P1")
    found = await listed(customer, customer_id=one, operation="read_customer")
    assert [(row["actor"], row["outcome"]) for row in found] == [("M2", "refused"), *[("M1", "shown")] * 5]
    assert "mac" not in found[0]


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ({"actor": "M2"}, 2),
        ({"actor": "M1", "purpose": "retention"}, 5),
        ({"purpose": "retention", "outcome": "refused"}, 0),
        ({"operation": "read_customer", "outcome": "refused"}, 1),
        ({"operation": "read_customer", "until": "2020-01-01T00:00:00Z"}, 0),
        ({"operation": "read_customer", "from": "2020-01-01T00:00:00Z"}, 7),
        ({"actor": "nobody"}, 0),
    ],
)
async def test_auditors_choose(customer: ServiceUnderTest, query: dict[str, Any], count: int) -> None:
    assert len(await listed(customer, **query)) == count


async def test_pages_follow_one_another_while_rows_are_added(customer: ServiceUnderTest) -> None:
    seen: list[tuple[str, int]] = []
    cursor: dict[str, Any] = {}
    while True:
        page = (await get(customer, "/audit", AUDITOR, operation="read_customer", limit=2, **cursor)).json()
        seen += [(row["chain_id"], row["sequence"]) for row in page["items"]]
        if page["next"] is None:
            break
        cursor = {"cursor": page["next"]}
    assert len(seen) == len(set(seen)) == 7


async def test_that_somebody_looked_is_recorded(customer: ServiceUnderTest) -> None:
    one = await id_of(customer, "P1")
    await listed(customer, customer_id=one)
    await get(customer, "/audit/export", AUDITOR, customer_id=one)
    found = await listed(customer, actor="AU1", customer_id=one)
    assert [(row["operation"], row["purpose"], row["customer_ids"]) for row in found] == [
        ("export_audit", "audit", [one]),
        ("list_audit", "audit", [one]),
    ]


@pytest.mark.parametrize("path", ["/audit", "/audit/export"])
async def test_nobody_else_reads_it(customer: ServiceUnderTest, path: str) -> None:
    for who in (M1, HEAD_1, OFFICE, OPERATOR):
        answer = await get(customer, path, who)
        assert answer.status_code == 403
        assert "chain_id" not in answer.text
    found = await listed(customer, outcome="refused", operation="list_audit" if path == "/audit" else "export_audit")
    assert len(found) == 4


async def test_an_export_verifies_and_what_was_done_to_it_is_found(customer: ServiceUnderTest) -> None:
    exported = (await get(customer, "/audit/export", AUDITOR)).content.splitlines()
    assert verify_export(exported, KEYS) == (len(exported) - 1, [])
    edited = [line.replace(b'"actor":"M2"', b'"actor":"M1"') for line in exported]
    _, found = verify_export(edited, KEYS)
    assert len(found) == 3, "two rows, and the digest of all"
    assert "was changed or is forged" in found[0]
    for damaged in (exported[:-1], exported[1:], exported[:3] + exported[4:], [*exported, exported[0]]):
        assert verify_export(damaged, KEYS)[1]
    end = json.loads(exported[-1])
    end["rows"] = 3
    shortened = [*exported[:3], json.dumps(end).encode()]
    assert "forged" in verify_export(shortened, KEYS)[1][0]


async def test_an_export_of_some_rows_verifies_too(customer: ServiceUnderTest) -> None:
    one = await id_of(customer, "P1")
    exported = (await export(customer, customer_id=one, actor="M1")).content.splitlines()
    assert verify_export(exported, KEYS) == (5, [])
    stranger = AuditKeys.generate("2026")
    assert len(verify_export(exported, stranger)[1]) == 6


async def test_an_export_goes_into_a_spreadsheet(customer: ServiceUnderTest) -> None:
    answer = await export(customer, format="csv", actor="M2")
    assert answer.headers["content-type"].startswith("text/csv")
    head, *rows = answer.text.splitlines()
    assert head.startswith("chain_id,sequence,at,action")
    assert len(rows) == 2
    assert UUID(rows[0].split(",")[0])
