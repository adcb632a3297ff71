"""A portfolio in other hands for a time: seen by the delegate while it lasts, and by nobody else."""

from datetime import timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError

from shared.auth.principal import Principal
from shared.events.customer import PortfolioDelegated
from shared.ids import new_id
from shared.web.transaction import open_session
from tests.bank import manager_recorded, party, push
from tests.customer.asking import HEAD_1, HEAD_2, M1, M2, NOW, OFFICE, assign, get, id_of, numbers, post, two_branches
from tests.harness import ServiceUnderTest, auditor, branch_head, manager, operator, program

M3 = manager("M3", "B1")
WEEK = timedelta(days=7)


async def holiday_season(customer: ServiceUnderTest) -> None:
    """M1 has two customers and M3, their colleague in B1, none."""
    await two_branches(customer)
    more = [manager_recorded("M3", "B1"), manager_recorded("M4", "B1", is_active=False), party("P3", branch_id="B1")]
    await push(customer, more, ids="season")


def body(delegate_id: str = "M3", **more: Any) -> dict[str, Any]:
    return {"delegate_id": delegate_id, "ends_at": (NOW + WEEK).isoformat(), **more}


async def delegate(
    customer: ServiceUnderTest, actor: Principal = M1, delegate_id: str = "M3", **more: Any
) -> httpx.Response:
    return await post(customer, "/delegations", body(delegate_id, **more), actor)


def at(customer: ServiceUnderTest, **later: float) -> None:
    customer.app.state.clock = lambda: NOW + timedelta(**later)


async def test_a_delegate_sees_the_portfolio_from_its_beginning_to_its_end(customer: ServiceUnderTest) -> None:
    await holiday_season(customer)
    answer = await delegate(customer, starts_at=(NOW + timedelta(days=1)).isoformat())
    assert answer.status_code == 201, answer.text
    seen = []
    for days in (0, 1, 6.9999, 7):
        at(customer, days=days)
        seen.append(await numbers(customer, actor=M3))
        assert await numbers(customer, actor=M1) == ["10000001", "10000003"], "the manager keeps them"
    assert seen == [[], ["10000001", "10000003"], ["10000001", "10000003"], []]


async def test_only_named_customers_are_seen_and_only_while_the_manager_has_them(customer: ServiceUnderTest) -> None:
    await holiday_season(customer)
    first, third = await id_of(customer, "P1"), await id_of(customer, "P3")
    assert (await delegate(customer, customer_ids=[third, third])).json()["customer_ids"] == [third]
    assert await numbers(customer, actor=M3) == ["10000003"]
    assert (await get(customer, f"/customers/{first}", M3)).status_code == 404
    await assign(customer, third, {"manager_id": None})
    assert await numbers(customer, actor=M3) == [], "M1 gave what M1 had"


async def test_a_delegation_is_not_passed_on(customer: ServiceUnderTest) -> None:
    await holiday_season(customer)
    await push(customer, [manager_recorded("M5", "B1")], ids="more")
    await delegate(customer)
    await delegate(customer, M3, "M5")
    assert await numbers(customer, actor=manager("M5")) == []


async def test_whoever_made_or_oversees_it_ends_it_and_the_delegate_cannot(customer: ServiceUnderTest) -> None:
    await holiday_season(customer)
    for ender in (M1, HEAD_1, branch_head("HQ", "H0"), OFFICE):
        made = (await delegate(customer)).json()
        path = f"/delegations/{made['delegation_id']}/end"
        for stranger in (M3, M2, HEAD_2):
            assert (await post(customer, path, None, stranger)).json()["code"] == "delegation_not_found"
        assert await numbers(customer, actor=M3) == ["10000001", "10000003"]
        at(customer, hours=1)
        ended = await post(customer, path, None, ender)
        assert (ended.status_code, ended.json()["ends_at"]) == (200, "2026-11-24T10:30:00Z")
        assert await numbers(customer, actor=M3) == []
        assert (await post(customer, path, None, ender)).json() == ended.json(), "doing it again changes nothing"
        at(customer)
    told = await customer.published(PortfolioDelegated)
    assert [event.revision for event in told] == [1, 2] * 4
    assert [event.ends_at for event in told] == [NOW + WEEK, NOW + timedelta(hours=1)] * 4


@pytest.mark.parametrize(
    ("actor", "changes", "code"),
    [
        (M1, {"delegate_id": "M2"}, "unknown_delegate"),
        (M1, {"delegate_id": "M4"}, "unknown_delegate"),
        (M1, {"delegate_id": "M9"}, "unknown_delegate"),
        (M1, {"delegate_id": "M1"}, "unknown_delegate"),
        (M1, {"manager_id": "M2"}, "unknown_manager"),
        (M3, {"manager_id": "M1"}, "unknown_manager"),
        (manager("M9"), {}, "unknown_manager"),
        (HEAD_2, {"manager_id": "M1"}, "unknown_manager"),
        (HEAD_1, {"manager_id": "M1", "delegate_id": "M2"}, "unknown_delegate"),
        (M1, {"ends_at": NOW.isoformat()}, "invalid_input"),
        (M1, {"ends_at": (NOW + timedelta(days=93)).isoformat()}, "invalid_input"),
        (M1, {"ends_at": None}, "invalid_input"),
        (M1, {"customer_ids": []}, "invalid_input"),
        (M1, {"customer_ids": [str(new_id())]}, "customer_not_found"),
        (auditor(), {"manager_id": "M1"}, "forbidden"),
        (operator(), {"manager_id": "M1"}, "forbidden"),
        (program("corebanking:write"), {"manager_id": "M1"}, "forbidden"),
    ],
)
async def test_nobody_delegates_what_is_not_theirs_to_whom_it_must_not_go(
    customer: ServiceUnderTest, actor: Principal, changes: dict[str, Any], code: str
) -> None:
    await holiday_season(customer)
    answer = await post(customer, "/delegations", {**body(), **changes}, actor)
    assert (answer.json()["code"], await customer.count("delegation")) == (code, 0)


async def test_another_branchs_customer_is_as_unknown_as_none(customer: ServiceUnderTest) -> None:
    await holiday_season(customer)
    answers = [
        (await delegate(customer, customer_ids=[customer_id])).json()
        for customer_id in (await id_of(customer, "P2"), str(new_id()))
    ]
    for answer in answers:
        del answer["trace_id"]
    assert answers[0] == answers[1]


async def test_heads_delegate_within_their_branch_and_head_office_across(customer: ServiceUnderTest) -> None:
    await holiday_season(customer)
    assert (await delegate(customer, HEAD_1, manager_id="M1")).status_code == 201
    across = await delegate(customer, OFFICE, "M2", manager_id="M1")
    assert (across.status_code, across.json()["delegated_by"]) == (201, "HO1")
    assert await numbers(customer, actor=M2) == ["10000001", "10000002", "10000003"]
    shown = {
        actor.subject: len((await get(customer, "/delegations", actor)).json()["items"])
        for actor in (M1, M2, M3, HEAD_1, HEAD_2, OFFICE)
    }
    assert shown == {"M1": 2, "M2": 1, "M3": 1, "H1": 2, "H2": 0, "HO1": 2}


async def test_a_delegation_cannot_be_forged_with_sql_either(customer: ServiceUnderTest) -> None:
    await holiday_season(customer)
    await delegate(customer)
    forged = text(
        "insert into delegation values (gen_random_uuid(), 1, 'M1', 'M2', null, now(), now() + interval '9 days', 'M1')"
    )
    for actor in (M2, HEAD_2, auditor(), program("corebanking:write")):
        async with open_session(customer.database.requests, actor, 5) as session:
            with pytest.raises(ProgrammingError, match="row-level security"):
                await session.execute(forged)
        async with open_session(customer.database.requests, actor, 5) as session:
            longer = await session.execute(text("update delegation set ends_at = 'infinity' returning 1"))
            assert longer.all() == []
