"""What operators' commands need of the services' databases: which there are, and how their owner reaches them."""

from pydantic import ValidationError

from services.catalog import SERVICES
from services.demo.home import Home
from services.operator_http import refuse
from shared.embedded_postgres import start_postgres
from shared.settings import PlatformSettings


def is_demo() -> bool:
    """Whether it is this machine's demo that is meant: there is one, and no service's database is stated.

    Its keys have no business with a bank's databases, whatever folder the command is run in.
    """
    there = (PlatformSettings().home / "audit.keys").exists()
    return there and not any(_stated_url(service) for service in SERVICES)


def owners_url(service: str) -> str:
    """As a service is told, or the demo's."""
    if stated := _stated_url(service):
        return stated
    if not is_demo():
        raise refuse(f"{service.upper()}_DATABASE_URL and its _REQUESTS_ sister are not set.")
    return start_postgres(Home(PlatformSettings().home).postgres).url(service, service)


def _stated_url(service: str) -> str | None:
    from services.distributed import database_settings  # which runs services, as no operator's command does

    try:
        return database_settings(service).database_url
    except ValidationError:
        return None


def known_services(services: list[str] | None) -> list[str]:
    """Those that are named, or all."""
    for service in services or ():
        if service not in SERVICES:
            raise refuse(f"there is no service {service!r}; there are {', '.join(SERVICES)}.")
    return list(services or SERVICES)
