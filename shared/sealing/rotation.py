"""Rotating the master key: data keys are wrapped again, and what they seal stays as it is."""

from collections.abc import Mapping

from sqlalchemy import bindparam, func, select, text, update
from sqlalchemy.exc import OperationalError, ProgrammingError
from sqlalchemy.ext.asyncio import AsyncSession

from shared.sealing.data_keys import data_key, service_key
from shared.sealing.master_keys import MasterKeys, MasterKeyUnknown, NotOpened, WrappedKey

_OTHER_CUSTOMERS = (
    select(data_key.c.customer_id, data_key.c.master_key_id, data_key.c.wrapped)
    .where(data_key.c.master_key_id != bindparam("current"))
    .order_by(data_key.c.customer_id)
    .limit(bindparam("most"))
    .with_for_update(skip_locked=True)
)
_OTHER_SERVICE = (
    select(service_key).where(service_key.c.master_key_id != bindparam("current")).with_for_update(skip_locked=True)
)


async def rewrap(session: AsyncSession, master_keys: MasterKeys, most: int = 1_000) -> int:
    """Wraps up to `most` keys that another master key wrapped with the current one; returns how many. 0 is the end.

    Raises MasterKeyUnknown, NotOpened.
    """
    rows = (await session.execute(_OTHER_CUSTOMERS, {"current": master_keys.current_id, "most": most})).all()
    contexts = [row.customer_id.bytes for row in rows]
    for row, new in zip(rows, await _again(master_keys, rows, contexts), strict=True):
        values = new._asdict()
        await session.execute(update(data_key).where(data_key.c.customer_id == row.customer_id).values(values))
    if rows:
        return len(rows)
    own = (await session.execute(_OTHER_SERVICE, {"current": master_keys.current_id})).all()
    for service_row, new in zip(own, await _again(master_keys, own, [row.name.encode() for row in own]), strict=True):
        await session.execute(update(service_key).where(service_key.c.name == service_row.name).values(new._asdict()))
    return len(own)


async def _again(master_keys: MasterKeys, rows: object, contexts: list[bytes]) -> list[WrappedKey]:
    wrapped = [WrappedKey(row.master_key_id, row.wrapped) for row in rows]  # type: ignore[attr-defined] # rows of both
    keys = await master_keys.unwrap(list(zip(wrapped, contexts, strict=True)))
    return await master_keys.wrap(list(zip(keys, contexts, strict=True)))


async def count_others(session: AsyncSession, master_keys: MasterKeys) -> int:
    """Of how many customers the key is wrapped with another master key than the current one."""
    others = select(func.count()).where(data_key.c.master_key_id != master_keys.current_id)
    return await session.scalar(others) or 0


async def count_wrapped(session: AsyncSession) -> Mapping[str, int]:
    """How many keys each master key wraps, the service's own among them."""
    counted: dict[str, int] = {}
    for table in (data_key, service_key):
        column = table.c.master_key_id
        for master_key_id, count in await session.execute(
            select(column, func.count()).where(column.is_not(None)).group_by(column)
        ):
            counted[master_key_id] = counted.get(master_key_id, 0) + count
    return counted


# One key of each master key, by the index, however many customers there are.
_ONE_OF_EACH = text(
    "with recursive id (master_key_id) as ("
    " select min(master_key_id) from data_key"
    " union all select (select min(k.master_key_id) from data_key k where k.master_key_id > id.master_key_id)"
    " from id where id.master_key_id is not null)"
    " select k.customer_id, null as name, k.master_key_id, k.wrapped from id, lateral (select * from data_key d"
    "  where d.master_key_id = id.master_key_id limit 1) k where id.master_key_id is not null"
    " union all select null, name, master_key_id, wrapped from service_key"
)


class MasterKeyMissing(Exception):
    """What is sealed here cannot be opened by the keys that are configured. The text names ids, never a key."""


class MasterKeyCheck:
    """Whether the master keys open what they wrapped. What was seen to open is not tried again."""

    def __init__(self, master_keys: MasterKeys) -> None:
        self._master_keys = master_keys
        self._opened: set[str] = set()

    async def check(self, session: AsyncSession) -> None:
        """Raises MasterKeyMissing."""
        for row in await session.execute(_ONE_OF_EACH):
            if row.master_key_id in self._opened:
                continue
            context = row.customer_id.bytes if row.customer_id else row.name.encode()
            try:
                await self._master_keys.unwrap([(WrappedKey(row.master_key_id, row.wrapped), context)])
            except MasterKeyUnknown:
                raise MasterKeyMissing(
                    f"keys here are wrapped with the master key {row.master_key_id}, which is not among master_keys"
                ) from None
            except NotOpened:
                raise MasterKeyMissing(
                    f"the master key {row.master_key_id} is not the one that keys here are wrapped with"
                ) from None
            self._opened.add(row.master_key_id)


async def refuse_missing_master_key(session: AsyncSession, master_keys: MasterKeys) -> None:
    """At start: raises MasterKeyMissing. A database that is away or not migrated yet is left to readiness."""
    try:
        await MasterKeyCheck(master_keys).check(session)
    except (OperationalError, ProgrammingError):
        return
