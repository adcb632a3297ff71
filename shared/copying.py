"""Many rows at once, in the session's own transaction: by COPY, and as arrays that a statement takes."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, LiteralString, NamedTuple, cast

import psycopg
from psycopg import adapters, sql
from psycopg.adapt import Dumper
from psycopg.pq import Format
from sqlalchemy.ext.asyncio import AsyncSession

from shared.columns import HEADER, TRAILER, Array, Column, array_of, rows_of
from shared.spare_time import long_wait, turn

Driver = psycopg.AsyncConnection[tuple[Any, ...]]


async def driver_of(session: AsyncSession) -> Driver:
    """The driver's connection, within the session's transaction."""
    connection = await (await session.connection()).get_raw_connection()
    return cast("Driver", connection.driver_connection)


async def copy_rows(
    session: AsyncSession, table: str, columns: Mapping[str, str], rows: Iterable[Sequence[Any]]
) -> None:
    """Writes `rows` to `table` by a binary COPY; `columns` gives each column's PostgreSQL type, in the rows' order.

    Not for tables with row-level security, which COPY refuses.
    """
    driver = await driver_of(session)
    async with driver.cursor() as cursor, cursor.copy(_copy_in(table, columns)) as copy:
        copy.set_types(list(columns.values()))
        for row in rows:
            await copy.write_row(row)


async def copy_columns(
    session: AsyncSession, table: str, columns: Mapping[str, Column], index: Array | None = None
) -> None:
    """As `copy_rows`, at a fifth of its cost for thousands of rows; PostgreSQL reads some while others are made.

    With `index`, it writes the rows at these indexes, in its order.
    """
    await _copy(session, table, columns, rows_of(list(columns.values()), index))


class Encoded(NamedTuple):
    """Rows as COPY takes them, some to a piece, and the names of their columns."""

    columns: Sequence[str]
    pieces: Sequence[bytes]


async def encode(columns: Mapping[str, Column]) -> Encoded:
    """What `copy_columns` makes of them, for somebody who has time for it before PostgreSQL waits for the rows."""
    pieces: list[bytes] = []
    for some in rows_of(list(columns.values())):
        pieces.append(some)
        await turn()
    return Encoded(list(columns), pieces)


async def copy_encoded(session: AsyncSession, table: str, rows: Encoded) -> None:
    await _copy(session, table, rows.columns, rows.pieces)


async def _copy(session: AsyncSession, table: str, columns: Iterable[str], pieces: Iterable[bytes]) -> None:
    driver = await driver_of(session)
    with ExitStack() as writing:
        async with driver.cursor() as cursor, cursor.copy(_copy_in(table, columns)) as copy:
            writing.enter_context(long_wait())
            await copy.write(HEADER)
            for rows in pieces:
                await copy.write(rows)
            await copy.write(TRAILER)


def _copy_in(table: str, columns: Iterable[str]) -> sql.Composed:
    return sql.SQL("copy {} ({}) from stdin (format binary)").format(
        sql.Identifier(table), sql.SQL(", ").join(map(sql.Identifier, columns))
    )


class _Array(bytes):
    """An array as PostgreSQL has it."""


class _ArrayDumper(Dumper):
    format = Format.BINARY

    def dump(self, obj: _Array) -> bytes:
        return obj


async def execute_with_columns(
    session: AsyncSession, statement: LiteralString, columns: Mapping[str, Column], **others: str
) -> list[tuple[Any, ...]]:
    """Runs a statement that takes each column as an array, as in `unnest(%(ids)s::uuid[])`; returns its rows.

    psycopg writes an array value by value, and PostgreSQL reads JSON at twice the cost of this.
    """
    driver = await driver_of(session)
    async with driver.cursor() as cursor:
        await _execute(cursor, statement, columns, others)
        return await cursor.fetchall()


async def write_with_columns(
    session: AsyncSession, statement: LiteralString, columns: Mapping[str, Column], **others: str
) -> None:
    """As `execute_with_columns`, for a statement that writes much and returns nothing: a long wait."""
    driver = await driver_of(session)
    async with driver.cursor() as cursor:
        with long_wait():
            await _execute(cursor, statement, columns, others)


async def fetch_arrays(
    session: AsyncSession, statement: LiteralString, columns: Mapping[str, Column], **others: str
) -> list[bytes | None]:
    """As `execute_with_columns`, of one row of arrays: their bytes, for `shared.columns.items_of`, and no objects."""
    driver = await driver_of(session)
    async with driver.cursor(binary=True) as cursor:
        await _execute(cursor, statement, columns, others)
        result = cursor.pgresult
        assert result is not None, "it returns rows"
        return [result.get_value(0, at) for at in range(result.nfields)]


async def _execute(
    cursor: psycopg.AsyncCursor[Any], statement: LiteralString, columns: Mapping[str, Column], others: Mapping[str, str]
) -> None:
    arrays = {name: _Array(array_of(column, adapters.types[column.type].oid)) for name, column in columns.items()}
    cursor.adapters.register_dumper(_Array, _ArrayDumper)
    await cursor.execute(statement, {**arrays, **others})
