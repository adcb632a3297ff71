"""A small service over everything that shared/web gives: notes, which only who wrote them sees."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

import httpx
from fastapi import Depends, FastAPI, Request, Response
from fastapi.responses import StreamingResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import BaseModel, ConfigDict, Field, field_validator
from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Integer,
    MetaData,
    Table,
    Text,
    Uuid,
    func,
    insert,
    select,
    text,
    update,
)
from sqlalchemy.ext.asyncio import AsyncSession

from shared.audit.records import Access
from shared.auth.dependencies import Actor, require_role, require_scope
from shared.auth.errors import InvalidToken
from shared.auth.principal import Principal, Role
from shared.database import Database
from shared.events.notification import AlertSnoozed
from shared.ids import new_id
from shared.messaging.outbox import publish
from shared.settings import PlatformSettings
from shared.web.app import create_api
from shared.web.etag import ReadTag, SeenTag
from shared.web.paging import Ordering, Page, PageRequest
from shared.web.problems import problems
from shared.web.refusals import Problem
from shared.web.sse import LastEventId, Live
from shared.web.transaction import TIMEOUT, JobSession, Session, Sessions, service_router

BASE = "/api/notes/v1"
NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)

metadata = MetaData()
note = Table(
    "note",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("writer", Text, nullable=False),
    Column("subject", Text, nullable=False, unique=True),
    Column("rank", Integer),
    Column("size", BigInteger, nullable=False),
    Column("written_at", DateTime(timezone=True), nullable=False),
    Column("version", Integer, nullable=False),
)
POLICIES = (
    "alter table note enable row level security",
    "alter table note force row level security",
    "create policy note_owner on note to notes using (true)",
    "create policy note_requests on note to notes_api using (writer = current_setting('branchline.staff_id', true))",
    "grant usage on schema public to notes_api",
    "grant select, insert, update on note to notes_api",
    "grant insert on outbox to notes_api",
    "grant select, insert, update, delete on idempotency_key to notes_api",
)


class NoteNotFound(Problem):
    status, code, title = 404, "note_not_found", "No note of yours has this id"


class SubjectTaken(Problem):
    status, code, title = 409, "subject_taken", "You have a note on this already"
    remedy = "Change that one."


class NoteCreate(BaseModel):
    model_config = ConfigDict(extra="forbid")

    subject: str = Field(min_length=1, max_length=100, examples=["Call back on Monday"])
    rank: int | None = None
    size: int = 0
    written_at: datetime = NOW
    labels: dict[str, Any] = {}
    nested: list["NoteCreate"] = []

    @field_validator("subject")
    @classmethod
    def _says_something(cls, subject: str) -> str:
        if subject.startswith("quote"):
            raise ValueError(f"{subject} says nothing")  # as somebody will, one day
        if subject == "void":
            raise ValueError("says nothing")
        return subject


class NoteUpdate(BaseModel):
    subject: str


class NoteRead(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: UUID
    subject: str
    rank: int | None
    version: int


router = service_router(tag="notes")
by_rank = Ordering(
    {"rank": note.c.rank, "size": note.c.size, "written_at": note.c.written_at, "subject": note.c.subject},
    default="-rank",
    tie=note.c.id,
)


@router.post("/notes", status_code=201, responses=problems(SubjectTaken))
async def write_note(body: NoteCreate, session: Session, actor: Actor, response: Response) -> NoteRead:
    note_id = new_id()
    known = select(note.c.id).where(note.c.subject == body.subject)
    if (await session.execute(known)).first():
        raise SubjectTaken
    values = body.model_dump(include={"subject", "rank", "size", "written_at"})
    await session.execute(insert(note).values(id=note_id, writer=actor.subject, version=1, **values))
    publish(session, AlertSnoozed(customer_id=note_id, alert_id=note_id, manager_id=actor.subject, snoozed_until=NOW))
    response.headers["Location"] = f"{BASE}/notes/{note_id}"
    response.headers["ETag"] = '"1"'
    return NoteRead(id=note_id, subject=body.subject, rank=body.rank, version=1)


@router.get("/notes")
async def list_notes(session: Session, page: Annotated[PageRequest, Depends(by_rank)]) -> Page[NoteRead]:
    return await page.of(
        session, select(note.c.id, note.c.subject, note.c.rank, note.c.version), NoteRead.model_validate
    )


async def _note(session: AsyncSession, note_id: UUID) -> Any:
    found = (await session.execute(select(note).where(note.c.id == note_id))).one_or_none()
    if found is None:
        raise NoteNotFound
    return found


@router.get("/notes/{note_id}", responses=problems(NoteNotFound))
async def read_note(note_id: UUID, session: Session, tag: ReadTag) -> NoteRead:
    found = await _note(session, note_id)
    tag.show(found.version)
    return NoteRead.model_validate(found)


@router.patch("/notes/{note_id}", responses=problems(NoteNotFound))
async def change_note(note_id: UUID, body: NoteUpdate, session: Session, seen: SeenTag) -> NoteRead:
    found = await _note(session, note_id)
    seen.check(found.version)
    changed = update(note).where(note.c.id == note_id).values(subject=body.subject, version=note.c.version + 1)
    changed_note = (await session.execute(changed.returning(note))).one()
    seen.show(changed_note.version)
    return NoteRead.model_validate(changed_note)


@router.post("/notes/{note_id}/spoil")
async def spoil_note(note_id: UUID, how: str, session: Session) -> Response:
    """Changes the note and then fails."""
    await session.execute(update(note).where(note.c.id == note_id).values(subject="spoiled"))
    if how == "raises":
        raise RuntimeError("the secret of customer 4711")
    if how == "times_out":
        await asyncio.sleep(30)
    return Response(status_code=int(how))


@router.get("/settings")
async def read_settings(session: Session) -> dict[str, str | None]:
    """What the database knows of who asks."""
    names = ("branchline.role", "branchline.staff_id", "branchline.branch_id", "statement_timeout", "role")
    values = [await session.scalar(select(func.current_setting(name))) for name in names]
    return {**dict(zip(names, values, strict=True)), "user": await session.scalar(select(func.session_user()))}


@router.post("/import")
async def import_notes(session: JobSession) -> dict[str, int | str]:
    """Sees the notes of all."""
    count = await session.scalar(select(func.count()).select_from(note))
    return {"notes": count or 0, "user": await session.scalar(select(func.session_user())) or ""}


@router.get("/sleep", openapi_extra={TIMEOUT: 0.2})
async def sleep_long(session: Session, how: str = "python") -> None:
    if how == "python":
        await asyncio.sleep(30)
    await session.execute(text("select pg_sleep(30)"))


@router.get("/reports/{report_id}", dependencies=[require_role(Role.HEAD_OFFICE, Role.OPERATOR)])
async def read_report(report_id: int) -> int:
    return report_id


@router.post("/feed", dependencies=[require_scope("notes:write")])
async def feed_notes(request: Request) -> int:
    return len(await request.body())


@router.get("/export")
async def export_notes(sessions: Sessions) -> StreamingResponse:
    async def lines() -> AsyncIterator[str]:
        async with sessions() as session:
            for subject in await session.scalars(select(note.c.subject)):
                yield subject + "\n"

    return StreamingResponse(lines(), media_type="text/plain")


@router.get("/stream", response_class=EventSourceResponse)
async def stream_notes(
    live: Live, sessions: Sessions, last_event_id: LastEventId = None
) -> AsyncIterator[ServerSentEvent]:
    seen = int(last_event_id or 0)
    while live:
        async with sessions() as session:
            for row in await session.execute(select(note).where(note.c.size > seen).order_by(note.c.size)):
                yield ServerSentEvent(event="note", id=str(row.size), data=NoteRead.model_validate(row))
                seen = row.size
        await live.pause(0.05)


class KnownTokens:
    """Stands for the identity provider: a token names its principal."""

    def __init__(self) -> None:
        self.principals: dict[str, Principal] = {}

    async def verify(self, token: str) -> Principal:
        if token not in self.principals:
            raise InvalidToken
        return self.principals[token]


class Notes:
    def __init__(self, app: FastAPI, database: Database, tokens: KnownTokens) -> None:
        self.app = app
        self.database = database
        self.tokens = tokens

    def http(self, staff_id: str | None = "M1", role: Role = Role.MANAGER, **options: Any) -> httpx.AsyncClient:
        """A client that speaks for `staff_id`; for nobody if that is None."""
        headers = {}
        if staff_id is not None:
            token = f"{role}:{staff_id}"
            scopes = frozenset(options.pop("scopes", ()))
            self.tokens.principals[token] = Principal(
                staff_id, role, staff_id, "B1", scopes, options.pop("until", None)
            )
            headers["Authorization"] = f"Bearer {token}"
        transport = httpx.ASGITransport(self.app)
        return httpx.AsyncClient(transport=transport, base_url=f"http://notes.test{BASE}", headers=headers, **options)

    async def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Rows as the tables' owner sees them."""
        async with self.database.jobs.connect() as connection:
            return [tuple(row) for row in await connection.execute(text(query))]

    async def write(self, **values: Any) -> UUID:
        """A note that is there already."""
        note_id = new_id()
        defaults = {"writer": "M1", "subject": note_id.hex, "size": 0, "written_at": NOW, "version": 1}
        async with self.database.jobs.begin() as connection:
            await connection.execute(insert(note).values({"id": note_id, **defaults, **values}))
        return note_id


class KeptInMemory:
    """An audit for an hour."""

    def __init__(self) -> None:
        self.accesses: list[Access] = []

    async def record(self, *accesses: Access) -> None:
        self.accesses += accesses

    def submit(self, access: Access) -> None:
        self.accesses.append(access)


def notes_app(
    database: Database | None,
    tokens: KnownTokens,
    clock: Callable[[], datetime] = lambda: NOW,
    audit: "KeptInMemory | None" = None,
    **settings: Any,
) -> FastAPI:
    return create_api(
        title="Notes",
        service_name="notes",
        version="1.2.3",
        routers=[router],
        settings=PlatformSettings(**{"rate_limit_burst": 1000, "public_url": "https://bank.example", **settings}),
        database=database,
        verifier=tokens,  # type: ignore[arg-type] # the same one method
        audit=audit or KeptInMemory(),
        clock=clock,
        package=__name__.rpartition(".")[0],
    )


@asynccontextmanager
async def notes_service(database: Database, **settings: Any) -> AsyncIterator[Notes]:
    tokens = KnownTokens()
    yield Notes(notes_app(database, tokens, **settings), database, tokens)
