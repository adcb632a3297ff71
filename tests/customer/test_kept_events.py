"""Operators see what of the core is parked or held, mend it, and have it received again."""

import asyncio
import json
from datetime import timedelta
from typing import Any

import pytest
from prometheus_client import REGISTRY
from sqlalchemy import select

from services.customer.models import KeptEvent, KeptEventEdit
from services.customer.use_cases.kept_bytes import field_of, open_events
from services.customer.use_cases.kept_events import forget_edits, open_history
from services.customer.use_cases.upkeep import Upkeep
from shared.sealing.kept import Plain, seal_to_keep
from tests.bank import account, branch, party, posted, push
from tests.customer.asking import M1, OFFICE, OPERATOR
from tests.harness import ServiceUnderTest, program

WRONG = b'{"specversion":"1.0","id":"w-%d","source":"core","type":"corebanking.party_recorded.v1","data":%s}'
NAME = "Zhang Wei"


def wrong(number: int, **more: Any) -> bytes:
    """A party whose revision is no number."""
    known = {"party_id": f"P{number}", "customer_number": str(number), "branch_id": "B1", "name": NAME}
    return WRONG % (number, json.dumps({**known, "revision": "one", **more}).encode())


async def kept(customer: ServiceUnderTest, **filters: str) -> list[dict[str, Any]]:
    async with customer.http(OPERATOR) as http:
        answer = await http.get("/core-banking/kept-events", params={"sort": "kept_at", **filters})
    assert answer.status_code == 200, answer.text
    assert NAME not in answer.text
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


async def replay(customer: ServiceUnderTest, kept_id: str, patch: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    async with customer.http(OPERATOR) as http:
        answer = await http.post(f"/core-banking/kept-events/{kept_id}/replay", json={"patch": patch})
    return answer.status_code, answer.json()


async def test_a_parked_event_is_mended_and_applied_and_what_it_was_is_kept(customer: ServiceUnderTest) -> None:
    await push(customer, [branch("B1")])
    await push(customer, wrong(1))
    (event,) = await kept(customer)
    assert (event["id"], event["code"], event["pointer"]) == ("w-1", "malformed_event", "/data/revision")
    path = f"/core-banking/kept-events/{event['kept_id']}"
    async with customer.http(OPERATOR) as http:
        shown = (await http.get(path)).json()
        assert json.loads(shown["cloud_event"])["data"]["name"] == NAME
        assert shown["history"] == []
    status, receipt = await replay(customer, event["kept_id"], {"data": {"revision": 1}})
    assert (status, receipt["outcome"], receipt["code"]) == (200, "applied", None)
    assert await kept(customer) == []
    assert await customer.rows("select party_id from customer") == [("P1",)]
    async with customer.database.transaction() as session:
        (edit,) = await session.scalars(select(KeptEventEdit))
        (payload,) = await open_history(session, [edit])
    assert payload is not None
    assert (json.loads(payload)["data"]["revision"], edit.edited_by) == ("one", "OP1")
    assert (await replay(customer, event["kept_id"], {}))[0] == 404


async def test_what_is_still_wrong_stays_with_its_new_reason(customer: ServiceUnderTest) -> None:
    await push(customer, [branch("B1")])
    await push(customer, wrong(1))
    (event,) = await kept(customer)
    status, receipt = await replay(customer, event["kept_id"], {"data": {"revision": -1}})
    assert (status, receipt["outcome"], receipt["pointer"]) == (200, "parked", "/data/revision")
    (now,) = await kept(customer)
    assert now["kept_id"] != event["kept_id"]
    async with customer.http(OPERATOR) as http:
        shown = (await http.get(f"/core-banking/kept-events/{now['kept_id']}")).json()
    assert [json.loads(edit["cloud_event"])["data"]["revision"] for edit in shown["history"]] == ["one"]
    again = await replay(customer, now["kept_id"], {})
    assert (again[0], again[1]["outcome"]) == (200, "parked")
    assert await customer.count("kept_event_edit") == 1, "an event that is sent again as it was is no edit"


async def test_two_operators_who_mend_at_once_apply_it_once(customer: ServiceUnderTest) -> None:
    await push(customer, [branch("B1")])
    await push(customer, wrong(1))
    (event,) = await kept(customer)
    answers = await asyncio.gather(
        *(replay(customer, event["kept_id"], {"data": {"revision": number}}) for number in (1, 2, 3))
    )
    assert sorted(status for status, _ in answers) == [200, 404, 404]
    assert await customer.count("customer") == 1
    assert await customer.count("kept_event_edit") == 1


async def test_all_of_a_filter_are_received_again_in_parts_and_one_still_wrong_stops_no_other(
    customer: ServiceUnderTest,
) -> None:
    await push(customer, b"\n".join(wrong(number) for number in range(1, 6)))
    async with customer.database.transaction() as session:  # as if a newer version read what this one could not
        for event in await session.scalars(select(KeptEvent).where(KeptEvent.event_id != "w-3")):
            (payload,) = await open_events(session, [event])
            assert payload is not None
            field = field_of(event.source, event.event_id, event.fingerprint)
            (mended,) = await seal_to_keep(session, "kept_event", [Plain(field, payload.replace(b'"one"', b"1"))])
            assert mended is not None
            event.sealed, event.customer_id = mended
    await push(customer, [branch("B1")])
    settled = still = 0
    cursor: dict[str, str] = {}
    async with customer.http(OPERATOR) as http:
        while True:
            query = {"limit": "2", "code": "malformed_event", **cursor}
            part = (await http.post("/core-banking/kept-events/replay", params=query)).json()
            settled, still = settled + part["settled"], still + part["kept"]
            if part["next"] is None:
                break
            cursor = {"cursor": part["next"]}
    assert (settled, still) == (4, 1)
    assert [event["id"] for event in await kept(customer)] == ["w-3"]
    assert await customer.count("customer") == 4


async def test_held_ones_are_listed_apart_and_may_be_received_again(customer: ServiceUnderTest) -> None:
    await push(customer, [posted("T1", -500)])
    assert await kept(customer) == []
    (event,) = await kept(customer, outcome="held")
    assert event["waits_for"] == "account:A1"
    assert await kept(customer, outcome="held", source="another") == []
    assert (await replay(customer, event["kept_id"], {}))[1]["outcome"] == "held"
    await push(customer, [branch("B1"), party("P1", branch_id="B1"), account("A1", "P1")], ids="later")
    assert await kept(customer, outcome="held") == []


@pytest.mark.parametrize("patch", [{"id": None}, {"source": ""}, {"specversion": "2.0"}, {"time": "yesterday"}])
async def test_what_could_not_be_received_at_all_is_refused(customer: ServiceUnderTest, patch: dict[str, Any]) -> None:
    await push(customer, wrong(1))
    (event,) = await kept(customer)
    status, problem = await replay(customer, event["kept_id"], patch)
    assert (status, problem["code"]) == (422, "not_a_cloud_event")
    assert await kept(customer) == [event]
    assert await customer.count("kept_event_edit") == 0


@pytest.mark.parametrize(
    "kept_id", ["x", "WyJhIl0", "WyJhIiwiYiIsMV0", "WyJhIiwiYiIsOTk5OTk5OTk5OTk5OTk5OTk5OTk5XQ", "é"]
)
async def test_what_is_not_kept_is_not_found(customer: ServiceUnderTest, kept_id: str) -> None:
    async with customer.http(OPERATOR) as http:
        answer = await http.get(f"/core-banking/kept-events/{kept_id}")
    assert (answer.status_code, answer.json()["code"]) == (404, "kept_event_not_found")
    assert (await replay(customer, kept_id, {}))[0] == 404


@pytest.mark.parametrize("principal", [M1, OFFICE, program("corebanking:write")])
async def test_kept_events_are_for_operators(customer: ServiceUnderTest, principal: Any) -> None:
    async with customer.http(principal) as http:
        for method, path in (("GET", ""), ("GET", "/x"), ("POST", "/x/replay"), ("POST", "/replay")):
            body: dict[str, Any] | None = {} if method == "POST" and "/x" in path else None
            answer = await http.request(method, f"/core-banking/kept-events{path}", json=body)
            assert answer.status_code == 403


async def test_what_was_mended_is_forgotten_a_while_after_it_is_applied(customer: ServiceUnderTest) -> None:
    await push(customer, [branch("B1")])
    await push(customer, wrong(1) + b"\n" + wrong(2))
    one, two = await kept(customer)
    await replay(customer, one["kept_id"], {"data": {"revision": 1}})
    await replay(customer, two["kept_id"], {"data": {"revision": -1}})
    now = customer.app.state.clock()
    await forget_edits(customer.database, lambda: now + timedelta(days=89))
    assert await customer.count("kept_event_edit") == 2
    await forget_edits(customer.database, lambda: now + timedelta(days=91))
    assert await customer.rows("select event_id from kept_event_edit") == [(two["id"],)]


async def test_how_many_are_kept_is_told_to_prometheus(customer: ServiceUnderTest) -> None:
    def told(outcome: str) -> float | None:
        return REGISTRY.get_sample_value("branchline_customer_kept_events", {"outcome": outcome})

    await push(customer, [posted("T1", -500)])
    await push(customer, wrong(1) + b"\n" + wrong(2))
    await Upkeep(customer.app.state.clock).count_kept_events(customer.database)
    assert (told("parked"), told("held")) == (2, 1)
