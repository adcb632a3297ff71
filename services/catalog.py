"""The four services by name, each composed by its own `app.py`."""

from collections.abc import Callable

from services.customer.app import customer_service
from services.interaction.app import interaction_service
from services.notification.app import notification_service
from services.notification.settings import NotificationSettings
from services.scoring.app import scoring_service
from shared.clock import Clock, system_clock
from shared.service import Service
from shared.settings import PlatformSettings

SERVICES: tuple[str, ...] = ("customer", "interaction", "scoring", "notification")


def compose(
    name: str,
    platform: PlatformSettings,
    *,
    notification: NotificationSettings | None = None,
    clock: Clock = system_clock,
) -> Service:
    """The service as the environment's settings say, or those given."""
    composed: dict[str, Callable[[], Service]] = {
        "customer": lambda: customer_service(
            partitions=platform.partitions, unattributed_days=platform.forget_unattributed_days, clock=clock
        ),
        "interaction": lambda: interaction_service(clock=clock),
        "scoring": lambda: scoring_service(clock=clock),
        "notification": lambda: notification_service(platform.public_url, notification, clock=clock),
    }
    return composed[name]()
