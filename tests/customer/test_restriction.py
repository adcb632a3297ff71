"""A restricted customer is kept and not used: head office sees them, those who look after them do not."""

from typing import Any

import httpx
import pytest

from shared.events.customer import CustomerChanged
from tests.bank import party, push
from tests.customer.asking import HEAD_1, M1, OFFICE, get, id_of, numbers, searched, two_branches
from tests.harness import ServiceUnderTest

REASON = {"reason": "accuracy_contested"}


@pytest.fixture(autouse=True)
async def bank(customer: ServiceUnderTest) -> None:
    await two_branches(customer)


async def ask(
    customer: ServiceUnderTest, method: str, customer_id: str, body: Any = None, actor: Any = OFFICE, tag: str = "*"
) -> httpx.Response:
    async with customer.http(actor) as http:
        path = f"/customers/{customer_id}/restriction"
        return await http.request(method, path, json=body, headers={"If-Match": tag} if tag else {})


async def test_only_head_office_sees_a_restricted_customer_until_it_is_lifted(customer: ServiceUnderTest) -> None:
    customer_id = await id_of(customer, "P1")
    paths = [f"/customers/{customer_id}", f"/customers/{customer_id}/accounts"]
    answer = await ask(customer, "PUT", customer_id, REASON)
    assert (answer.status_code, answer.json()["restricted"]) == (200, True), answer.text
    name = (await get(customer, paths[0])).json()["name"]
    for actor in (M1, HEAD_1):
        assert [(await get(customer, path, actor)).status_code for path in paths] == [404, 404]
        assert await numbers(customer, actor=actor) == []
        assert await searched(customer, name, actor) == []
    assert [(await get(customer, path)).status_code for path in paths] == [200, 200]
    told = (await customer.published(CustomerChanged))[-1]
    assert (str(told.customer_id), told.restricted, told.revision) == (customer_id, True, 2)

    await push(customer, [party("P1", revision=2, manager_id="M1")], ids="later")
    assert (await customer.published(CustomerChanged))[-1].restricted, "the core does not lift it"
    assert (await get(customer, paths[0], M1)).status_code == 404

    lifted = await ask(customer, "DELETE", customer_id)
    assert (lifted.status_code, lifted.json()["reason"]) == (200, None)
    assert not (await customer.published(CustomerChanged))[-1].restricted
    assert [(await get(customer, path, M1)).status_code for path in paths] == [200, 200]


async def test_a_restriction_says_what_it_has_seen_and_is_head_offices(customer: ServiceUnderTest) -> None:
    customer_id = await id_of(customer, "P1")
    tag = (await get(customer, f"/customers/{customer_id}/restriction")).headers["ETag"]
    assert (await ask(customer, "PUT", customer_id, REASON, tag="")).status_code == 428
    assert (await ask(customer, "PUT", customer_id, REASON, actor=HEAD_1)).status_code == 403
    assert (await ask(customer, "PUT", customer_id, {"reason": "because"})).status_code == 422
    seen = await ask(customer, "PUT", customer_id, REASON, tag=tag)
    assert (seen.status_code, (await ask(customer, "DELETE", customer_id, tag=tag)).status_code) == (200, 412)
    again = await ask(customer, "PUT", customer_id, REASON, tag=seen.headers["ETag"])
    assert again.headers["ETag"] == seen.headers["ETag"], "nothing has changed"
    assert (await ask(customer, "DELETE", customer_id, tag=again.headers["ETag"])).status_code == 200
