"""What the customer service is made of."""

from services.customer.handlers import CoreBanking
from services.customer.personal_data import RULES
from services.customer.routes import accounts, customers, erasures, restrictions, staff
from services.customer.routes.core_banking import core_banking_router
from services.customer.routes.delegations import delegations_router
from services.customer.routes.exports import exports_router
from services.customer.routes.kept_events import kept_events_router
from services.customer.settings import CustomerSettings
from services.customer.use_cases.erasures import note_purges, remember_erased
from services.customer.use_cases.exports import ExportKeeping
from services.customer.use_cases.ingestion import Rules, release_all_due
from services.customer.use_cases.upkeep import Upkeep
from shared.clock import Clock, system_clock
from shared.database import Database
from shared.erasure.purging import Purging, without_erased
from shared.events import corebanking, customer, interaction, notification, scoring
from shared.exports.preparing import Exporting
from shared.jobs import UNATTRIBUTED_DAYS
from shared.messaging.subscriptions import Subscriptions
from shared.service import Job, Service


def customer_service(
    settings: CustomerSettings | None = None,
    *,
    partitions: int,
    unattributed_days: int = UNATTRIBUTED_DAYS,
    clock: Clock = system_clock,
) -> Service:
    """`partitions` is how many each topic has."""
    settings = settings or CustomerSettings()
    rules = Rules(partitions=partitions, tolerance_minor=settings.reconciliation_tolerance_minor)
    upkeep = Upkeep(clock, unattributed_days)
    subscriptions = Subscriptions(group="customer")
    purging = Purging(RULES, customer.CustomerPurged, clock, before=remember_erased)
    subscriptions.admit = without_erased
    core = CoreBanking(rules, clock)
    subscriptions.on_records(corebanking.TOPIC, core.receive_core_events, core.read_core_events)
    subscriptions.on(customer.CustomerErased, purging.begin)
    keeping = ExportKeeping(clock)
    exporting = Exporting(RULES, customer.ExportPartPrepared)
    subscriptions.on(customer.CustomerExportRequested, exporting.prepare)
    for part in (
        customer.ExportPartPrepared,
        interaction.ExportPartPrepared,
        scoring.ExportPartPrepared,
        notification.ExportPartPrepared,
    ):
        subscriptions.on(part, keeping.collect_parts)
    for told in (
        customer.CustomerPurged,
        interaction.CustomerPurged,
        scoring.CustomerPurged,
        notification.CustomerPurged,
    ):
        subscriptions.on(told, note_purges)

    async def release(database: Database) -> None:
        await release_all_due(database, rules, clock)

    return Service(
        name="customer",
        title="Branchline: customers",
        description="Who the bank's customers are, who looks after them, and the boundary to the core banking system.",
        routers=[
            customers.router,
            restrictions.router,
            erasures.router,
            exports_router(settings),
            accounts.router,
            staff.router,
            core_banking_router(settings, rules),
            kept_events_router(rules),
            delegations_router(settings),
        ],
        subscriptions=subscriptions,
        settings=settings,
        jobs=[
            Job("release_held", 2.0, release),
            Job("forget_expired_exports", 600.0, keeping.forget_expired),
            Job("finish_purges", 2.0, purging.finish),
            Job("count_kept_events", 60.0, upkeep.count_kept_events),
            Job("expire_kept_events", 3_600.0, upkeep.forget_unattributed),
            Job("forget_edits", 3_600.0, upkeep.forget_edits),
        ],
    )
