"""The audit over HTTP, for auditors: who read or changed whose record. That they looked is in it, too."""

import hashlib
from collections.abc import AsyncIterator
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any
from uuid import UUID

import msgspec
from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import ColumnElement, select

from shared.audit.exports import as_csv, exported_rows, heads_of
from shared.audit.records import Action, Outcome
from shared.audit.tables import audit_record
from shared.auth.dependencies import require_role
from shared.auth.principal import Role
from shared.masking import masked
from shared.web.auditing import Purpose, Subjects
from shared.web.paging import Ordering, Page, PageRequest
from shared.web.reading import WrittenInstant
from shared.web.transaction import JobSession, service_router

NDJSON, CSV = "application/x-ndjson", "text/csv"
EXAMPLE_ROW = (
    '{"row":{"chain_id":"0193a1c8-7d2e-7e3b-9a55-1f0c7a4e2b10","sequence":7,"at":"2026-11-26T09:30:00.000120Z", ...},'
    '"key_id":"2026","previous_mac":"0af7...","mac":"31c8..."}\n{"rows":1,"digest":"9b1e...","checkpoint":{...},"mac":"c5d2..."}\n'
)


@masked
class AuditRecordRead(BaseModel):
    """One access. It names ids, and holds nothing personal of a customer."""

    model_config = ConfigDict(from_attributes=True)

    chain_id: UUID
    sequence: int = Field(description="Its number in its chain.", examples=[1207])
    at: datetime
    action: Action
    outcome: Outcome
    status: int | None = Field(examples=[200])
    operation: str = Field(description="The API's operation, or the job.", examples=["read_customer"])
    resource: str = Field(examples=["/api/customer/v1/customers/0193a1c8-7d2e-7e3b-9a55-1f0c7a4e2b10"])
    purpose: str = Field(examples=["customer_care"])
    actor: str = Field(description="Who did it.", examples=["M0107"])
    role: str = Field(examples=["manager"])
    branch_id: str | None = Field(examples=["B01"])
    on_behalf_of: str | None = Field(description="In whose name, where a program acted for somebody.")
    address: str | None = Field(examples=["10.20.30.40"])
    request_id: str | None = Field(examples=["0193a1c8-9b40-7c11-8d02-5a3c1e9f7d21"])
    trace_id: str | None = Field(examples=["0af7651916cd43dd8448eb211c80319c"])
    customer_ids: list[UUID] = Field(description="Whose records; of very many the first thousand.")
    customer_count: int = Field(description="How many they were.", examples=[1])


class ExportFormat(StrEnum):
    NDJSON = "ndjson"
    """One row a line with what it is verified by, and a last line with the signed end of the chains."""
    CSV = "csv"
    """The same rows for a spreadsheet, without the last line."""


orderings = Ordering({"at": audit_record.c.at}, default="-at", tie=audit_record.c.chain_id)


async def _conditions(
    subjects: Subjects,
    customer_id: Annotated[UUID | None, Query(description="Only accesses to this customer's record.")] = None,
    actor: Annotated[str | None, Query(max_length=200, description="Only of this one.", examples=["M0107"])] = None,
    first: Annotated[WrittenInstant | None, Query(alias="from", description="From this instant on.")] = None,
    until: Annotated[WrittenInstant | None, Query(description="Before this instant.")] = None,
    operation: Annotated[
        str | None, Query(max_length=100, description="Only this one.", examples=["read_customer"])
    ] = None,
    purpose: Annotated[Purpose | None, Query(description="Only to this end.")] = None,
    outcome: Annotated[Outcome | None, Query(description="Only what ended so.")] = None,
) -> list[ColumnElement[bool]]:
    columns = audit_record.c
    conditions: list[ColumnElement[bool]] = []
    if customer_id is not None:
        subjects.add(customer_id)
        conditions.append(columns.customer_ids.contains([customer_id]))
    if first is not None:
        conditions.append(columns.at >= first)
    if until is not None:
        conditions.append(columns.at < until)
    for column, wanted in (
        (columns.actor, actor),
        (columns.operation, operation),
        (columns.purpose, purpose),
        (columns.outcome, outcome),
    ):
        if wanted is not None:
            conditions.append(column == str(wanted))
    return conditions


Conditions = Annotated[list[ColumnElement[bool]], Depends(_conditions)]


def audit_router() -> APIRouter:
    router = service_router(tag="audit")
    for_auditors = [require_role(Role.AUDITOR)]

    @router.get("/audit", dependencies=for_auditors)
    async def list_audit(
        session: JobSession, page: Annotated[PageRequest, Depends(orderings)], conditions: Conditions
    ) -> Page[AuditRecordRead]:
        """Who read or changed whose record in this service, the newest first. Reading this is recorded as well."""
        columns = [audit_record.c[name] for name in AuditRecordRead.model_fields]
        return await page.of(session, select(*columns).where(*conditions), _read)

    @router.get(
        "/audit/export",
        dependencies=for_auditors,
        response_class=StreamingResponse,
        responses={
            200: {
                "content": {
                    NDJSON: {"schema": {"type": "string"}, "example": EXAMPLE_ROW},
                    CSV: {"schema": {"type": "string"}, "example": "chain_id,sequence,at,...\n"},
                }
            }
        },
    )
    async def export_audit(
        request: Request,
        conditions: Conditions,
        format: Annotated[ExportFormat, Query(description="How it is written.")] = ExportFormat.NDJSON,  # noqa: A002, RUF100 - the parameter's name
    ) -> StreamingResponse:
        """All rows that meet the conditions, the oldest first, up to now, with what they are verified by.

        `branchline audit verify-export` verifies the lines. That they were exported is recorded before the first.
        """
        until = request.app.state.clock()
        if format is ExportFormat.CSV:
            return StreamingResponse(_csv(request, conditions, until), media_type=CSV)
        return StreamingResponse(_lines(request, conditions, until), media_type=NDJSON)

    return router


def _read(row: Any) -> AuditRecordRead:
    return AuditRecordRead.model_validate(row)


async def _lines(request: Request, conditions: list[ColumnElement[bool]], until: datetime) -> AsyncIterator[bytes]:
    state = request.app.state
    chains: set[UUID] = set()
    number = 0
    digest = hashlib.sha256()
    async for rows in exported_rows(state.database.jobs, conditions, until):
        number += len(rows)
        chains |= {exported.row.chain_id for exported in rows}
        lines = b"".join(msgspec.json.encode(exported) + b"\n" for exported in rows)
        digest.update(lines)
        yield lines
    heads = await heads_of(state.database.jobs, chains)
    yield msgspec.json.encode(state.audit.end_export(number, digest.hexdigest(), heads)) + b"\n"


async def _csv(request: Request, conditions: list[ColumnElement[bool]], until: datetime) -> AsyncIterator[bytes]:
    yield as_csv((), head=True)
    async for rows in exported_rows(request.app.state.database.jobs, conditions, until):
        yield as_csv(rows, head=False)
