"""Webhooks as a test sets, removes, calls and reads them."""

import hmac
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from services.notification.app import notification_service
from services.notification.settings import NotificationSettings
from shared.auth.principal import Principal
from shared.database import Database
from shared.outbound import Resolver, resolve
from tests.harness import ServiceUnderTest, under_test
from tests.notification.bank import (
    M1,
    Watch,
    deliveries,
    run_job,
)

LOOPBACK = {"webhooks": True, "webhook_networks": "127.0.0.0/8"}


@asynccontextmanager
async def hooking(
    database: Database, watch: Watch, *, resolver: Resolver = resolve, **settings: Any
) -> AsyncIterator[ServiceUnderTest]:
    stated = NotificationSettings(**{**LOOPBACK, **settings})
    service = notification_service("https://branchline.example", stated, clock=watch, resolver=resolver)
    async with under_test(service, database) as running:
        running.app.state.clock = watch
        yield running


async def put(
    notification: ServiceUnderTest, url: object, who: Principal = M1, if_match: str | None = "*"
) -> httpx.Response:
    async with notification.http(who) as client:
        headers = {"If-Match": if_match} if if_match else {}
        return await client.put("/me/webhook", json={"url": url}, headers=headers)


async def remove(notification: ServiceUnderTest, if_match: str = "*") -> httpx.Response:
    async with notification.http(M1) as client:
        return await client.delete("/me/webhook", headers={"If-Match": if_match})


async def send(notification: ServiceUnderTest) -> None:
    await run_job(notification, "send_webhooks")


async def hook_of(notification: ServiceUnderTest, alert: Any, who: Principal = M1) -> Any:
    """The one delivery of the alert by webhook."""
    items = (await deliveries(notification, alert, who))["items"]
    (one,) = [item for item in items if item["channel"] == "webhook"]
    return one


def verify(secret: str, called: Any) -> None:
    """As the specification tells a receiver to, with nothing of ours."""
    headers = called.headers
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + called.body
    digest = hmac.digest(b64decode(secret.removeprefix("whsec_"), validate=True), signed, "sha256")
    assert headers["webhook-signature"] == f"v1,{b64encode(digest).decode()}"
