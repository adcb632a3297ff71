"""The services as they are documented: composed as in a process, with every setting at its default."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI

from services.catalog import SERVICES, compose
from shared.service import Service
from shared.settings import PlatformSettings
from shared.web.app import create_api

GENERATED = "*Generated from the code by `branchline docs`: change the code, not this page.*"
PREFIXES = ("BRANCHLINE_", *(f"{service.upper()}_" for service in SERVICES))


@dataclass(frozen=True)
class DocumentedLine:
    """`services` and `apps` are by name. Nothing of them runs."""

    platform: PlatformSettings
    services: Mapping[str, Service]
    apps: Mapping[str, FastAPI]


def compose_line() -> DocumentedLine:
    with _defaults_only():
        platform = PlatformSettings()
        services = {name: compose(name, platform) for name in SERVICES}
    apps = {name: _app(service, platform) for name, service in services.items()}
    return DocumentedLine(platform, services, apps)


@contextmanager
def _defaults_only() -> Iterator[None]:
    """A document says the same on every machine, whatever its environment sets."""
    hidden = {name: value for name, value in os.environ.items() if name.upper().startswith(PREFIXES)}
    for name in hidden:
        del os.environ[name]
    try:
        yield
    finally:
        os.environ.update(hidden)


def _app(service: Service, platform: PlatformSettings) -> FastAPI:
    return create_api(
        service_name=service.name,
        title=service.title,
        version="1",
        description=service.description,
        routers=service.all_routers,
        settings=platform,
    )


def to_json(document: Any) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"
