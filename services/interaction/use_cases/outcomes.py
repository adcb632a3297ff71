"""How a manager's effort to keep a customer ended."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from services.interaction.domain.timeline import Entry, EntryKind
from services.interaction.errors import OutcomeAlreadyRecorded, OutcomeNotFound
from services.interaction.models import RetentionOutcome
from services.interaction.schemas import OutcomeCreate
from services.interaction.use_cases.alerts import check_alert
from services.interaction.use_cases.coverage import check_customer
from services.interaction.use_cases.timeline import add_entries
from shared.auth.principal import Principal
from shared.events.interaction import RetentionOutcomeRecorded
from shared.ids import new_id
from shared.messaging.outbox import publish


async def record_outcome(
    session: AsyncSession, actor: Principal, customer_id: UUID, new: OutcomeCreate, *, now: datetime
) -> RetentionOutcome:
    """Records how it ended, whether the alert is open or has closed by itself meanwhile.

    Raises CustomerNotFound, AlertNotFound, OutcomeAlreadyRecorded.
    """
    await check_customer(session, customer_id)
    await check_alert(session, customer_id, new.alert_id)
    event = RetentionOutcomeRecorded(
        customer_id=customer_id,
        outcome_id=new_id(),
        alert_id=new.alert_id,
        outcome=new.outcome,
        recorded_by=actor.staff_id or actor.subject,
        recorded_at=now,
    )
    outcome: RetentionOutcome | None = await session.scalar(
        insert(RetentionOutcome)
        .values(
            outcome_id=event.outcome_id,
            customer_id=customer_id,
            alert_id=event.alert_id,
            outcome=event.outcome.value,
            recorded_by=event.recorded_by,
            recorded_at=now,
        )
        .on_conflict_do_nothing(index_elements=["alert_id"])
        .returning(RetentionOutcome)
    )
    if outcome is None:
        raise OutcomeAlreadyRecorded
    publish(session, event, occurred_at=now)
    facts = {"outcome": event.outcome.value, "manager_id": event.recorded_by}
    entry = Entry(
        customer_id,
        EntryKind.OUTCOME_RECORDED,
        event.outcome_id,
        now,
        facts,
        subject_id=event.outcome_id,
        alert_id=event.alert_id,
    )
    await add_entries(session, [entry])
    return outcome


async def get_outcome(session: AsyncSession, outcome_id: UUID) -> RetentionOutcome:
    """Raises OutcomeNotFound."""
    outcome = await session.scalar(select(RetentionOutcome).where(RetentionOutcome.outcome_id == outcome_id))
    if outcome is None:
        raise OutcomeNotFound
    return outcome
