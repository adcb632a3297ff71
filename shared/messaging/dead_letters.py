"""Dead letters: what could not be delivered, kept where an operator can see it, in the same transaction."""

import base64
import re
import traceback
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncSession

from shared.events import corebanking
from shared.ids import new_id
from shared.masking import masked
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
    contents = [_contents_of(letter.record) for letter in parked]
    sealed = await seal_to_keep(
        session,
        "dead_letter",
        [
            Plain(field_of(letter_id), content.payload or b"", customer_of(letter.record.key))
            for letter_id, letter, content in zip(ids, parked, contents, strict=True)
        ],
    )
    kept = [
        (letter_id, letter, content, how)
        for letter_id, letter, content, how in zip(ids, parked, contents, sealed, strict=True)
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
            "type": content.attributes.get("ce_type"),
            "event_id": content.attributes.get("ce_id"),
            "key": letter.record.key if customer_of(letter.record.key) else None,
            "customer_id": how.customer_id,
            "sealed": how.sealed if content.payload is not None else None,
            "headers": content.headers,
            "code": letter.code,
            "detail": _text(letter.detail)[:2_000],
        }
        for letter_id, letter, content, how in kept
    ]
    await session.execute(insert(dead_letter), rows)
    session.info.setdefault(_PARKED, []).extend(letter for _, letter, _, _ in kept)
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


_ATTRIBUTES = ("ce_specversion", "ce_type", "ce_id", "ce_source", "ce_time", "ce_datacontenttype")
_IS_ID = re.compile(rb"[!-~]{1,200}")
_IS_MEDIA_TYPE = re.compile(rb"[!-~]{1,100}(?:; ?[!-~]{1,100})?")
_STRUCTURED = "application/cloudevents+json"


@masked
class _Contents(NamedTuple):
    """What is sealed of a record, the headers beside it, and the attributes that can be told."""

    payload: bytes | None
    headers: dict[str, str]
    attributes: dict[str, str]


def _contents_of(record: Record) -> _Contents:
    """Beside it are attributes of a CloudEvent that are written like an id or a media type: producers write the rest.

    The core's ids may be written in anything, and are needed for a replay. Where one is not like an id, all is sealed,
    as the CloudEvent in structured JSON, which is read from that topic as well.
    """
    said = headers_of(record)
    attributes = {name: said[name].decode() for name in _ATTRIBUTES if _IS_ID.fullmatch(said.get(name, b""))}
    others = {}
    if _IS_ID.fullmatch(said.get("traceparent", b"")):
        others["traceparent"] = said["traceparent"].decode()
    is_told = all(name in attributes for name in _ATTRIBUTES if said.get(name))
    if is_told or record.topic != corebanking.TOPIC or not said.get("ce_type"):
        if _IS_MEDIA_TYPE.fullmatch(said.get("content-type", b"")):
            others["content-type"] = said["content-type"].decode()
        return _Contents(record.value, attributes | others, attributes)
    event = {name.removeprefix("ce_"): said[name].decode("utf-8", "replace") for name in _ATTRIBUTES if name in said}
    payload = msgspec.json.encode(event | _data_of(record.value))
    return _Contents(payload, others | {"content-type": _STRUCTURED}, attributes)


def _data_of(value: bytes | None) -> dict[str, Any]:
    """As a CloudEvent in structured JSON has it."""
    if value is None:
        return {}
    try:
        msgspec.json.decode(value)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return {"data_base64": base64.b64encode(value).decode()}
    return {"data": msgspec.Raw(value)}


def _text(text: str) -> str:
    """What no database text holds is shown as what it is: unreadable."""
    return text.replace("\x00", "�")
