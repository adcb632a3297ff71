"""What is in hand is bounded by its bytes as well as by its number: a customer's year may be one event."""

import pytest

from shared.events.customer import SurveyReported
from shared.messaging.embedded import EmbeddedSource
from shared.messaging.records import Outgoing, Publisher
from shared.messaging.relay import Relay
from tests.messaging.line import Line, earliest_positions, outgoing, survey

SIZE = len(outgoing(survey(0)).value)
FITTING = 3


class Counted:
    """A publisher that is told how many records come at once."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher
        self.sizes: list[int] = []

    async def send(self, records: list[Outgoing]) -> None:
        self.sizes.append(len(records))
        await self._publisher.send(records)

    async def close(self) -> None: ...


@pytest.mark.parametrize(("most", "sizes"), [(SIZE * FITTING, [3, 3, 2]), (1, [1] * 8), (SIZE * 100, [8])])
async def test_a_relay_takes_as_many_bytes_as_it_may_and_one_event_at_the_least(
    embedded: Line, monkeypatch: pytest.MonkeyPatch, most: int, sizes: list[int]
) -> None:
    monkeypatch.setattr(Relay, "MOST_BYTES", most)
    await embedded.publish(*(survey(number) for number in range(8)))
    counted = Counted(embedded.transport.publisher())
    async with embedded.relaying(counted), embedded.consuming():
        assert await embedded.until(8)
    assert counted.sizes == sizes


@pytest.mark.parametrize(("most", "size"), [(SIZE * FITTING, 3), (1, 1), (SIZE * 100, 8)])
async def test_the_embedded_log_gives_as_many_bytes_as_may_be_and_one_record_at_the_least(
    embedded: Line, monkeypatch: pytest.MonkeyPatch, most: int, size: int
) -> None:
    """Of each partition; and what it leaves comes next."""
    monkeypatch.setattr(EmbeddedSource, "MOST_BYTES", most)
    customer_id = survey(0).customer_id
    await embedded.send(*(outgoing(survey(number, customer_id)) for number in range(8)))
    source = embedded.transport.source()
    await source.start("test", [SurveyReported.TOPIC], earliest_positions)
    offsets: list[int] = []
    sizes: list[int] = []
    while len(offsets) < 8:
        (batch,) = await source.fetch(20_000, 1.0)
        sizes.append(len(batch.records))
        offsets += [record.offset for record in batch.records]
    await source.stop()
    assert offsets == list(range(8))
    assert max(sizes) == size
