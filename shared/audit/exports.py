"""Rows as they leave the audit: each with the MAC before it and its own, for whoever has the key to verify."""

import csv
import hashlib
import io
from collections.abc import AsyncIterator, Iterable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import ColumnElement, and_, func, select, tuple_
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.audit.checkpoints import ExportEnd, ForgedCheckpoint, Head, check_export_end, check_signature
from shared.audit.records import COLUMNS, Row, canonical, row_mac
from shared.audit.tables import audit_chain, audit_record
from shared.keyring import AuditKeys

PAGE = 1_000


class ExportedRow(msgspec.Struct, frozen=True):
    """A row, what it stands on, and the key that it was signed with. MACs are hexadecimal."""

    row: Row
    key_id: str
    previous_mac: str
    mac: str


_before = audit_record.alias("before")
_ROWS = (
    select(
        *(audit_record.c[name] for name in COLUMNS),
        audit_chain.c.key_id,
        # The first row of a chain stands on the chain's opening.
        func.coalesce(_before.c.mac, audit_chain.c.mac),
        audit_record.c.mac,
    )
    .join_from(audit_record, audit_chain, audit_chain.c.chain_id == audit_record.c.chain_id)
    .outerjoin(
        _before,
        and_(_before.c.chain_id == audit_record.c.chain_id, _before.c.sequence == audit_record.c.sequence - 1),
    )
    .order_by(audit_record.c.at, audit_record.c.chain_id)
    .limit(PAGE)
)


async def exported_rows(
    engine: AsyncEngine, conditions: Iterable[ColumnElement[bool]], until: datetime
) -> AsyncIterator[list[ExportedRow]]:
    """The rows before `until` that meet the conditions, the oldest first, in short transactions of the owner."""
    query = _ROWS.where(audit_record.c.at < until, *conditions)
    after: tuple[datetime, UUID] | None = None
    while True:
        place = tuple_(audit_record.c.at, audit_record.c.chain_id)
        async with engine.connect() as connection:
            found = (await connection.execute(query.where(place > after) if after else query)).all()
        if found:
            yield [_exported(row) for row in found]
        if len(found) < PAGE:
            return
        after = (found[-1].at, found[-1].chain_id)


def _exported(columns: Any) -> ExportedRow:
    *row, key_id, previous, mac = columns
    return ExportedRow(Row(*row), key_id, previous.hex(), mac.hex())


async def heads_of(engine: AsyncEngine, chain_ids: Iterable[UUID]) -> list[Head]:
    """Where these chains end now."""
    heads = []
    async with engine.connect() as connection:
        for chain_id in sorted(chain_ids):
            last = (
                select(audit_record.c.sequence, audit_record.c.at, audit_record.c.mac)
                .where(audit_record.c.chain_id == chain_id)
                .order_by(audit_record.c.sequence.desc())
                .limit(1)
            )
            row = (await connection.execute(last)).one()
            heads.append(Head(chain_id=chain_id, sequence=row.sequence, at=row.at.astimezone(UTC), mac=row.mac.hex()))
    return heads


def as_csv(rows: Iterable[ExportedRow], *, head: bool) -> bytes:
    written = io.StringIO()
    writer = csv.writer(written)
    if head:
        writer.writerow((*COLUMNS, "key_id", "previous_mac", "mac"))
    for exported in rows:
        values = msgspec.to_builtins(exported.row)
        values["customer_ids"] = " ".join(values["customer_ids"])
        # A spreadsheet takes what begins so for a formula, and an actor's name is what a token says.
        plain = [f"'{value}" if str(value)[:1] in ("=", "+", "-", "@") else value for value in values.values()]
        writer.writerow((*plain, exported.key_id, exported.previous_mac, exported.mac))
    return written.getvalue().encode()


def verify_export(lines: Iterable[bytes], keys: AuditKeys) -> tuple[int, list[str]]:
    """How many rows an NDJSON export has, and what is wrong with it, by line."""
    faults: list[str] = []
    known: dict[UUID, tuple[int, str]] = {}
    digest = hashlib.sha256()
    end: ExportEnd | None = None
    number = 0
    for number, line in enumerate(lines, 1):
        if end is not None:
            faults.append(f"line {number}: there is more after the end")
            break
        try:
            read = msgspec.json.decode(line, type=dict[str, Any])
            if "checkpoint" in read:
                end = msgspec.convert(read, ExportEnd)
                _check_end(end, keys, number - 1, digest.hexdigest(), faults)
                continue
            exported = msgspec.json.decode(line, type=ExportedRow)
        except msgspec.MsgspecError:
            faults.append(f"line {number}: it is no row of an export")
            continue
        row, key = exported.row, keys.keys.get(exported.key_id)
        if key is None or row_mac(key, _bytes(exported.previous_mac), canonical(row)).hex() != exported.mac:
            faults.append(f"line {number}: chain {row.chain_id} row {row.sequence} was changed or is forged")
        before = known.get(row.chain_id)
        if before is not None and before[0] == row.sequence - 1 and before[1] != exported.previous_mac:
            faults.append(f"line {number}: chain {row.chain_id} row {row.sequence} does not stand on the one before")
        known[row.chain_id] = (row.sequence, exported.mac)
        digest.update(line.rstrip(b"\n") + b"\n")
    if end is None:
        faults.append(f"line {number + 1}: the end is missing, and perhaps rows before it")
    return number - (end is not None), faults


def _bytes(mac: str) -> bytes:
    try:
        return bytes.fromhex(mac)
    except ValueError:
        return b""


def _check_end(end: ExportEnd, keys: AuditKeys, rows: int, digest: str, faults: list[str]) -> None:
    try:
        check_signature(keys, end.checkpoint)
        check_export_end(keys, end)
    except ForgedCheckpoint:
        faults.append(f"line {rows + 1}: the end is forged")
    if (end.rows, end.digest) != (rows, digest):
        faults.append(f"line {rows + 1}: {end.rows} rows were exported, and what is here are not those")
