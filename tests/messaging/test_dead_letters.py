"""What cannot be delivered is parked by itself, where an operator sees it, and everything else goes on."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import psycopg
import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import DataError, IntegrityError, OperationalError
from sqlalchemy.ext.asyncio import AsyncSession

from shared.events import Delivery
from shared.events.customer import SurveyReported
from shared.messaging import consumer
from shared.messaging.dead_letters import Parked, count_as_parked, park
from shared.messaging.faults import is_transient
from shared.messaging.outbox import publish
from shared.messaging.parking_limit import ParkingLimit, Stopped
from shared.messaging.records import Outgoing, Record
from shared.messaging.replay import open_payload
from shared.messaging.subscriptions import Subscriptions
from shared.messaging.tables import dead_letter
from tests.messaging.line import (
    PATIENCE_SECONDS,
    Line,
    Running,
    eventually,
    hearing,
    life_event,
    note,
    outgoing,
    survey,
)

UNDECODABLE: dict[str, Callable[[SurveyReported], Outgoing]] = {
    "unknown_event_type": lambda event: outgoing(event, ce_type=b"customer.never_heard_of.v1"),
    "unknown_version": lambda event: outgoing(event, ce_type=b"customer.survey_reported.v2"),
    "no_type": lambda event: outgoing(event, ce_type=None),
    "no_specversion": lambda event: outgoing(event, ce_specversion=None),
    "other_specversion": lambda event: outgoing(event, ce_specversion=b"2.0"),
    "no_id": lambda event: outgoing(event, ce_id=None),
    "id_of_another_kind": lambda event: outgoing(event, ce_id=b"17"),
    "id_that_is_no_text": lambda event: outgoing(event, ce_id=b"\xff\x00"),
    "no_time": lambda event: outgoing(event, ce_time=None),
    "time_without_an_offset": lambda event: outgoing(event, ce_time=b"2026-11-24T10:00:00"),
    "time_before_all_years": lambda event: outgoing(event, ce_time=b"0001-01-01T00:00:00+23:59"),
    "time_after_all_years": lambda event: outgoing(event, ce_time=b"9999-12-31T23:59:59-23:59"),
    "no_json": lambda event: outgoing(event)._replace(value=b"\xff\x00not json"),
    "wrong_field": lambda event: outgoing(event)._replace(value=b'{"customer_id": 17}'),
    "empty": lambda event: outgoing(event)._replace(value=b""),
}


async def test_what_cannot_be_read_is_parked_with_its_reason_and_the_rest_of_the_batch_goes_on(line: Line) -> None:
    customer = survey(0).customer_id
    records: list[Outgoing] = []
    for number, spoil in enumerate(UNDECODABLE.values()):
        records += [outgoing(survey(number, customer)), spoil(survey(-1, customer))]
    await line.send(*records)
    async with line.consuming():
        await eventually(lambda: line.has_delivered(len(records)))
    assert await line.numbers() == list(range(len(UNDECODABLE)))
    assert Counter(await line.letters()) == {
        "unknown_event_type": 3,
        "unknown_specversion": 2,
        "malformed_headers": 7,
        "malformed_event": 3,
    }
    ((letter_id, headers, event_id),) = await line.rows(
        "select id, headers, event_id from dead_letter where code = 'unknown_event_type' and type like '%.v2'"
    )
    async with line.database.transaction() as session:
        letter = (await session.execute(select(dead_letter).where(dead_letter.c.id == letter_id))).one()
        assert records[3].value not in letter.sealed
        assert await open_payload(session, letter) == records[3].value
    assert headers["ce_id"] == event_id == dict(records[3].headers)["ce_id"].decode()


@pytest.mark.parametrize("time", [b"0001-01-02T00:00:00+23:59", b"9999-12-31T00:00:00-23:59"])
async def test_what_follows_from_an_event_of_any_year_that_is_read_can_be_sent(embedded: Line, time: bytes) -> None:
    """A row that no relay could read would keep all that follow from being sent."""

    async def tell(session: AsyncSession, deliveries: Sequence[Delivery[SurveyReported]]) -> None:
        for delivery in deliveries:
            publish(session, life_event(delivery.event.customer_id), cause=delivery)

    await embedded.send(outgoing(survey(1), ce_time=time))
    async with embedded.relaying(), embedded.consuming(hearing(embedded.group, tell)):
        assert await embedded.until(1) == [-1]
    assert await embedded.outbox_is_empty()


async def test_a_field_that_is_not_known_yet_is_ignored(line: Line) -> None:
    """A publisher is newer than this reader."""
    record = outgoing(survey(7))
    await line.send(record._replace(value=record.value[:-1] + b',"added_later":{"in":["a later","version"]}}'))
    async with line.consuming():
        assert await line.until(1) == [7]
    assert await line.letters() == []


async def test_a_dead_letters_reason_quotes_no_value(line: Line) -> None:
    secret = b'{"customer_id": "Grace Hopper"}'
    await line.send(outgoing(survey(1))._replace(value=secret))
    async with line.consuming(hearing(line.group, failing_for(2, "Grace Hopper"))):
        await line.publish(survey(2))
        await line.relay()
        await eventually(lambda: line.has_delivered(2))
    letters = dict(await line.rows("select code, detail from dead_letter"))
    assert letters["malformed_event"] == "Invalid UUID"
    assert letters["handler_failed"].startswith("RuntimeError in fail, line "), "the kind and the place say enough"


async def test_an_event_whose_handler_fails_is_parked_alone_after_its_attempts(line: Line) -> None:
    attempts: list[list[int]] = []
    customer = survey(0).customer_id
    await line.publish(*(survey(number, customer) for number in range(50)))
    await line.relay()
    async with line.consuming(hearing(line.group, failing_for(17, seen=attempts))):
        await line.until(49)
        await eventually(lambda: line.has_delivered(50))
    assert await line.numbers() == [number for number in range(50) if number != 17], "in their order"
    assert await line.letters() == ["handler_failed"]
    assert attempts.count([17]) == 3
    assert len(attempts) < 20, "found by halving, not one by one"


async def test_whatever_a_handler_raises_parks_its_event_and_not_the_consumer(line: Line) -> None:
    async def fail(session: AsyncSession, deliveries: Sequence[Delivery[SurveyReported]]) -> None:
        await note(session, deliveries)
        numbers = [delivery.event.score for delivery in deliveries]
        if 1 in numbers:
            await note(session, [Delivery(deliveries[0].id, survey(2**40), deliveries[0].occurred_at)])  # no integer
        if 2 in numbers:
            raise KeyError("a mistake")

    await line.publish(*(survey(number) for number in range(4)))
    await line.relay()
    async with line.consuming(hearing(line.group, fail)):
        await line.until(2)
        await eventually(lambda: line.has_delivered(4))
    assert sorted(await line.numbers()) == [0, 3]
    assert await line.letters() == ["handler_failed"] * 2


async def test_a_fault_that_passes_is_waited_for_and_nothing_is_parked(line: Line) -> None:
    """The database ends the transaction under the handler, four times: more often than an event has attempts."""
    calls = 0

    async def lose_the_connection(session: AsyncSession, deliveries: Sequence[Delivery[SurveyReported]]) -> None:
        nonlocal calls
        calls += 1
        await note(session, deliveries)
        if calls <= 4:
            await session.execute(text("select pg_terminate_backend(pg_backend_pid())"))

    await line.publish(*(survey(number) for number in range(10)))
    await line.relay()
    async with line.consuming(hearing(line.group, lose_the_connection)):
        await line.until(10)
    assert Counter(await line.numbers()) == Counter(range(10))
    assert await line.letters() == []


async def test_a_database_that_is_away_when_an_event_is_to_be_parked_is_waited_for(
    embedded: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parking is a transaction like any other."""
    times = 0

    async def park_after_a_while(session: AsyncSession, parked: Sequence[Parked]) -> None:
        nonlocal times
        times += 1
        if times <= 3:
            raise ConnectionError
        await park(session, parked)

    monkeypatch.setattr(consumer, "park", park_after_a_while)
    await embedded.publish(survey(1))
    await embedded.relay()
    async with embedded.consuming(hearing(embedded.group, failing_for(1))):
        await eventually(lambda: embedded.has_delivered(1))
    assert await embedded.letters() == ["handler_failed"]


async def test_a_hundred_that_would_be_parked_in_a_row_stop_the_subscription_and_are_not_parked(line: Line) -> None:
    """A bad deploy, not bad data: the next one finds them where they were."""
    customer = survey(0).customer_id
    await line.send(*(outgoing(survey(n, customer), ce_type=b"customer.of_tomorrow.v1") for n in range(100)))
    with pytest.raises(Stopped):
        async with line.consuming() as running:
            await ended(running)
    assert await line.letters() == []
    assert await line.offsets() == {}


async def test_a_handler_that_fails_for_every_event_stops_the_subscription(embedded: Line) -> None:
    async def fail(session: AsyncSession, deliveries: Sequence[Delivery[SurveyReported]]) -> None:
        raise RuntimeError

    customer = survey(0).customer_id
    await embedded.publish(*(survey(number, customer) for number in range(8)))
    await embedded.relay()
    with pytest.raises(Stopped):
        async with embedded.consuming(hearing(embedded.group, fail), limit=ParkingLimit(in_a_row=5)) as running:
            await ended(running)
    assert await embedded.letters() == ["handler_failed"] * 4


async def test_the_limit_is_lifted_when_it_is_the_data_after_all(embedded: Line) -> None:
    customer = survey(0).customer_id
    await embedded.send(*(outgoing(survey(n, customer), ce_type=b"customer.of_tomorrow.v1") for n in range(100)))
    async with embedded.consuming(limit=ParkingLimit(enforced=False)):
        await eventually(lambda: embedded.has_delivered(100))
    assert await embedded.letters() == ["unknown_event_type"] * 100


def test_a_run_that_is_parked_is_counted_over_batches() -> None:
    limit = ParkingLimit(in_a_row=4)
    limit.count([2, 3], 4)
    limit.check([0], 4)
    with pytest.raises(Stopped):
        limit.check([0, 1], 2)
    limit.count([0], 2)
    limit.check([0, 1, 2], 3)


def test_more_than_five_percent_of_the_last_ten_thousand_are_too_many() -> None:
    limit = ParkingLimit()
    for _ in range(99):
        limit.check([1, 20, 40, 60, 80], 100)
        limit.count([1, 20, 40, 60, 80], 100)
    limit.check([1, 20, 40, 60, 80], 100)
    with pytest.raises(Stopped):
        limit.check([1, 20, 40, 60, 80, 90], 100)
    for _ in range(50):
        limit.count([], 100)
    limit.check([1, 20, 40, 60, 80, 90], 100)


@pytest.mark.parametrize("elsewhere", [False, True])
async def test_what_a_handler_of_records_parks_counts_too(embedded: Line, elsewhere: bool) -> None:
    """In the service's dead letters, or in a table of its own."""

    async def park_all(session: AsyncSession, records: Sequence[Record]) -> None:
        if elsewhere:
            count_as_parked(session, records)
        else:
            await park(session, [Parked(record, "unreadable", "because") for record in records])

    subscriptions = Subscriptions(embedded.group)
    subscriptions.on_records(SurveyReported.TOPIC, park_all)
    customer = survey(0).customer_id
    await embedded.send(*(outgoing(survey(number, customer)) for number in range(5)))
    with pytest.raises(Stopped):
        async with embedded.consuming(subscriptions, limit=ParkingLimit(in_a_row=5)) as running:
            await ended(running)
    assert await embedded.letters() == []


@pytest.mark.parametrize(
    ("fault", "passes"),
    [
        (OperationalError("", None, psycopg.OperationalError("the connection is lost")), True),
        (OperationalError("", None, psycopg.errors.AdminShutdown()), True),
        (OperationalError("", None, psycopg.errors.LockNotAvailable()), True),
        (OperationalError("", None, psycopg.errors.DeadlockDetected()), True),
        (OperationalError("", None, psycopg.errors.SerializationFailure()), True),
        (OperationalError("", None, psycopg.errors.DiskFull()), True),
        (OperationalError("", None, psycopg.errors.ReadOnlySqlTransaction()), True),
        (psycopg.errors.InterfaceError("the connection is closed"), True),
        (ConnectionRefusedError(), True),
        (TimeoutError(), True),
        (OperationalError("", None, psycopg.errors.ProgramLimitExceeded()), False),
        (IntegrityError("", None, psycopg.errors.UniqueViolation()), False),
        (DataError("", None, psycopg.errors.NumericValueOutOfRange()), False),
        (FileNotFoundError(), False),
        (RuntimeError(), False),
    ],
)
def test_only_faults_that_pass_by_themselves_are_waited_for(fault: Exception, passes: bool) -> None:
    """Whatever data can cause would else stand in the way for ever."""
    assert is_transient(fault) is passes


async def test_a_batch_that_the_database_refuses_again_and_again_is_halved(embedded: Line) -> None:
    """As one that takes longer than a statement may: waiting alone would never get it through, and nothing is wrong."""
    sizes: list[int] = []

    async def refuse_many(session: AsyncSession, deliveries: Sequence[Delivery[SurveyReported]]) -> None:
        sizes.append(len(deliveries))
        if len(deliveries) > 2:
            raise OperationalError("", None, psycopg.errors.QueryCanceled())
        await note(session, deliveries)

    customer = survey(0).customer_id
    await embedded.send(*(outgoing(survey(number, customer)) for number in range(8)))
    async with embedded.consuming(hearing(embedded.group, refuse_many)):
        assert await embedded.until(8) == list(range(8))
    assert sizes == [8, 8, 8, 4, 4, 4, 2, 2, 4, 4, 4, 2, 2]
    assert await embedded.letters() == []


def failing_for(number: int, message: str = "", seen: list[list[int]] | None = None) -> Any:
    async def fail(session: AsyncSession, deliveries: Sequence[Delivery[SurveyReported]]) -> None:
        numbers = [delivery.event.score for delivery in deliveries]
        if seen is not None:
            seen.append(numbers)
        if number in numbers:
            raise RuntimeError(message)
        await note(session, deliveries)

    return fail


async def ended(running: Running) -> None:
    await asyncio.wait({running.task}, timeout=PATIENCE_SECONDS)
