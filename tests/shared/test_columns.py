"""Columns that PostgreSQL and psycopg read back as what they were."""

import random
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from psycopg.types import array as psycopg_array
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from shared import columns
from shared.columns import Column
from shared.copying import copy_columns, copy_encoded, encode, execute_with_columns
from tests.conftest import NewDatabase

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
UUIDS = [UUID(int=0), UUID(int=2**128 - 1), UUID("0197f00d-0000-7000-8000-00000000beef")]
DAYS = [date(1, 1, 1), date(2000, 1, 1), date(1999, 12, 31), date(9999, 12, 31)]
INSTANTS = [EPOCH, datetime(2026, 11, 26, 12, 30, 1, 999_999, UTC), datetime(1800, 1, 1, tzinfo=UTC)]
TEXTS = ["", "a", "core-1", "名字", "a\nb\tc\\", "ü" * 300, "\x01"]
BYTES = [b"", b"\x00", b"a\x00\x00", bytes(range(256)), b"x" * 70_000]


@pytest.fixture
async def session(new_database: NewDatabase) -> AsyncIterator[AsyncSession]:
    database = await new_database("customer")
    async with AsyncSession(database.jobs) as session:
        await session.execute(
            text(
                "create temporary table kept (n int4, small int2, medium int4, large int8, flag bool, day date,"
                " instant timestamptz, id uuid, said text, held bytea)"
            )
        )
        yield session


def column(name: str, values: Sequence[Any]) -> Column:
    """`values` as a column; None is null."""
    nulls = np.array([value is None for value in values], np.bool_)

    def numbers(of: Any, absent: Any) -> Any:
        return np.array([of(absent if value is None else value) for value in values], np.int64)

    match name:
        case "small" | "medium" | "large":
            given, there = columns.nullable_numbers(values)
            return columns.integers({"small": "int2", "medium": "int4", "large": "int8"}[name], given, ~there)
        case "flag":
            return columns.booleans(numbers(int, False), nulls)
        case "day":
            return columns.dates(numbers(date.toordinal, date(1, 1, 1)), nulls)
        case "instant":
            return columns.instants(numbers(lambda at: (at - EPOCH) // timedelta(microseconds=1), EPOCH), nulls)
        case "id":
            return columns.uuids(b"".join(value.bytes for value in values))
        case "said":
            return columns.texts(values)
        case _:
            return columns.byteas(values)


async def read_back(session: AsyncSession, given: dict[str, list[Any]]) -> dict[str, list[Any]]:
    count = len(next(iter(given.values())))
    laid = {"n": columns.integers("int4", np.arange(count))} | {name: column(name, of) for name, of in given.items()}
    await copy_columns(session, "kept", laid)
    rows = (await session.execute(text(f"select {', '.join(given)} from kept order by n"))).all()
    await session.execute(text("truncate kept"))
    return {name: [row[at] for row in rows] for at, name in enumerate(given)}


async def test_every_type_comes_back_exactly_null_or_not(session: AsyncSession) -> None:
    chance = random.Random(4)
    extremes: dict[str, list[Any]] = {
        "small": [-(2**15), 2**15 - 1, 0, None],
        "medium": [-(2**31), 2**31 - 1, None],
        "large": [-(2**63), 2**63 - 1, -1, None],
        "flag": [True, False, None],
        "day": [*DAYS, None],
        "instant": [*INSTANTS, None],
        "id": UUIDS,
        "said": [*TEXTS, None],
        "held": [*BYTES, None],
    }
    rows = {name: [chance.choice(values) for _ in range(5_000)] for name, values in extremes.items()}
    assert await read_back(session, rows) == rows
    whole = {name: [value for value in values if value is not None][:1] * 3 for name, values in extremes.items()}
    assert await read_back(session, whole) == whole


@pytest.mark.parametrize("values", [["EUR", "CNY"], ["a", "bcd", ""], ["ü", "abc"], [""], []])
async def test_codes_are_texts_of_any_length_and_alphabet(session: AsyncSession, values: list[str]) -> None:
    laid = {"n": columns.integers("int4", np.arange(len(values))), "said": columns.codes(values)}
    await copy_columns(session, "kept", laid)
    assert list(await session.scalars(text("select said from kept order by n"))) == values


@pytest.mark.parametrize("ahead", [False, True])
async def test_rows_of_an_index_are_written_in_its_order_at_once_or_laid_out_before(
    session: AsyncSession, ahead: bool
) -> None:
    said = [f"text {at}" if at % 3 else None for at in range(5_000)]
    index = np.array([*range(4_999, 0, -2), 7, 7])
    given = {"n": columns.integers("int4", np.arange(5_000)), "said": columns.texts(said)}
    if ahead:
        rows = await encode({name: column.take(index) for name, column in given.items()})
        await copy_encoded(session, "kept", rows)
    else:
        await copy_columns(session, "kept", given, index)
    written = [tuple(row) for row in await session.execute(text("select n, said from kept order by ctid"))]
    assert written == [(at, said[at]) for at in index.tolist()]


async def test_rows_are_taken_by_index_in_any_order(session: AsyncSession) -> None:
    at = np.array([2, 0, 0])
    taken = {"n": columns.integers("int4", np.arange(3)), "said": columns.texts(["x", "yy", None]).take(at)}
    taken["held"] = columns.constant("same", 3)._replace(type="bytea")
    await copy_columns(session, "kept", taken)
    rows = [tuple(row) for row in await session.execute(text("select said, held from kept order by n"))]
    assert rows == [(None, b"same"), ("x", b"same"), ("x", b"same")]


async def test_an_array_comes_back_exactly(session: AsyncSession) -> None:
    given = [None, "a", "", "名字"] * 2_000
    rows = await execute_with_columns(
        session, "select * from unnest(%(said)s::text[], %(large)s::int8[])",
        {"said": columns.texts(given), "large": columns.integers("int8", np.arange(len(given)))},
    )  # fmt: skip
    assert rows == list(zip(given, range(len(given)), strict=True))
    nothing = {"said": columns.texts([])}
    assert await execute_with_columns(session, "select * from unnest(%(said)s::text[])", nothing) == []


@pytest.mark.parametrize("name", ["int2", "int4"])
def test_what_does_not_fit_is_refused_and_not_cut(name: str) -> None:
    limit = 1 << (8 * int(name[3:]) - 1)
    columns.integers(name, np.array([-limit, limit - 1]))
    for beyond in (limit, -limit - 1):
        with pytest.raises(OverflowError):
            columns.integers(name, np.array([beyond]))
    with pytest.raises(OverflowError):
        columns.numbers([2**63])


def test_one_wide_row_does_not_make_all_the_others_as_wide() -> None:
    wide = columns.byteas([b"x", b"y" * 3_000_000, *[b"z"] * 1_998])
    parts = list(columns.rows_of([wide]))
    assert len(parts) > 1
    assert sum(map(len, parts)) == 2_000 * (2 + 4) + 1_999 + 3_000_000


@settings(max_examples=50, deadline=None)
@given(st.lists(st.one_of(st.none(), st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=40))))
def test_an_array_is_what_psycopg_makes_of_it(values: list[str | None]) -> None:
    ours = columns.array_of(columns.texts(values), 25)
    assert list(psycopg_array.ArrayBinaryLoader(1009).load(ours)) == values
