"""A short torture with a fixed seed: the whole line on real Kafka and PostgreSQL."""

from dataclasses import replace

import pytest

from tests.kafka_broker import NoKafka, missing
from tests.surroundings import do_without
from tests.torture.faults import KILLING, Fault, Tormentor, make_plan
from tests.torture.run import Torture, run

WORKERS = ("customer.0", "customer.1", "scoring.0", "scoring.1", "interaction.0", "notification.0")

SHORT = (
    Fault("kill", "customer.0", 3.0, 0.5),
    Fault("pause", "scoring.0", 1.0, 11.0),
    Fault("commit_late", "", 0.5, 1.0),
    Fault("kill_unanswered", "customer.1", 1.0, 0.5),
    Fault("half_open", "postgres", 1.0, 3.0),
    Fault("kill_postgres", "", 1.0, 0.5),
    Fault("kill", "interaction.0", 2.0, 0.5),
    Fault("reset", "broker", 1.0, 0.0),
    Fault("kill_broker", "", 1.0, 0.5),
    Fault("kill", "scoring.1", 1.0, 0.5),
    Fault("terminate", "notification.0", 1.0, 0.0),
)
"""Of every kind a little; the seed makes the bank."""


def test_a_seed_makes_the_same_plan_again() -> None:
    assert make_plan(5, 120, WORKERS) == make_plan(5, 120, WORKERS)
    assert make_plan(5, 120, WORKERS) != make_plan(6, 120, WORKERS)


def test_a_plan_of_some_minutes_has_every_fault_in_it() -> None:
    for seed in range(20):
        plan = make_plan(seed, 180, WORKERS)
        assert {fault.kind for fault in plan} >= {*KILLING, "pause", "terminate", "half_open", "reset", "commit_late"}


def test_every_fault_of_a_plan_is_known_to_the_tormentor() -> None:
    assert all(hasattr(Tormentor, f"_{fault.kind}") for fault in make_plan(1, 600, WORKERS))


@pytest.mark.kafka
@pytest.mark.timeout(420)
def test_nothing_is_lost_or_doubled_while_everything_is_killed_once(request: pytest.FixtureRequest) -> None:
    if lacking := missing():
        do_without(request.config, "a real Kafka", lacking, "BRANCHLINE_REQUIRE_KAFKA")
    said: list[str] = []
    torture = replace(Torture.of(2026, 30, customers=60), plan=list(SHORT))
    try:
        verdict, figures = run(torture, said.append)
    except NoKafka as fault:
        do_without(request.config, "a real Kafka", str(fault), "BRANCHLINE_REQUIRE_KAFKA")
    assert verdict.lines() == [], "\n".join(said)
    assert figures["kills"] == 6
    assert figures["records_repeated"] >= 0
