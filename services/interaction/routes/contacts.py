"""Conversations with customers."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Request, Response

from services.interaction.errors import AlertNotFound, ContactNotFound, CustomerNotFound
from services.interaction.schemas import ContactCreate, ContactRead
from services.interaction.settings import InteractionSettings
from services.interaction.use_cases import contacts
from shared.auth.dependencies import Actor, members_of_staff
from shared.web.etag import ReadTag
from shared.web.parameters import CustomerId
from shared.web.problems import problems
from shared.web.transaction import Session, service_router


def contacts_router(settings: InteractionSettings) -> APIRouter:
    router = service_router(tag="contacts", dependencies=[members_of_staff])

    @router.post(
        "/customers/{customer_id}/contacts", status_code=201, responses=problems(CustomerNotFound, AlertNotFound)
    )
    async def log_contact(
        customer_id: CustomerId,
        body: ContactCreate,
        request: Request,
        response: Response,
        session: Session,
        actor: Actor,
    ) -> ContactRead:
        """Logs a conversation with a customer, as yours.

        There is no note: free text holds personal data, which stays in the customer service.
        """
        now = request.app.state.clock()
        contact = await contacts.log_contact(session, actor, customer_id, body, now=now, settings=settings)
        response.headers["Location"] = request.app.url_path_for("read_contact", contact_id=str(contact.contact_id))
        return ContactRead.model_validate(contact)

    @router.get("/contacts/{contact_id}", responses=problems(ContactNotFound))
    async def read_contact(
        contact_id: Annotated[UUID, Path(description="The contact's `contact_id`.")], session: Session, tag: ReadTag
    ) -> ContactRead:
        """One conversation, logged here or reported by another system of the bank."""
        contact = await contacts.get_contact(session, contact_id)
        tag.show(contact.recorded_at)
        return ContactRead.model_validate(contact)

    return router
