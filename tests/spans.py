"""Traces, as a delivery begins or continues them."""

from contextlib import AbstractContextManager
from datetime import UTC, datetime

from shared.events import Delivery
from shared.ids import new_id
from shared.messaging.tracing import delivering


def span_from(traceparent: str | None, name: str) -> AbstractContextManager[None]:
    """A span around the delivery of what carries this `traceparent`."""
    return delivering(name, [Delivery(new_id(), None, datetime.now(UTC), traceparent=traceparent)])
