"""Traces over the log: a delivery continues its event's trace, and what it publishes carries it on."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from opentelemetry import propagate, trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, SpanKind

from shared.events import Delivery

MOST_LINKS = 32


def traceparent_of(cause: str | None) -> str | None:
    """What an event carries that is published now: the span that is open here, unless its cause has another trace."""
    span = trace.get_current_span().get_span_context()
    if not span.is_valid:
        return cause
    trace_id = trace.format_trace_id(span.trace_id)
    if cause is not None and cause[3:35] != trace_id:
        return cause
    return f"00-{trace_id}-{trace.format_span_id(span.span_id)}-{span.trace_flags:02x}"


@contextmanager
def delivering(name: str, deliveries: Sequence[Delivery[Any]]) -> Iterator[None]:
    """A span around a handler. It continues the one trace of what is delivered, or is linked to the several."""
    traceparents = list(dict.fromkeys(delivery.traceparent for delivery in deliveries if delivery.traceparent))
    parent, links = Context(), []
    if len(traceparents) == 1:
        parent = _context(traceparents[0])
    else:
        spans = (trace.get_current_span(_context(each)).get_span_context() for each in traceparents[:MOST_LINKS])
        links = [Link(span) for span in spans if span.is_valid]
    attributes: dict[str, str | int] = {
        "messaging.operation.type": "process",
        "messaging.batch.message_count": len(deliveries),
    }
    with trace.get_tracer("branchline").start_as_current_span(
        name, context=parent, kind=SpanKind.CONSUMER, links=links, attributes=attributes, record_exception=False
    ):
        yield


def _context(traceparent: str) -> Context:
    return propagate.extract({"traceparent": traceparent})
