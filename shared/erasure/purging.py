"""Erasure in one service: the customer's key is destroyed and its rows about them go, twice, and nothing comes after.

The first time is the delivery of the erasure. A transaction that was under way then, and had not seen the destroyed
key, may still write about the customer; so when all of those have ended a job deletes once more, and only then tells
what was deleted. Whatever is delivered later about an erased customer is passed by (`without_erased`).
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Uuid, any_, literal, select, text, update
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.ext.asyncio import AsyncSession

from shared.clock import Clock
from shared.database import Database
from shared.erasure.rules import Deleted, Rules
from shared.erasure.tables import purge
from shared.events import Delivery
from shared.events.base import CustomerEvent
from shared.events.customer import CustomerErased
from shared.events.erasure import Purge, PurgedTable
from shared.messaging.outbox import publish
from shared.sealing.data_keys import data_key, keys_of

PATIENCE_SECONDS = 30.0
"""For which one run of the job waits for older transactions; the next run goes on."""

Before = Callable[[AsyncSession, UUID], Awaitable[None]]
"""What a service does about a customer before their rows go."""


class Purging:
    """What a service does about `CustomerErased`, by its rules; `told` is the event that it publishes."""

    def __init__(self, rules: Rules, told: type[Purge], clock: Clock, before: Before | None = None) -> None:
        self._rules = rules
        self._told = told
        self._clock = clock
        self._before = before

    async def begin(self, session: AsyncSession, deliveries: Sequence[Delivery[CustomerErased]]) -> None:
        """Handler: destroys each customer's key and deletes the rows about them."""
        for event in sorted((delivery.event for delivery in deliveries), key=lambda event: event.customer_id):
            await keys_of(session).destroy(session, event.customer_id)
            if self._before:
                await self._before(session, event.customer_id)
            begun = insert(purge).values(
                customer_id=event.customer_id,
                erasure_id=event.erasure_id,
                begun_at=self._clock(),
                rows=await self._delete(session, event.customer_id),
            )
            await session.execute(begun.on_conflict_do_nothing())

    async def finish(self, database: Database) -> None:
        """Job: deletes once more what older transactions have written since, and tells of it."""
        unfinished = select(purge.c.customer_id).where(purge.c.finished_at.is_(None)).order_by(purge.c.customer_id)
        async with database.transaction() as session:
            customer_ids = (await session.scalars(unfinished)).all()
        if not customer_ids or not await _older_transactions_have_ended(database):
            return
        for customer_id in customer_ids:
            async with database.transaction() as session:
                wanted = select(purge).where(purge.c.customer_id == customer_id, purge.c.finished_at.is_(None))
                begun = (await session.execute(wanted.with_for_update())).one_or_none()
                if begun is not None:
                    await self._finish(session, customer_id, begun.erasure_id, begun.rows)

    async def _finish(self, session: AsyncSession, customer_id: UUID, erasure_id: UUID, before: dict[str, int]) -> None:
        again = await self._delete(session, customer_id)
        rows = {table: before.get(table, 0) + again[table] for table in again}
        now = self._clock()
        finished = update(purge).where(purge.c.customer_id == customer_id).values(rows=rows, finished_at=now)
        await session.execute(finished)
        tables = tuple(PurgedTable(table=table, rows=count) for table, count in sorted(rows.items()))
        publish(
            session,
            self._told(customer_id=customer_id, erasure_id=erasure_id, purged_at=now, tables=tables),
            occurred_at=now,
        )

    async def _delete(self, session: AsyncSession, customer_id: UUID) -> dict[str, int]:
        deleted = {}
        for table, rule in self._rules.items():
            if isinstance(rule, Deleted):
                statement = text(f"delete from {table} where {rule.which}")  # noqa: S608 - a rule's, and no value
                result: Any = await session.execute(statement, {"customer_id": customer_id})
                deleted[table] = result.rowcount
        return deleted


_UNDER_WAY = text(
    "select l.virtualtransaction from pg_locks l join pg_stat_activity a on a.pid = l.pid"
    " where l.locktype = 'virtualxid' and l.granted and l.pid <> pg_backend_pid()"
    " and a.datname = current_database() and a.usename is not null"
)


async def _older_transactions_have_ended(database: Database) -> bool:
    """Waits until every transaction that is under way now has ended. Of vacuum nobody needs to wait."""
    loop = asyncio.get_running_loop()
    ends_at = loop.time() + PATIENCE_SECONDS
    async with database.jobs.connect() as connection:
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        older = set(await connection.scalars(_UNDER_WAY))
        while older and loop.time() < ends_at:
            await asyncio.sleep(0.1)
            older &= set(await connection.scalars(_UNDER_WAY))
    return not older


async def without_erased(session: AsyncSession, deliveries: Sequence[Delivery[Any]]) -> list[Delivery[Any]]:
    """The deliveries without those about customers who were erased: nothing of them is kept any more."""
    about = {
        delivery.event.customer_id
        for delivery in deliveries
        if isinstance(delivery.event, CustomerEvent) and not delivery.event.ABOUT_ERASED
    }
    if not about:
        return list(deliveries)
    erased = await erased_among(session, sorted(about))
    return [
        delivery
        for delivery in deliveries
        if not (isinstance(delivery.event, CustomerEvent) and delivery.event.customer_id in erased)
        or delivery.event.ABOUT_ERASED
    ]


MANY = 100
"""To ask for so many one by one costs more than to read a quarter as many who were erased."""


async def erased_among(session: AsyncSession, customer_ids: Sequence[UUID]) -> frozenset[UUID]:
    if len(customer_ids) >= MANY:
        erased = select(data_key.c.customer_id).where(data_key.c.destroyed_at.is_not(None))
        most = len(customer_ids) // 4
        found = (await session.scalars(erased.limit(most))).all()
        if len(found) < most:  # they are all
            return frozenset(found).intersection(customer_ids)
    wanted = data_key.c.customer_id == any_(literal(list(customer_ids), ARRAY(Uuid)))
    return frozenset(
        await session.scalars(select(data_key.c.customer_id).where(wanted, data_key.c.destroyed_at.is_not(None)))
    )
