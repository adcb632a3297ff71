"""The four services by name, each composed by its own `app.py`, which is loaded when it is composed."""

from typing import TYPE_CHECKING

from shared.clock import Clock, system_clock
from shared.settings import PlatformSettings

if TYPE_CHECKING:  # a command that runs no service need not wait for what they need
    from services.notification.settings import NotificationSettings
    from shared.service import Service

SERVICES: tuple[str, ...] = ("customer", "interaction", "scoring", "notification")


def compose(
    name: str,
    platform: PlatformSettings,
    *,
    notification: "NotificationSettings | None" = None,
    clock: Clock = system_clock,
) -> "Service":
    """The service as the environment's settings say, or those given. Raises KeyError."""
    match name:
        case "customer":
            from services.customer.app import customer_service

            unattributed_days = platform.forget_unattributed_days
            return customer_service(partitions=platform.partitions, unattributed_days=unattributed_days, clock=clock)
        case "interaction":
            from services.interaction.app import interaction_service

            return interaction_service(clock=clock)
        case "scoring":
            from services.scoring.app import scoring_service

            return scoring_service(clock=clock)
        case "notification":
            from services.notification.app import notification_service

            return notification_service(platform.public_url, notification, clock=clock)
    raise KeyError(name)
