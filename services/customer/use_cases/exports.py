"""Exports: every service's part comes sealed; the archive of all is sealed under the customer's key, and expires."""

import base64
import hashlib
import io
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

import msgspec
from sqlalchemy import delete, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from services.customer.errors import CustomerNotFound, ExportExpired, ExportNotFound, ExportNotReady
from services.customer.models import Customer, CustomerExport, CustomerExportPart
from services.customer.use_cases.erasures import SERVICES
from shared.audit.unattended import reach
from shared.auth.principal import Principal
from shared.clock import Clock
from shared.database import Database
from shared.events import Delivery
from shared.events.customer import CustomerExportRequested
from shared.events.exports import ExportPart
from shared.exports.preparing import Part, context_of
from shared.exports.sealing import new_recipient, open_with
from shared.ids import new_id
from shared.messaging.outbox import publish
from shared.sealing.data_keys import keys_of

_decode = msgspec.json.Decoder(Part).decode
README = """What the bank has about you in its relationship system.

manifest.json lists the files with their sizes and hashes. Each other file is one kind of record: `about` says what a
record is, `fields` what each field of it is, `rows` are the records. Amounts are in minor units of their currency.
"""


class Progress(NamedTuple):
    """`prepared` are the services whose parts are here."""

    export: CustomerExport
    prepared: frozenset[str]


async def request_export(
    session: AsyncSession, actor: Principal, customer_id: UUID, *, now: datetime, days: int
) -> Progress:
    """Raises CustomerNotFound."""
    if await session.get(Customer, customer_id) is None:
        raise CustomerNotFound
    key = (await keys_of(session).make(session, [customer_id])).get(customer_id)
    if key is None:
        raise CustomerNotFound
    private, public = new_recipient()
    export_id = new_id()
    export = CustomerExport(
        export_id=export_id,
        customer_id=customer_id,
        requested_at=now,
        requested_by=actor.subject,
        expires_at=now + timedelta(days=days),
        private_key=key.seal(private, _key_field(export_id)),
    )
    session.add(export)
    await session.flush()
    publish(
        session,
        CustomerExportRequested(
            customer_id=customer_id, export_id=export_id, public_key=base64.b64encode(public).decode()
        ),
        occurred_at=now,
    )
    return Progress(export, frozenset())


async def get_export(session: AsyncSession, customer_id: UUID, export_id: UUID) -> Progress:
    """Raises ExportNotFound."""
    export = await session.get(CustomerExport, export_id)
    if export is None or export.customer_id != customer_id:
        raise ExportNotFound
    if export.ready_at is not None:
        return Progress(export, frozenset(SERVICES))
    columns = CustomerExportPart.service, CustomerExportPart.number, CustomerExportPart.of
    parts = await session.execute(select(*columns).where(CustomerExportPart.export_id == export_id))
    return Progress(export, _whole([(service, of) for service, _number, of in parts]))


def _whole(pieces: Sequence[tuple[str, int]]) -> frozenset[str]:
    """The services of which all pieces are here."""
    return frozenset(service for service, of in pieces if pieces.count((service, of)) == of)


async def open_archive(session: AsyncSession, customer_id: UUID, export_id: UUID, now: datetime) -> bytes:
    """The ZIP. Raises ExportNotFound, ExportNotReady, ExportExpired."""
    export, _ = await get_export(session, customer_id, export_id)
    if export.expires_at <= now:
        raise ExportExpired
    if export.archive is None:
        raise ExportNotReady
    key = (await keys_of(session).find(session, [customer_id])).get(customer_id)
    if key is None:
        raise ExportNotFound
    return key.open(export.archive, _archive_field(export_id))


class ExportKeeping:
    """What deliveries and jobs do about exports."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    async def collect_parts(self, session: AsyncSession, deliveries: Sequence[Delivery[ExportPart]]) -> None:
        """Handler of every service's ExportPartPrepared, in any order; the last one has the archive made."""
        wanted = {delivery.event.export_id for delivery in deliveries}
        exports = await session.scalars(
            select(CustomerExport)
            .where(CustomerExport.export_id.in_(wanted), CustomerExport.private_key.is_not(None))
            .order_by(CustomerExport.export_id)
            .with_for_update()
            .execution_options(populate_existing=True)
        )
        for export in exports.all():
            rows = [
                {
                    "export_id": event.export_id,
                    "service": event.source,
                    "number": event.number,
                    "of": event.of,
                    "sealed": base64.b64decode(event.sealed),
                }
                for event in (delivery.event for delivery in deliveries)
                if event.export_id == export.export_id
            ]
            await session.execute(insert(CustomerExportPart).on_conflict_do_nothing(), rows)
            await _assemble(session, export, self._clock())

    async def forget_expired(self, database: Database) -> None:
        """Job: archives, parts and keys of exports that have expired are not kept."""
        async with database.transaction() as session:
            expired = await session.execute(
                update(CustomerExport)
                .where(
                    CustomerExport.expires_at <= self._clock(),
                    or_(CustomerExport.archive.is_not(None), CustomerExport.private_key.is_not(None)),
                )
                .values(archive=None, private_key=None)
                .returning(CustomerExport.export_id, CustomerExport.customer_id)
            )
            whose = {row.export_id: row.customer_id for row in expired}
            reach(session, whose.values(), resource="customer_export")
            await session.execute(delete(CustomerExportPart).where(CustomerExportPart.export_id.in_(whose)))


async def _assemble(session: AsyncSession, export: CustomerExport, now: datetime) -> None:
    pieces = (
        await session.scalars(
            select(CustomerExportPart)
            .where(CustomerExportPart.export_id == export.export_id)
            .order_by(CustomerExportPart.service, CustomerExportPart.number)
        )
    ).all()
    key = (await keys_of(session).find(session, [export.customer_id])).get(export.customer_id)
    if key is None or export.private_key is None or _whole([(p.service, p.of) for p in pieces]) != set(SERVICES):
        return
    private = key.open(export.private_key, _key_field(export.export_id))
    packed: dict[str, bytes] = defaultdict(bytes)
    for piece in pieces:
        context = context_of(export.export_id, piece.service, piece.number, piece.of)
        packed[piece.service] += open_with(private, piece.sealed, context)
    parts = {service: _decode(zlib.decompress(packed[service])) for service in SERVICES}
    archive = _archive(export, parts)
    export.archive = key.seal(archive, _archive_field(export.export_id))
    export.private_key = None
    export.ready_at = now
    await session.flush()
    await session.execute(delete(CustomerExportPart).where(CustomerExportPart.export_id == export.export_id))


def _archive(export: CustomerExport, parts: dict[str, Part]) -> bytes:
    tables = {f"{service}/{table}.json": shown for service, part in parts.items() for table, shown in part.items()}
    about = {name: shown.about for name, shown in tables.items()}
    rows = {name: len(shown.rows) for name, shown in tables.items()}
    files = {"README.txt": README.encode()}
    files |= {name: msgspec.json.format(msgspec.json.encode(shown), indent=2) for name, shown in tables.items()}
    manifest = {
        "export_id": export.export_id,
        "customer_id": export.customer_id,
        "requested_at": export.requested_at,
        "files": [
            {
                "file": name,
                "about": about.get(name, "how to read this"),
                "rows": rows.get(name),
                "bytes": len(content),
                "sha256": hashlib.sha256(content).hexdigest(),
            }
            for name, content in files.items()
        ],
    }
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("manifest.json", msgspec.json.format(msgspec.json.encode(manifest), indent=2))
        for name, content in files.items():
            archive.writestr(name, content)
    return written.getvalue()


def _key_field(export_id: UUID) -> str:
    return f"customer_export.private_key:{export_id}"


def _archive_field(export_id: UUID) -> str:
    return f"customer_export.archive:{export_id}"
