"""What is done to the line while events flow, drawn from a seed: the same seed gives the same plan."""

import hashlib
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from shared.events import encode
from shared.events.customer import BranchChanged
from shared.ids import new_id
from tests.kafka_broker import NoKafka
from tests.torture.line import Line
from tests.torture.proxy import FaultProxy
from tests.torture.verdict import Verdict
from tests.torture.workers import GRACE_SECONDS, Worker

SESSION_SECONDS = 10.0
"""After which the group gives a silent consumer's partitions to another."""
BROKER_ATTEMPTS = 3
KILLING = frozenset({"kill", "kill_unanswered", "kill_broker", "kill_postgres"})


class Fault(NamedTuple):
    """`after` seconds from the fault before; `seconds` is how long it lasts, where it does."""

    kind: str
    target: str
    after: float
    seconds: float

    def __str__(self) -> str:
        lasting = f" for {self.seconds:.1f} s" if self.seconds else ""
        return f"+{self.after:4.1f} s  {self.kind} {self.target}{lasting}"


NETWORKS = ("broker", "postgres")
LASTS: dict[str, tuple[float, float]] = {
    "kill": (0.0, 1.5),  # until it is started again
    "kill_unanswered": (0.3, 1.0),  # answers withheld before the kill
    "terminate": (0.0, 0.5),
    "pause": (SESSION_SECONDS + 1, SESSION_SECONDS + 5),
    "kill_broker": (0.2, 4.0),
    "kill_postgres": (0.2, 3.0),
    "reset": (0.0, 0.0),
    "half_open": (2.0, 12.0),
    "stall": (1.0, 6.0),
    "latency": (3.0, 8.0),
    "bandwidth": (3.0, 8.0),
    "commit_late": (0.5, 2.0),
}
COST = {"kill": 2.0, "kill_unanswered": 3.0, "terminate": 4.0, "kill_broker": 8.0, "kill_postgres": 4.0, "pause": 1.0}
"""Seconds that a fault takes beside those that it lasts, roughly, so that a plan fits its time."""
CONCURRENT = frozenset({"pause", "half_open", "latency", "bandwidth"})
"""These go on while others begin."""


def make_plan(seed: int, seconds: float, workers: Sequence[str]) -> list[Fault]:
    """Every kind at every target in turn, shuffled, and again, until the time is used up."""
    dice = random.Random(seed)
    plan: list[Fault] = []
    left = seconds
    while left > 0:
        kinds: dict[str, Sequence[str]] = {
            **dict.fromkeys(("kill", "terminate", "pause", "kill_unanswered"), workers),
            **dict.fromkeys(("reset", "half_open", "stall", "latency", "bandwidth"), NETWORKS),
            **dict.fromkeys(("kill_broker", "kill_postgres", "commit_late"), ("",)),
        }
        deck = [(kind, dice.choice(targets)) for kind, targets in kinds.items() for _ in range(1 + (kind in KILLING))]
        dice.shuffle(deck)
        for kind, target in deck:
            fault = Fault(kind, target, round(dice.uniform(0.3, 2.5), 2), round(dice.uniform(*LASTS[kind]), 2))
            plan.append(fault)
            left -= fault.after + COST.get(kind, 0.5) + (0 if kind in CONCURRENT else fault.seconds)
            if left <= 0:
                break
    return plan


def plan_hash(plan: Sequence[Fault]) -> str:
    return hashlib.sha256("\n".join(map(str, plan)).encode()).hexdigest()[:12]


@dataclass
class Tormentor:
    """Does to the line what a plan says, in this thread; what lasts is ended in `wait`."""

    line: Line
    verdict: Verdict
    check: Callable[[], None]
    done: Counter[str] = field(default_factory=Counter)
    _ending: list[tuple[float, Callable[[], object]]] = field(default_factory=list)
    _late_commits: int = 0
    _is_broker_away: bool = False

    @property
    def kills(self) -> int:
        return sum(self.done[kind] for kind in KILLING)

    def follow(self, plan: Sequence[Fault], say: Callable[[str], None]) -> None:
        began = time.monotonic()
        for fault in plan:
            self.wait(fault.after)
            say(f"{time.monotonic() - began:6.1f} s  {fault.kind} {fault.target}")
            self.do(fault)
        self.end_all()

    def do(self, fault: Fault) -> None:
        getattr(self, f"_{fault.kind}")(fault)
        self.done[fault.kind] += 1

    def wait(self, seconds: float) -> None:
        """Ends meanwhile what has lasted long enough. Raises what `check` does."""
        deadline = time.monotonic() + seconds
        while True:
            now = time.monotonic()
            for due, end in [each for each in self._ending if each[0] <= now]:
                self._ending.remove((due, end))
                end()
            self.check()
            if now >= deadline:
                return
            time.sleep(min(0.1, deadline - now))

    def end_all(self) -> None:
        """Everything runs and nothing stands in between."""
        for _, end in self._ending:
            end()
        self._ending.clear()
        for proxy in (self.line.broker_proxy, self.line.postgres_proxy):
            proxy.heal()
        self.line.start_postgres()
        if self._is_broker_away:
            self._start_broker()
        for worker in self.line.workers.values():
            if worker.is_paused:
                worker.resume()
            if not worker.is_running:
                worker.start()

    def _later(self, seconds: float, end: Callable[[], object]) -> None:
        self._ending.append((time.monotonic() + seconds, end))

    def _worker(self, name: str) -> Worker:
        """Running and not paused: what was begun with it before is ended first."""
        worker = self.line.workers[name]
        if worker.is_paused:
            worker.resume()
        if not worker.is_running:
            worker.start()
        return worker

    def _kill(self, fault: Fault) -> None:
        worker = self._worker(fault.target)
        worker.kill()
        self.wait(fault.seconds)
        worker.start()

    def _kill_unanswered(self, fault: Fault) -> None:
        """What it asks Kafka to write is written, it does not get to know, and then it is gone."""
        worker = self._worker(fault.target)
        self.line.broker_proxy.set(are_answers_withheld=True)
        self.wait(fault.seconds)
        worker.kill()
        self.line.broker_proxy.heal()
        worker.start()

    def _terminate(self, fault: Fault) -> None:
        worker = self._worker(fault.target)
        worker.wait_until_it_serves()  # what has not begun has nothing to finish
        code, seconds = worker.terminate()
        if code != 0:
            how = f"ended with {code}" if code is not None else f"did not end within {GRACE_SECONDS:.0f} s"
            self.verdict.violate(f"drain: {worker.name} {how} after SIGTERM ({seconds:.1f} s)")
        self.wait(fault.seconds)
        worker.start()

    def _pause(self, fault: Fault) -> None:
        worker = self._worker(fault.target)
        worker.pause()
        self._later(fault.seconds, lambda: worker.resume() if worker.is_paused else None)

    def _kill_broker(self, fault: Fault) -> None:
        self.line.broker.kill()
        self._is_broker_away = True
        self.wait(fault.seconds)
        self._start_broker()

    def _start_broker(self) -> None:
        """On a machine that is busy with other things the broker may not be up in the minute that it is given."""
        for attempt in range(BROKER_ATTEMPTS):
            try:
                self.line.broker.start()
                break
            except NoKafka:
                self.line.broker.kill()
                if attempt + 1 == BROKER_ATTEMPTS:
                    raise
        self._is_broker_away = False

    def _kill_postgres(self, fault: Fault) -> None:
        self.line.kill_postgres()
        self.wait(fault.seconds)
        self.line.start_postgres()

    def _reset(self, fault: Fault) -> None:
        self._proxy(fault).reset()

    def _half_open(self, fault: Fault) -> None:
        proxy = self._proxy(fault)
        proxy.leave_half_open()
        self._later(fault.seconds, proxy.reset)

    def _stall(self, fault: Fault) -> None:
        self._proxy(fault).set(is_stalled=True)
        self.wait(fault.seconds)
        self._proxy(fault).set(is_stalled=False)

    def _latency(self, fault: Fault) -> None:
        proxy = self._proxy(fault)
        proxy.set(latency_seconds=0.02 + fault.seconds / 100)
        self._later(fault.seconds, lambda: proxy.set(latency_seconds=0.0))

    def _bandwidth(self, fault: Fault) -> None:
        proxy = self._proxy(fault)
        proxy.set(bytes_per_second=fault.seconds * 16_384)
        self._later(fault.seconds, lambda: proxy.set(bytes_per_second=None))

    def _commit_late(self, fault: Fault) -> None:
        """Three states of one branch, which nobody hears of; the first to be written is the last to be committed."""
        self._late_commits += 1
        key = f"late-{self._late_commits}"
        with self.line.connect("customer") as late, self.line.connect("customer") as prompt:
            late.execute("begin")
            late.execute(_OUTBOX, _branch_state(key, 1))
            prompt.execute(_OUTBOX, _branch_state(key, 2))
            prompt.execute(_OUTBOX, _branch_state(key, 3))
            self.wait(fault.seconds)
            late.execute("commit")

    def _proxy(self, fault: Fault) -> FaultProxy:
        return self.line.broker_proxy if fault.target == "broker" else self.line.postgres_proxy


_OUTBOX = (
    "insert into outbox (event_id, type, topic, key, payload, occurred_at)"
    " values (%(event_id)s, %(type)s, %(topic)s, %(key)s, %(payload)s, now())"
)


def _branch_state(branch_id: str, revision: int) -> dict[str, object]:
    event = BranchChanged(branch_id=branch_id, revision=revision, branch_path=(branch_id,))
    return {
        "event_id": new_id(),
        "type": event.TYPE,
        "topic": event.TOPIC,
        "key": event.key,
        "payload": encode(event),
    }
