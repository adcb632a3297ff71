"""What customers answered when they were asked."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from services.interaction.domain.timeline import Entry, EntryKind
from services.interaction.models import Survey
from services.interaction.use_cases.rows import insert_rows
from services.interaction.use_cases.timeline import add_entries
from shared.events import Delivery
from shared.events.interaction import SurveyAnswered
from shared.messaging.outbox import publish


async def keep_surveys(session: AsyncSession, answers: Sequence[tuple[SurveyAnswered, Delivery[Any]]]) -> None:
    """Keeps and tells each answer that is not known yet, with the event that caused it."""
    rows = {
        event.survey_id: {
            "survey_id": event.survey_id,
            "customer_id": event.customer_id,
            "answered_at": event.answered_at,
            "score": event.score,
        }
        for event, _ in answers
    }
    if not rows:
        return
    insert = insert_rows(Survey, list(rows.values()), key="survey_id")
    added = insert.on_conflict_do_nothing(index_elements=["survey_id"]).returning(Survey.survey_id)
    fresh = set(await session.scalars(added))
    entries = []
    for event, cause in answers:
        if event.survey_id not in fresh:
            continue
        fresh.remove(event.survey_id)
        publish(session, event, cause=cause)
        entries.append(
            Entry(
                event.customer_id,
                EntryKind.SURVEY,
                event.survey_id,
                event.answered_at,
                {"score": event.score},
                subject_id=event.survey_id,
            )
        )
    await add_entries(session, entries)
