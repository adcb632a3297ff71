"""A process dies at each named point of a delivery and of the relay; the next one loses and doubles nothing."""

import asyncio
import itertools
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from shared.embedded_postgres import EmbeddedPostgres
from shared.events.customer import SurveyReported
from shared.ids import new_id
from shared.messaging.crash_points import CrashPoint
from tests.conftest import NewDatabase, fresh_databases
from tests.messaging.conftest import BOTH, FACTS, a_line, embedded_transport, kafka_transport
from tests.messaging.line import Line, Transport, eventually, outgoing, survey
from tests.torture.crash_points import Fate, Life, Surroundings, be_killed, lose_the_database

SURVEYS = 12  # of each life: several for every partition


@dataclass
class Lives:
    """One life after the other on one line; everything that was ever published is looked at after each."""

    line: Line
    surroundings: Surroundings
    _numbers: "itertools.count[int]" = field(default_factory=itertools.count)
    _surveys: int = 0
    _poison: int = 0

    async def publish(self) -> None:
        """Surveys through the outbox, and behind them, straight to the log, a record that is no event."""
        await self.line.publish(*(survey(next(self._numbers)) for _ in range(SURVEYS)))
        self._surveys += SURVEYS
        await self.line.send(outgoing(survey(0), ce_type=b"unknown.v1"))
        self._poison += 1

    async def nothing_is_lost_or_doubled(self) -> None:
        """Each survey and each event that one caused took effect once, each poison is parked once; all is read."""
        await eventually(self.all_is_sent_and_read)
        numbers = Counter(await self.line.numbers())
        assert numbers == Counter([*range(self._surveys), *[-1] * self._surveys])
        assert await self.line.letters() == ["unknown_event_type"] * self._poison
        ends = Counter(record.partition for record in await self.line.log(SurveyReported.TOPIC))
        assert await self.line.offsets() == ends

    async def all_is_sent_and_read(self) -> bool:
        effects = await self.line.rows("select count(*) from effect")
        return effects >= [(2 * self._surveys,)] and await self.line.outbox_is_empty()


@pytest.fixture(scope="module", params=BOTH)
async def lives(
    request: pytest.FixtureRequest, postgres: EmbeddedPostgres, migrated: Callable[[str], str]
) -> AsyncIterator[Lives]:
    """One database and one topic for all lives on a log: what an earlier one left behind shows."""
    topic = f"test-{new_id().hex}"
    with pytest.MonkeyPatch.context() as patch:
        for fact in FACTS:
            patch.setattr(fact, "TOPIC", topic)
        async with fresh_databases(postgres, migrated) as new_database:
            if request.param == "kafka":
                bootstrap = request.getfixturevalue("kafka_bootstrap")
                async with kafka_transport(bootstrap, topic) as transport:
                    yield await begun(transport, new_database, Surroundings(topic, bootstrap=bootstrap))
            else:
                async with embedded_transport(postgres, topic) as transport:
                    log = str(transport.publisher().engine.url.database)  # type: ignore[attr-defined] # behind the protocol
                    yield await begun(transport, new_database, Surroundings(topic, log_url=postgres.url("log", log)))


async def begun(transport: Transport, new_database: NewDatabase, surroundings: Surroundings) -> Lives:
    line = await a_line(transport, new_database)
    return Lives(line, surroundings._replace(database_url=line.database.jobs_url))


@contextmanager
def life(lives: Lives, point: CrashPoint | None = None, fate: Fate | None = None) -> Iterator[Life]:
    """Ends in order, unless it was killed."""
    living = Life(lives.surroundings, point, fate)
    try:
        yield living
    finally:
        ended_with = living.end()
    assert ended_with == (-signal.SIGKILL if fate is be_killed else 0)


at_each_point = pytest.mark.parametrize("point", CrashPoint, ids=lambda point: point.name.lower())


@at_each_point
async def test_a_process_that_dies_there_loses_and_doubles_nothing(lives: Lives, point: CrashPoint) -> None:
    """And it does die there: a point that is never reached fails."""
    await lives.publish()
    with life(lives, point, be_killed) as dying:
        assert await asyncio.to_thread(dying.met_its_fate_at, 20.0) is point
        assert dying.was_killed
    with life(lives):
        await lives.nothing_is_lost_or_doubled()


@at_each_point
async def test_a_process_that_is_cut_off_from_its_database_there_goes_on(lives: Lives, point: CrashPoint) -> None:
    """Its transaction and its relay's lock end there, and it is not restarted."""
    await lives.publish()
    with life(lives, point, lose_the_database) as living:
        assert await asyncio.to_thread(living.met_its_fate_at, 20.0) is point
        await asyncio.sleep(0.1)  # or it cuts the test off, too
        await lives.nothing_is_lost_or_doubled()
