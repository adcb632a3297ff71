import base64
import itertools
import json
from datetime import timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest
from sqlalchemy import text

from shared.web.paging import Ordering, after_row
from shared.web.refusals import InvalidInput
from tests.shared.web.notes import NOW, Notes, by_rank, note


async def all_pages(client: httpx.AsyncClient, **query: Any) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    cursor = None
    for _ in range(100):
        answer = await client.get("/notes", params={**query, **({"cursor": cursor} if cursor else {})})
        assert answer.status_code == 200, answer.text
        page = answer.json()
        assert len(page["items"]) <= query.get("limit", 50)
        items += page["items"]
        cursor = page["next"]
        if cursor is None:
            return items
        assert page["items"], "a page that is not the last has items"
    raise AssertionError("the pages do not end")


@pytest.fixture
async def many(notes: Notes) -> list[UUID]:
    """Notes with ties, nulls and negatives in every column that is sorted by."""
    ranks = (None, -1, 3, 3, None, 0, 7, 3)
    return [
        await notes.write(
            rank=ranks[n % 8], size=n % 3, written_at=NOW + timedelta(microseconds=n % 5), subject=f"s{n:02}"
        )
        for n in range(23)
    ]


COLUMNS = ("rank", "size", "written_at", "subject")


@pytest.mark.parametrize(
    "sort",
    [
        *(sign + name for name in COLUMNS for sign in ("", "-")),
        *(
            f"{a},{b}"
            for a, b in itertools.permutations(("rank", "-rank", "size", "-size"), 2)
            if a.strip("-") != b.strip("-")
        ),
        "-size,rank,-written_at,subject",
        "size,written_at",
    ],
)
async def test_every_order_gives_each_row_once_and_in_order(notes: Notes, many: list[UUID], sort: str) -> None:
    keys = sort.split(",")
    order = ", ".join(f"{key.strip('-')} {'desc' if key[0] == '-' else 'asc'} nulls last" for key in keys)
    tie = "desc" if keys[-1][0] == "-" else "asc"
    expected = [str(row[0]) for row in await notes.rows(f"select id from note order by {order}, id {tie}")]
    async with notes.http() as client:
        for limit in (1, 4, 23, 50):
            assert [item["id"] for item in await all_pages(client, sort=sort, limit=limit)] == expected


async def test_what_is_inserted_meanwhile_moves_nothing(notes: Notes, many: list[UUID]) -> None:
    async with notes.http() as client:
        before = [item["id"] for item in await all_pages(client, sort="subject")]
        first = (await client.get("/notes", params={"sort": "subject", "limit": 5})).json()
        await notes.write(subject="s00-before")
        await notes.write(subject="s04-after")
        rest = await all_pages(client, sort="subject", cursor=first["next"])
    seen = [item["id"] for item in (*first["items"], *rest)]
    assert [each for each in seen if each in before] == before
    assert len(seen) == len(set(seen)) == len(before) + 1


async def test_a_limit_is_1_to_200_and_50_by_default(notes: Notes) -> None:
    for _ in range(51):
        await notes.write()
    async with notes.http() as client:
        page = (await client.get("/notes")).json()
        assert (len(page["items"]), page["next"] is None) == (50, False)
        for limit, status in ((0, 422), (1, 200), (200, 200), (201, 422)):
            assert (await client.get("/notes", params={"limit": limit})).status_code == status


async def test_an_empty_list_is_an_end(notes: Notes) -> None:
    async with notes.http() as client:
        assert (await client.get("/notes")).json() == {"items": [], "next": None}


async def test_a_cursor_shows_nothing_of_others(notes: Notes) -> None:
    await notes.write(writer="M2", subject="theirs")
    async with notes.http("M1") as client:
        assert (
            await client.get("/notes", params={"cursor": cursor("subject,", "a", str(UUID(int=0))), "sort": "subject"})
        ).json()["items"] == []


def cursor(*written: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(written).encode()).decode().rstrip("=")


ID = str(UUID(int=7))


@pytest.mark.parametrize(
    "stated",
    [
        "x",
        "%%%",
        "e30",
        cursor(),
        cursor("-rank,-"),
        cursor("-rank,-", 1),
        cursor("-rank,-", 1, ID, 1),
        cursor("rank,", 1, ID),
        cursor("-rank,-", "one", ID),
        cursor("-rank,-", [1], ID),
        cursor("-rank,-", {"a": 1}, ID),
        cursor("-rank,-", 1, "x"),
        cursor("-rank,-", 1, None),
        cursor("-rank,-", float("nan"), ID),
        cursor(["-rank,-"], 1, ID),
        base64.urlsafe_b64encode(b"[" * 1400).decode(),
        base64.urlsafe_b64encode(b"\xff").decode(),
    ],
)
async def test_a_cursor_that_is_not_of_this_list_is_refused(notes: Notes, stated: str) -> None:
    async with notes.http() as client:
        answer = await client.get("/notes", params={"cursor": stated})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_cursor")


async def test_a_cursors_values_are_values_to_the_database(notes: Notes) -> None:
    async with notes.http() as client:
        quoted = await client.get(
            "/notes", params={"sort": "subject", "cursor": cursor("subject,", "'; drop table note", ID)}
        )
        nul = await client.get("/notes", params={"sort": "subject", "cursor": cursor("subject,", "\x00", ID)})
        huge = await client.get("/notes", params={"cursor": cursor("-rank,-", 10**12, ID)})
    assert quoted.status_code == 200
    assert (nul.status_code, nul.json()["code"]) == (422, "invalid_cursor")
    assert huge.status_code in (200, 422)


@pytest.mark.parametrize(
    "sort", ["id", "writer", "rank,rank", "rank,-rank", "--rank", "rank,", ",", "RANK", "rank desc"]
)
async def test_only_what_is_documented_sorts(notes: Notes, sort: str) -> None:
    async with notes.http() as client:
        answer = await client.get("/notes", params={"sort": sort})
    assert answer.status_code == 422
    assert [(error["in"], error["pointer"], error["code"]) for error in answer.json()["errors"]] == [
        ("query", "/sort", "invalid_sort")
    ]


def test_a_default_that_sorts_by_nothing_is_refused_where_it_is_declared() -> None:
    with pytest.raises(InvalidInput):
        Ordering({"rank": note.c.rank}, default="-risk", tie=note.c.id)


async def test_the_next_page_is_a_range_of_the_index(notes: Notes) -> None:
    """One direction without nulls is compared as a row; mixed directions keep a bound on their first column."""
    async with notes.database.jobs.begin() as connection:
        await connection.execute(text("create index by_time on note (written_at, id)"))
        await connection.execute(text("create index by_size on note (size, written_at desc, id desc)"))
        for other_way in ("seqscan", "bitmapscan", "sort", "incremental_sort"):
            await connection.execute(text(f"set local enable_{other_way} = off"))
        for sort, values, condition in (
            ("written_at", (NOW, UUID(int=7)), "Index Cond: (ROW(written_at, id) > ROW("),
            ("size,-written_at", (1, NOW, UUID(int=7)), "Index Cond: (size >= "),
        ):
            request = await by_rank(limit=5, cursor=None, sort=sort)
            statement = (
                note.select().where(after_row(request.keys, values)).order_by(*(key.ordered for key in request.keys))
            )
            compiled = statement.limit(5).compile(connection.sync_connection, compile_kwargs={"literal_binds": True})
            plan = "\n".join(row[0] for row in await connection.exec_driver_sql(f"explain {compiled}"))
            assert condition in plan, plan
            assert "Sort" not in plan, plan
        await connection.execute(text("drop index by_time, by_size"))
