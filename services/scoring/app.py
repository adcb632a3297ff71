"""What the scoring service is made of."""

from datetime import UTC
from functools import partial
from zoneinfo import ZoneInfo

from services.scoring.domain.alerts import Levels
from services.scoring.handlers import Handlers
from services.scoring.personal_data import RULES
from services.scoring.routes import alerts, customers
from services.scoring.settings import ScoringSettings
from services.scoring.use_cases.rules import Rules
from services.scoring.use_cases.scoring import score_backlog
from shared.clock import Clock, system_clock
from shared.erasure.purging import Purging, without_erased
from shared.events import interaction
from shared.events.customer import (
    AccountChanged,
    CustomerChanged,
    CustomerErased,
    CustomerExportRequested,
    DayClosed,
    DayReported,
    LifeEventReported,
    PortfolioDelegated,
    TransactionsPosted,
)
from shared.events.interaction import ComplaintChanged, ContactLogged, RetentionOutcomeRecorded, SurveyAnswered
from shared.events.scoring import CustomerPurged, ExportPartPrepared
from shared.exports.preparing import Exporting
from shared.messaging.subscriptions import Subscriptions
from shared.scope import follow_delegations
from shared.service import Job, Service


def scoring_service(settings: ScoringSettings | None = None, *, clock: Clock = system_clock) -> Service:
    settings = settings or ScoringSettings()
    rules = rules_of(settings, clock)
    handlers = Handlers(rules)
    subscriptions = Subscriptions(group="scoring")
    purging = Purging(RULES, CustomerPurged, clock)
    subscriptions.admit = without_erased
    subscriptions.on(CustomerErased, purging.begin)
    subscriptions.on(CustomerExportRequested, Exporting(RULES, ExportPartPrepared).prepare)
    subscriptions.on(TransactionsPosted, handlers.aggregate_transactions, commutative=True)
    subscriptions.on(DayClosed, handlers.close_days)
    subscriptions.on(DayReported, handlers.close_days)
    subscriptions.on(interaction.DayClosed, handlers.close_days)
    subscriptions.on(CustomerChanged, handlers.follow_customers, commutative=True)
    subscriptions.on(PortfolioDelegated, follow_delegations, commutative=True)
    subscriptions.on(AccountChanged, handlers.follow_accounts, commutative=True)
    subscriptions.on(LifeEventReported, handlers.note_life_events, commutative=True)
    subscriptions.on(ContactLogged, handlers.note_contacts, commutative=True)
    subscriptions.on(ComplaintChanged, handlers.note_complaints, commutative=True)
    subscriptions.on(SurveyAnswered, handlers.note_surveys, commutative=True)
    subscriptions.on(RetentionOutcomeRecorded, handlers.close_alerts, commutative=True)
    return Service(
        name="scoring",
        title="Branchline: risk",
        description="How likely each customer is to leave, why, and the alerts that follow from it.",
        routers=[customers.router, alerts.router],
        subscriptions=subscriptions,
        settings=settings,
        jobs=[
            Job("finish_purges", 2.0, purging.finish),
            Job("score_backlog", 1.0, partial(score_backlog, rules=rules)),
        ],
    )


def rules_of(settings: ScoringSettings, clock: Clock) -> Rules:
    return Rules(
        levels=Levels(settings.alert_threshold, settings.alert_recovery),
        material_minor=settings.material_amount_minor,
        historic_after_days=settings.historic_after_days,
        home_currency=settings.home_currency,
        time_zone=UTC if settings.time_zone == "UTC" else ZoneInfo(settings.time_zone),
        load_pause_seconds=settings.load_pause_seconds,
        clock=clock,
    )
