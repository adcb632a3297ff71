"""Checkpoints: where every chain of a service ends, signed. Kept elsewhere, they find what was cut off here later."""

import hmac
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol
from uuid import UUID

import msgspec
import psycopg
import structlog

from shared.audit.records import Access, canonical, own_access, position
from shared.keyring import AuditKeys

log = structlog.get_logger(__name__)

CHECKPOINT = "audit.checkpoint"
EVERY_SECONDS = 600.0


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """The last row of a chain."""

    chain_id: UUID
    sequence: int
    at: datetime
    mac: str


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """`mac` is over the others with the key `key_id`."""

    service: str
    at: datetime
    key_id: str
    chains: list[Head]
    mac: str = ""


class ForgedCheckpoint(Exception):
    """It is none of this service's, or no key of ours has signed it."""


_HEADS = """
    select h.chain_id, h.sequence, h.at, encode(h.mac, 'hex') from audit_chain c cross join lateral (
        select chain_id, sequence, at, mac from audit_record r
        where r.chain_id = c.chain_id order by sequence desc limit 1
    ) h order by h.chain_id
"""
_MOVED_HEADS = """
    select distinct on (chain_id) chain_id, sequence, at, encode(mac, 'hex') from audit_record
    where at > %s order by chain_id, sequence desc
"""
_LAST_NOTED = "select max(at) from audit_record where at > %s and operation = 'audit.checkpoint'"


def sign_checkpoint(keys: AuditKeys, service: str, at: datetime, heads: Sequence[Head]) -> Checkpoint:
    unsigned = Checkpoint(service=service, at=at, key_id=keys.current, chains=list(heads))
    return msgspec.structs.replace(unsigned, mac=_mac(keys.keys[keys.current], unsigned))


def check_signature(keys: AuditKeys, checkpoint: Checkpoint) -> None:
    """Raises ForgedCheckpoint."""
    key = keys.keys.get(checkpoint.key_id)
    unsigned = msgspec.structs.replace(checkpoint, mac="")
    if key is None or not hmac.compare_digest(_mac(key, unsigned), checkpoint.mac):
        raise ForgedCheckpoint


class ExportEnd(msgspec.Struct, frozen=True, kw_only=True):
    """The last line of an export, without which it is not whole: how many rows it has, the SHA-256 of their lines, and
    where their chains ended by then. `mac` is over the others with the checkpoint's key."""

    rows: int
    digest: str
    checkpoint: Checkpoint
    mac: str = ""


def sign_export_end(keys: AuditKeys, rows: int, digest: str, checkpoint: Checkpoint) -> ExportEnd:
    unsigned = ExportEnd(rows=rows, digest=digest, checkpoint=checkpoint)
    return msgspec.structs.replace(unsigned, mac=_export_mac(keys.keys[checkpoint.key_id], unsigned))


def check_export_end(keys: AuditKeys, end: ExportEnd) -> None:
    """Raises ForgedCheckpoint."""
    key = keys.keys.get(end.checkpoint.key_id)
    unsigned = msgspec.structs.replace(end, mac="")
    if key is None or not hmac.compare_digest(_export_mac(key, unsigned), end.mac):
        raise ForgedCheckpoint


def _export_mac(key: bytes, unsigned: ExportEnd) -> str:
    return hmac.digest(key, b"branchline-audit-export-1\0" + canonical(unsigned), "sha256").hex()


def _mac(key: bytes, unsigned: Checkpoint) -> str:
    return hmac.digest(key, b"branchline-audit-checkpoint-1\0" + canonical(unsigned), "sha256").hex()


async def take_checkpoint(url: str, service: str, keys: AuditKeys, now: datetime) -> Checkpoint:
    """Of every chain; `url` is the owner's."""
    async with await psycopg.AsyncConnection.connect(url, options="-c timezone=UTC") as connection:
        return sign_checkpoint(keys, service, now, await _heads(connection, _HEADS))


async def _heads(
    connection: psycopg.AsyncConnection[tuple[Any, ...]], query: str, values: Sequence[object] = ()
) -> list[Head]:
    found = await connection.execute(query, values)
    return [
        Head(chain_id=chain_id, sequence=sequence, at=at.astimezone(UTC), mac=mac)
        async for chain_id, sequence, at, mac in found
    ]


class Recorder(Protocol):
    async def record(self, *accesses: Access) -> None:
        """Returns when all are kept. Raises AuditAway."""


async def note_heads(url: str, service: str, recorder: Recorder, now: datetime) -> int:
    """Writes the ends that have moved since the last time into a chain, and into the log; returns how many.

    Whoever cuts the end off one chain then has to cut off those that name it, too, and to reach the log.
    """
    since = now - timedelta(days=1)
    async with await psycopg.AsyncConnection.connect(url, options="-c timezone=UTC") as connection:
        ((last,),) = await (await connection.execute(_LAST_NOTED, [since])).fetchall()
        if last is not None and (now - last).total_seconds() < EVERY_SECONDS * 0.9:
            return 0  # another process has just done so
        heads = await (_heads(connection, _HEADS) if last is None else _heads(connection, _MOVED_HEADS, [last]))
    moved = [head for head in heads if last is None or head.at > last]
    if moved:
        await recorder.record(*(_noted(service, head) for head in moved))
        log.info("audit_checkpoint", service=service, heads=[_position(head) for head in moved])
    return len(moved)


def _position(head: Head) -> str:
    return position(head.chain_id, head.sequence, bytes.fromhex(head.mac))


def _noted(service: str, head: Head) -> Access:
    return own_access(service, CHECKPOINT, _position(head))
