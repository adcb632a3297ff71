"""A log with partitions, and a consumer group whose members learn late that it was rebalanced."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from random import Random

from shared.messaging.crash_points import CrashPoint, reached
from shared.messaging.faults import Away
from shared.messaging.partitioning import partition_of
from shared.messaging.positions import LogIdentity
from shared.messaging.records import Batch, NotSent, Outgoing, Record, TopicPartition
from shared.messaging.source import Positions, Prepare, unprepared
from tests.torture.simulation.machine import Machine
from tests.torture.simulation.store import Store

IDENTITY = LogIdentity("simulated")


class SimulatedLog:
    def __init__(self, topics: Sequence[str], partitions: int) -> None:
        self.partitions = partitions
        self.records: dict[TopicPartition, list[Record]] = {
            TopicPartition(topic, partition): [] for topic in topics for partition in range(partitions)
        }

    def place_of(self, sent: Outgoing) -> TopicPartition:
        partition = partition_of(sent.key, self.partitions) if sent.partition is None else sent.partition
        return TopicPartition(sent.topic, partition)

    def append(self, at: TopicPartition, sent: Outgoing) -> None:
        records = self.records[at]
        records.append(Record(*at, len(records), sent.key, sent.value, sent.headers))


class SimulatedPublisher:
    """Appends in order in each partition. A send that fails may have appended some, and may do so yet."""

    def __init__(self, machine: Machine, log: SimulatedLog) -> None:
        self._machine = machine
        self._log = log

    async def send(self, records: list[Outgoing]) -> None:
        by_partition: dict[TopicPartition, list[Outgoing]] = defaultdict(list)
        for record in records:
            by_partition[self._log.place_of(record)].append(record)
        # On the wire: who waits for it may be cancelled or killed, it goes on.
        wires = [asyncio.ensure_future(self._append(at, some)) for at, some in by_partition.items()]
        answers = await asyncio.gather(*(asyncio.shield(wire) for wire in wires))
        if not all(answers):
            raise NotSent("some are not appended")
        await self._machine.travel()

    async def _append(self, at: TopicPartition, records: list[Outgoing]) -> bool:
        """Whether all were appended."""
        machine, left = self._machine, list(records)
        while left:
            await asyncio.sleep(machine.slowness * machine.random.random())
            if machine.fails() or (machine.is_dead and machine.random.random() < 0.5):
                machine.note(f"sends no more to {at.partition}, {len(left)} left")
                return False
            for _ in range(machine.random.randint(1, len(left))):
                self._log.append(at, left.pop(0))
            if left:
                reached(CrashPoint.HALF_SENT)
            machine.note(f"has sent to {at.partition}, {len(left)} left")
        if machine.fails():
            machine.note("does not hear that it has sent")
            return False
        return True

    async def close(self) -> None: ...


class Group:
    """Who has which partitions. Nobody is asked, and nobody is told: members look."""

    def __init__(self, log: SimulatedLog, random: Random, *, everybody_reads_all: bool) -> None:
        self._partitions = sorted(log.records)
        self._random = random
        self._everybody_reads_all = everybody_reads_all
        self.generation = 0
        self.assigned: dict[str, list[TopicPartition]] = {}

    def join(self, member: str) -> None:
        if member not in self.assigned:
            self.assigned[member] = []
            self.rebalance()

    def leave(self, member: str) -> None:
        if self.assigned.pop(member, None) is not None:
            self.rebalance()

    def rebalance(self) -> None:
        self.generation += 1
        members = [*self.assigned]
        self.assigned = {member: [] for member in members}
        for at in self._partitions:
            for member in members if self._everybody_reads_all else members and [self._random.choice(members)]:
                self.assigned[member].append(at)


class SimulatedSource:
    """As `KafkaSource` promises it: places what is assigned where the database says, gives consecutive records.

    The batch that comes next may be prepared before those before it are delivered.
    """

    def __init__(
        self, machine: Machine, log: SimulatedLog, group: Group, store: Store, violated: Callable[[str, str], None]
    ) -> None:
        self._machine = machine
        self._log = log
        self._group = group
        self._store = store
        self._violated = violated
        self._positions: Positions | None = None
        self._prepare: Prepare = unprepared
        self._ahead: Batch | None = None
        self._generation = -1
        self._expected: dict[TopicPartition, int] = {}
        self._unplaced: list[TopicPartition] = []

    async def start(
        self, group: str, topics: Sequence[str], positions: Positions, prepare: Prepare = unprepared
    ) -> None:
        await self._machine.travel()
        if self._machine.fails():
            raise Away("simulated")
        self._positions, self._prepare = positions, prepare
        self._group.join(self._machine.name)

    async def fetch(self, limit: int, wait: float) -> list[Batch]:
        machine = self._machine
        if any(connection.transaction.delivers for connection in machine.connections.values()):
            self._violated("more_than_one_batch_in_flight", machine.name)
        await machine.travel()
        if machine.fails():
            machine.note("loses its client")
            self._generation = -1
            raise Away("simulated")
        self._notice_rebalance()
        if self._unplaced:
            await self._place()
        batches, self._ahead = [self._ahead] if self._ahead else [], None
        for _ in range(2):
            batches = batches or self._read(limit)
            if batches or wait <= 0:
                break
            await asyncio.sleep(wait)
        generation = self._generation
        await machine.travel()
        if generation != self._generation:
            return []
        if machine.random.random() < 0.5 and (following := self._read(limit, most=1)):
            self._ahead = following[0]._replace(prepared=await self._prepare(following[0].records))
        return batches

    def _notice_rebalance(self) -> None:
        group, machine = self._group, self._machine
        if self._generation == group.generation:
            return
        if self._generation >= 0 and machine.random.random() < 0.4:  # its next heartbeat will tell
            return
        group.join(machine.name)
        self._generation = group.generation
        self._expected.clear()
        self._ahead = None
        self._unplaced = list(group.assigned[machine.name])
        machine.note(f"is assigned {[at.partition for at in self._unplaced]}")

    async def _place(self) -> None:
        assert self._positions is not None
        unplaced, generation = list(self._unplaced), self._generation
        placed = await self._positions(dict.fromkeys(unplaced, 0), {at.topic: IDENTITY for at in unplaced})
        if generation == self._generation:
            self._expected |= placed
            self._unplaced = [at for at in self._unplaced if at not in placed]

    def _read(self, limit: int, most: int | None = None) -> list[Batch]:
        """`most` is of how many partitions."""
        batches = []
        order = sorted(self._expected)
        self._machine.random.shuffle(order)
        for at in order:
            first = self._expected[at]
            there = self._log.records[at][first : first + limit]
            if not there:
                continue
            batch = Batch(at, first, there[: self._machine.random.randint(1, len(there))])
            self._expected[at] = batch.next_offset
            limit -= len(batch.records)
            batches.append(batch)
            if not limit or len(batches) == most:
                break
        return batches

    async def return_to_position(self, at: TopicPartition) -> None:
        await self._machine.travel()
        if self._expected.pop(at, None) is not None:
            self._unplaced.append(at)
        if self._ahead is not None and self._ahead.at == at:
            self._ahead = None

    async def unread(self) -> dict[TopicPartition, int]:
        await self._machine.travel()
        return {at: len(self._log.records[at]) - offset for at, offset in self._expected.items()}

    async def report_progress(self, positions: Mapping[TopicPartition, int]) -> None:
        await self._machine.travel()
        if self._machine.fails():
            raise Away("simulated")
        for at in self._expected:
            if at in positions and positions[at] > self._store.positions[at].next_offset:
                self._violated("progress_reported_before_it_was_made", str(at))

    async def stop(self) -> None:
        if not self._machine.is_dead:
            self._group.leave(self._machine.name)
