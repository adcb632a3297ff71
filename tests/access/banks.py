"""Two branches in each service: what one has of every kind, so has the other."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from services.catalog import compose
from shared.auth.principal import Principal
from shared.events.customer import CustomerChanged, ManagerChanged
from shared.ids import new_id
from shared.settings import PlatformSettings
from tests import bank as core
from tests.conftest import NewDatabase
from tests.customer.asking import account_id_of, id_of
from tests.harness import ServiceUnderTest, branch_head, manager, under_test
from tests.interaction.branch import alert_raised, complaint_reported, contact_reported
from tests.scoring import bank as scoring

NOW = datetime(2026, 11, 24, 9, 30, tzinfo=UTC)


@dataclass
class Side:
    """One branch: its manager, its head, and the ids of what is theirs."""

    number: int
    ids: dict[str, str] = field(default_factory=dict)

    @property
    def people(self) -> tuple[Principal, Principal]:
        return manager(f"M{self.number}", f"B{self.number}"), branch_head(f"B{self.number}", f"H{self.number}")

    @property
    def customer_number(self) -> str:
        return f"{self.number}" * 8

    @property
    def marks(self) -> set[str]:
        """What shows a customer of this side."""
        kinds = (
            "customer_id",
            "account_id",
            "alert_id",
            "contact_id",
            "outcome_id",
            "item_id",
            "delegation_id",
            "name",
        )
        return {self.ids[kind] for kind in kinds if kind in self.ids} | {self.customer_number}

    def __post_init__(self) -> None:
        self.ids |= {"branch_id": f"B{self.number}", "manager_id": f"M{self.number}"}


def nobody(side: Side) -> dict[str, str]:
    """Ids of the same kinds that nothing has."""
    unknown = {kind: str(new_id()) for kind in side.ids}
    return {**unknown, "branch_id": "B0", "manager_id": "M0", "name": "Nobody At All"}


def customer_changed(side: Side, customer_id: UUID, **more: Any) -> CustomerChanged:
    return CustomerChanged(
        customer_id=customer_id,
        revision=1,
        customer_number=side.customer_number,
        branch_id=f"B{side.number}",
        branch_path=("HQ", f"B{side.number}"),
        manager_id=f"M{side.number}",
        **more,
    )


async def _customer(service: ServiceUnderTest, sides: tuple[Side, Side]) -> None:
    events: list[Any] = [core.branch("HQ")]
    for side in sides:
        n = side.number
        side.ids["name"] = f"Customer Of {n}"
        events += [
            core.branch(f"B{n}", parent_branch_id="HQ"),
            core.manager_recorded(f"M{n}", f"B{n}"),
            core.manager_recorded(f"C{n}", f"B{n}"),
            core.party(
                f"P{n}",
                branch_id=f"B{n}",
                manager_id=f"M{n}",
                name=side.ids["name"],
                customer_number=side.customer_number,
            ),
            core.account(f"A{n}", f"P{n}"),
            core.posted(f"T{n}", 1, account_id=f"A{n}", balance_after_minor=99_999),
        ]
    await core.push(service, [*events, core.day_closed(2)], ids="bank")
    for side in sides:
        side.ids["customer_id"] = await id_of(service, f"P{side.number}")
        side.ids["account_id"] = await account_id_of(service, f"A{side.number}")
        body = {"delegate_id": f"C{side.number}", "ends_at": (NOW + timedelta(days=7)).isoformat()}
        async with service.http(side.people[0]) as http:
            made = await http.post("/delegations", json=body)
        side.ids["delegation_id"] = made.json()["delegation_id"]


async def _interaction(service: ServiceUnderTest, sides: tuple[Side, Side]) -> None:
    for side in sides:
        customer_id = new_id()
        contact, alert, other = contact_reported(customer_id), alert_raised(customer_id), alert_raised(customer_id)
        complaint = complaint_reported(customer_id)
        await service.deliver([customer_changed(side, customer_id), contact, complaint, alert, other])
        async with service.http(side.people[0]) as http:
            body = {"alert_id": str(other.alert_id), "outcome": "saved"}
            outcome = await http.post(f"/customers/{customer_id}/outcomes", json=body)
        side.ids |= {
            "customer_id": str(customer_id),
            "contact_id": str(contact.contact_id),
            "alert_id": str(alert.alert_id),
            "outcome_id": outcome.json()["outcome_id"],
        }


async def _scoring(service: ServiceUnderTest, sides: tuple[Side, Side]) -> None:
    for side in sides:
        customer_id, account_id = new_id(), new_id()
        await service.deliver(
            [
                customer_changed(side, customer_id),
                scoring.account_changed(customer_id, account_id),
                scoring.salaries(customer_id, account_id, scoring.days_ago(41)),
                scoring.rejected(customer_id, scoring.days_ago(9)),
            ]
        )
        side.ids["customer_id"] = str(customer_id)
    await scoring.close(service, *scoring.until(scoring.TODAY, 12))
    for side in sides:
        query = "select alert_id from churn_alert where customer_id = :id"
        ((alert_id,),) = await service.rows(query, id=UUID(side.ids["customer_id"]))
        side.ids["alert_id"] = str(alert_id)


async def _notification(service: ServiceUnderTest, sides: tuple[Side, Side]) -> None:
    for side in sides:
        n, customer_id = side.number, new_id()
        staff = ManagerChanged(manager_id=f"M{n}", revision=1, branch_id=f"B{n}", email=f"m{n}@bank.example")
        alert = alert_raised(customer_id)
        await service.deliver([staff, customer_changed(side, customer_id), alert])
        ((item_id,),) = await service.rows("select item_id from inbox_item where alert_id = :id", id=alert.alert_id)
        side.ids |= {"customer_id": str(customer_id), "alert_id": str(alert.alert_id), "item_id": str(item_id)}


_FILL: dict[str, Callable[[ServiceUnderTest, tuple[Side, Side]], Awaitable[None]]] = {
    "customer": _customer,
    "interaction": _interaction,
    "scoring": _scoring,
    "notification": _notification,
}


@asynccontextmanager
async def two_branches(
    name: str, new_database: NewDatabase
) -> AsyncIterator[tuple[ServiceUnderTest, tuple[Side, Side]]]:
    """The service with both branches in it."""
    now = scoring.noon(scoring.TODAY) + timedelta(hours=8) if name == "scoring" else NOW
    service = compose(name, PlatformSettings(partitions=4), clock=lambda: now)
    sides = Side(1), Side(2)
    async with under_test(service, await new_database(name)) as running:
        running.app.state.clock = lambda: now
        await _FILL[name](running, sides)
        yield running, sides
