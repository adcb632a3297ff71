"""A process that may be killed, paused and cut off, and its connections to the simulated database."""

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from random import Random
from typing import Any, TypeVar, cast
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from shared.database import Database
from shared.messaging.outbox import OutboxSignal
from shared.sealing.data_keys import NOBODY, DataKey
from tests.torture.simulation.store import LOCK_CUSTOMER, Store, Transaction, connection_lost

T = TypeVar("T")

running_on: "ContextVar[Machine]" = ContextVar("running_on")
"""Whose code it is that runs."""


class Killed(BaseException):
    """What the code of a killed process sees of itself: nothing, and so nothing must catch it."""


class Machine:
    """One process. All that it asks of others takes time, and may fail while there is trouble."""

    def __init__(self, name: str, random: Random, note: Callable[[str], None], *, slowness: float) -> None:
        self.name = name
        self.random = random
        self.slowness = slowness
        """Seconds that a round trip takes, typically."""
        self.trouble = 0.0
        """How often a round trip fails."""
        self.is_dead = False
        self.ends_by = math.inf
        """When the grace period is over, once it was told to end."""
        self.cut_short = False
        """Whether a delivery was cancelled in the middle before that."""
        self.connections: dict[int, Connection] = {}
        self._note = note
        self._awake = asyncio.Event()
        self._awake.set()

    def note(self, event: str) -> None:
        self._note(f"{self.name} {event}")

    def pause(self) -> None:
        self._awake.clear()

    def resume(self) -> None:
        self._awake.set()

    @property
    def is_paused(self) -> bool:
        return not self._awake.is_set()

    def kill(self) -> None:
        self.note("is killed")
        self.is_dead = True
        for connection in list(self.connections.values()):
            connection.cut()
        self.resume()

    def fails(self) -> bool:
        return self.trouble > 0 and self.random.random() < self.trouble

    async def travel(self) -> None:
        """Half of a round trip, from time to time a slow one."""
        if self.is_dead:
            raise Killed
        drawn = self.random.random()
        if drawn > 0.25:
            await asyncio.sleep(self.slowness * (drawn if drawn < 0.97 else 15 * drawn))
        await self._awake.wait()
        if self.is_dead:
            raise Killed

    async def ask(self, what: str, work: Callable[[], Awaitable[T]], lose: Callable[[], None] | None = None) -> T:
        """A round trip. `lose` is what the other side does when the connection breaks, before or behind the work."""
        await self.travel()
        if lose is not None and self.fails():
            self.note(f"{what}: lost before")
            lose()
            raise connection_lost()
        answer = await work()
        self.note(what)
        await self.travel()
        if lose is not None and self.fails():
            self.note(f"{what}: lost behind")
            lose()
            raise connection_lost()
        return answer


class Connection:
    """To the database. When it is cut, the transaction is rolled back, and the client learns of it when it asks."""

    def __init__(self, machine: Machine, store: Store) -> None:
        self._machine = machine
        self._store = store
        self.is_cut = False
        self.transaction = Transaction()
        machine.connections[id(self)] = self

    def cut(self) -> None:
        self.is_cut = True
        self._store.roll_back(self.transaction)
        if self._store.leader is self:
            self._store.leader = None
        self._machine.connections.pop(id(self), None)

    async def ask(self, what: str, work: Callable[[], Awaitable[T]]) -> T:
        async def unless_cut() -> T:
            if self.is_cut:
                raise connection_lost()
            return await work()

        return await self._machine.ask(what, unless_cut, self.cut)


class Rows(list[Any]):
    """What SQLAlchemy gives for a query."""

    def all(self) -> list[Any]:
        return list(self)


class SimulatedSession:
    """What the event core uses of SQLAlchemy's `AsyncSession`."""

    def __init__(self, engine: Any, info: dict[str, Any], **_: Any) -> None:
        self._machine: Machine = engine.machine
        self._store: Store = engine.store
        self._connection = Connection(self._machine, self._store)
        self.info = dict(info)

    @property
    def transaction(self) -> Transaction:
        return self._connection.transaction

    async def __aenter__(self) -> "SimulatedSession":
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        transaction = self.transaction
        if kind is asyncio.CancelledError and transaction.delivers and not transaction.ended:
            self._machine.note("a delivery is cut short")
            self._machine.cut_short |= asyncio.get_running_loop().time() < self._machine.ends_by
        self._connection.cut()

    async def execute(self, statement: Any, given: Any = None) -> Rows:
        sql = str(getattr(statement, "text", statement))
        answer = await self._connection.ask(sql[:36], lambda: self._store.execute(self.transaction, sql, given))
        return Rows(answer)

    async def scalar(self, statement: Any, given: Any = None) -> Any:
        rows = await self.execute(statement, given)
        return rows[0][0] if rows else None

    async def scalars(self, statement: Any, given: Any = None) -> Rows:
        return Rows(row[0] for row in await self.execute(statement, given))

    async def copy(self, rows: Any) -> None:
        async def write() -> None:
            if self.transaction.ended:
                raise connection_lost()
            self._store.write_outbox(self.transaction, rows)

        await self._connection.ask("copy", write)

    async def commit(self) -> None:
        async def commit() -> None:
            if self.transaction.ended:
                raise connection_lost()
            self._store.commit(self.transaction)

        await self._connection.ask("commit", commit)


async def copy_rows(session: AsyncSession, _table: str, _columns: object, rows: Any) -> None:
    """In the place of `shared.copying.copy_rows`."""
    await cast("SimulatedSession", session).copy(rows)


async def lock_customer(session: AsyncSession, customer: Any) -> int:
    """The customer's next revision, as whoever publishes a customer's state does it: with the row locked."""
    revision: int = await cast("SimulatedSession", session).scalar(LOCK_CUSTOMER, {"customer": customer})
    return revision


class RelaysConnection:
    """What the relay uses of SQLAlchemy's `AsyncConnection`."""

    def __init__(self, machine: Machine, store: Store) -> None:
        self._store = store
        self._connection = Connection(machine, store)

    async def execution_options(self, **_: Any) -> None: ...

    async def scalar(self, statement: Any, _: Any = None) -> Any:
        async def lock() -> bool:
            if self._store.leader is None:
                self._store.leader = self._connection
            return self._store.leader is self._connection

        assert "pg_try_advisory_lock" in statement.text
        return await self._connection.ask("lock", lock)

    async def execute(self, statement: Any, given: Any = None) -> Rows:
        sql: str = statement.text

        async def work() -> Any:
            if sql.startswith("select id, event_id, type"):
                return self._store.read_outbox(sql, given["limit"])
            if sql.startswith("delete from outbox where id = any(:ids)"):
                return self._store.delete_outbox(given["ids"])
            if sql.startswith("set idle_session_timeout"):
                return None
            assert "pg_advisory_unlock" in sql
            if self._store.leader is self._connection:
                self._store.leader = None
            return None

        return Rows(await self._connection.ask(sql[:12], work) or [])

    async def invalidate(self) -> None:
        self._connection.cut()


class SimulatedEngine:
    def __init__(self, machine: Machine, store: Store) -> None:
        self.machine = machine
        self.store = store

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[RelaysConnection]:
        connection = RelaysConnection(self.machine, self.store)
        try:
            yield connection
        finally:
            await connection.invalidate()


class OneKey:
    """In the place of `DataKeys`: customers are not known here, and what is parked is nobody's."""

    async def make(self, _: AsyncSession, __: Iterable[UUID]) -> dict[UUID, DataKey]:
        return {}

    async def make_for_nobody(self, _: AsyncSession) -> DataKey:
        return DataKey(NOBODY, bytes(32))


class SimulatedDatabase(Database):
    """The real `transaction`, on simulated connections."""

    def __init__(self, machine: Machine, store: Store) -> None:
        self.jobs = cast("Any", SimulatedEngine(machine, store))
        self.audit = None
        self.data_keys = cast("Any", OneKey())
        self.outbox_written = OutboxSignal()
