"""A delivery continues its event's trace, and what it publishes carries it on."""

import re
from collections.abc import Sequence
from typing import Any

import pytest
from opentelemetry import trace
from sqlalchemy.ext.asyncio import AsyncSession

from shared.events import Delivery
from shared.events.customer import LifeEventReported, SurveyReported
from shared.ids import new_id
from shared.messaging.outbox import publish
from shared.messaging.records import headers_of
from shared.messaging.subscriptions import Subscriptions
from shared.telemetry import current_trace_id, current_traceparent, tracer_provider
from tests.messaging.line import Line, eventually, life_event, note, outgoing, survey
from tests.spans import span_from

NOBODYS = b"00-%032d-%016d-01" % (0, 0)


@pytest.fixture(autouse=True)
def traced() -> None:
    if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        trace.set_tracer_provider(tracer_provider("test"))


def trace_of(traceparent: str | None) -> str:
    assert traceparent is not None
    return traceparent.split("-")[1]


async def test_a_trace_goes_from_a_request_through_the_log_to_what_follows_from_it(line: Line) -> None:
    seen: list[str | None] = []

    async def tell(session: AsyncSession, deliveries: Sequence[Delivery[SurveyReported]]) -> None:
        seen.append(current_trace_id())
        for delivery in deliveries:
            publish(session, life_event(delivery.event.customer_id), cause=delivery)

    subscriptions = Subscriptions(line.group)
    subscriptions.on(SurveyReported, tell)
    subscriptions.on(LifeEventReported, note)
    with span_from(None, "a request"):
        begun = current_traceparent()
        await line.publish(survey(1))
    async with line.relaying(), line.consuming(subscriptions):
        await line.until(1)
    records = await line.log(SurveyReported.TOPIC)
    assert {trace_of(headers_of(record)["traceparent"].decode()) for record in records} == {trace_of(begun)}
    assert seen == [trace_of(begun)]


async def test_in_a_batch_each_event_passes_on_the_trace_of_its_own_cause(embedded: Line) -> None:
    caused: dict[Any, str] = {}

    async def tell(session: AsyncSession, deliveries: Sequence[Delivery[SurveyReported]]) -> None:
        for delivery in deliveries:
            publish(session, life_event(delivery.event.customer_id), cause=delivery)

    subscriptions = Subscriptions(embedded.group)
    subscriptions.on(SurveyReported, tell)
    customers = [new_id() for _ in range(3)]
    async with embedded.database.transaction() as session:
        for customer in customers:
            with span_from(None, "a request"):
                publish(session, survey(1, customer))
                caused[customer] = trace_of(current_traceparent())
    await embedded.relay()
    async with embedded.consuming(subscriptions):
        await eventually(lambda: embedded.has_delivered(3))
    rows = await embedded.rows("select key, traceparent from outbox")
    assert {key: trace_of(traceparent) for key, traceparent in rows} == {
        str(customer): trace_id for customer, trace_id in caused.items()
    }


async def test_without_a_trace_an_event_carries_none(embedded: Line) -> None:
    await embedded.publish(survey(1))
    assert await embedded.rows("select traceparent from outbox") == [(None,)]


@pytest.mark.parametrize("said", [b"", b"\0", b"\xff", b"Lin Meiqi", b"0" * 55, NOBODYS, NOBODYS * 1_000])
async def test_what_is_no_trace_is_not_passed_on(embedded: Line, said: bytes) -> None:
    async def tell(session: AsyncSession, deliveries: Sequence[Delivery[SurveyReported]]) -> None:
        for delivery in deliveries:
            publish(session, life_event(delivery.event.customer_id), cause=delivery)

    subscriptions = Subscriptions(embedded.group)
    subscriptions.on(SurveyReported, tell)
    await embedded.send(outgoing(survey(1), traceparent=said))
    async with embedded.consuming(subscriptions):
        await eventually(lambda: embedded.has_delivered(1))
    assert await embedded.letters() == []
    ((passed_on,),) = await embedded.rows("select traceparent from outbox")
    assert passed_on is None or re.fullmatch("00-(?!0{32})[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}", passed_on)
