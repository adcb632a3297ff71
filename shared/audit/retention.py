"""The audit's partitions: a month each, made ahead of time, and dropped when the law no longer asks for them."""

from datetime import UTC, date, datetime

import psycopg
from psycopg import sql

from shared.audit.records import own_access, position
from shared.audit.verification import Verified, verify_service
from shared.audit.writer import AuditWriter
from shared.clock import Clock
from shared.keyring import AuditKeys

DROPPED = "audit.dropped"
MONTHS_AHEAD = 3

_MAKE = """
    select make_audit_partition((%s::date + n * interval '1 month')::date) from generate_series(0, %s) as n
"""
_LAST_OF_CHAINS = """
    select distinct on (chain_id) chain_id, sequence, mac from audit_record
    where at < %s order by chain_id, sequence desc
"""
_GONE = """
    select chain_id from audit_chain c where started_at < %s
    and not exists (select 1 from audit_record r where r.chain_id = c.chain_id)
"""


class DoesNotVerify(Exception):
    """What is to be dropped, or what stays, is not as it was written: first find out why."""

    def __init__(self, verified: Verified) -> None:
        super().__init__(verified.service)
        self.verified = verified


async def make_partitions(url: str, now: datetime) -> None:
    """For a job: the partitions of this month and the next ones, where they are not yet; `url` is the owner's."""
    async with await psycopg.AsyncConnection.connect(url, options="-c lock_timeout=2s") as connection:
        await connection.execute(_MAKE, [now.astimezone(UTC).date(), MONTHS_AHEAD])


async def drop_before(url: str, service: str, keys: AuditKeys, before: date, clock: Clock) -> int:
    """Drops the months before `before`, the first of a month, and returns how many.

    The last row that each chain loses is first written into a chain that stays, so that what is left of it still
    verifies. Raises DoesNotVerify.
    """
    verified = await verify_service(url, service, keys)
    if verified.faults:
        raise DoesNotVerify(verified)
    async with await psycopg.AsyncConnection.connect(url, autocommit=True, options="-c timezone=UTC") as connection:
        months = await _months_before(connection, before)
        if not months:
            return 0
        losing = await (await connection.execute(_LAST_OF_CHAINS, [before])).fetchall()
        writer = AuditWriter(service, url, keys, clock)
        try:
            await writer.record(*(own_access(service, DROPPED, position(*last)) for last in losing))
        finally:
            await writer.close()
        async with connection.transaction():
            await connection.execute("set local lock_timeout = '5s'")
            for month in months:
                await connection.execute(sql.SQL("drop table {}").format(sql.Identifier(month)))
            await _forget_chains(
                connection, [row[0] for row in await (await connection.execute(_GONE, [before])).fetchall()]
            )
    return len(months)


async def _months_before(connection: psycopg.AsyncConnection[tuple[object, ...]], before: date) -> list[str]:
    found = await connection.execute(
        "select c.relname from pg_inherits i join pg_class c on c.oid = i.inhrelid"
        " where i.inhparent = 'audit_record'::regclass and c.relname ~ '^audit_record_[0-9]{6}$'"
        " and right(c.relname, 6) < %s order by 1",
        [f"{before:%Y%m}"],
    )
    return [str(name) for (name,) in await found.fetchall()]


async def _forget_chains(connection: psycopg.AsyncConnection[tuple[object, ...]], chain_ids: list[object]) -> None:
    """Of chains that have lost all their rows."""
    await connection.execute("alter table audit_chain disable trigger audit_chain_stays")
    await connection.execute("delete from audit_chain where chain_id = any(%s)", [chain_ids])
    await connection.execute("alter table audit_chain enable trigger audit_chain_stays")
