"""What all services have about a customer, as one archive."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Request, Response

from services.customer.errors import CustomerNotFound, ExportExpired, ExportNotFound, ExportNotReady
from services.customer.schemas import ExportProgress, ExportRead
from services.customer.settings import CustomerSettings
from services.customer.use_cases import exports
from services.customer.use_cases.erasures import SERVICES
from services.customer.use_cases.exports import Progress
from shared.auth.dependencies import Actor, require_role
from shared.auth.principal import Role
from shared.web.parameters import CustomerId
from shared.web.problems import problems
from shared.web.transaction import Session, service_router

ExportId = Annotated[UUID, Path(description="The export's `export_id`.")]
ZIP = "application/zip"


def exports_router(settings: CustomerSettings) -> APIRouter:
    router = service_router(tag="subject rights", dependencies=[require_role(Role.HEAD_OFFICE)])

    @router.post("/customers/{customer_id}/exports", status_code=202, responses=problems(CustomerNotFound))
    async def export_customer(
        customer_id: CustomerId, request: Request, response: Response, session: Session, actor: Actor
    ) -> ExportRead:
        """Has every service tell what it has about a customer; read the export until it is ready to be downloaded."""
        now = request.app.state.clock()
        progress = await exports.request_export(session, actor, customer_id, now=now, days=settings.export_days)
        response.headers["Location"] = request.app.url_path_for(
            "read_export", customer_id=str(customer_id), export_id=str(progress.export.export_id)
        )
        return _shown(progress, request)

    @router.get("/customers/{customer_id}/exports/{export_id}", responses=problems(ExportNotFound))
    async def read_export(
        customer_id: CustomerId, export_id: ExportId, request: Request, session: Session
    ) -> ExportRead:
        """How far an export is, by service."""
        return _shown(await exports.get_export(session, customer_id, export_id), request)

    @router.get(
        "/customers/{customer_id}/exports/{export_id}/archive",
        response_class=Response,
        responses={
            **problems(ExportNotFound, ExportNotReady, ExportExpired),
            200: {"content": {ZIP: {"schema": {"type": "string", "format": "binary"}, "example": "PK..."}}},
        },
    )
    async def download_export(
        customer_id: CustomerId, export_id: ExportId, request: Request, session: Session
    ) -> Response:
        """The archive: a ZIP of JSON files, with a manifest and words for every field."""
        archive = await exports.open_archive(session, customer_id, export_id, request.app.state.clock())
        headers = {"Content-Disposition": f'attachment; filename="{export_id}.zip"', "Cache-Control": "no-store"}
        return Response(archive, media_type=ZIP, headers=headers)

    return router


def _shown(progress: Progress, request: Request) -> ExportRead:
    export, prepared = progress
    is_over = export.expires_at <= request.app.state.clock()
    return ExportRead(
        export_id=export.export_id,
        customer_id=export.customer_id,
        state="expired" if is_over else "ready" if export.ready_at else "preparing",
        requested_at=export.requested_at,
        ready_at=export.ready_at,
        expires_at=export.expires_at,
        services=[ExportProgress(service=name, prepared=name in prepared) for name in SERVICES],
    )
