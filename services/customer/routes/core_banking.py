"""The boundary for banks whose core has no Kafka."""

from codecs import BOM_UTF8
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Annotated

import msgspec
from fastapi import APIRouter, Path, Request
from psycopg.errors import UniqueViolation
from sqlalchemy.exc import IntegrityError

from services.customer.errors import CoreEventNotFound, TooManyEvents
from services.customer.schemas import CoreEventRead, IngestionRead, KeptRead, ReceiptError
from services.customer.settings import CustomerSettings
from services.customer.use_cases.ingestion import Rules, receive_events
from services.customer.use_cases.receipts import get_core_event
from services.customer.use_cases.receiving import Outcome, Received, Unreadable, read_cloud_event
from shared.auth.dependencies import require_scope
from shared.web.problems import problems
from shared.web.reading import refuse_encoded
from shared.web.refusals import BodyTooLarge, MalformedBody, TryAgain, UnsupportedMediaType
from shared.web.transaction import TIMEOUT, JobSession, service_router

SCOPE = "corebanking:write"
SINGLE, BATCH, LINES = "application/cloudevents+json", "application/cloudevents-batch+json", "application/x-ndjson"
MOST_ERRORS = 1_000

_EXAMPLE = {
    "specversion": "1.0",
    "id": "evt-2077",
    "source": "core",
    "type": "corebanking.transaction_posted.v1",
    "time": "2026-11-24T09:30:00Z",
    "data": {
        "account_id": "A00004217-1",
        "transaction_id": "T7700123",
        "booked_on": "2026-11-24",
        "sequence": 4,
        "amount_minor": -25_000,
        "currency": "CNY",
        "kind": "card_payment",
        "balance_after_minor": 1_209_500,
    },
}
_EVENT_SCHEMA = {
    "type": "object",
    "required": ["specversion", "id", "source", "type", "data"],
    "properties": {
        "specversion": {"const": "1.0"},
        "id": {"type": "string", "minLength": 1, "maxLength": 200},
        "source": {"type": "string", "minLength": 1, "maxLength": 200},
        "type": {"type": "string", "description": "One of the event reference's `corebanking.` types."},
        "time": {"type": "string", "format": "date-time"},
        "data": {"type": "object"},
    },
}
_BODY = {
    "required": True,
    "content": {
        SINGLE: {"schema": _EVENT_SCHEMA, "example": _EXAMPLE},
        BATCH: {"schema": {"type": "array", "items": _EVENT_SCHEMA}, "example": [_EXAMPLE]},
        LINES: {"schema": {"type": "string", "description": "One CloudEvent a line."}},
    },
}


def core_banking_router(settings: CustomerSettings, rules: Rules) -> APIRouter:
    router = service_router(tag="core banking")

    @router.post(
        "/core-banking/events",
        dependencies=[require_scope(SCOPE)],
        responses=problems(MalformedBody, UnsupportedMediaType, BodyTooLarge, TooManyEvents),
        openapi_extra={"requestBody": _BODY, TIMEOUT: settings.ingestion_timeout_seconds},
        max_body_size=settings.ingestion_body_limit_bytes,
    )
    async def receive_core_events(request: Request, session: JobSession) -> IngestionRead:
        """CloudEvents in: one, a batch, or one a line. What is wrong does not stop what is right.

        Sending the same events again is safe, even months later: each counts once.
        """
        refuse_encoded(request)
        now = request.app.state.clock()
        payloads = _payloads(request, await request.body(), settings.ingestion_lines)
        read = [read_cloud_event(payload, received_at=now, line=line) for line, payload in payloads]
        received = [event for event in read if isinstance(event, Received)]
        try:
            await receive_events(session, received, rules=rules, now=now)
        except (IntegrityError, UniqueViolation):  # it came by another way meanwhile: the next time it is known
            raise TryAgain(headers={"Retry-After": "1"}) from None
        return _summary(read)

    @router.get(
        "/core-banking/events/{source:path}/{event_id}",
        dependencies=[require_scope(SCOPE)],
        responses=problems(CoreEventNotFound),
    )
    async def read_core_event(
        source: Annotated[str, Path(description="The `source` that it was sent with.", examples=["core"])],
        event_id: Annotated[str, Path(description="The `id` that it was sent with.", examples=["evt-2077"])],
        session: JobSession,
    ) -> CoreEventRead:
        """What became of one event."""
        found = await get_core_event(session, source, event_id)
        return CoreEventRead(
            source=source,
            id=event_id,
            type=found.receipt.type,
            outcome=Outcome(found.receipt.outcome),
            received_at=found.receipt.received_at,
            kept=[KeptRead.model_validate(kept) for kept in found.kept],
        )

    return router


def _payloads(request: Request, body: bytes, most: int) -> list[tuple[int, bytes]]:
    """Each event's number, from 1, and bytes. Raises MalformedBody, UnsupportedMediaType, TooManyEvents."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    body = body.removeprefix(BOM_UTF8)  # some editors and cores begin their files with it
    payloads: Iterable[tuple[int, bytes]]
    if media_type == LINES:
        payloads = ((number, line) for number, line in enumerate(body.split(b"\n"), 1) if line.strip())
    elif media_type == BATCH:
        payloads = _items(body)
    elif media_type in (SINGLE, "application/json"):
        payloads = [(1, body)]
    else:
        raise UnsupportedMediaType(headers={"Accept": ", ".join((SINGLE, BATCH, LINES))})
    taken = list(islice(payloads, most + 1))
    if len(taken) > most:
        raise TooManyEvents(f"At most {most} events in one request.")
    return taken


def _items(body: bytes) -> Iterator[tuple[int, bytes]]:
    try:
        items = msgspec.json.decode(body, type=list[msgspec.Raw])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise MalformedBody("The body is not a JSON array.") from None
    return ((number, bytes(item)) for number, item in enumerate(items, 1))


def _summary(read: list[Received | Unreadable]) -> IngestionRead:
    outcomes = [event.outcome if isinstance(event, Received) else Outcome.PARKED for event in read]
    errors = [
        ReceiptError(
            line=event.line,
            id=event.event_id,
            outcome=outcome,
            code=event.code or "",
            pointer=event.pointer or "",
            detail=event.detail or "",
        )
        for event, outcome in zip(read, outcomes, strict=True)
        if outcome in (Outcome.HELD, Outcome.PARKED)
    ]
    return IngestionRead(
        received=len(read),
        applied=outcomes.count(Outcome.APPLIED),
        held=outcomes.count(Outcome.HELD),
        parked=outcomes.count(Outcome.PARKED),
        duplicate=outcomes.count(Outcome.DUPLICATE),
        errors=errors[:MOST_ERRORS],
    )
