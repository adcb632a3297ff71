"""Columns of NumPy to and from PostgreSQL: COPY's binary format with fixed widths and without nulls.

A row is 2 bytes of how many fields, and for each field 4 bytes of its length and its bytes, all
big-endian (PostgreSQL's documentation, "COPY", Binary Format): what a structured NumPy array is.
"""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import psycopg
from sqlalchemy.ext.asyncio import AsyncSession

WIDTHS = {"int4": ">i4", "int8": ">i8", "date": ">i4", "uuid": "V16"}
EPOCH = 730_120
"""The ordinal of 2000-01-01, from which PostgreSQL counts days."""

_HEADER = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
_TRAILER = b"\xff\xff"

Rows = npt.NDArray[np.void]


def _layout(types: Sequence[str]) -> np.dtype[np.void]:
    fields: list[tuple[str, str]] = [("fields", ">i2")]
    for at, name in enumerate(types):
        fields += [(f"length{at}", ">i4"), (f"value{at}", WIDTHS[name])]
    return np.dtype(fields)


async def copy_in(session: AsyncSession, table: str, columns: Mapping[str, tuple[str, npt.NDArray[Any]]]) -> None:
    """Copies columns, each a type and its values, into a table."""
    types = [name for name, _ in columns.values()]
    layout = _layout(types)
    count = len(next(iter(columns.values()))[1])
    rows = np.empty(count, layout)
    rows["fields"] = len(types)
    for at, (name, values) in enumerate(columns.values()):
        rows[f"length{at}"] = layout[f"value{at}"].itemsize
        rows[f"value{at}"] = values - EPOCH if name == "date" else values
    statement = f"copy {table} ({', '.join(columns)}) from stdin (format binary)"
    driver = await _driver(session)
    async with driver.cursor() as cursor, cursor.copy(statement.encode()) as copy:
        await copy.write(_HEADER + rows.tobytes() + _TRAILER)


async def copy_out(
    session: AsyncSession, query: str, parameters: Mapping[str, Any], types: Sequence[str]
) -> list[npt.NDArray[np.int64]]:
    """The columns of a query of integers and dates; dates come as ordinals."""
    layout = _layout(types)
    statement = f"copy ({query}) to stdout (format binary)"
    driver = await _driver(session)
    async with driver.cursor() as cursor, cursor.copy(statement.encode(), parameters) as copy:
        received = b"".join([bytes(block) async for block in copy])
    count = (len(received) - len(_HEADER) - len(_TRAILER)) // layout.itemsize
    rows = np.frombuffer(received, layout, count, offset=len(_HEADER))
    return [rows[f"value{at}"].astype(np.int64) + (EPOCH if name == "date" else 0) for at, name in enumerate(types)]


async def _driver(session: AsyncSession) -> psycopg.AsyncConnection[tuple[Any, ...]]:
    """The driver's connection, within the session's transaction."""
    connection = await (await session.connection()).get_raw_connection()
    return cast("psycopg.AsyncConnection[tuple[Any, ...]]", connection.driver_connection)


def uuid_column(joined: bytes) -> Rows:
    """UUIDs, their bytes one after the other."""
    return np.frombuffer(joined, "V16")
