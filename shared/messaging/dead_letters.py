"""Dead letters: what could not be delivered, kept where an operator can see it, in the same transaction."""

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from shared.ids import new_id
from shared.messaging.records import Record
from shared.messaging.tables import dead_letter


class Parked(NamedTuple):
    """A record and why it is parked. `code` is stable; `detail` holds no value of the payload."""

    record: Record
    code: str
    detail: str


async def park(session: AsyncSession, parked: Sequence[Parked]) -> None:
    """Parks each record once, however often it comes."""
    if not parked:
        return
    rows = [
        {
            "id": new_id(),
            "topic": letter.record.topic,
            "partition": letter.record.partition,
            "offset": letter.record.offset,
            "type": _header(letter.record, "ce_type"),
            "event_id": _header(letter.record, "ce_id"),
            "key": letter.record.key,
            "payload": letter.record.value,
            "headers": {
                name: value.decode("utf-8", "replace").replace("\x00", "�") for name, value in letter.record.headers
            },
            "code": letter.code,
            "detail": letter.detail[:2_000].replace("\x00", "�"),
        }
        for letter in parked
    ]
    await session.execute(
        insert(dead_letter).on_conflict_do_nothing(index_elements=["topic", "partition", "offset"]), rows
    )


def _header(record: Record, name: str) -> str | None:
    value = dict(record.headers).get(name)
    return value.decode("utf-8", "replace").replace("\x00", "�")[:500] if value is not None else None
