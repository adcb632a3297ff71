"""Editing a dead letter before it is replayed: what it held stays, and who changed it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import Row, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from shared.audit.unattended import reach
from shared.ids import new_id
from shared.masking import masked
from shared.messaging.dead_letters import customer_of, field_of
from shared.messaging.replay import NoSuchLetter, open_payload
from shared.messaging.tables import dead_letter, dead_letter_edit
from shared.sealing.kept import Kept, Plain, open_kept, seal_to_keep

KEEP_EDITS = timedelta(days=90)
"""What was edited away may hold personal data, and is of use for as long as somebody may ask."""


class PayloadGone(Exception):
    """The letter's customer was erased, and what it held with their key."""


class NotJson(Exception):
    """The payload that there would be is no JSON, or the one that there is no JSON object to patch."""


@masked
@dataclass(frozen=True)
class Change:
    """`payload` replaces all, `patch` is a JSON merge patch (RFC 7396), a header of None is taken out."""

    payload: bytes | None = None
    patch: Mapping[str, Any] | None = None
    headers: Mapping[str, str | None] = field(default_factory=dict)

    def of(self, payload: bytes | None, headers: Mapping[str, str]) -> tuple[bytes | None, dict[str, str]]:
        """Raises NotJson."""
        merged = merge(headers, self.headers)
        if self.payload is not None:
            _read(self.payload)
            return self.payload, merged
        if self.patch is None:
            return payload, merged
        before = _read(payload or b"")
        if not isinstance(before, dict):
            raise NotJson("the payload is no JSON object")
        after = merge(before, self.patch)
        return (payload if after == before else msgspec.json.encode(after)), merged


def _read(payload: bytes) -> Any:
    try:
        return msgspec.json.decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise NotJson("the payload is no JSON") from None


def merge(target: Any, patch: Any) -> Any:
    """RFC 7396, 2."""
    if not isinstance(patch, Mapping):
        return patch
    merged = dict(target) if isinstance(target, Mapping) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge(merged.get(name), value)
    return merged


async def edit(
    session: AsyncSession,
    letter_id: UUID,
    change: Change,
    *,
    by: str,
    now: datetime,
    check: Callable[[Row[Any]], None] = lambda _: None,
) -> bool:
    """Whether that changed anything. `check` sees the locked letter first.

    Raises NoSuchLetter, NotJson, PayloadGone.
    """
    found = await session.execute(select(dead_letter).where(dead_letter.c.id == letter_id).with_for_update())
    letter = found.one_or_none()
    if letter is None:
        raise NoSuchLetter
    check(letter)
    before = await open_payload(session, letter)
    if before is None and letter.sealed is not None:
        raise PayloadGone
    payload, headers = change.of(before, letter.headers)
    if (payload, headers) == (before, letter.headers):
        return False
    edit_id = new_id()
    contents = [
        Plain(field, content or b"", letter.customer_id or customer_of(letter.key))
        for field, content in ((field_of_edit(edit_id), before), (field_of(letter_id), payload))
    ]
    was, is_now = await seal_to_keep(session, "dead_letter", contents)
    if was is None or is_now is None:
        raise PayloadGone
    kept = {name: getattr(letter, name) for name in ("topic", "partition", "offset", "headers")}
    kept |= {"customer_id": was.customer_id, "sealed": was.sealed if before is not None else None}
    kept |= {"id": edit_id, "letter_id": letter_id, "edited_at": now, "edited_by": by}
    await session.execute(insert(dead_letter_edit), kept)
    changed = {
        "customer_id": is_now.customer_id,
        "sealed": is_now.sealed if payload is not None else None,
        "headers": headers,
        "type": _told(headers, "ce_type", letter.headers, letter.type),
        "event_id": _told(headers, "ce_id", letter.headers, letter.event_id),
        "edits": letter.edits + 1,
    }
    await session.execute(update(dead_letter).where(dead_letter.c.id == letter_id).values(changed))
    return True


def _told(headers: Mapping[str, str], name: str, before: Mapping[str, str], told: str | None) -> str | None:
    """What lists tell: what the header says, or what was told of a letter that has all in its payload."""
    if name not in before and name not in headers:
        return told
    return headers.get(name, "")[:500] or None


def field_of_edit(edit_id: UUID) -> str:
    return f"dead_letter_edit.sealed:{edit_id}"


async def open_edits(session: AsyncSession, edits: Sequence[Row[Any]]) -> list[bytes | None]:
    """What letters held before they were edited; None where that was nothing, or is gone with its customer's key."""
    held = [edit for edit in edits if edit.sealed is not None]
    opened = await open_kept(session, [(field_of_edit(e.id), Kept(e.sealed, e.customer_id)) for e in held])
    payloads = dict(zip((edit.id for edit in held), opened, strict=True))
    return [payloads.get(edit.id) for edit in edits]


_FORGET = text(
    "delete from dead_letter_edit e where edited_at < :before"
    " and not exists (select from dead_letter l where l.id = e.letter_id) returning customer_id"
)


async def forget_edits(session: AsyncSession, now: datetime) -> None:
    """Those of letters that are gone, after a while."""
    forgotten = await session.scalars(_FORGET, {"before": now - KEEP_EDITS})
    reach(session, forgotten, resource="dead_letter_edit")
