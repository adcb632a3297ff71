"""The core's events that are held or parked are sealed, with their customer's key once they are known."""

import json
from datetime import timedelta
from functools import partial
from typing import Any

from sqlalchemy import text

from services.customer.use_cases.kept_bytes import open_events
from services.customer.use_cases.upkeep import Upkeep
from shared.database import Database
from shared.embedded_postgres import EmbeddedPostgres
from shared.ids import new_id
from shared.migrations import migrate
from shared.sealing.data_keys import DataKeys, keys_of
from shared.sealing.master_keys import LocalMasterKeys
from tests.bank import branch, lines, party, push
from tests.customer.asking import NOW, OPERATOR
from tests.customer.test_kept_events import kept, replay
from tests.harness import ServiceUnderTest, rows_as_owner
from tests.keys import MASTER_KEYS

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


PLAIN_EVENTS = (
    "select source, event_id, fingerprint, waits_for, code, detail, payload from kept_event order by event_id",
    "select source, event_id, payload, edited_by from kept_event_edit order by event_id",
)


async def test_events_kept_as_they_came_are_sealed_and_can_be_opened_again(
    postgres: EmbeddedPostgres,
) -> None:
    """Migration 0014 with data: more than a chunk of it, of a party, of an account, of nobody and of no sense."""
    name = f"events_{new_id().hex}"
    postgres.provision(name, "customer", "customer_api")
    url = postgres.url("customer", name)
    await migrate("customer", url, "0013")
    customer_id, account_id = new_id(), new_id()
    data = {
        "a-party": {"party_id": "P1", "name": SECRET},
        "b-joint": {"parties": [{"party_id": "P9"}, {"party_id": "P1"}], "note": SECRET},
        "c-account": {"account_id": "A1", "note": SECRET},
        "d-nobody": {"party_id": "P2", "name": SECRET},
        "e-no-object": [SECRET],
        "f-odd": {"party_id": "P\t1", "account_id": ["A1"], "name": SECRET},
        **{f"z{number:03}": {"party_id": f"P{number % 2 + 1}", "name": SECRET} for number in range(600)},
    }
    written = {event_id: json.dumps({"id": event_id, "data": each}).encode() for event_id, each in data.items()}
    written["g-no-json"] = SECRET.encode() + b"\xff\x00"
    database = Database(url, url)
    database.data_keys = DataKeys(LocalMasterKeys(MASTER_KEYS))
    async with database.jobs.begin() as connection:
        await connection.execute(text("insert into branch values ('B1', 1, 1, 'One', null, null, '{B1}')"))
        await connection.execute(
            text(
                "insert into customer (customer_id, source, party_id, revision, fingerprint, version, customer_number,"
                " branch_id) values (:id, 'core', 'P1', 1, 1, 1, '1', 'B1')"
            ),
            {"id": customer_id},
        )
        await connection.execute(
            text(
                "insert into account (account_id, source, core_account_id, customer_id, revision, fingerprint, version,"
                " kind, currency, opened_on)"
                " values (:account, 'core', 'A1', :id, 1, 1, 1, 'current', 'CNY', '2020-01-01')"
            ),
            {"account": account_id, "id": customer_id},
        )
        for statement in (
            "insert into kept_event (source, event_id, fingerprint, waits_for, code, detail, payload)"
            " values ('core', :event_id, -7, 'party:P1', 'unknown_party', 'd', :payload)",
            "insert into kept_event_edit (id, source, event_id, payload, edited_at, edited_by)"
            " values (gen_random_uuid(), 'core', :event_id, :payload, now(), 'OP1')",
        ):
            rows = [{"event_id": event_id, "payload": payload} for event_id, payload in written.items()]
            await connection.execute(text(statement), rows)
    before = [await rows_as_owner(database, query) for query in PLAIN_EVENTS]
    await migrate("customer", url, "0014", master_keys=MASTER_KEYS)
    whose = {
        event_id: (customer, names)
        for event_id, customer, names in await rows_as_owner(
            database, "select event_id, customer_id, names from kept_event where event_id < 'z'"
        )
    }
    assert whose == {
        "a-party": (customer_id, ["party:P1"]),
        "b-joint": (customer_id, ["party:P9", "party:P1"]),
        "c-account": (customer_id, ["account:A1"]),
        "d-nobody": (None, ["party:P2"]),
        "e-no-object": (None, []),
        "f-odd": (None, []),
        "g-no-json": (None, []),
    }
    for table in ("kept_event", "kept_event_edit"):
        of_customer = f"select count(*) filter (where customer_id = :id), count(*) from {table}"
        assert await rows_as_owner(database, of_customer, id=customer_id) == [(303, 607)]
        for (row,) in await rows_as_owner(database, f"select t::text || encode(sealed, 'escape') from {table} t"):
            assert "Meiqi" not in row
    async with database.transaction() as session:
        kept_now = (await session.execute(text("select * from kept_event order by event_id"))).all()
        assert await open_events(session, kept_now) == [written[event_id] for event_id in sorted(written)]
    await migrate("customer", url, "-1", master_keys=MASTER_KEYS)
    assert [await rows_as_owner(database, query) for query in PLAIN_EVENTS] == before
    await database.close()
