"""Who may see a customer: one projection and one policy, the same in every service.

The token says who somebody is, `customer_scope` says what they may see, and row-level security holds
it in the database. Another table's row is visible when its customer's scope row is.
"""

from collections.abc import Iterable, Sequence
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    Index,
    MetaData,
    Select,
    Table,
    Text,
    Uuid,
    false,
    select,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncSession

from shared.events import Delivery
from shared.events.customer import CustomerChanged, PortfolioDelegated
from shared.revisions import keep_newest, newest

metadata = MetaData()

customer_scope = Table(
    "customer_scope",
    metadata,
    Column("customer_id", Uuid, primary_key=True),
    Column("customer_number", Text, nullable=False),
    Column("branch_id", Text, nullable=False, index=True),
    Column("branch_path", ARRAY(Text), nullable=False),
    Column("manager_id", Text, index=True),
    Column("deputy_manager_id", Text, index=True),
    Column("revision", BigInteger, nullable=False),
    Column("left_on", Date),
    Column(
        "restricted",
        Boolean,
        nullable=False,
        server_default=false(),
        comment="kept for the law: head office sees it, nobody uses it",
    ),
    Index("ix_customer_scope_branch_path", "branch_path", postgresql_using="gin"),
    Index("ix_customer_scope_restricted", "customer_id", postgresql_where=text("restricted")),
)

delegation = Table(
    "delegation",
    metadata,
    Column("delegation_id", Uuid, primary_key=True),
    Column("revision", BigInteger, nullable=False),
    Column("manager_id", Text, nullable=False, index=True, comment="whose customers"),
    Column("delegate_id", Text, nullable=False, index=True, comment="who sees them meanwhile"),
    Column("customer_ids", ARRAY(Uuid), comment="which, or null for the whole portfolio"),
    Column("starts_at", DateTime(timezone=True), nullable=False),
    Column("ends_at", DateTime(timezone=True), nullable=False),
    Column("delegated_by", Text, nullable=False),
)

VISIBLE = """
    case current_setting('branchline.role', true)
        when 'manager' then
            manager_id = current_setting('branchline.staff_id', true)
            or deputy_manager_id = current_setting('branchline.staff_id', true)
        when 'branch_head' then current_setting('branchline.branch_id', true) = any (branch_path)
        when 'head_office' then true
        else false
    end
"""


def visible_customers() -> Select[UUID]:
    """The customers that the reader may see: with it a list is driven by them (see `shared/visibility.py`)."""
    return select(customer_scope.c.customer_id)


def scope_policy(service: str, table: str = "customer_scope", condition: str = VISIBLE) -> tuple[str, ...]:
    """Statements that let requests see the rows of `table` for which `condition` holds, and the owner all."""
    return (
        f"alter table {table} enable row level security",
        f"alter table {table} force row level security",
        f"create policy {table}_owner on {table} to {service} using (true) with check (true)",
        f"create policy {table}_requests on {table} to {service}_api using ({condition}) with check ({condition})",
    )


def of_visible_customer(table: str) -> str:
    """The condition for a table with a `customer_id`: its customer's scope row is visible."""
    return f"exists (select 1 from customer_scope s where s.customer_id = {table}.customer_id)"  # noqa: S608 - a table's name


async def follow_customers(session: AsyncSession, deliveries: Sequence[Delivery[CustomerChanged]]) -> None:
    """Handler of CustomerChanged: keeps `customer_scope` at each customer's greatest revision."""
    await keep_scope(session, [delivery.event for delivery in deliveries])


async def keep_scope(session: AsyncSession, changes: Iterable[CustomerChanged]) -> None:
    rows = [
        {
            "customer_id": event.customer_id,
            "customer_number": event.customer_number,
            "branch_id": event.branch_id,
            "branch_path": list(event.branch_path),
            "manager_id": event.manager_id,
            "deputy_manager_id": event.deputy_manager_id,
            "revision": event.revision,
            "left_on": event.left_on,
            "restricted": event.restricted,
        }
        for _, event in sorted(newest(changes, lambda event: event.customer_id).items())
    ]
    await keep_newest(session, customer_scope, rows)


async def follow_delegations(session: AsyncSession, deliveries: Sequence[Delivery[PortfolioDelegated]]) -> None:
    """Handler of PortfolioDelegated: keeps `delegation` at each one's greatest revision. It ends by itself."""
    await keep_delegations(session, [delivery.event for delivery in deliveries])


async def keep_delegations(session: AsyncSession, changes: Iterable[PortfolioDelegated]) -> None:
    rows = [
        {
            "delegation_id": event.delegation_id,
            "revision": event.revision,
            "manager_id": event.manager_id,
            "delegate_id": event.delegate_id,
            "customer_ids": list(event.customer_ids) or None,
            "starts_at": event.starts_at,
            "ends_at": event.ends_at,
            "delegated_by": event.delegated_by,
        }
        for _, event in sorted(newest(changes, lambda event: event.delegation_id).items())
    ]
    await keep_newest(session, delegation, rows)
