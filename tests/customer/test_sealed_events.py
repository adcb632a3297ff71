"""The core's events that are held or parked are sealed, with their customer's key once they are known."""

from datetime import timedelta
from functools import partial
from typing import Any

from services.customer.use_cases.upkeep import Upkeep
from shared.sealing.data_keys import keys_of
from tests.bank import branch, lines, party, push
from tests.customer.asking import NOW, OPERATOR
from tests.customer.test_kept_events import kept, replay
from tests.harness import ServiceUnderTest

SECRET = "Lin Meiqi"


def wrong(party_id: str, number: int) -> bytes:
    """A party of whom all is right but the revision."""
    written = lines([party(party_id, name=SECRET, revision=7_700)], ids=f"w{number}")
    return written.replace(b"7700", b'"one"')


async def seen(customer: ServiceUnderTest, kept_id: str) -> dict[str, Any]:
    async with customer.http(OPERATOR) as http:
        shown: dict[str, Any] = (await http.get(f"/core-banking/kept-events/{kept_id}")).json()
    return shown


async def customer_id(customer: ServiceUnderTest, party_id: str) -> Any:
    ((found,),) = await customer.rows("select customer_id from customer where party_id = :id", id=party_id)
    return found


async def test_a_parked_event_is_sealed_with_its_customers_key_or_the_services(customer: ServiceUnderTest) -> None:
    await push(customer, [branch("B1"), party("P1", branch_id="B1")])
    await push(customer, b"\n".join([wrong("P1", 1), wrong("P2", 2)]))
    known = await customer_id(customer, "P1")
    assert await customer.rows("select event_id, customer_id from kept_event order by 1") == [
        ("w1-1", known),
        ("w2-1", None),
    ]
    for (row,) in await customer.rows("select k::text || encode(sealed, 'escape') from kept_event k"):
        assert "Meiqi" not in row
    for event in await kept(customer):
        assert SECRET in (await seen(customer, event["kept_id"]))["cloud_event"]
    opened = await customer.rows("select customer_ids from audit_record where operation = 'read_kept_event' order by 1")
    assert opened == [([],), ([known],)]


async def test_an_event_of_an_erased_customer_is_gone_and_a_late_one_is_not_kept(customer: ServiceUnderTest) -> None:
    await push(customer, [branch("B1"), party("P1", branch_id="B1")])
    await push(customer, b"\n".join([wrong("P1", 1), wrong("P2", 2)]))
    of_p1 = next(event for event in await kept(customer) if event["id"] == "w1-1")
    known = await customer_id(customer, "P1")
    async with customer.database.transaction() as session:
        await keys_of(session).destroy(session, known)
    assert (await seen(customer, of_p1["kept_id"]))["cloud_event"] is None
    status, problem = await replay(customer, of_p1["kept_id"], {"data": {"revision": 9}})
    assert (status, problem["code"]) == (410, "kept_event_gone")
    async with customer.http(OPERATOR) as http:
        answer = await http.post("/core-banking/kept-events/replay")
    assert (answer.status_code, answer.json()["kept"]) == (200, 1), "what is gone is passed by"
    await push(customer, wrong("P1", 3))
    assert {event["id"] for event in await kept(customer)} == {"w1-1", "w2-1"}


async def test_what_names_no_known_customer_expires(customer: ServiceUnderTest) -> None:
    await push(customer, [branch("B1"), party("P1", branch_id="B1")])
    await push(customer, b"\n".join([wrong("P1", 1), wrong("P2", 2)]))
    for days, left in ((0, {"w1-1", "w2-1"}), (100_000, {"w1-1"})):
        later = partial(NOW.__add__, timedelta(days=days))
        await Upkeep(later).forget_unattributed(customer.database)
        assert {event["id"] for event in await kept(customer)} == left
