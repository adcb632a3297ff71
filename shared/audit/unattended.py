"""Whose records change when nobody asks: by events that arrive, and by jobs. The service itself is who did it.

A delivery is one row, for however many events: where they stand in their topic says which they were. A job's row says
in `resource` what it went through, where the customers are too many to name or nobody knows them.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from shared.audit.records import Access, Action, Customers, Outcome, customers, customers_of_keys
from shared.messaging.outbox import pending_keys
from shared.messaging.record_columns import RecordColumns
from shared.messaging.records import Record, TopicPartition

_REACHED = "audit_reached"
_RESOURCE = "audit_resource"
_IS_DELIVERY = "audit_is_delivery"
_operation: ContextVar[str] = ContextVar("audit_operation", default="job")


class Recorder(Protocol):
    """Who keeps the audit of a service: shared.audit.writer.AuditWriter in every process."""

    service: str

    async def record(self, *accesses: Access) -> None:
        """Returns when all are kept. Raises AuditAway."""

    def submit(self, access: Access) -> object:
        """Keeps it as soon as may be."""


@contextmanager
def working_at(operation: str) -> Iterator[None]:
    """What is changed in it is recorded as `operation`'s doing."""
    token = _operation.set(operation)
    try:
        yield
    finally:
        _operation.reset(token)


def reach(session: AsyncSession, customer_ids: Iterable[UUID | None], resource: str | None = None) -> None:
    """Says whose records the session's transaction reads or changes, where no event that it delivers or publishes does.

    None is somebody who is known to nobody: counted, and not named. `resource` says what was gone through.
    """
    ids = list(customer_ids)
    named = customers(customer_id for customer_id in ids if customer_id is not None)
    _reach(session, named | Customers((), sum(customer_id is None for customer_id in ids)))
    if resource is not None:
        session.info[_RESOURCE] = resource


def reach_delivered(session: AsyncSession, at: TopicPartition, records: Sequence[Record]) -> None:
    """Says which records are delivered in the session's transaction."""
    session.info[_IS_DELIVERY] = True
    session.info[_RESOURCE] = f"topic/{at.topic}/{at.partition}/{records[0].offset}-{records[-1].offset}"
    if isinstance(records, RecordColumns):
        keys = records.distinct_keys(36)
    else:
        keys = list(dict.fromkeys(each.key for each in records if each.key is not None and len(each.key) == 36))
    _reach(session, customers_of_keys(key.decode("ascii", "replace") for key in keys))


def _reach(session: AsyncSession, reached: Customers) -> None:
    session.info[_REACHED] = session.info.get(_REACHED, Customers()) | reached


def reached_in(session: AsyncSession) -> Customers:
    """Whose records the session's transaction has reached so far, beside those of the events that it publishes."""
    reached: Customers = session.info.get(_REACHED, Customers())
    return reached


def access_of(service: str, session: AsyncSession) -> Access | None:
    """What is recorded of the session's transaction; None when it changes nobody's record."""
    is_delivery = session.info.pop(_IS_DELIVERY, False)
    resource: str | None = session.info.pop(_RESOURCE, None)
    reached = session.info.pop(_REACHED, Customers()) | customers_of_keys(pending_keys(session))
    if not is_delivery and not reached.number:
        return None
    return Access(
        action=Action.CHANGE,
        outcome=Outcome.CHANGED,
        operation="deliver_events" if is_delivery else _operation.get(),
        resource=resource or "",
        purpose="processing",
        actor=service,
        role="service",
        customer_ids=reached.ids,
        customer_count=reached.number,
    )
