"""A small branch: events about its customers as other services tell them, and what its people ask."""

from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx

from shared.auth.principal import Principal
from shared.events.corebanking import AccountKind, ContactChannel
from shared.events.customer import (
    AccountChanged,
    ComplaintReported,
    ContactReported,
    CustomerChanged,
    SurveyReported,
)
from shared.events.scoring import AlertClosure, ChurnAlertClosed, ChurnAlertRaised, Reason
from shared.ids import new_id
from tests.harness import ServiceUnderTest, manager

NOW = datetime(2026, 11, 24, 9, 30, tzinfo=UTC)
M1 = manager("M1")
ORIGIN = "http://branchline.test"


def days_ago(days: float) -> datetime:
    return NOW - timedelta(days=days)


def customer_changed(customer_id: UUID | None = None, *, revision: int = 1, **more: Any) -> CustomerChanged:
    return CustomerChanged(
        customer_id=customer_id or new_id(),
        revision=revision,
        **{
            "customer_number": "10000001",
            "branch_id": "B1",
            "branch_path": ("HQ", "B1"),
            "manager_id": "M1",
            **more,
        },
    )


def contact_reported(customer_id: UUID, occurred_at: datetime = NOW, **more: Any) -> ContactReported:
    return ContactReported(
        customer_id=customer_id,
        occurred_at=occurred_at,
        **{"contact_id": new_id(), "channel": ContactChannel.CALL, "manager_id": "M1", **more},
    )


def complaint_reported(customer_id: UUID, revision: int = 1, **more: Any) -> ComplaintReported:
    return ComplaintReported(
        customer_id=customer_id,
        revision=revision,
        **{"complaint_id": new_id(), "opened_at": days_ago(10), **more},
    )


def survey_reported(customer_id: UUID, score: int = 3, **more: Any) -> SurveyReported:
    return SurveyReported(
        customer_id=customer_id, score=score, **{"survey_id": new_id(), "answered_at": days_ago(5), **more}
    )


def account_changed(customer_id: UUID, revision: int = 1, **more: Any) -> AccountChanged:
    return AccountChanged(
        customer_id=customer_id,
        revision=revision,
        **{
            "account_id": new_id(),
            "kind": AccountKind.SAVINGS,
            "currency": "CNY",
            "opened_on": date(2020, 5, 4),
            **more,
        },
    )


def alert_raised(customer_id: UUID, alert_id: UUID | None = None, **more: Any) -> ChurnAlertRaised:
    return ChurnAlertRaised(
        customer_id=customer_id,
        alert_id=alert_id or new_id(),
        **{
            "raised_on": NOW.date(),
            "points": 72,
            "reasons": (
                Reason(code="balance_falls", points=20, text="The balance has halved."),
                Reason(code="salary_gone", points=40, text="The salary no longer arrives."),
            ),
            **more,
        },
    )


def alert_closed(raised: ChurnAlertRaised, closure: AlertClosure = AlertClosure.RECOVERY) -> ChurnAlertClosed:
    return ChurnAlertClosed(customer_id=raised.customer_id, alert_id=raised.alert_id, closed_at=NOW, closure=closure)


async def get(interaction: ServiceUnderTest, path: str, actor: Principal = M1, **query: Any) -> httpx.Response:
    async with interaction.http(actor) as http:
        return await http.get(path, params=query)


async def post(
    interaction: ServiceUnderTest, path: str, body: Any, actor: Principal = M1, **headers: str
) -> httpx.Response:
    async with interaction.http(actor) as http:
        return await http.post(path, json=body, headers={k.replace("_", "-"): v for k, v in headers.items()})


async def timeline(
    interaction: ServiceUnderTest, customer_id: UUID, actor: Principal = M1, **query: Any
) -> list[dict[str, Any]]:
    """The whole timeline, page by page."""
    items: list[dict[str, Any]] = []
    while True:
        answer = await get(interaction, f"/customers/{customer_id}/timeline", actor, **query)
        assert answer.status_code == 200, answer.text
        page = answer.json()
        items += page["items"]
        if page["next"] is None:
            return items
        query["cursor"] = page["next"]


async def kinds(interaction: ServiceUnderTest, customer_id: UUID, actor: Principal = M1) -> list[str]:
    return [entry["kind"] for entry in await timeline(interaction, customer_id, actor)]


async def not_contacted(
    interaction: ServiceUnderTest, actor: Principal = M1, **query: Any
) -> list[tuple[UUID, str | None]]:
    """Who is listed, page by page, with their last contact."""
    items: list[tuple[UUID, str | None]] = []
    while True:
        answer = await get(interaction, "/customers/not-contacted", actor, **query)
        assert answer.status_code == 200, answer.text
        page = answer.json()
        items += [(UUID(item["customer_id"]), item["last_contacted_at"]) for item in page["items"]]
        if page["next"] is None:
            return items
        query["cursor"] = page["next"]
