"""What operators' commands need of the services' databases: which there are, and how their owner reaches them."""

from pydantic import ValidationError

from services.catalog import SERVICES
from services.demo.home import Home
from services.operator_http import refuse
from shared.embedded_postgres import start_postgres
from shared.settings import PlatformSettings


def is_demo() -> bool:
    """Whether this machine has one."""
    return (PlatformSettings().home / "audit.keys").exists()


def owners_url(service: str) -> str:
    """As a service is told, or the demo's."""
    from services.distributed import database_settings  # which runs services, as no operator's command does

    try:
        return database_settings(service).database_url
    except ValidationError:
        if not is_demo():
            raise refuse(f"{service.upper()}_DATABASE_URL and its _REQUESTS_ sister are not set.") from None
    return start_postgres(Home(PlatformSettings().home).postgres).url(service, service)


def known_services(services: list[str] | None) -> list[str]:
    """Those that are named, or all."""
    for service in services or ():
        if service not in SERVICES:
            raise refuse(f"there is no service {service!r}; there are {', '.join(SERVICES)}.")
    return list(services or SERVICES)
