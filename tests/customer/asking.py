"""A bank with two branches, and what its people ask."""

from datetime import UTC, datetime
from typing import Any

import httpx

from shared.auth.principal import Principal, Role
from shared.events.corebanking import CoreBankingEvent, PartyRelation, RelatedParty
from tests.bank import account, branch, manager_recorded, party, posted, push
from tests.harness import ServiceUnderTest, branch_head, head_office, manager

NOW = datetime(2026, 11, 24, 9, 30, tzinfo=UTC)
M1, M2 = manager("M1", "B1"), manager("M2", "B2")
HEAD_1, HEAD_2, OFFICE = branch_head("B1", "H1"), branch_head("B2", "H2"), head_office()
AUDITOR = Principal(subject="AU1", role=Role.AUDITOR, staff_id="AU1")
OPERATOR = Principal(subject="OP1", role=Role.OPERATOR, staff_id="OP1")

TWO_BRANCHES: tuple[CoreBankingEvent, ...] = (
    branch("HQ"),
    branch("B1", parent_branch_id="HQ"),
    branch("B2", parent_branch_id="HQ"),
    manager_recorded("M1", "B1"),
    manager_recorded("M2", "B2"),
    party("P1", branch_id="B1", manager_id="M1"),
    party("P2", branch_id="B2", manager_id="M2"),
    account("A1", "P1"),
    account("A2", "P2"),
)


def shared_account(account_id: str = "A3", **more: Any) -> CoreBankingEvent:
    """Held by P1, with P2 as proxy: they are of different managers in different branches."""
    parties = (
        RelatedParty(party_id="P1", relation=PartyRelation.HOLDER),
        RelatedParty(party_id="P2", relation=PartyRelation.PROXY),
    )
    return account(account_id, parties=parties, **more)


async def two_branches(customer: ServiceUnderTest) -> None:
    finding = posted("F1", 1, account_id="A1", balance_after_minor=99_999)
    await push(customer, [*TWO_BRANCHES, finding], ids="setting")


async def get(
    customer: ServiceUnderTest,
    path: str,
    actor: Principal = OFFICE,
    headers: dict[str, str] | None = None,
    **query: Any,
) -> httpx.Response:
    async with customer.http(actor) as http:
        return await http.get(path, params=query, headers=headers)


async def post(customer: ServiceUnderTest, path: str, body: Any, actor: Principal = OFFICE) -> httpx.Response:
    async with customer.http(actor) as http:
        return await http.post(path, json=body)


async def assign(
    customer: ServiceUnderTest, customer_id: str, body: Any, actor: Principal = HEAD_1, tag: str | None = "*"
) -> httpx.Response:
    async with customer.http(actor) as http:
        headers = {} if tag is None else {"If-Match": tag}
        return await http.put(f"/customers/{customer_id}/assignment", json=body, headers=headers)


async def listed(
    customer: ServiceUnderTest, path: str = "/customers", actor: Principal = OFFICE, **query: Any
) -> list[dict[str, Any]]:
    """The whole list, page by page."""
    items: list[dict[str, Any]] = []
    while True:
        answer = await get(customer, path, actor, **query)
        assert answer.status_code == 200, answer.text
        page = answer.json()
        items += page["items"]
        if page["next"] is None:
            return items
        query["cursor"] = page["next"]


async def numbers(
    customer: ServiceUnderTest, path: str = "/customers", actor: Principal = OFFICE, **query: Any
) -> list[str]:
    return [item["customer_number"] for item in await listed(customer, path, actor, **query)]


async def searched(customer: ServiceUnderTest, query: str, actor: Principal = OFFICE) -> list[str]:
    answer = await post(customer, "/customers/search", {"query": query}, actor)
    assert answer.status_code == 200, answer.text
    return [item["name"] for item in answer.json()["items"]]


async def id_of(customer: ServiceUnderTest, party_id: str) -> str:
    ((customer_id,),) = await customer.rows("select customer_id from customer where party_id = :id", id=party_id)
    return str(customer_id)


async def account_id_of(customer: ServiceUnderTest, core_id: str) -> str:
    ((account_id,),) = await customer.rows("select account_id from account where core_account_id = :id", id=core_id)
    return str(account_id)
