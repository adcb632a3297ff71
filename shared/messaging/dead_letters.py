"""Dead letters: what could not be delivered, kept where an operator can see it, in the same transaction."""

import re
import traceback
from collections.abc import Iterable, Sequence
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncSession

from shared.ids import new_id
from shared.messaging.crash_points import CrashPoint, reached
from shared.messaging.records import Record, headers_of
from shared.messaging.tables import dead_letter
from shared.sealing.kept import Plain, seal_to_keep

HANDLER_FAILED = "handler_failed"

_PARKED = "parked"
_ELSEWHERE = "parked_elsewhere"


class Parked(NamedTuple):
    """A record and why it is parked. `code` is stable; `detail` holds no value of the payload."""

    record: Record
    code: str
    detail: str


def failed(record: Record, fault: BaseException) -> Parked:
    """Why a record is parked that its handler failed for. The fault's text stays here: it may quote the event."""
    frames = traceback.extract_tb(fault.__traceback__)
    own = [frame for frame in frames if "site-packages" not in frame.filename]
    where = f" in {own[-1].name}, line {own[-1].lineno}" if own else ""
    return Parked(record, HANDLER_FAILED, f"{type(fault).__name__}{where}")


async def park(session: AsyncSession, parked: Sequence[Parked]) -> None:
    """Parks records in the transaction that moves their offset behind them: each once.

    What they hold is sealed; of headers and key, which are not, only what can be no text of somebody is kept. Those of
    a customer who was erased are not kept.
    """
    if not parked:
        return
    ids = [new_id() for _ in parked]
    sealed = await seal_to_keep(
        session,
        "dead_letter",
        [
            Plain(field_of(letter_id), letter.record.value or b"", customer_of(letter.record.key))
            for letter_id, letter in zip(ids, parked, strict=True)
        ],
    )
    kept = [
        (letter_id, letter, how)
        for letter_id, letter, how in zip(ids, parked, sealed, strict=True)
        if how is not None  # its customer was erased
    ]
    if not kept:
        return
    rows = [
        {
            "id": letter_id,
            "topic": letter.record.topic,
            "partition": letter.record.partition,
            "offset": letter.record.offset,
            "type": headers.get("ce_type"),
            "event_id": headers.get("ce_id"),
            "key": letter.record.key if customer_of(letter.record.key) else None,
            "customer_id": how.customer_id,
            "sealed": how.sealed if letter.record.value is not None else None,
            "headers": headers,
            "code": letter.code,
            "detail": _text(letter.detail)[:2_000],
        }
        for letter_id, letter, how in kept
        for headers in (plain_headers(letter.record),)
    ]
    await session.execute(insert(dead_letter), rows)
    session.info.setdefault(_PARKED, []).extend(letter for _, letter, _ in kept)
    reached(CrashPoint.PARKED)


def field_of(letter_id: UUID) -> str:
    """Where a letter's payload is sealed."""
    return f"dead_letter.sealed:{letter_id}"


def customer_of(key: bytes | None) -> UUID | None:
    """Whom the record of this key is about, if its key is a customer's; whether they are known is not told."""
    try:
        return UUID(key.decode("ascii")) if key is not None else None
    except ValueError:
        return None


def parked_in(session: AsyncSession) -> list[Parked]:
    """What the session's transaction has parked so far."""
    parked: list[Parked] = session.info.get(_PARKED, [])
    return parked


def count_as_parked(session: AsyncSession, records: Iterable[Record]) -> None:
    """For a handler that keeps what it parks in a table of its own: it counts toward the limit as dead letters do."""
    session.info.setdefault(_ELSEWHERE, set()).update(record.offset for record in records)


def offsets_parked_in(session: AsyncSession) -> set[int]:
    """Of the records that the session's transaction has parked so far, wherever."""
    elsewhere: set[int] = session.info.get(_ELSEWHERE, set())
    return elsewhere | {letter.record.offset for letter in parked_in(session)}


def forget_parked(session: AsyncSession) -> None:
    """For who rolls back to a savepoint."""
    session.info.pop(_PARKED, None)


_ATTRIBUTES = ("ce_specversion", "ce_type", "ce_id", "ce_source", "ce_time", "ce_datacontenttype", "traceparent")
_IS_ID = re.compile(rb"[!-~]{1,200}")
_IS_MEDIA_TYPE = re.compile(rb"[!-~]{1,100}(?:; ?[!-~]{1,100})?")


def plain_headers(record: Record) -> dict[str, str]:
    """The attributes of a CloudEvent that are written like an id or a media type: whoever produces writes the rest."""
    headers = headers_of(record)
    kept = {name: headers[name] for name in _ATTRIBUTES if _IS_ID.fullmatch(headers.get(name, b""))}
    media_type = headers.get("content-type", b"")
    if _IS_MEDIA_TYPE.fullmatch(media_type):
        kept["content-type"] = media_type
    return {name: value.decode("ascii") for name, value in kept.items()}


def _text(text: str) -> str:
    """What no database text holds is shown as what it is: unreadable."""
    return text.replace("\x00", "�")
