"""A hot subscription: whole batches by columns, looking up only what was perhaps seen; each event counts once."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

import numpy as np
import pytest
from psycopg.errors import UniqueViolation
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from shared.columns import codes, integers, numbers
from shared.copying import copy_columns, execute_with_columns
from shared.events.corebanking import LifeEventKind
from shared.events.customer import LifeEventReported, SurveyReported
from shared.messaging.dead_letters import Parked, park
from shared.messaging.outbox import publish
from shared.messaging.records import Outgoing, Record
from shared.messaging.seen import Seen, write_once
from shared.messaging.subscriptions import Subscriptions
from tests.messaging.columns import decode_each, hashes_of
from tests.messaging.line import Line, Running, eventually, life_event, outgoing, survey

_KNOWN = "select said from unnest(%(ids)s::text[]) n (said) join ledger using (said)"


@dataclass
class Ledger:
    """Keeps each survey once, by its own id; tells of each that it keeps."""

    seen: Seen = field(default_factory=Seen)
    looked_up: list[int] = field(default_factory=list)
    """How many ids of each attempt."""

    def heard_as(self, group: str) -> Subscriptions:
        subscriptions = Subscriptions(group)
        subscriptions.on_records(SurveyReported.TOPIC, self.keep)
        return subscriptions

    async def keep(self, session: AsyncSession, records: Sequence[Record]) -> None:
        surveys, faults = decode_each(SurveyReported, [record.value for record in records])
        await write_once(session, lambda: self._write(session, surveys), self.seen)
        await park(session, [Parked(records[at], fault.code, fault.detail) for at, fault in faults.items()])

    async def _write(self, session: AsyncSession, surveys: Sequence[SurveyReported]) -> None:
        ids = [each.survey_id.hex for each in surveys]
        hashes = hashes_of(ids)
        doubtful = self.seen.doubtful(hashes)
        doubted = [ids[at] for at in np.flatnonzero(doubtful)]
        self.looked_up.append(len(doubted))
        known = {said for (said,) in await execute_with_columns(session, _KNOWN, {"ids": codes(doubted)})}
        self.seen.add(hashes)
        new = []
        for each, said, is_doubtful in zip(surveys, ids, doubtful, strict=True):
            if not is_doubtful or said not in known:
                known.add(said)
                new.append(each)
        if not new:
            return
        for each in new:
            publish(session, _told(each))
        await copy_columns(
            session,
            "ledger",
            {
                "said": codes([each.survey_id.hex for each in new]),
                "number": integers("int4", numbers([each.score for each in new])),
            },
        )


def _told(survey: SurveyReported) -> LifeEventReported:
    return LifeEventReported(
        customer_id=survey.customer_id,
        life_event_id=survey.survey_id,
        kind=LifeEventKind.MOVE,
        happened_on=survey.answered_at.date(),
    )


@pytest.fixture
async def kept(line: Line) -> Line:
    async with line.database.jobs.begin() as connection:
        await connection.execute(
            text(
                "create table ledger (at bigint generated always as identity, said text primary key,"
                " number integer not null)"
            )
        )
    return line


async def numbers_of(line: Line) -> list[int]:
    return [number for (number,) in await line.rows("select number from ledger order by at")]


async def deliver(line: Line, ledger: Ledger, *records: Outgoing, batch: int = 20_000) -> None:
    """Sends them, and waits until a consumer that has just started has delivered them."""
    before = sum((await line.offsets()).values())
    await line.send(*records)

    async def delivered() -> bool:
        return await line.has_delivered(before + len(records))

    async with line.consuming(ledger.heard_as(line.group), batch=batch) as running:
        assert isinstance(running, Running)
        await eventually(delivered)


def of_one_customer(count: int) -> list[Outgoing]:
    customer = UUID(int=7)
    return [outgoing(survey(number, customer)) for number in range(count)]


async def test_each_counts_once_within_a_batch_across_batches_and_in_order(kept: Line) -> None:
    ledger = Ledger(Seen(distrusted=0))
    records = of_one_customer(300)
    twice = [record for record in records for _ in range(2)]
    await deliver(kept, ledger, *twice, *records, batch=250)
    assert await numbers_of(kept) == list(range(300))
    assert await kept.rows("select count(*) from outbox") == [(300,)]
    assert await kept.letters() == []


async def test_few_are_looked_up_and_all_that_came_before(kept: Line) -> None:
    ledger = Ledger(Seen(distrusted=0))
    first, second = of_one_customer(500), of_one_customer(500)
    await deliver(kept, ledger, *first)
    assert sum(ledger.looked_up) < 25
    ledger.looked_up.clear()
    await deliver(kept, ledger, *first[:100], *second)
    assert 100 <= sum(ledger.looked_up) < 150
    assert await kept.rows("select count(*) from ledger") == [(1_000,)]


@pytest.mark.parametrize("distrusted", [Seen.DISTRUSTED, 0])
async def test_a_filter_that_knows_nothing_lets_nothing_count_twice(kept: Line, distrusted: int) -> None:
    """After a restart, or months later. It looks everything up; or, when it trusts itself, goes again looking up."""
    records = of_one_customer(100)
    await deliver(kept, Ledger(), *records)
    ledger = Ledger(Seen(distrusted=distrusted))
    fresh = of_one_customer(3)
    await deliver(kept, ledger, *fresh, *records)
    assert await numbers_of(kept) == [*range(100), 0, 1, 2]
    assert await kept.rows("select count(*) from outbox") == [(103,)], "what the first attempt published is taken back"
    assert await kept.letters() == []
    assert ledger.seen.doubtful(hashes_of(["never seen"])).all()


async def test_what_is_no_event_is_parked_alone(kept: Line) -> None:
    records = of_one_customer(50)
    wrong = [records[0]._replace(value=b"{"), records[1]._replace(value=b"")]
    await deliver(kept, Ledger(Seen(distrusted=0)), *records[:25], *wrong, *records[25:])
    assert await numbers_of(kept) == list(range(50))
    assert await kept.letters() == ["malformed_event"] * 2


async def test_another_fault_is_not_taken_for_a_duplicate(embedded: Line) -> None:
    attempts = 0

    async def write() -> None:
        nonlocal attempts
        attempts += 1
        raise ZeroDivisionError

    async with embedded.database.transaction() as session:
        with pytest.raises(ZeroDivisionError):
            await write_once(session, write, Seen())
    assert attempts == 1


async def test_what_stays_a_violation_is_raised(embedded: Line) -> None:
    async def write() -> None:
        publish(session, life_event())
        raise UniqueViolation

    async with embedded.database.transaction() as session:
        with pytest.raises(UniqueViolation):
            await write_once(session, write, Seen())
        await session.rollback()
        session.info.clear()
