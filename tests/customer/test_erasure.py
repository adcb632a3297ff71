"""An erased customer is gone, stays gone whatever the core still tells, and a certificate says what was done."""

from typing import Any

import httpx
import pytest

from services.customer.personal_data import RULES
from shared.erasure.purging import MANY, erased_among
from shared.erasure.rules import Deleted
from shared.events import Event
from shared.events.corebanking import PartyRelation, RelatedParty
from shared.events.customer import AccountChanged, CustomerChanged, CustomerErased, CustomerPurged, TransactionsPosted
from shared.events.erasure import PurgedTable
from shared.events.interaction import CustomerPurged as PurgedByInteraction
from shared.events.notification import CustomerPurged as PurgedByNotification
from shared.events.scoring import CustomerPurged as PurgedByScoring
from shared.ids import new_id
from shared.sealing.data_keys import keys_of
from tests.bank import account, party, posted, push
from tests.customer.asking import HEAD_1, NOW, OFFICE, account_id_of, get, id_of, post, shared_account, two_branches
from tests.harness import ServiceUnderTest

REASON = {"reason": "no_longer_necessary"}


@pytest.fixture(autouse=True)
async def bank(customer: ServiceUnderTest) -> None:
    await two_branches(customer)


async def ask(customer: ServiceUnderTest, customer_id: str, actor: Any = OFFICE) -> httpx.Response:
    return await post(customer, f"/customers/{customer_id}/erasure", REASON, actor)


async def erased(customer: ServiceUnderTest, party_id: str = "P1") -> CustomerErased:
    """Erased, in this service."""
    answer = await ask(customer, await id_of(customer, party_id))
    assert answer.status_code == 202, answer.text
    event = (await customer.published(CustomerErased))[-1]
    await customer.deliver([event])
    await finish(customer)
    return event


async def finish(customer: ServiceUnderTest) -> None:
    (job,) = (job for job in customer.service.jobs if job.name == "finish_purges")
    await job.run(customer.database)


async def test_what_is_about_an_erased_customer_is_deleted_and_the_others_stay(customer: ServiceUnderTest) -> None:
    await push(customer, [shared_account("A3"), posted("T9", 5, account_id="A1")], ids="more")
    malformed = posted("T7", 1, account_id="A1", currency="XXX")
    await push(customer, [malformed], ids="parked")
    before = {table: await customer.count(table) for table in RULES}
    assert before["kept_event"] == 1
    event = await erased(customer)
    left = {table: await customer.count(table) for table in RULES}
    assert (left["customer"], left["account"], left["customer_scope"], left["kept_event"]) == (1, 1, 1, 0)
    assert left["posting"] == left["reconciliation_finding"] == 0
    assert left["customer_token"] < before["customer_token"]
    for table, rule in RULES.items():
        if isinstance(rule, Deleted) and "customer_id" in rule.which:
            query = f"select count(*) from {table} where {rule.which}"
            assert await customer.rows(query, customer_id=event.customer_id) == [(0,)], table
    (purged,) = await customer.published(CustomerPurged)
    told = {table.table: table.rows for table in purged.tables}
    assert (purged.customer_id, purged.erasure_id, told["account"], told["posting"]) == (
        *(event.customer_id, event.erasure_id),
        *(2, 2),
    )


async def test_only_head_office_erases_and_sees_how_far_it_is(customer: ServiceUnderTest) -> None:
    customer_id = await id_of(customer, "P1")
    assert (await ask(customer, customer_id, HEAD_1)).status_code == 403
    assert (await get(customer, f"/customers/{customer_id}/erasure")).json()["code"] == "erasure_not_found"
    event = await erased(customer)
    assert (await get(customer, f"/customers/{customer_id}")).status_code == 404
    again = await ask(customer, customer_id)
    assert (again.status_code, len(await customer.published(CustomerErased))) == (202, 1)

    (own,) = await customer.published(CustomerPurged)
    tables = (PurgedTable(table="alert", rows=3),)
    facts: dict[str, Any] = {
        "customer_id": event.customer_id,
        "erasure_id": event.erasure_id,
        "purged_at": NOW,
        "tables": tables,
    }
    await customer.deliver([PurgedByScoring(**facts), own, PurgedByNotification(**facts)])
    shown = (await get(customer, f"/customers/{customer_id}/erasure")).json()
    assert (shown["state"], shown["certificate"]) == ("under_way", None)
    assert [each["service"] for each in shown["services"] if not each["key_destroyed"]] == ["interaction"]
    last = PurgedByInteraction(**facts)
    await customer.deliver([last, last])
    certificate = (await get(customer, f"/customers/{customer_id}/erasure")).json()["certificate"]
    assert certificate["services"][1]["tables"] == [{"table": "alert", "rows": 3}]
    assert customer_id not in str(certificate)
    assert all(each["key_destroyed"] for each in certificate["services"])


async def test_what_the_core_still_tells_of_an_erased_customer_is_not_kept(customer: ServiceUnderTest) -> None:
    await erased(customer)
    published: tuple[type[Event], ...] = (CustomerChanged, AccountChanged, TransactionsPosted)
    before = [len(await customer.published(each)) for each in published]
    late = [
        party("P1", revision=7, name="Somebody Else"),
        account("A1", "P1", revision=9),
        account("A8", "P1"),
        posted("T11", 3, account_id="A1"),
    ]
    answer = await push(customer, late, ids="late")
    assert answer["duplicate"] == 4, answer
    assert (await customer.count("kept_event"), await customer.count("customer")) == (0, 1)
    assert [len(await customer.published(each)) for each in published] == before


async def test_an_account_of_somebody_else_stays_theirs_without_the_erased_proxy(customer: ServiceUnderTest) -> None:
    await push(customer, [shared_account("A3")], ids="shared")
    await erased(customer, "P2")
    assert await customer.rows("select count(*) from account_party where relation = 'proxy'") == [(0,)]
    parties = (
        RelatedParty(party_id="P1", relation=PartyRelation.HOLDER),
        RelatedParty(party_id="P2", relation=PartyRelation.PROXY),
    )
    await push(customer, [account("A3", parties=parties, revision=2)], ids="again")
    found = await customer.rows(
        "select relation from account_party where account_id = cast(:id as uuid)",
        id=await account_id_of(customer, "A3"),
    )
    assert found == [("holder",)]


async def test_who_was_erased_is_found_among_few_and_many(customer: ServiceUnderTest) -> None:
    ids = [new_id() for _ in range(2 * MANY)]
    async with customer.database.transaction() as session:
        await keys_of(session).make(session, ids[:-1])
        for number in (1, MANY // 4, MANY):
            for customer_id in ids[:number]:
                await keys_of(session).destroy(session, customer_id)
            for some in (ids[:2], ids[:MANY], ids[MANY // 2 :], ids):
                assert await erased_among(session, some) == set(ids[:number]) & set(some), (number, len(some))
            assert await erased_among(session, ids[MANY:]) == set()
