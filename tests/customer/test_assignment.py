"""A customer is given to a manager by those above, and stays with them whatever the core says later."""

from typing import Any

import pytest

from shared.events.customer import CustomerChanged
from shared.ids import new_id
from tests.bank import manager_recorded, party, push
from tests.customer.asking import AUDITOR, HEAD_1, HEAD_2, M1, OFFICE, OPERATOR, assign, get, id_of, two_branches
from tests.harness import ServiceUnderTest, manager, program

M3 = manager("M3", "B1")
TO_M3 = {"manager_id": "M3", "deputy_manager_id": None}


@pytest.fixture(autouse=True)
async def bank(customer: ServiceUnderTest) -> None:
    await two_branches(customer)
    await push(customer, [manager_recorded("M3"), manager_recorded("M4", is_active=False)], ids="staff")


async def test_who_is_assigned_sees_the_customer_and_who_was_no_longer_does(customer: ServiceUnderTest) -> None:
    customer_id = await id_of(customer, "P1")
    path = f"/customers/{customer_id}"
    tag = (await get(customer, path, HEAD_1)).headers["ETag"]
    answer = await assign(customer, customer_id, TO_M3, tag=tag)
    assert (answer.status_code, answer.json()["manager_id"]) == (200, "M3")
    assert answer.headers["ETag"] == (await get(customer, path, M3)).headers["ETag"] != tag
    assert (await get(customer, path, M1)).status_code == 404
    told = (await customer.published(CustomerChanged))[-1]
    assert (str(told.customer_id), told.manager_id, told.branch_path) == (customer_id, "M3", ("HQ", "B1"))
    assert told.revision == 2


async def test_a_deputy_shares_the_customer(customer: ServiceUnderTest) -> None:
    customer_id = await id_of(customer, "P1")
    await assign(customer, customer_id, {"manager_id": "M1", "deputy_manager_id": "M3"})
    for actor in (M1, M3):
        assert (await get(customer, f"/customers/{customer_id}", actor)).status_code == 200
    await assign(customer, customer_id, {"manager_id": None})
    for actor in (M1, M3):
        assert (await get(customer, f"/customers/{customer_id}", actor)).status_code == 404


async def test_the_core_does_not_take_an_assignment_back(customer: ServiceUnderTest) -> None:
    customer_id = await id_of(customer, "P1")
    await assign(customer, customer_id, TO_M3)
    moved = party("P1", revision=2, manager_id="M1", deputy_manager_id="M1", name="New Name", branch_id="B2")
    await push(customer, [moved], ids="later")
    read = (await get(customer, f"/customers/{customer_id}", M3)).json()
    assert (read["manager_id"], read["deputy_manager_id"]) == ("M3", None)
    assert (read["name"], read["branch_id"]) == ("New Name", "B2"), "all else is still the core's"
    told = (await customer.published(CustomerChanged))[-1]
    assert (told.manager_id, told.branch_id, told.revision) == ("M3", "B2", 3)


async def test_an_assignment_says_what_it_has_seen(customer: ServiceUnderTest) -> None:
    customer_id = await id_of(customer, "P1")
    assert (await assign(customer, customer_id, TO_M3, tag=None)).status_code == 428
    tag = (await get(customer, f"/customers/{customer_id}")).headers["ETag"]
    assert (await assign(customer, customer_id, TO_M3, tag=tag)).status_code == 200
    stale = await assign(customer, customer_id, {"manager_id": "M1"}, tag=tag)
    assert (stale.status_code, stale.json()["code"]) == (412, "stale_version")
    assert (await get(customer, f"/customers/{customer_id}")).json()["manager_id"] == "M3"


async def test_only_an_active_manager_is_given_customers(customer: ServiceUnderTest) -> None:
    for who in ({"manager_id": "M9"}, {"manager_id": "M4"}, {"manager_id": "M3", "deputy_manager_id": "M4"}):
        answer = await assign(customer, await id_of(customer, "P1"), who)
        assert (answer.status_code, answer.json()["code"]) == (422, "unknown_manager"), who
    assert len(await customer.published(CustomerChanged)) == 2


async def test_a_malformed_assignment_is_refused(customer: ServiceUnderTest) -> None:
    bodies: list[Any] = [
        {},
        [],
        None,
        {"manager_id": ""},
        {"manager_id": 7},
        {"manager_id": "M" * 65},
        {"manager_id": "M\x00"},
        {"manager_id": "M3", "deputy": "M1"},
    ]
    for body in bodies:
        answer = await assign(customer, await id_of(customer, "P1"), body)
        assert (answer.status_code, answer.headers["Content-Type"]) == (422, "application/problem+json"), body


async def test_who_may_assign(customer: ServiceUnderTest) -> None:
    core = program("corebanking:write")
    for actor, status in ((M1, 403), (AUDITOR, 403), (OPERATOR, 403), (core, 403), (HEAD_2, 404), (OFFICE, 200)):
        answer = await assign(customer, await id_of(customer, "P1"), TO_M3, actor)
        assert answer.status_code == status, actor


async def test_nobody_unknown_is_assigned(customer: ServiceUnderTest) -> None:
    assert (await assign(customer, str(new_id()), TO_M3, OFFICE)).status_code == 404


@pytest.mark.parametrize("role", ["manager_id", "deputy_manager_id"])
async def test_a_branch_head_gives_no_customer_to_another_branch(customer: ServiceUnderTest, role: str) -> None:
    customer_id = await id_of(customer, "P1")
    elsewhere = {"manager_id": "M1", role: "M2"}
    refused = await assign(customer, customer_id, elsewhere, actor=HEAD_1)
    assert (refused.status_code, refused.json()["code"]) == (422, "unknown_manager")
    assert (await assign(customer, customer_id, elsewhere, actor=OFFICE)).status_code == 200
