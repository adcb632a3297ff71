"""Customers are listed, read, looked up and searched within what one looks after."""

import json
from datetime import date
from typing import Any

import pytest

from shared.ids import new_id
from tests.bank import SMALL_BANK, branch, party, push
from tests.customer.asking import (
    HEAD_1,
    M1,
    M2,
    OFFICE,
    get,
    id_of,
    listed,
    numbers,
    post,
    searched,
    two_branches,
)
from tests.harness import ServiceUnderTest, manager

LEFT = date(2026, 2, 1)


async def test_a_list_shows_what_its_filters_ask_for(customer: ServiceUnderTest) -> None:
    parties = [
        party("P1", branch_id="B1", manager_id="M1"),
        party("P2", branch_id="B1", manager_id=None),
        party("P3", branch_id="B2", manager_id="M2", left_on=LEFT),
        party("P4", branch_id="B2", manager_id=None, left_on=LEFT),
    ]
    await push(customer, [branch("B1"), branch("B2"), *parties])
    every = [f"1000000{n}" for n in (1, 2, 3, 4)]
    one, two, three, four = every
    for query, expected in (
        ({}, every),
        ({"branch_id": "B1"}, [one, two]),
        ({"branch_id": "B9"}, []),
        ({"manager_id": "M2"}, [three]),
        ({"is_assigned": True}, [one, three]),
        ({"is_assigned": False}, [two, four]),
        ({"has_left": True}, [three, four]),
        ({"has_left": False}, [one, two]),
        ({"branch_id": "B2", "has_left": True, "is_assigned": False}, [four]),
    ):
        assert await numbers(customer, **query) == expected, query


@pytest.mark.parametrize("limit", [1, 3, 200])
async def test_a_list_is_whole_in_every_order_page_by_page(customer: ServiceUnderTest, limit: int) -> None:
    since = [date(2024, 5, 1), date(2021, 1, 1), None, date(2021, 1, 1), date(2023, 1, 1), None, date(2025, 1, 1)]
    parties = [party(f"P{n}", customer_since=day) for n, day in enumerate(since, 1)]
    await push(customer, [*SMALL_BANK[:2], *parties])
    listed_since = [item["customer_since"] for item in await listed(customer, sort="customer_since", limit=limit)]
    years = [day and day[:4] for day in listed_since]
    assert years == ["2021", "2021", "2023", "2024", "2025", None, None]
    downwards = [item["customer_since"] for item in await listed(customer, sort="-customer_since", limit=limit)]
    assert downwards[:2] == ["2025-01-01", "2024-05-01"]
    assert downwards[-2:] == [None, None], "of whom it is not known comes last in either direction"
    expected = [f"1000000{n}" for n in range(1, 8)]
    assert await numbers(customer, limit=limit) == expected
    assert await numbers(customer, sort="-customer_number", limit=limit) == expected[::-1]


async def test_pages_stay_put_while_customers_arrive(customer: ServiceUnderTest) -> None:
    await push(customer, [*SMALL_BANK[:2], *(party(f"P{n}") for n in range(10, 30, 2))])
    first = (await get(customer, "/customers", limit=5)).json()
    await push(customer, [party(f"P{n}") for n in range(9, 29, 2)], ids="more")
    second = (await get(customer, "/customers", limit=5, cursor=first["next"])).json()
    seen = [int(item["customer_number"][-2:]) for item in first["items"] + second["items"]]
    assert seen == [10, 12, 14, 16, 18, 19, 20, 21, 22, 23]


MALFORMED: list[dict[str, Any]] = [
    {"limit": 0},
    {"limit": 201},
    {"sort": "phone"},
    {"sort": "name"},
    {"sort": "customer_since;drop table customer"},
    {"cursor": "x"},
    {"cursor": "WyJuYW1lLCIsICJ4Il0"},
    {"has_left": "perhaps"},
    {"branch_id": "B" * 65},
    {"manager_id": "M\x00"},
]


async def test_a_malformed_list_is_refused(customer: ServiceUnderTest) -> None:
    for query in MALFORMED:
        answer = await get(customer, "/customers", **query)
        assert (answer.status_code, answer.headers["Content-Type"]) == (422, "application/problem+json"), query


async def test_a_customer_is_read_until_it_changes(customer: ServiceUnderTest) -> None:
    await two_branches(customer)
    path = f"/customers/{await id_of(customer, 'P1')}"
    read = await get(customer, path, M1)
    assert (read.json()["customer_number"], read.json()["manager_id"]) == ("10000001", "M1")
    tag = {"If-None-Match": read.headers["ETag"]}
    assert (await get(customer, path, M1, tag)).status_code == 304
    await push(customer, [party("P1", revision=2, name="Married Name")], ids="married")
    changed = await get(customer, path, M1, tag)
    assert (changed.status_code, changed.json()["name"]) == (200, "Married Name")


async def test_somebody_elses_customer_is_not_there(customer: ServiceUnderTest) -> None:
    await two_branches(customer)
    known, unknown = await id_of(customer, "P2"), new_id()
    refusals = [await get(customer, f"/customers/{which}", M1) for which in (known, unknown)]
    assert [answer.status_code for answer in refusals] == [404, 404]
    first, second = (answer.json() for answer in refusals)
    assert first.pop("trace_id") != second.pop("trace_id")
    assert first == second, "what is hidden reads as what does not exist"


async def test_a_look_up_answers_in_the_order_asked_for(customer: ServiceUnderTest) -> None:
    await two_branches(customer)
    one, two = await id_of(customer, "P1"), await id_of(customer, "P2")
    asked = [two, str(new_id()), one, two]
    found = (await post(customer, "/customers/lookup", {"customer_ids": asked})).json()["items"]
    assert [item["customer_id"] for item in found] == [two, one]
    own = (await post(customer, "/customers/lookup", {"customer_ids": asked}, M1)).json()["items"]
    assert [item["customer_id"] for item in own] == [one]


async def test_a_look_up_takes_up_to_two_hundred(customer: ServiceUnderTest) -> None:
    for count, status in ((0, 422), (1, 200), (200, 200), (201, 422)):
        body = {"customer_ids": [str(new_id()) for _ in range(count)]}
        assert (await post(customer, "/customers/lookup", body)).status_code == status, count


FOUND_BY = [
    ("李", ["李梅", "李明"]),
    ("李明", ["李明"]),
    ("明", ["李明"]),
    ("zoë van", ["Zoë van Dijk"]),
    ("ZOË  VAN", ["Zoë van Dijk"]),
    ("Ｚｏë", ["Zoë van Dijk"]),
    ("strasse", ["Straße"]),
    ("o'", ["O'Brien"]),
    ("1000", ["李梅", "李明", "O'Brien", "Straße", "Zoë van Dijk"]),
    ("10000003", ["Zoë van Dijk"]),
    ("0000003", []),
    ("+00 555 0142", ["O'Brien"]),
    ("005550142", ["O'Brien"]),
    ("(00)555-01-42", ["O'Brien"]),
    ("5550142", []),
    ("van dijk", ["Zoë van Dijk"]),
    ("dijk zoë", ["Zoë van Dijk"]),
    ("ijk", ["Zoë van Dijk"]),
    ("梅", ["李梅"]),
    ("d", ["Zoë van Dijk"]),
    ("j", []),
    ("e1234567X", ["O'Brien"]),
    ("e123", []),
    ("  李明  ", ["李明"]),
]


async def test_a_search_finds_by_a_part_of_the_name_by_number_by_phone_and_by_document(
    customer: ServiceUnderTest,
) -> None:
    parties = [
        party("P1", name="李明"),
        party("P2", name="李梅"),
        party("P3", name="Zoë  van Dijk"),
        party("P4", name="Straße"),
        party("P5", name="O'Brien", phone="+00 555 0142", document_number="E 1234-567x"),
    ]
    await push(customer, [*SMALL_BANK[:2], *parties])
    for query, found in FOUND_BY:
        assert sorted(" ".join(name.split()) for name in await searched(customer, query)) == sorted(found), query
        assert await searched(customer, query, M2) == [], "others' customers are not found"


async def test_a_search_is_in_the_order_of_names_and_ends_at_fifty(customer: ServiceUnderTest) -> None:
    await push(customer, [*SMALL_BANK[:2], *(party(f"P{n}", name=f"Lin {n:03}") for n in range(60, 0, -1))])
    assert await searched(customer, "lin") == [f"Lin {n:03}" for n in range(1, 51)]


HOSTILE = ["%", "_", "%%", "' or 1=1 --", "\\", "*", ".*", "\U0010ffff", "\ufdfa" * 200, "0", "00", "٣٣٣٣", "{}"]
NOTHING = ["", " ", "\u3000", "\t\n", "x" * 201, "a\x00b", "\ud800", None, 7, ["lin"], {"$gt": ""}]


async def test_a_hostile_search_finds_nobody(customer: ServiceUnderTest) -> None:
    await push(customer, [*SMALL_BANK[:2], party("P1", name="Lin Meiqi", phone="12"), party("P2", name=None)])
    for query in HOSTILE:
        assert await searched(customer, query) == [], query


async def test_a_search_for_nothing_is_refused(customer: ServiceUnderTest) -> None:
    async with customer.http(OFFICE) as http:
        for query in NOTHING:
            body = json.dumps({"query": query})
            answer = await http.post("/customers/search", content=body, headers={"Content-Type": "application/json"})
            assert (answer.status_code, answer.headers["Content-Type"]) == (422, "application/problem+json"), query


async def test_a_name_that_folding_makes_long_is_kept_and_found(customer: ServiceUnderTest) -> None:
    name = "".join(chr(0xFB00 + n % 5) + chr(0xFDFA) for n in range(100))
    assert (await push(customer, [*SMALL_BANK[:2], party("P1", name=name)]))["applied"] == 3
    assert await searched(customer, name) == [name]


async def test_a_deputy_sees_the_customer_too(customer: ServiceUnderTest) -> None:
    await push(customer, [*SMALL_BANK[:2], party("P1", manager_id="M1", deputy_manager_id="M7")])
    for actor, seen in ((M1, 1), (manager("M7"), 1), (HEAD_1, 1), (manager("M8"), 0)):
        assert len(await listed(customer, actor=actor)) == seen
