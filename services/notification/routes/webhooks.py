"""Where you have your alerts sent."""

from fastapi import APIRouter, Request

from services.notification.domain.webhooks import written_secret
from services.notification.errors import WebhooksOff, WebhookTargetRefused
from services.notification.schemas import WebhookRead, WebhookUpdate, WebhookWithSecret
from services.notification.use_cases import webhooks
from services.notification.use_cases.webhooks import Set
from shared.auth.dependencies import StaffId, members_of_staff
from shared.outbound import ForbiddenTarget, OutboundClient
from shared.web.etag import ReadTag, SeenTag
from shared.web.problems import problems
from shared.web.transaction import Session, service_router


def webhooks_router(outbound: OutboundClient, *, is_on: bool) -> APIRouter:
    """`outbound` says which addresses may be called."""
    router = service_router(tag="webhook", dependencies=[members_of_staff])

    @router.get("/me/webhook")
    async def read_webhook(session: Session, staff_id: StaffId, tag: ReadTag) -> WebhookRead:
        """Where alerts about your customers are sent beside your inbox and your mail, if anywhere."""
        found = await webhooks.read_webhook(session, staff_id)
        tag.show(found.webhook.version)
        return _read(found)

    @router.put("/me/webhook", responses=problems(WebhookTargetRefused, WebhooksOff))
    async def set_webhook(
        body: WebhookUpdate, request: Request, session: Session, staff_id: StaffId, seen: SeenTag
    ) -> WebhookWithSecret:
        """Has alerts about your customers sent to an address of yours from now on.

        Each is a POST as [Standard Webhooks](https://www.standardwebhooks.com) has it, with `Webhook-Id`,
        `Webhook-Timestamp` and `Webhook-Signature`, and names the customer by id only. It is signed with the `secret`
        of this answer, a new one each time, which is not shown again. What is answered with 2xx is delivered;
        410 switches the webhook off; other 4xx and redirects are not tried again.
        """
        if not is_on:
            raise WebhooksOff
        try:
            await outbound.check(body.url)
        except ForbiddenTarget as refused:
            raise WebhookTargetRefused.at("/url", refused.code, REFUSED[refused.code]) from None
        except OSError:  # like a name that is inside: who asks learns no names of ours
            raise WebhookTargetRefused.at("/url", "not_public", REFUSED["not_public"]) from None
        found = await webhooks.set_webhook(session, staff_id, body.url, seen, request.app.state.clock())
        seen.show(found.webhook.version)
        assert found.target is not None  # it was just set
        return WebhookWithSecret(**dict(_read(found)), secret=written_secret(found.target.secret))

    @router.delete("/me/webhook")
    async def remove_webhook(session: Session, staff_id: StaffId, seen: SeenTag) -> WebhookRead:
        """Has nothing sent any more. What was under way may still arrive."""
        webhook = await webhooks.remove_webhook(session, staff_id, seen)
        seen.show(webhook.version)
        return _read(Set(webhook, None))

    return router


REFUSED = {
    "not_a_url": "Is no http or https URL in ASCII",
    "has_credentials": "Holds a name or a password",
    "odd_address": "Writes an address in an unusual way",
    "no_address": "Has no address on the Internet, nor in a network that the bank allows",
    "not_public": "Has no address on the Internet, nor in a network that the bank allows",
    "not_https": "Is on the Internet and not https on port 443 or 8443",
}


def _read(found: Set) -> WebhookRead:
    webhook = found.webhook
    return WebhookRead(
        url=found.target.address if found.target else None,
        set_at=webhook.set_at,
        switched_off_at=webhook.switched_off_at,
        code=webhook.code,
    )
