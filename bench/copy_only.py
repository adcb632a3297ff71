"""The limit: rows that were decoded before, by COPY into a table without an index, 500 a commit, and nothing else."""

import asyncio
from collections.abc import Sequence
from typing import Any

import psycopg

from bench.check import NotExactlyOnce
from bench.contender import SCHEMA, Setup
from bench.input import Posted, generate, holders

BATCH = 500
_TYPES = ("text", "text", "uuid", "date", "int8", "int8", "text", "text", "int8")


class CopyOnly:
    processes = 1
    partitions = 4
    share = 1.0
    schema = f"{SCHEMA}create table copied (like posting);"
    moves_offsets = False
    owner = "bench"

    def __init__(self, name: str = "copy_only", *, binary: bool = True) -> None:
        self.name = name
        self._binary = binary
        self._rows: list[tuple[Any, ...]] = []
        self._connection: psycopg.Connection[Any] | None = None

    async def prepare(self, setup: Setup) -> None:
        holder = holders(setup.customers)
        self._rows = [
            (
                posted.account_id,
                posted.transaction_id,
                holder[posted.account_id],
                posted.booked_on,
                posted.number,
                posted.amount_minor,
                "EUR",
                posted.kind,
                posted.balance_after_minor,
            )
            for posted, _, _ in generate(setup.seed, setup.records, setup.customers, setup.partitions)
        ]
        # Open until the process ends: what its backend has used is read before.
        self._connection = psycopg.connect(setup.database)

    async def run(self, setup: Setup, stop: asyncio.Event) -> None:  # noqa: ARG002 - it ends by itself
        assert self._connection is not None, "it has not been prepared"
        _copy(self._connection, self._rows, binary=self._binary)

    def check(self, setup: Setup, placed: Sequence[Sequence[Posted]]) -> None:
        """Of what is right, only that all of it was copied."""
        with psycopg.connect(setup.database) as connection:
            copied = connection.execute("select count(*) from copied").fetchone()
        if copied != (sum(map(len, placed)),):
            raise NotExactlyOnce(f"{copied} rows were copied")


def _copy(connection: psycopg.Connection[Any], rows: Sequence[tuple[Any, ...]], *, binary: bool) -> None:
    statement = "copy copied from stdin (format binary)" if binary else "copy copied from stdin"
    with connection.cursor() as cursor:
        for first in range(0, len(rows), BATCH):
            with cursor.copy(statement) as copy:
                if binary:
                    copy.set_types(_TYPES)
                for row in rows[first : first + BATCH]:
                    copy.write_row(row)
            connection.commit()
