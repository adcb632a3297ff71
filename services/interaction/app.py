"""What the interaction service is made of."""

from services.interaction import handlers
from services.interaction.personal_data import RULES
from services.interaction.routes import customers, outcomes
from services.interaction.routes.contacts import contacts_router
from services.interaction.settings import InteractionSettings
from shared.clock import Clock, system_clock
from shared.erasure.purging import Purging, without_erased
from shared.events import customer, notification, scoring
from shared.events.interaction import CustomerPurged, ExportPartPrepared
from shared.exports.preparing import Exporting
from shared.messaging.subscriptions import Subscriptions
from shared.scope import follow_delegations
from shared.service import Job, Service


def interaction_service(settings: InteractionSettings | None = None, *, clock: Clock = system_clock) -> Service:
    settings = settings or InteractionSettings()
    subscriptions = Subscriptions(group="interaction")
    purging = Purging(RULES, CustomerPurged, clock)
    subscriptions.admit = without_erased
    subscriptions.on(customer.CustomerErased, purging.begin)
    subscriptions.on(customer.CustomerExportRequested, Exporting(RULES, ExportPartPrepared).prepare)
    subscriptions.on(customer.CustomerChanged, handlers.follow_customers, commutative=True)
    subscriptions.on(customer.PortfolioDelegated, follow_delegations, commutative=True)
    subscriptions.on(customer.ContactReported, handlers.log_reported_contacts, commutative=True)
    subscriptions.on(customer.ComplaintReported, handlers.follow_complaints, commutative=True)
    subscriptions.on(customer.SurveyReported, handlers.keep_reported_surveys, commutative=True)
    subscriptions.on(customer.LifeEventReported, handlers.tell_life_events, commutative=True)
    subscriptions.on(customer.AccountChanged, handlers.follow_accounts, commutative=True)
    subscriptions.on(customer.DayReported, handlers.close_days)
    subscriptions.on(scoring.ChurnAlertRaised, handlers.follow_alerts)
    subscriptions.on(scoring.ChurnAlertClosed, handlers.follow_alerts)
    subscriptions.on(scoring.RiskBandChanged, handlers.tell_risk_bands, commutative=True)
    subscriptions.on(notification.AlertDelivered, handlers.tell_deliveries, commutative=True)
    subscriptions.on(notification.AlertSentToWebhook, handlers.tell_webhooks, commutative=True)
    subscriptions.on(notification.AlertAcknowledged, handlers.tell_acknowledgements, commutative=True)
    subscriptions.on(notification.AlertSnoozed, handlers.tell_snoozes, commutative=True)
    return Service(
        name="interaction",
        title="Branchline: interactions",
        description="What passes between a customer and the bank: conversations, complaints, and how alerts ended.",
        routers=[contacts_router(settings), customers.router, outcomes.router],
        subscriptions=subscriptions,
        settings=settings,
        jobs=[Job("finish_purges", 2.0, purging.finish)],
    )
