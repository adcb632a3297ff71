"""A small bank: events as other services tell them, what its managers ask, and a relay that does as it is told."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import uvicorn

from services.notification.app import notification_service
from services.notification.settings import NotificationSettings
from services.serving import end_streams
from shared.auth.principal import Principal
from shared.database import Database
from shared.events.customer import CustomerChanged, ManagerChanged
from shared.events.scoring import AlertClosure, ChurnAlertClosed, ChurnAlertRaised, Reason
from shared.ids import new_id
from tests.harness import ServiceUnderTest, manager, under_test

NOW = datetime(2026, 11, 24, 9, 30, tzinfo=UTC)
M1, M2 = manager("M1"), manager("M2")
SALARY = Reason(code="salary_stopped", points=25, text="No salary has arrived for 43 days.")
CARD = Reason(code="card_quiet", points=40, text="The card was used <2> times & then no more.")


class Watch:
    """A clock that stands still until somebody moves it."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now

    def forward(self, **by: float) -> None:
        self.now += timedelta(**by)


@asynccontextmanager
async def notifying(database: Database, watch: Watch, **settings: Any) -> AsyncIterator[ServiceUnderTest]:
    stated = NotificationSettings(**{"smtp_tls": "none", **settings})
    service = notification_service("https://branchline.example", stated, clock=watch)
    async with under_test(service, database) as running:
        running.app.state.clock = watch
        yield running


async def run_job(notification: ServiceUnderTest, name: str) -> None:
    (job,) = [job for job in notification.service.jobs if job.name == name]
    await job.run(notification.database)


def customer_changed(customer_id: UUID | None = None, *, revision: int = 1, **more: Any) -> CustomerChanged:
    return CustomerChanged(
        customer_id=customer_id or new_id(),
        revision=revision,
        **{
            "customer_number": "10004217",
            "branch_id": "B1",
            "branch_path": ("HQ", "B1"),
            "manager_id": "M1",
            **more,
        },
    )


def manager_changed(manager_id: str = "M1", *, revision: int = 1, **more: Any) -> ManagerChanged:
    email = f"{manager_id.lower()}@bank.example"
    return ManagerChanged(manager_id=manager_id, revision=revision, **{"branch_id": "B1", "email": email, **more})


def alert_raised(customer_id: UUID, **more: Any) -> ChurnAlertRaised:
    return ChurnAlertRaised(
        customer_id=customer_id,
        **{
            "alert_id": new_id(),
            "raised_on": date(2026, 11, 23),
            "points": 65,
            "reasons": (CARD, SALARY),
            **more,
        },
    )


def alert_closed(raised: ChurnAlertRaised, **more: Any) -> ChurnAlertClosed:
    return ChurnAlertClosed(
        customer_id=raised.customer_id,
        alert_id=raised.alert_id,
        **{"closed_at": NOW, "closure": AlertClosure.OUTCOME, **more},
    )


async def told(notification: ServiceUnderTest, **more: Any) -> ChurnAlertRaised:
    """An alert of a customer that M1 looks after, delivered to them."""
    customer = customer_changed(**more)
    raised = alert_raised(customer.customer_id)
    await notification.deliver([manager_changed("M1"), customer])
    await notification.deliver([raised])
    return raised


async def get(notification: ServiceUnderTest, path: str, who: Principal = M1, **headers: str) -> httpx.Response:
    async with notification.http(who) as client:
        return await client.get(path, headers={name.replace("_", "-"): value for name, value in headers.items()})


async def post(
    notification: ServiceUnderTest, path: str, body: dict[str, Any] | None = None, who: Principal = M1
) -> httpx.Response:
    async with notification.http(who) as client:
        return await client.post(path, json=body)


async def inbox(notification: ServiceUnderTest, who: Principal = M1, query: str = "") -> list[dict[str, Any]]:
    answer = await get(notification, f"/inbox{query}", who)
    assert answer.status_code == 200, answer.text
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


async def alert_ids(notification: ServiceUnderTest, who: Principal = M1, query: str = "") -> list[str]:
    return [item["alert_id"] for item in await inbox(notification, who, query)]


async def deliveries(notification: ServiceUnderTest, alert: ChurnAlertRaised, who: Principal = M1) -> Any:
    answer = await get(notification, f"/alerts/{alert.alert_id}/deliveries", who)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def mail_of(notification: ServiceUnderTest, alert: ChurnAlertRaised, who: Principal = M1) -> Any:
    """The one delivery of the alert by e-mail."""
    (mail,) = [item for item in (await deliveries(notification, alert, who))["items"] if item["channel"] == "email"]
    return mail


async def eventually(holds: Callable[[], bool], seconds: float = 5) -> None:
    """Fails when it does not come to hold."""
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.01)


@asynccontextmanager
async def serving(notification: ServiceUnderTest) -> AsyncIterator[str]:
    """The service behind a real server; its address, up to the API. Its streams are ended first, as `serve` does."""
    sock = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(notification.app, log_config=None, lifespan="off", timeout_graceful_shutdown=5)
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve([sock]))
    await eventually(lambda: server.started)
    try:
        yield f"http://127.0.0.1:{sock.getsockname()[1]}/api/notification/v1"
    finally:
        end_streams(notification.app)
        server.should_exit = True
        await task
