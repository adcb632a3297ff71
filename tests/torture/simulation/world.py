"""One interleaving: replicas, publishers and trouble, all drawn from one seed; what must hold, during and after it."""

import asyncio
import hashlib
import warnings
from collections import Counter
from collections.abc import Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import copy_context
from functools import partial
from random import Random
from typing import Any, NamedTuple, NoReturn
from unittest.mock import patch
from uuid import UUID

import structlog

import shared.database
import shared.service
from shared.messaging import consumer, crash_points, faults, outbox, relay
from shared.messaging.crash_points import CrashPoint
from shared.messaging.outbox import publish
from shared.messaging.records import Outgoing, TopicPartition
from tests.torture.simulation.invariants import Violation, violations
from tests.torture.simulation.log import Group, SimulatedLog, SimulatedPublisher, SimulatedSource
from tests.torture.simulation.loop import NothingLeft, VirtualLoop
from tests.torture.simulation.machine import (
    Killed,
    Machine,
    SimulatedDatabase,
    SimulatedSession,
    copy_rows,
    lock_customer,
    running_on,
)
from tests.torture.simulation.replica import DRAIN_SECONDS, EVENTS, RAW, Replica, fact
from tests.torture.simulation.store import BEGIN_TO_WRITE, Store

PARTITIONS = 2
SESSION_SECONDS = 6.0
"""Until a group does without a member that is not heard of."""
PATIENCE_SECONDS = 300.0
"""Of virtual time, for everything to be delivered once there is no more trouble."""


class Outcome(NamedTuple):
    seed: int
    violations: list[Violation]
    digest: str
    """Of everything that happened, in order."""
    trace: list[str]
    events: int
    kills: int
    points: Counter[CrashPoint]
    """How often each was reached."""
    deaths: Counter[CrashPoint]
    """How often somebody died there."""


class World:
    def __init__(self, seed: int, *, traced: bool = False) -> None:
        self.random = Random(seed)
        self.violations: list[Violation] = []
        self.trace: list[str] = []
        self.kills = 0
        self._points: Counter[CrashPoint] = Counter()
        self._deaths: Counter[CrashPoint] = Counter()
        self._seed = seed
        self._traced = traced
        self._digest = hashlib.blake2b(digest_size=16)
        self._store = Store(self.violated)
        self._log = SimulatedLog([EVENTS, RAW], PARTITIONS)
        self._group = Group(self._log, self.random, everybody_reads_all=self.random.random() < 0.2)
        self._replicas: list[Replica] = []
        self._names = 0
        self._tasks: list[asyncio.Task[Any]] = []
        self._undecodable: set[tuple[TopicPartition, int]] = set()
        self._slowness = self.random.choice([0.002, 0.02, 0.3])
        self._trouble = self.random.choice([0.0, 0.01, 0.05])
        self._deadliness = self.random.choice([0.0, 0.005, 0.02])
        self._deadliest = self.random.choice([*CrashPoint, None])
        self._batch = self.random.choice([1, 3, 8])
        self._customers = [UUID(int=self.random.getrandbits(128), version=4) for _ in range(2)]
        self._nobodys = UUID(int=self.random.getrandbits(128), version=4)
        """Whose events are published without a lock."""

    def note(self, event: str) -> None:
        line = f"{asyncio.get_running_loop().time():.6f} {event}"
        self._digest.update(line.encode())
        if self._traced:
            self.trace.append(line)

    def violated(self, kind: str, detail: str) -> None:
        self.note(f"VIOLATION {kind}: {detail}")
        self.violations.append(Violation(kind, detail))

    def outcome(self) -> Outcome:
        events = len(self._store.written)
        return Outcome(
            seed=self._seed,
            violations=self.violations,
            digest=self._digest.hexdigest(),
            trace=self.trace,
            events=events,
            kills=self.kills,
            points=self._points,
            deaths=self._deaths,
        )

    async def live(self) -> None:
        crash_points.arm(self._reach)
        try:
            for _ in range(2):
                self._start_replica()
            publishing = [self._spawn(self._publish()) for _ in range(3)] + [self._spawn(self._send_raw())]
            trouble = self._spawn(self._make_trouble())
            await asyncio.gather(*publishing, trouble)
            self._calm_down()
            await self._until_all_is_delivered()
            await self._stop_all()
        finally:
            crash_points.arm(None)
            for replica in self._replicas:
                replica.kill()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
        for violation in violations(self._store, self._log, self._customers, self._undecodable):
            self.violated(*violation)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = asyncio.ensure_future(work)
        self._tasks.append(task)
        return task

    def _start_replica(self) -> None:
        self._names += 1
        machine = Machine(f"r{self._names}", self.random, self.note, slowness=self._slowness)
        machine.trouble = self._trouble
        database = SimulatedDatabase(machine, self._store)
        source = SimulatedSource(machine, self._log, self._group, self._store, self.violated)
        publisher = SimulatedPublisher(machine, self._log)
        # In a context of its own, so that what it starts knows on which machine it runs, and nothing else does.
        begin = partial(Replica, machine, database, source, publisher, batch=self._batch)
        self._replicas.append(copy_context().run(begin))

    def _reach(self, point: CrashPoint) -> None:
        """Some die there, and some are told there to end."""
        machine = running_on.get(None)
        if machine is None:
            return
        self._points[point] += 1
        replica = next((replica for replica in self._replicas if replica.machine is machine), None)
        drawn = self.random.random()
        deadliness = 0.2 if point is self._deadliest else self._deadliness
        if replica is None or drawn >= deadliness:
            return
        machine.note(f"has come to {point.name}")
        if drawn > deadliness * 0.7:
            self._stop(replica)
        else:
            self._deaths[point] += 1
            self._kill(replica)
            raise Killed

    def _kill(self, replica: Replica) -> None:
        self.kills += 1
        self._replicas.remove(replica)
        replica.kill()
        self._spawn(self._follow(replica, after=self.random.random() * 2 * SESSION_SECONDS))

    async def _follow(self, replica: Replica, *, after: float) -> None:
        """The orchestrator starts another; the group finds out by itself that one is gone."""
        await asyncio.gather(*replica.background.tasks, return_exceptions=True)
        self._spawn(self._forget_member(replica.machine))
        await asyncio.sleep(after)
        self._start_replica()

    async def _forget_member(self, machine: Machine) -> None:
        await asyncio.sleep(SESSION_SECONDS * (0.1 + self.random.random()))
        if machine.is_dead or machine.is_paused:
            self._group.leave(machine.name)

    async def _publish(self) -> None:
        """Transactions of requests: some begin to write long before they lock the customer and publish."""
        random = self.random
        machine = Machine(f"p{len(self._tasks)}", random, self.note, slowness=self._slowness)
        for _ in range(4):
            await asyncio.sleep(random.random() * 40 * self._slowness)
            database = random.choice(self._replicas).database if self._replicas else None
            database = SimulatedDatabase(machine, self._store) if database is None else database
            customer = random.choice([*self._customers, self._nobodys])
            try:
                async with database.transaction() as session:
                    if random.random() < 0.5:
                        await session.execute(BEGIN_TO_WRITE)  # type: ignore[call-overload] # the simulation's own
                        await asyncio.sleep(random.random() * 60 * self._slowness)
                    for _ in range(random.randint(1, 2)):
                        revision = 1 if customer is self._nobodys else await lock_customer(session, customer)
                        publish(session, fact(customer, revision))
                    await asyncio.sleep(random.random() * 20 * self._slowness)
            except Exception as fault:  # noqa: BLE001, RUF100 - the request fails, and nothing of it is there
                if not faults.is_transient(fault):
                    raise
            except Killed:
                continue

    async def _send_raw(self) -> None:
        """Records of another system, and some that nobody can read."""
        for number in range(8):
            await asyncio.sleep(self.random.random() * 60 * self._slowness)
            partition = self.random.randrange(PARTITIONS)
            if number % 4 == 3:
                at = TopicPartition(EVENTS, partition)
                self._undecodable.add((at, len(self._log.records[at])))
            else:
                at = TopicPartition(RAW, partition)
            self._log.append(at, Outgoing(at.topic, b"", b"", (), partition))

    async def _make_trouble(self) -> None:
        for _ in range(self.random.randint(0, 5)):
            await asyncio.sleep(self.random.random() * 80 * self._slowness)
            if not self._replicas:
                continue
            replica = self.random.choice(self._replicas)
            what = self.random.choice([self._kill, self._pause, self._stop, self._rebalance, self._cut_off])
            replica.machine.note(f"trouble: {what.__name__}")
            what(replica)

    def _pause(self, replica: Replica) -> None:
        """As by SIGSTOP, sometimes for so long that its partitions go to another."""

        async def go_on(seconds: float) -> None:
            await asyncio.sleep(seconds)
            replica.machine.resume()

        replica.machine.pause()
        self._spawn(go_on(self.random.random() * 3 * SESSION_SECONDS))
        self._spawn(self._forget_member(replica.machine))

    def _stop(self, replica: Replica) -> None:
        self._replicas.remove(replica)
        self._spawn(self._stop_in_order(replica))
        self._start_replica()

    async def _stop_in_order(self, replica: Replica) -> None:
        """What was begun is finished, and the group is left."""
        machine = replica.machine
        machine.ends_by = asyncio.get_running_loop().time() + DRAIN_SECONDS
        machine.resume()
        machine.trouble = 0.0
        machine.note("is told to end")
        began = asyncio.get_running_loop().time()
        await replica.stop()
        if machine.cut_short:
            self.violated("delivery_cut_short", machine.name)
        if machine.name in self._group.assigned:
            self.violated("group_not_left", machine.name)
        if replica.background.failed:
            self.violated("stopped_by_itself", replica.background.failed)
        machine.note(f"has ended after {asyncio.get_running_loop().time() - began:.1f} s")
        machine.is_dead = True

    def _rebalance(self, _: Replica) -> None:
        self._group.rebalance()

    def _cut_off(self, replica: Replica) -> None:
        """The server ends what the replica has there: a relay may believe for a while that it still leads."""
        for connection in list(replica.machine.connections.values()):
            connection.cut()

    def _calm_down(self) -> None:
        self.note("no more trouble")
        self._deadliness = self._trouble = 0.0
        self._deadliest = None
        for replica in self._replicas:
            replica.machine.trouble = 0.0
            replica.machine.resume()

    async def _until_all_is_delivered(self) -> None:
        ends = {at: len(records) for at, records in self._log.records.items()}
        deadline = asyncio.get_running_loop().time() + PATIENCE_SECONDS
        while self._store.outbox or any(
            at not in self._store.positions or self._store.positions[at].next_offset < end for at, end in ends.items()
        ):
            if asyncio.get_running_loop().time() > deadline:
                self.violated("stalled", "not everything was delivered")
                return
            await asyncio.sleep(1.0)
            ends = {at: len(records) for at, records in self._log.records.items()}

    async def _stop_all(self) -> None:
        replicas, self._replicas = self._replicas, []
        await asyncio.gather(*(self._stop_in_order(replica) for replica in replicas))


def simulate(seed: int, *, traced: bool = False) -> Outcome:
    """One interleaving, the same for the same seed. Needs `in_simulation` around it."""
    loop = VirtualLoop()
    world = World(seed, traced=traced)
    # Event ids and jitter are of the seed, too.
    with (
        patch.object(outbox, "new_id", lambda: UUID(int=world.random.getrandbits(128), version=4)),
        patch.object(faults, "random", world.random),
    ):
        try:
            loop.run_until_complete(world.live())
        except NothingLeft:
            world.violations.append(Violation("stalled", "everybody waits for nothing"))
        finally:
            loop.close()
    return world.outcome()


@contextmanager
def in_simulation() -> Iterator[None]:
    """The real code, with clock, database and logging of the simulation."""

    def now() -> float:
        return asyncio.get_running_loop().time()

    silent = structlog.wrap_logger(None, processors=[_drop])
    with ExitStack() as stack:
        for where, name, instead in (
            (shared.database, "AsyncSession", SimulatedSession),
            (outbox, "copy_rows", copy_rows),
            (consumer, "monotonic", now),
            (consumer, "perf_counter", now),
            (consumer, "log", silent),
            (relay, "log", silent),
            (shared.service, "log", silent),
            (relay.Relay, "LOOK_SECONDS", 1.0),  # while nothing happens, less often
            (consumer.Consumer, "FETCH_SECONDS", 2.0),
            (consumer.Consumer, "ANSWER_SECONDS", 1e6),  # here an answer always comes, if late
            (relay.Relay, "ANSWER_SECONDS", 1e6),
        ):
            stack.enter_context(patch.object(where, name, instead))
        stack.enter_context(warnings.catch_warnings())
        warnings.filterwarnings("ignore", "coroutine .* was never awaited")  # of who is killed before it begins
        yield


def _drop(*_: object) -> NoReturn:
    raise structlog.DropEvent
