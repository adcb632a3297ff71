"""Customers who are erased, and the certificates of it."""

from fastapi import Request, Response

from services.customer.errors import CustomerNotFound, ErasureNotFound
from services.customer.schemas import (
    ErasureCertificate,
    ErasureCreate,
    ErasurePartRead,
    ErasureRead,
    ErasureReason,
    PurgedTableRead,
)
from services.customer.use_cases import erasures
from services.customer.use_cases.erasures import SERVICES, Progress
from shared.auth.dependencies import Actor, require_role
from shared.auth.principal import Role
from shared.web.parameters import CustomerId
from shared.web.problems import problems
from shared.web.transaction import Session, service_router

router = service_router(tag="subject rights", dependencies=[require_role(Role.HEAD_OFFICE)])


@router.post("/customers/{customer_id}/erasure", status_code=202, responses=problems(CustomerNotFound))
async def erase_customer(
    customer_id: CustomerId, body: ErasureCreate, request: Request, response: Response, session: Session, actor: Actor
) -> ErasureRead:
    """Destroys the customer's keys and deletes what every service has about them, for ever. Cannot be taken back.

    Asked for again it shows the same erasure. Keep the customer's id: nobody can look it up afterwards.
    """
    progress = await erasures.erase_customer(
        session,
        actor,
        customer_id,
        body.reason,
        now=request.app.state.clock(),
        request_id=request.scope.get("state", {}).get("request_id"),
    )
    response.headers["Location"] = request.app.url_path_for("read_erasure", customer_id=str(customer_id))
    return _shown(progress)


@router.get("/customers/{customer_id}/erasure", responses=problems(ErasureNotFound))
async def read_erasure(customer_id: CustomerId, session: Session) -> ErasureRead:
    """How far a customer's erasure is; when it is complete, the certificate of it, without any value of theirs."""
    return _shown(await erasures.get_erasure(session, customer_id))


def _shown(progress: Progress) -> ErasureRead:
    erasure, parts = progress
    told = {part.service: part for part in parts}
    services = [
        ErasurePartRead(
            service=name,
            key_destroyed=name in told,
            purged_at=told[name].purged_at if name in told else None,
            tables=[PurgedTableRead(table=table, rows=rows) for table, rows in sorted(told[name].rows.items())]
            if name in told
            else [],
        )
        for name in SERVICES
    ]
    certificate = erasure.completed_at and ErasureCertificate(
        certificate_id=erasure.erasure_id,
        reason=ErasureReason(erasure.reason),
        requested_at=erasure.requested_at,
        completed_at=erasure.completed_at,
        audit_reference=erasure.audit_reference,
        services=services,
    )
    return ErasureRead(
        customer_id=erasure.customer_id,
        state="complete" if certificate else "under_way",
        requested_at=erasure.requested_at,
        services=services,
        certificate=certificate or None,
    )
