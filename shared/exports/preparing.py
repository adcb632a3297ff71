"""A service's part of an export: the rows about a customer that its rules show, with words for every field."""

import base64
import zlib
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from shared.erasure.rules import Deleted, Rules
from shared.events import Delivery
from shared.events.customer import CustomerExportRequested
from shared.events.exports import ExportPart
from shared.exports.sealing import seal_to
from shared.messaging.outbox import publish
from shared.sealing.data_keys import DataKey, keys_of

PIECE_BYTES = 600_000
"""Of what an event carries: sealed and in base64 it stays below what an outbox takes."""

_FIELDS = text(
    "select attname::text, coalesce(col_description(attrelid, attnum), '') from pg_attribute"
    " where attrelid = cast(:table as regclass) and attnum > 0 and not attisdropped order by attnum"
)
_ENDINGS = {
    "_minor": "in minor units of the currency",
    "_at": "an instant, in UTC",
    "_on": "a date",
    "_id": "an identifier",
    "_ids": "identifiers",
}


class TableShown(msgspec.Struct):
    """`about` says what a row is, `fields` what each field is."""

    about: str
    fields: dict[str, str]
    rows: list[dict[str, Any]]


Part = dict[str, TableShown]


def context_of(export_id: UUID, service: str, number: int, of: int) -> bytes:
    """What a piece is sealed for, so that none takes another's place."""
    return f"{export_id}/{service}/{number}/{of}".encode()


class Exporting:
    """What a service does about `CustomerExportRequested`; `told` is the event that carries its part."""

    def __init__(self, rules: Rules, told: type[ExportPart]) -> None:
        self._rules = rules
        self._told = told

    async def prepare(self, session: AsyncSession, deliveries: Sequence[Delivery[CustomerExportRequested]]) -> None:
        """Handler: gathers, seals and publishes."""
        for delivery in deliveries:
            event = delivery.event
            part = await self._gather(session, event.customer_id)
            packed = zlib.compress(msgspec.json.encode(part))
            pieces = [packed[first : first + PIECE_BYTES] for first in range(0, len(packed), PIECE_BYTES)]
            for number, piece in enumerate(pieces, start=1):
                service = self._told.TYPE.partition(".")[0]
                context = context_of(event.export_id, service, number, len(pieces))
                sealed = seal_to(base64.b64decode(event.public_key), piece, context)
                prepared = self._told(
                    customer_id=event.customer_id,
                    export_id=event.export_id,
                    number=number,
                    of=len(pieces),
                    sealed=base64.b64encode(sealed).decode(),
                )
                publish(session, prepared, cause=delivery, step=f"{self._told.TYPE}:{number}")

    async def _gather(self, session: AsyncSession, customer_id: UUID) -> Part:
        key = (await keys_of(session).find(session, [customer_id])).get(customer_id)
        part: Part = {}
        for table, rule in self._rules.items():
            if isinstance(rule, Deleted) and rule.about is not None:
                opened = rule.opened or {}
                fields = await session.execute(_FIELDS, {"table": table})
                found = await session.scalars(
                    text(f"select to_jsonb({table}) from {table} where {rule.which}"),  # noqa: S608 - a rule's, and no value
                    {"customer_id": customer_id},
                )
                part[table] = TableShown(
                    about=rule.about,
                    fields={name: _in_words(name, comment) for name, comment in fields},
                    rows=[_opened(row, opened, key) for row in found],
                )
        return part


def _opened(row: dict[str, Any], opened: Mapping[str, str], key: DataKey | None) -> dict[str, Any]:
    """With what is sealed in it as what it says."""
    for column, field in opened.items():
        sealed = row[column]
        if sealed is not None:
            plain = key.open(bytes.fromhex(sealed.removeprefix("\\x")), field) if key else b"null"
            row[column] = msgspec.json.decode(plain)
    return row


def _in_words(name: str, comment: str) -> str:
    ending = next((words for end, words in _ENDINGS.items() if name.endswith(end)), "")
    return "; ".join(filter(None, (comment or name.replace("_", " "), ending)))
