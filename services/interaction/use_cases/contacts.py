"""Conversations with customers, logged here or reported by another system of the bank."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from services.interaction.domain.timeline import Entry, EntryKind
from services.interaction.errors import ContactNotFound
from services.interaction.models import Contact
from services.interaction.schemas import ContactCreate
from services.interaction.settings import InteractionSettings
from services.interaction.use_cases.alerts import check_alert
from services.interaction.use_cases.coverage import check_customer, cover_customers
from services.interaction.use_cases.rows import insert_rows
from services.interaction.use_cases.timeline import add_entries
from shared.auth.principal import Principal
from shared.events import Delivery
from shared.events.interaction import ContactLogged
from shared.ids import new_id
from shared.messaging.outbox import publish
from shared.web.refusals import InvalidInput


async def log_contact(
    session: AsyncSession,
    actor: Principal,
    customer_id: UUID,
    new: ContactCreate,
    *,
    now: datetime,
    settings: InteractionSettings,
) -> Contact:
    """Raises CustomerNotFound, AlertNotFound, and InvalidInput for a time that is ahead or long ago."""
    await check_customer(session, customer_id)
    if new.alert_id is not None:
        await check_alert(session, customer_id, new.alert_id)
    occurred_at = new.occurred_at or now
    if occurred_at > now + timedelta(seconds=settings.clock_leeway_seconds):
        raise InvalidInput.at("/occurred_at", "in_the_future", "A conversation is logged when it has been")
    if occurred_at < now - timedelta(days=settings.contact_backdating_days):
        detail = f"A conversation is logged within {settings.contact_backdating_days} days"
        raise InvalidInput.at("/occurred_at", "too_long_ago", detail)
    contact_id = new_id()
    logged = ContactLogged(
        customer_id=customer_id,
        contact_id=contact_id,
        channel=new.channel,
        occurred_at=occurred_at,
        manager_id=actor.staff_id,
        alert_id=new.alert_id,
        by_customer=new.by_customer,
    )
    await keep_contacts(session, [(logged, None)])
    return await get_contact(session, contact_id)


async def keep_contacts(session: AsyncSession, contacts: Sequence[tuple[ContactLogged, Delivery[Any] | None]]) -> None:
    """Keeps and tells each contact that is not known yet, with what caused it, if an event did."""
    rows = {
        event.contact_id: {
            "contact_id": event.contact_id,
            "customer_id": event.customer_id,
            "channel": event.channel.value,
            "occurred_at": event.occurred_at,
            "manager_id": event.manager_id,
            "alert_id": event.alert_id,
            "by_customer": event.by_customer,
        }
        for event, _ in contacts
    }
    if not rows:
        return
    insert = insert_rows(Contact, list(rows.values()), key="contact_id")
    added = insert.on_conflict_do_nothing(index_elements=["contact_id"]).returning(Contact.contact_id)
    fresh = set(await session.scalars(added))
    entries = []
    for event, cause in contacts:
        if event.contact_id not in fresh:
            continue
        fresh.remove(event.contact_id)
        publish(session, event, cause=cause)
        entries.append(_entry(event))
    if entries:
        await add_entries(session, entries)
        await cover_customers(session, [(entry.customer_id, entry.occurred_at) for entry in entries])


def _entry(event: ContactLogged) -> Entry:
    return Entry(
        event.customer_id,
        EntryKind.CONTACT,
        event.contact_id,
        event.occurred_at,
        {"channel": event.channel.value, "manager_id": event.manager_id, "by_customer": event.by_customer},
        subject_id=event.contact_id,
        alert_id=event.alert_id,
    )


async def get_contact(session: AsyncSession, contact_id: UUID) -> Contact:
    """Raises ContactNotFound."""
    contact = await session.get(Contact, contact_id)
    if contact is None:
        raise ContactNotFound
    return contact
