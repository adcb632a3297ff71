"""What the audit keeps of a request: who asked, for whose records, to what end, and what they were answered.

The route class records every operation that asks for a token, so that nobody has to remember to. Whose records an
answer shows is read from the answer itself: every `customer_id` in it. What does not name its customer in the path or
in the answer says so to `Subjects`, and a test walks all operations to see that each does.

A reader's answer waits for its row. A change's row is committed before the change: see docs/decisions/0016.
"""

import re
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from enum import StrEnum
from typing import Annotated, Any, Protocol
from uuid import UUID

from fastapi import Depends, Request, Response
from fastapi.responses import StreamingResponse
from msgspec import structs

from shared.audit.records import Access, Action, Customers, Outcome, customers
from shared.audit.writer import AuditAway
from shared.auth.principal import Principal, Role
from shared.telemetry import current_trace_id
from shared.web.refusals import InvalidInput, Problem

HEADER = "X-Purpose"
READS = "x-reads"
"""In a route's `openapi_extra`: a POST that only reads, because what it asks for does not belong into an address."""


class Purpose(StrEnum):
    """What somebody wants a customer's record for."""

    CUSTOMER_CARE = "customer_care"
    RETENTION = "retention"
    COMPLAINT = "complaint"
    SUPERVISION = "supervision"
    QUALITY = "quality"
    SUBJECT_RIGHTS = "subject_rights"
    OPERATION = "operation"
    PROCESSING = "processing"
    AUDIT = "audit"


USUAL = {
    Role.MANAGER: Purpose.CUSTOMER_CARE,
    Role.BRANCH_HEAD: Purpose.SUPERVISION,
    Role.HEAD_OFFICE: Purpose.SUPERVISION,
    Role.AUDITOR: Purpose.AUDIT,
    Role.OPERATOR: Purpose.OPERATION,
    Role.SERVICE: Purpose.PROCESSING,
}

PARAMETER: dict[str, Any] = {
    "name": HEADER,
    "in": "header",
    "required": False,
    "schema": {"type": "string", "enum": [purpose.value for purpose in Purpose]},
    "description": "What this is for, as the audit keeps it; without it what is usual for your role.",
    "example": "complaint",
}


class AuditUnavailable(Problem):
    status, code, title = 503, "audit_unavailable", "The audit cannot be written, so nothing is shown or changed"
    remedy = "Send the same request again after the seconds in Retry-After."

    def __init__(self) -> None:
        super().__init__(headers={"Retry-After": "2"})


class PurposeRequired(Problem):
    status, code, title = 422, "purpose_required", "The request does not say what it is for"
    remedy = f"Say it in {HEADER}: {', '.join(Purpose)}."


class Recorder(Protocol):
    """Who keeps the audit: shared.audit.writer.AuditWriter in every process."""

    async def record(self, *accesses: Access) -> None:
        """Returns when all are kept. Raises AuditAway."""

    def submit(self, access: Access) -> object:
        """Keeps it as soon as may be."""


class SubjectsOfAccess:
    """Whose records a request reaches that neither its path nor its answer names."""

    def __init__(self) -> None:
        self.customer_ids: list[UUID] = []

    def add(self, *customer_ids: UUID) -> None:
        self.customer_ids += customer_ids


async def _subjects(request: Request) -> SubjectsOfAccess:
    subjects: SubjectsOfAccess = request.state.subjects
    return subjects


Subjects = Annotated[SubjectsOfAccess, Depends(_subjects)]

_SHOWN = re.compile(rb'"customer_id":\s?"([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})"')
_ASKED = re.compile(rb'"customer_ids?"\s*:\s*("[^"]*"|\[[^\]]*\])')
_ID = re.compile(rb"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_CODE = re.compile(r"[A-Za-z0-9_.:,+-]{1,64}")
"""What ids, dates and choices are made of. Anything else that somebody writes into an address is not kept."""
_REQUEST_ID = re.compile(r"[0-9a-fA-F-]{8,64}")
NOT_KEPT = frozenset({"cursor"})
"""Of the query: a cursor holds the keys of a row, a customer's name perhaps."""


def shown_in(body: bytes | memoryview) -> list[UUID]:
    """Whose records an answer shows: within a text a quotation mark is escaped, and no value reads like a member."""
    return [UUID(found.decode()) for found in _SHOWN.findall(body)]


def asked_in(body: bytes) -> list[UUID]:
    return [UUID(found.decode()) for member in _ASKED.findall(body) for found in _ID.findall(member)]


def _id_of(value: object) -> UUID | None:
    try:
        return UUID(value) if isinstance(value, str) else None
    except ValueError:
        return None


class RequestAudit:
    """One request's part in the audit."""

    def __init__(self, recorder: Recorder, request: Request, actor: Principal, *, operation: str, reads: bool) -> None:
        self.recorder = recorder
        self.request = request
        self.actor = actor
        self.operation = operation
        self.reads = reads
        self.subjects = request.state.subjects = SubjectsOfAccess()
        self.purpose = str(USUAL[actor.role])

    def read_purpose(self, required_of: Iterable[Role]) -> None:
        """Raises InvalidInput, PurposeRequired."""
        stated = self.request.headers.get(HEADER)
        if stated is None:
            if self.actor.role in required_of:
                raise PurposeRequired
        elif stated in list(Purpose):
            self.purpose = stated
        else:
            detail = f"Is one of: {', '.join(Purpose)}"
            raise InvalidInput.at(f"/{HEADER}", "unknown_purpose", detail, where="header")

    async def shown(self, response: Response) -> Response:
        """Records what the answer shows. A stream's begins here, and goes on with each of its parts."""
        await self._record(self._answered(response, Outcome.SHOWN, Customers()))
        if isinstance(response, StreamingResponse):
            response.body_iterator = self._watched(response.body_iterator)
        return response

    async def changed(self, response: Response, changed: Customers) -> Access:
        """Records what will be committed next; gives the row that takes it back."""
        outcome = Outcome.SHOWN if "idempotency-replayed" in response.headers else Outcome.CHANGED
        accesses = self._answered(response, outcome, changed)
        undone = structs.replace(accesses[0], outcome=Outcome.UNDONE, status=None)
        try:
            await self._record(accesses)
        except BaseException:  # given up while it waits: the row may be kept all the same
            self.recorder.submit(undone)
            raise
        return undone

    async def refused(self, status: int) -> None:
        """Records what was asked for in vain. What failed here is recorded too, but nobody waits for that."""
        asked = customers(self._asked())
        if status == 304:
            await self._record([self._access(Outcome.SHOWN, status, asked)])
        elif status < 500:
            await self._record([self._access(Outcome.REFUSED, status, asked)])
        else:
            self.recorder.submit(self._access(Outcome.FAILED, status, asked))

    async def _record(self, accesses: Iterable[Access]) -> None:
        try:
            await self.recorder.record(*accesses)
        except AuditAway:
            raise AuditUnavailable from None

    def _answered(self, response: Response, outcome: Outcome, changed: Customers) -> list[Access]:
        body = getattr(response, "body", b"")  # a stream has none yet
        in_path = _id_of(self.request.path_params.get("customer_id"))
        named = () if in_path is None else (in_path,)
        reached = customers((*named, *self.subjects.customer_ids, *shown_in(body))) | changed
        accesses = [self._access(outcome, response.status_code, reached)]
        if missed := [asked for asked in self._asked() if asked not in reached.ids]:
            accesses.append(self._access(Outcome.NOT_SHOWN, response.status_code, customers(missed)))
        return accesses

    def _asked(self) -> list[UUID]:
        """Whom the request names: in its path, its query, and a body that has been read."""
        stated = (self.request.path_params.get("customer_id"), *self.request.query_params.getlist("customer_id"))
        named = [found for value in stated if (found := _id_of(value)) is not None]
        return [*named, *asked_in(getattr(self.request, "_body", b""))]

    async def _watched(self, parts: AsyncIterable[Any]) -> AsyncIterator[Any]:
        """A stream, each part of which waits for its row. Where that cannot be written the stream ends."""
        async for part in parts:
            written = part.encode() if isinstance(part, str) else bytes(part)
            if customer_ids := shown_in(written):
                try:
                    await self.recorder.record(self._access(Outcome.SHOWN, 200, customers(customer_ids)))
                except AuditAway:
                    return
            yield part

    def _access(self, outcome: Outcome, status: int | None, reached: Customers) -> Access:
        client = self.request.client
        request_id = self.request.scope.get("state", {}).get("request_id", "")
        return Access(
            action=Action.READ if self.reads else Action.CHANGE,
            outcome=outcome,
            status=status,
            operation=self.operation,
            resource=self._resource(status),
            purpose=self.purpose,
            actor=self.actor.acting or self.actor.subject,
            role=self.actor.role,
            branch_id=self.actor.branch_id,
            on_behalf_of=self.actor.subject if self.actor.acting else None,
            address=client.host if client else None,
            request_id=request_id if _REQUEST_ID.fullmatch(request_id) else None,
            trace_id=current_trace_id(),
            customer_ids=reached.ids,
            customer_count=reached.number,
        )

    def _resource(self, status: int | None) -> str:
        """The path and the query, of values only those that ids, dates and choices are made of."""
        if status in (400, 422):  # what is not as it must be may be anything
            return str(self.request.app.state.route_templates.get(id(self.request.scope.get("endpoint")), "-"))
        path = self.request.scope.get("root_path", "") + self.request.scope["path"]
        kept = "/".join(step if not step or _CODE.fullmatch(step) else "-" for step in path.split("/"))
        query = "&".join(
            f"{name}={value if _CODE.fullmatch(value) else '-'}"
            for name, value in self.request.query_params.multi_items()
            if name not in NOT_KEPT and _CODE.fullmatch(name)
        )
        return (f"{kept}?{query}" if query else kept)[:500]
