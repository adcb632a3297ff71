"""Loading a file of the bank's history: how far it is moves in the transaction of what was read up to there."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from hashlib import sha256
from typing import NamedTuple
from uuid import UUID

import msgspec
from sqlalchemy import delete, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from services.customer.models import Backfill, BackfillFault
from services.customer.use_cases.ingestion import Rules, receive_events
from services.customer.use_cases.receiving import Outcome, Received, Remembered, Unreadable
from services.customer.use_cases.rows import as_json
from services.customer.use_cases.transaction_columns import Transactions


class Progress(NamedTuple):
    """`position` counts the records that are read; the others what became of them when they were."""

    backfill_id: UUID
    position: int
    applied: int
    duplicate: int
    held: int
    parked: int
    finished_at: datetime | None


class FileChanged(Exception):
    """A file of this path was loaded in part, and holds something else now."""

    def __init__(self, position: int) -> None:
        super().__init__(f"changed after record {position}")
        self.position = position


class LoadedElsewhere(Exception):
    """Another backfill has moved on from where this one wanted to."""


class TooManyParked(Exception):
    """More rows of the file would be parked than may be: nothing of this chunk is kept."""

    def __init__(self, parked: Sequence[Received | Unreadable]) -> None:
        super().__init__("too many rows are wrong")
        self.parked = parked


_PROGRESS = (
    Backfill.backfill_id,
    Backfill.position,
    Backfill.applied,
    Backfill.duplicate,
    Backfill.held,
    Backfill.parked,
    Backfill.finished_at,
)


def backfill_id_of(content: str, reading: str) -> UUID:
    """What a file holds and how it is read make it what it is; where it lies does not."""
    return UUID(bytes=sha256(f"{content}\n{reading}".encode()).digest()[:16])


async def begin_backfill(session: AsyncSession, *, path: str, content: str, reading: str, again: bool) -> Progress:
    """Where to go on with the file; `again` is from its beginning.

    Raises FileChanged when another content of the same path was left unfinished, unless `again` says to forget that.
    """
    backfill_id = backfill_id_of(content, reading)
    others = select(Backfill).where(Backfill.path == path, Backfill.content != content, Backfill.finished_at.is_(None))
    for other in await session.scalars(others):
        if not again:
            raise FileChanged(other.position)
        await session.delete(other)
    if again:
        await session.execute(delete(Backfill).where(Backfill.backfill_id == backfill_id))
    await session.execute(
        insert(Backfill)
        .values(backfill_id=backfill_id, path=path, content=content, reading=reading)
        .on_conflict_do_nothing()
    )
    return await progress_of(session, backfill_id)


async def progress_of(session: AsyncSession, backfill_id: UUID) -> Progress:
    """Of a file that is begun."""
    return Progress(*(await session.execute(select(*_PROGRESS).where(Backfill.backfill_id == backfill_id))).one())


_MOVE = text(
    "update backfill set position = :next, moved_at = now()"
    " where backfill_id = :backfill_id and position = :expected and finished_at is null returning parked"
)
_COUNT = text(
    "update backfill set applied = applied + :applied, duplicate = duplicate + :duplicate, held = held + :held,"
    " parked = parked + :parked where backfill_id = :backfill_id"
)
_NOTE = text(
    "insert into backfill_fault (backfill_id, line, event_id, code, pointer, detail)"
    " select :backfill_id, line, event_id, code, pointer, detail"
    " from json_populate_recordset(cast(null as backfill_fault), cast(:rows as json)) on conflict do nothing"
)


class _Fault(msgspec.Struct):
    line: int
    event_id: str | None
    code: str
    pointer: str | None
    detail: str


async def load_rows(
    session: AsyncSession,
    backfill_id: UUID,
    rows: Sequence[Received | Unreadable],
    *,
    expected: int,
    next_position: int,
    most_parked: int,
    rules: Rules,
    now: datetime,
    transactions: Sequence[Transactions] = (),
    remembered: Remembered | None = None,
) -> Counter[Outcome]:
    """What became of the rows: they are received like events of the core's topic, and the file's position moves.

    `transactions` are further rows. Raises UniqueViolation when what was `remembered` was too little.

    Raises LoadedElsewhere, TooManyParked.
    """
    move = {"backfill_id": backfill_id, "expected": expected, "next": next_position}
    parked_before = await session.scalar(_MOVE, move)
    if parked_before is None:
        raise LoadedElsewhere
    received = [row for row in rows if type(row) is Received]
    parked: list[Received | Unreadable] = []
    if len(received) != len(rows):
        parked += [row for row in rows if isinstance(row, Unreadable)]
    settled = await receive_events(
        session, received, rules=rules, now=now, remembered=remembered, transactions=transactions
    )
    received += settled.left
    outcomes = Counter([row.outcome for row in received])
    outcomes[Outcome.APPLIED] += settled.applied
    outcomes[Outcome.DUPLICATE] += settled.duplicates
    if outcomes[Outcome.PARKED]:
        parked += [row for row in received if row.outcome is Outcome.PARKED]
    outcomes[Outcome.PARKED] = len(parked)
    if parked_before + len(parked) > most_parked:
        raise TooManyParked(parked)
    if parked:
        faults = [_Fault(row.line, row.event_id, row.code or "", row.pointer, row.detail or "") for row in parked]
        await session.execute(_NOTE, {"backfill_id": backfill_id, "rows": as_json(faults)})
    counts = {outcome.value: outcomes[outcome] for outcome in Outcome}
    await session.execute(_COUNT, {"backfill_id": backfill_id, **counts})
    return outcomes


_FINISH = text(
    "update backfill set finished_at = :now where backfill_id = :backfill_id and position = :position"
    " and finished_at is null returning true"
)


async def finish_backfill(session: AsyncSession, backfill_id: UUID, position: int, now: datetime) -> None:
    """Raises LoadedElsewhere."""
    found = await session.scalar(_FINISH, {"backfill_id": backfill_id, "position": position, "now": now})
    if found is None:
        raise LoadedElsewhere


async def faults_of(session: AsyncSession, backfill_id: UUID, most: int | None = None) -> Sequence[BackfillFault]:
    """The rows of the file that are parked, in its order."""
    query = select(BackfillFault).where(BackfillFault.backfill_id == backfill_id).order_by(BackfillFault.line)
    return (await session.scalars(query.limit(most))).all()


_STILL_HELD = text("select count(*) from kept_event where waits_for is not null")


async def count_held(session: AsyncSession) -> int:
    """Events of any source that still wait for what they name."""
    return int(await session.scalar(_STILL_HELD) or 0)
