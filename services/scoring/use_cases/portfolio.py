"""Customers by risk, as the branch sees them. Row-level security bounds every query."""

from datetime import date
from typing import Any
from uuid import UUID

from sqlalchemy import Row, Select, and_, exists, func, lateral, not_, or_, select, true
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from services.scoring.domain.aggregates import SUMS
from services.scoring.domain.history import OWN_MONEY
from services.scoring.errors import AlertNotFound, CustomerNotScored
from services.scoring.models import Account, BusinessDay, ChurnAlert, CustomerScore, DailyAggregate, ScoreChange
from shared.events.scoring import RiskBand
from shared.scope import customer_scope

scope = customer_scope.c


def scores(
    *,
    band: RiskBand | None = None,
    min_points: int | None = None,
    branch_id: str | None = None,
    manager_id: str | None = None,
) -> Select[Any]:
    """Scores of the customers who have not left, each with number, branch, manager and the last closed day."""
    query = _scored().where(scope.left_on.is_(None))
    if band is not None:
        query = query.where(CustomerScore.band == band)
    if min_points is not None:
        query = query.where(CustomerScore.points >= min_points)
    if branch_id is not None:
        query = query.where(scope.branch_id == branch_id)
    if manager_id is not None:
        query = query.where(scope.manager_id == manager_id)
    return query


def _scored() -> Select[Any]:
    return (
        select(CustomerScore, scope.customer_number, scope.branch_id, scope.manager_id, BusinessDay.last_closed_on)
        .join(customer_scope, scope.customer_id == CustomerScore.customer_id)
        .outerjoin(BusinessDay, BusinessDay.partition == CustomerScore.partition)
    )


async def get_score(session: AsyncSession, customer_id: UUID) -> Row[Any]:
    """Raises CustomerNotScored."""
    rows = await session.execute(_scored().where(CustomerScore.customer_id == customer_id))
    row: Row[Any] | None = rows.one_or_none()
    if row is None:
        raise CustomerNotScored
    return row


async def score_changes(session: AsyncSession, customer_id: UUID) -> Select[Any]:
    """Raises CustomerNotScored."""
    await get_score(session, customer_id)
    return select(ScoreChange).where(ScoreChange.customer_id == customer_id)


def alerts(
    *,
    is_open: bool | None = None,
    raised_since: date | None = None,
    customer_id: UUID | None = None,
    is_historic: bool | None = None,
) -> Select[Any]:
    """Alerts, each with its customer's number, branch and manager."""
    query = _alerts()
    if is_open is not None:
        query = query.where(ChurnAlert.closed_on.is_(None) if is_open else ChurnAlert.closed_on.is_not(None))
    if raised_since is not None:
        query = query.where(ChurnAlert.raised_on >= raised_since)
    if customer_id is not None:
        query = query.where(ChurnAlert.customer_id == customer_id)
    if is_historic is not None:
        query = query.where(ChurnAlert.is_historic == is_historic)
    return query


def _alerts() -> Select[Any]:
    return select(ChurnAlert, scope.customer_number, scope.branch_id, scope.manager_id).join(
        customer_scope, scope.customer_id == ChurnAlert.customer_id
    )


async def get_alert(session: AsyncSession, alert_id: UUID) -> Row[Any]:
    """Raises AlertNotFound."""
    row: Row[Any] | None = (await session.execute(_alerts().where(ChurnAlert.alert_id == alert_id))).one_or_none()
    if row is None:
        raise AlertNotFound
    return row


async def daily_aggregates(
    session: AsyncSession, customer_id: UUID, first: date | None, last: date | None
) -> Select[Any]:
    """By day and currency. Raises CustomerNotScored."""
    await get_score(session, customer_id)
    query = (
        select(
            DailyAggregate.booked_on,
            Account.currency,
            _closing_balance(customer_id).label("closing_minor"),
            *(func.sum(getattr(DailyAggregate, name)).label(name) for name in SUMS),
        )
        .join(
            Account,
            and_(Account.customer_id == DailyAggregate.customer_id, Account.account_id == DailyAggregate.account_id),
        )
        .where(DailyAggregate.customer_id == customer_id)
        .group_by(DailyAggregate.booked_on, Account.currency)
    )
    if first is not None:
        query = query.where(DailyAggregate.booked_on >= first)
    if last is not None:
        query = query.where(DailyAggregate.booked_on <= last)
    return query


def _closing_balance(customer_id: UUID) -> Any:
    """Over the accounts with own money: the balance stated last by that day, and what was booked on days after it."""
    account, other, before, after = aliased(Account), aliased(Account), aliased(DailyAggregate), aliased(DailyAggregate)
    of_account = (before.customer_id == account.customer_id, before.account_id == account.account_id)
    stated = lateral(
        select(before.booked_on, before.balance_minor)
        .where(*of_account, before.booked_on <= DailyAggregate.booked_on, before.stated_sequence >= 0)
        .order_by(before.booked_on.desc())
        .limit(1)
        .correlate(account, DailyAggregate)
    )
    booked = lateral(
        select(func.coalesce(func.sum(after.credit_minor - after.debit_minor), 0).label("change_minor"))
        .where(
            after.customer_id == account.customer_id,
            after.account_id == account.account_id,
            after.booked_on <= DailyAggregate.booked_on,
            or_(stated.c.booked_on.is_(None), after.booked_on > stated.c.booked_on),
        )
        .correlate(account, DailyAggregate, stated)
    )
    superseded = exists().where(other.account_id == account.account_id, other.revision > account.revision)
    return (
        select(func.coalesce(func.sum(func.coalesce(stated.c.balance_minor, 0) + booked.c.change_minor), 0))
        .select_from(account)
        .outerjoin(stated, true())
        .join(booked, true())
        .where(
            account.customer_id == customer_id,
            account.currency == Account.currency,
            or_(account.kind.is_(None), account.kind.in_(sorted(OWN_MONEY))),
            not_(superseded),
        )
        .correlate(DailyAggregate, Account)
        .scalar_subquery()
    )
