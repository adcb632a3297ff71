"""Whom the bank has been in touch with, and whom it has not."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import DateTime, Select, Uuid, bindparam, column, func, or_, select
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.ext.asyncio import AsyncSession

from services.interaction.errors import CustomerNotFound
from services.interaction.models import Coverage
from services.interaction.use_cases.rows import insert_rows
from shared.events.customer import CustomerChanged
from shared.scope import customer_scope, keep_scope


async def follow_customers(session: AsyncSession, changes: Iterable[CustomerChanged]) -> None:
    """Keeps who looks after whom, and a row of coverage for every customer."""
    changes = list(changes)
    await keep_scope(session, changes)
    rows = [{"customer_id": customer_id} for customer_id in {event.customer_id for event in changes}]
    if rows:
        new = insert_rows(Coverage, rows, key="customer_id")
        await session.execute(new.on_conflict_do_nothing(index_elements=["customer_id"]))


async def cover_customers(session: AsyncSession, contacts: Iterable[tuple[UUID, datetime]]) -> None:
    """Moves each customer's last contact on; one that is older than the last moves nothing."""
    customer_ids, instants = zip(*contacts, strict=True)
    given = (
        func.unnest(
            bindparam(None, list(customer_ids), type_=ARRAY(Uuid)),
            bindparam(None, list(instants), type_=ARRAY(DateTime(timezone=True))),
        )
        .table_valued(column("customer_id", Uuid), column("occurred_at", DateTime(timezone=True)))
        .render_derived(name="given")
    )
    latest = (
        select(given.c.customer_id, func.max(given.c.occurred_at))
        .group_by(given.c.customer_id)
        .order_by(given.c.customer_id)
    )
    upsert = insert(Coverage).from_select(["customer_id", "last_contacted_at"], latest)
    await session.execute(
        upsert.on_conflict_do_update(
            index_elements=["customer_id"],
            set_={"last_contacted_at": upsert.excluded.last_contacted_at},
            where=or_(
                Coverage.last_contacted_at.is_(None), Coverage.last_contacted_at < upsert.excluded.last_contacted_at
            ),
        )
    )


async def check_customer(session: AsyncSession, customer_id: UUID) -> None:
    """Raises CustomerNotFound for a customer whom the reader may not see."""
    if not await session.scalar(
        select(customer_scope.c.customer_id).where(customer_scope.c.customer_id == customer_id)
    ):
        raise CustomerNotFound


def not_contacted(*, days: int, now: datetime) -> Select[Coverage, str, str, str | None]:
    """The query for the reader's customers who were in no contact for `days` days and have not left, each with
    their number, branch and manager. Row-level security says who is theirs.
    """
    scope = customer_scope.c
    return (
        select(Coverage, scope.customer_number, scope.branch_id, scope.manager_id)
        .join(customer_scope, scope.customer_id == Coverage.customer_id)
        .where(Coverage.waiting_since <= now - timedelta(days=days), scope.left_on.is_(None))
    )
