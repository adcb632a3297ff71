"""What takes part in a bench: everything a contender gets, and what it must do.

A contender runs in processes of its own (`bench/worker.py`). Its database is fresh: Branchline's own tables for
messages (`shared/messaging/tables.py`) and those of SCHEMA. The bench times it by its offsets in `consumer_offset`:
from when they are first written, at the assignment, until they have moved over the records wanted.
"""

import asyncio
from collections.abc import Sequence
from datetime import date
from typing import Protocol
from uuid import UUID

import msgspec

from bench.input import Posted

# Ids are compared by their bytes. A day's aggregate is updated often: half of a page is left for what replaces its rows
# there, without a new entry in the index.
SCHEMA = """
create table posting (
    account_id text collate "C" not null,
    transaction_id text collate "C" not null,
    customer_id uuid not null,
    booked_on date not null,
    sequence bigint not null,
    amount_minor bigint not null,
    currency text not null,
    kind text not null,
    balance_after_minor bigint,
    primary key (account_id, transaction_id)
) partition by hash (account_id);
create table posting_0 partition of posting for values with (modulus 4, remainder 0);
create table posting_1 partition of posting for values with (modulus 4, remainder 1);
create table posting_2 partition of posting for values with (modulus 4, remainder 2);
create table posting_3 partition of posting for values with (modulus 4, remainder 3);
create table daily_aggregate (
    customer_id uuid not null,
    day date not null,
    transaction_count bigint not null,
    debit_minor bigint not null,
    credit_minor bigint not null,
    primary key (customer_id, day)
) with (fillfactor = 50);
"""
ACTIVITY_TYPE = "bench.customer_activity.v1"
ACTIVITY_TOPIC = "bench.activity"


class Setup(msgspec.Struct, frozen=True):
    """What a contender works with. `group` is its own; `partitions` is how many the topic has, `records` what
    is in it, `wanted` with how many of them it is measured.

    `database` is a psycopg URL. `seed` and `customers` are the input's (`bench/input.py`).
    """

    bootstrap: str
    topic: str
    partitions: int
    group: str
    database: str
    records: int
    wanted: int
    customers: int
    seed: int


class Contender(Protocol):
    """`name` is how results call it. `processes` of it share the `partitions` of the topic.

    `share` is how many of the topic's records it is measured with: the slow ones need fewer for a rate. `schema` is
    made in its database, which is `owner`'s, beside the tables for messages; None leaves that to `prepare`.
    `moves_offsets` is whether it reads the topic at all.
    """

    name: str
    processes: int
    partitions: int
    share: float
    moves_offsets: bool
    owner: str

    @property
    def schema(self) -> str | None: ...

    async def prepare(self, setup: Setup) -> None:
        """What is not timed: connects, reads what it keeps in memory."""

    async def run(self, setup: Setup, stop: asyncio.Event) -> None:
        """Consumes until `stop`, then commits or gives up what is under way; returns when it has let go."""

    def check(self, setup: Setup, placed: Sequence[Sequence[Posted]]) -> None:
        """Raises NotExactlyOnce (`bench/check.py`) unless its database holds what `placed` comes to, up to its offsets.

        `placed` is what is in each partition. Called in the bench's own process.
        """


class DayActivity(msgspec.Struct, frozen=True):
    day: date
    transaction_count: int
    debit_minor: int
    credit_minor: int


class CustomerActivity(msgspec.Struct, frozen=True):
    """The payload of an outbox row: by how much a customer's days grew. Its row's key is the customer's id."""

    customer_id: UUID
    days: tuple[DayActivity, ...]
