"""Columns of NumPy from PostgreSQL: COPY's binary format with fixed widths and without nulls."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy.ext.asyncio import AsyncSession

from shared.columns import EPOCH_DAY, HEADER, TRAILER
from shared.copying import driver_of

WIDTHS = {"int4": ">i4", "int8": ">i8", "date": ">i4"}


async def copy_out(
    session: AsyncSession, query: str, parameters: Mapping[str, Any], types: Sequence[str]
) -> list[npt.NDArray[np.int64]]:
    """The columns of a query of integers and dates; dates come as ordinals."""
    layout = _layout(types)
    statement = f"copy ({query}) to stdout (format binary)"
    driver = await driver_of(session)
    async with driver.cursor() as cursor, cursor.copy(statement.encode(), parameters) as copy:
        received = b"".join([bytes(block) async for block in copy])
    count = (len(received) - len(HEADER) - len(TRAILER)) // layout.itemsize
    rows = np.frombuffer(received, layout, count, offset=len(HEADER))
    return [rows[f"value{at}"].astype(np.int64) + (EPOCH_DAY if name == "date" else 0) for at, name in enumerate(types)]


def _layout(types: Sequence[str]) -> np.dtype[np.void]:
    """A row is how many fields it has, and of each its length and its bytes."""
    fields: list[tuple[str, str]] = [("fields", ">i2")]
    for at, name in enumerate(types):
        fields += [(f"length{at}", ">i4"), (f"value{at}", WIDTHS[name])]
    return np.dtype(fields)
