"""The event core in a deterministic simulation: nothing is violated, and each guard is missed when it is taken out."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from itertools import chain
from typing import Any
from unittest.mock import patch
from weakref import WeakKeyDictionary

import pytest
from sqlalchemy import TextClause, text

from shared.messaging import consumer, delivery, positions, relay
from shared.messaging.crash_points import CrashPoint
from shared.messaging.relay import Relay
from shared.messaging.subscriptions import Subscriptions
from shared.service import Background
from tests.kafka_broker import ROOT
from tests.torture.simulation.log import SimulatedSource
from tests.torture.simulation.world import Outcome, in_simulation, simulate

SEEDS = range(1, 251)
BOUND = 300
"""Seeds within which a missing guard is found."""


@pytest.fixture(scope="module")
def outcomes() -> list[Outcome]:
    with in_simulation():
        return [simulate(seed) for seed in SEEDS]


def test_no_interleaving_loses_doubles_reorders_or_stalls(outcomes: list[Outcome]) -> None:
    assert [(outcome.seed, outcome.violations) for outcome in outcomes if outcome.violations] == []


def test_the_interleavings_are_all_different_and_go_through_every_crash_point(outcomes: list[Outcome]) -> None:
    assert len({outcome.digest for outcome in outcomes}) == len(SEEDS)
    assert set(chain.from_iterable(outcome.points for outcome in outcomes)) == set(CrashPoint)
    assert set(chain.from_iterable(outcome.deaths for outcome in outcomes)) == set(CrashPoint), "somebody died there"


def test_a_seed_gives_the_same_interleaving_in_every_process() -> None:
    def digest(hash_seed: str) -> str:
        command = [sys.executable, "-m", "tests.torture.simulation", "--seed", "7", "--interleavings", "8"]
        environment = os.environ | {"PYTHONHASHSEED": hash_seed}
        ran = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
        summary: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
        assert (summary["seed"], summary["interleavings"], summary["violations"]) == (7, 8, {})
        return str(summary["digest"])

    assert digest("1") == digest("2")


Sabotage = Callable[[], AbstractContextManager[Any]]


def without_deduplication() -> AbstractContextManager[Any]:
    async def all_are_new(_: Any, deliveries: Sequence[Any]) -> list[Any]:
        return list(deliveries)

    return patch.object(delivery, "deliver_once", all_are_new)


def without(
    statement: TextClause, module: Any, name: str, guard: str, instead: str = ""
) -> AbstractContextManager[Any]:
    assert guard in statement.text
    return patch.object(module, name, text(statement.text.replace(guard, instead)))


def without_compare_and_set() -> AbstractContextManager[Any]:
    return without(positions._ADVANCE, positions, "_ADVANCE", " and next_offset = :expected")


def without_a_horizon() -> AbstractContextManager[Any]:
    return without(relay._READ, relay, "_READ", "xid < pg_snapshot_xmin(pg_current_snapshot())", "true")


def with_a_horizon_that_holds_back_single_rows() -> AbstractContextManager[Any]:
    return without(relay._READ, relay, "_READ", "bool_and(", "(")


def without_a_drain() -> AbstractContextManager[Any]:
    stop = Background.stop
    return patch.object(Background, "stop", lambda background, _: stop(background, 0.0))


@contextmanager
def with_a_relay_that_deletes_before_it_sends() -> Iterator[None]:
    relay_once = Relay.relay_once

    async def delete_first(this: Relay, connection: Any) -> int:
        execute = connection.execute
        rows = await execute(relay._READ, {"limit": this._batch})
        await execute(relay._DELETE, {"ids": [row.id for row in rows]})

        async def what_was_read(statement: Any, given: Any) -> Any:
            return rows if statement is relay._READ else None

        with patch.object(connection, "execute", what_was_read):
            return await relay_once(this, connection)

    with patch.object(Relay, "relay_once", delete_first):
        yield


def with_a_fenced_consumer_that_reads_on() -> AbstractContextManager[Any]:
    async def read_on(*_: Any) -> None: ...

    return patch.object(SimulatedSource, "return_to_position", read_on)


def with_a_part_of_a_batch_that_gets_what_was_prepared_of_all() -> AbstractContextManager[Any]:
    deliver_records = delivery.deliver_records
    last: WeakKeyDictionary[Subscriptions, Any] = WeakKeyDictionary()  # of each replica

    async def with_the_last(session: Any, subscriptions: Subscriptions, topic: str, records: Any, prepared: Any) -> int:
        if subscriptions.for_records(topic) is not None:
            prepared = last[subscriptions] = prepared or last.get(subscriptions)
        return await deliver_records(session, subscriptions, topic, records, prepared)

    return patch.object(consumer, "deliver_records", with_the_last)


@pytest.mark.parametrize(
    ("sabotage", "kind"),
    [
        (without_deduplication, "doubled"),
        (without_compare_and_set, "offset_went_back"),
        (without_compare_and_set, "doubled"),
        (without_a_horizon, "passed_by"),
        (with_a_horizon_that_holds_back_single_rows, "out_of_order"),
        (without_a_drain, "delivery_cut_short"),
        (with_a_relay_that_deletes_before_it_sends, "lost"),
        (with_a_fenced_consumer_that_reads_on, "stalled"),
        (with_a_part_of_a_batch_that_gets_what_was_prepared_of_all, "doubled"),
    ],
)
def test_a_guard_that_is_taken_out_is_missed(sabotage: Sabotage, kind: str) -> None:
    """And the seed that finds it finds it again, in the same interleaving."""
    with in_simulation(), sabotage():
        for seed in range(BOUND):
            outcome = simulate(seed)
            if any(violation.kind == kind for violation in outcome.violations):
                again = simulate(seed)
                assert again == outcome
                return
    pytest.fail(f"{BOUND} interleavings without a {kind}")
