"""What the notification service is made of."""

from services.notification.handlers import Handlers
from services.notification.personal_data import RULES
from services.notification.routes import alerts
from services.notification.routes.inbox import inbox_router
from services.notification.routes.webhooks import webhooks_router
from services.notification.settings import NotificationSettings
from services.notification.use_cases.calls import WebhookSender
from services.notification.use_cases.changes import InboxBell
from services.notification.use_cases.mails import MailSender
from services.notification.use_cases.upkeep import Upkeep
from shared.clock import Clock, system_clock
from shared.erasure.purging import Purging, without_erased
from shared.events.customer import (
    CustomerChanged,
    CustomerErased,
    CustomerExportRequested,
    ManagerChanged,
    PortfolioDelegated,
)
from shared.events.notification import CustomerPurged, ExportPartPrepared
from shared.events.scoring import ChurnAlertClosed, ChurnAlertRaised
from shared.exports.preparing import Exporting
from shared.messaging.subscriptions import Subscriptions
from shared.outbound import OutboundClient, Resolver, resolve
from shared.service import Job, Service


def notification_service(
    public_url: str,
    settings: NotificationSettings | None = None,
    *,
    clock: Clock = system_clock,
    resolver: Resolver = resolve,
) -> Service:
    """`public_url` is what the services are reached under from outside: mails and webhooks link to it. `resolver` finds
    the addresses of webhooks."""
    settings = settings or NotificationSettings()
    outbound = OutboundClient(
        allowed=settings.networks_of_webhooks, seconds=settings.webhook_timeout_seconds, resolver=resolver
    )
    handlers = Handlers(clock)
    upkeep = Upkeep(clock)
    subscriptions = Subscriptions(group="notification")
    purging = Purging(RULES, CustomerPurged, clock)
    subscriptions.admit = without_erased
    subscriptions.on(CustomerErased, purging.begin)
    subscriptions.on(CustomerExportRequested, Exporting(RULES, ExportPartPrepared).prepare)
    subscriptions.on(CustomerChanged, handlers.follow_customers)
    subscriptions.on(PortfolioDelegated, handlers.follow_delegations)
    subscriptions.on(ManagerChanged, handlers.follow_managers)
    subscriptions.on(ChurnAlertRaised, handlers.deliver_alerts)
    subscriptions.on(ChurnAlertClosed, handlers.withdraw_alerts)
    return Service(
        name="notification",
        title="Branchline: notifications",
        description="Who is told about an alert, where it lies, and by which channel it went.",
        routers=[inbox_router(InboxBell()), alerts.router, webhooks_router(outbound, is_on=settings.webhooks)],
        subscriptions=subscriptions,
        settings=settings,
        jobs=[
            Job("finish_purges", 2.0, purging.finish),
            Job("send_mails", 1.0, MailSender(settings, public_url, clock).send_due_mails),
            Job("send_webhooks", 1.0, WebhookSender(settings, public_url, clock, outbound).send_due_webhooks),
            Job("return_snoozed_items", 5.0, upkeep.return_snoozed_items),
            Job("tell_those_responsible", 60.0, upkeep.tell_those_responsible),
        ],
    )
