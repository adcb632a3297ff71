"""Idempotency-Key: a POST that creates may be sent again and creates once.

The key is optional. Where it is sent, the answer is stored in the transaction that created, under a hash of who sent
it, where to, and the key. The same key and body gets the stored answer; another body is refused; while the
first is still under way the second is told to wait, by an advisory lock, since the key's row is not yet committed.
What fails stores nothing.

Row-level security is not needed on the table: a row is found only by a hash of the caller's own subject and key.
"""

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import msgspec
from fastapi import Request, Response
from sqlalchemy import Column, DateTime, LargeBinary, MetaData, SmallInteger, Table, Uuid, delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from shared.audit.records import customers_of_keys
from shared.audit.unattended import reach
from shared.masking import masked
from shared.messaging.outbox import pending_keys
from shared.sealing.kept import Kept, Plain, open_kept, seal_to_keep
from shared.web.refusals import InvalidInput, Problem

KEEP_FOR = timedelta(hours=24)
HEADER = "Idempotency-Key"

metadata = MetaData()

idempotency_key = Table(
    "idempotency_key",
    metadata,
    Column("key_hash", LargeBinary, primary_key=True),
    Column("body_hash", LargeBinary, nullable=False),
    Column("status", SmallInteger, nullable=False),
    Column("customer_id", Uuid, index=True, comment="whose key seals it; null is the service's"),
    Column("sealed", LargeBinary, nullable=False, comment="headers and body of the answer"),
    Column("created_at", DateTime(timezone=True), nullable=False, index=True),
)


class IdempotencyKeyInFlight(Problem):
    status, code, title = 409, "idempotency_key_in_flight", "The first request with this Idempotency-Key is under way"
    remedy = "Send the same request again after the seconds in Retry-After."


class IdempotencyKeyReused(Problem):
    status, code, title = 422, "idempotency_key_reused", "This Idempotency-Key belongs to another request"
    remedy = "Use a new key for each new request, and the old one only to repeat the old one."


class StoredAnswerGone(Problem):
    status, code, title = 410, "stored_answer_gone", "This was answered, and you may not see the answer any more"
    remedy = "Read what was created; do not send the request again under another key."


@dataclass(frozen=True)
class _Key:
    key_hash: bytes
    body_hash: bytes

    @classmethod
    async def of(cls, request: Request, subject: str) -> "_Key":
        stated = request.headers[HEADER]
        if not 1 <= len(stated) <= 255 or not stated.isascii() or not stated.isprintable():
            raise InvalidInput.at(
                f"/{HEADER}", "invalid_idempotency_key", "Has 1 to 255 printable ASCII characters", where="header"
            )
        scope = "\0".join((subject, request.method, request.url.path, stated))
        body = hashlib.sha256(request.scope["query_string"] + b"\0" + await request.body())
        return cls(hashlib.sha256(scope.encode()).digest(), body.digest())


async def answer_once(
    request: Request,
    session: AsyncSession,
    subject: str,
    now: datetime,
    answer: Callable[[Request], Awaitable[Response]],
) -> Response:
    """The stored answer to this key, or `answer`'s, which is then stored in the session's transaction."""
    key = await _Key.of(request, subject)
    lock = int.from_bytes(key.key_hash[:8], "big", signed=True)
    if not await session.scalar(select(func.pg_try_advisory_xact_lock(lock))):
        raise IdempotencyKeyInFlight(headers={"Retry-After": "1"})
    # A statement of its own: its snapshot must be younger than the lock.
    stored = (
        await session.execute(
            select(idempotency_key).where(
                idempotency_key.c.key_hash == key.key_hash, idempotency_key.c.created_at > now - KEEP_FOR
            )
        )
    ).one_or_none()
    if stored is not None:
        if stored.body_hash != key.body_hash:
            raise IdempotencyKeyReused
        (opened,) = await open_kept(session, [(_field(key), Kept(stored.sealed, stored.customer_id))])
        if opened is None:
            raise StoredAnswerGone
        again = _decode(opened)
        return Response(
            again.body, status_code=stored.status, headers={**again.headers, "Idempotency-Replayed": "true"}
        )
    response = await answer(request)
    if response.status_code < 400:
        headers = {name: value for name, value in response.headers.items() if name != "content-length"}
        content = _encode(_Answer(headers, bytes(response.body)))
        (kept,) = await seal_to_keep(
            session, "idempotency_key", [Plain(_field(key), content, _customer_of(session, request))]
        )
        if kept is None:  # erased this moment: there is no key to keep it with
            return response
        values = {
            "key_hash": key.key_hash,
            "body_hash": key.body_hash,
            "status": response.status_code,
            "customer_id": kept.customer_id,
            "sealed": kept.sealed,
            "created_at": now,
        }
        await session.execute(
            insert(idempotency_key).values(values).on_conflict_do_update(index_elements=["key_hash"], set_=values)
        )
    return response


@masked
class _Answer(msgspec.Struct):
    headers: dict[str, str]
    body: bytes


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Answer).decode


def _field(key: _Key) -> str:
    return f"idempotency_key.sealed:{key.key_hash.hex()}"


def _customer_of(session: AsyncSession, request: Request) -> UUID | None:
    """Whom the answer is about: the customer of the path, or the only one that something was published about."""
    try:
        return UUID(request.path_params["customer_id"])
    except (KeyError, ValueError):
        about = customers_of_keys(pending_keys(session))
        return about.ids[0] if about.number == 1 else None


async def purge_idempotency_keys(session: AsyncSession, now: datetime) -> int:
    """For a job: forgets the answers that are older than 24 hours and returns how many."""
    result = await session.execute(
        delete(idempotency_key)
        .where(idempotency_key.c.created_at <= now - KEEP_FOR)
        .returning(idempotency_key.c.customer_id)
    )
    forgotten = list(result.scalars())
    reach(session, forgotten, resource="idempotency_key")
    return len(forgotten)
