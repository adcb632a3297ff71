"""A bank's events in, a manager alerted, the outcome back."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import httpx
import pytest

from shared.events.corebanking import (
    CoreBankingEvent,
    TransactionKind,
    TransactionPosted,
)
from shared.ids import new_id
from tests.bank import account, complaint_rejected, party, worst_answer
from tests.journeys.conftest import Bank, eventually, today

NAME = "Zhou Wanting"


class Customer:
    """A customer of the journeys, with ids of their own."""

    def __init__(self, manager_id: str = "JM1", branch_id: str = "J1") -> None:
        self.key = new_id().hex[-12:]
        self.party_id = f"P{self.key}"
        self.number = f"N{self.key}"
        self.account_id = f"A{self.key}"
        self.manager_id = manager_id
        self.branch_id = branch_id

    def arrives(self) -> list[CoreBankingEvent]:
        return [
            party(
                self.party_id,
                customer_number=self.number,
                name=NAME,
                branch_id=self.branch_id,
                manager_id=self.manager_id,
            ),
            account(self.account_id, self.party_id),
            self.pays(5_000_000, TransactionKind.SALARY),
        ]

    def moves(self, day: date) -> list[CoreBankingEvent]:
        """A salary, and nearly all of it to another bank on the same day."""
        return [
            self.pays(5_000_000, TransactionKind.SALARY, day=day),
            self.pays(-4_500_000, TransactionKind.TRANSFER_OUT, bank="OTHER", day=day),
        ]

    def pays(
        self, amount_minor: int, kind: TransactionKind, bank: str | None = None, day: date | None = None
    ) -> TransactionPosted:
        return TransactionPosted(
            account_id=self.account_id,
            transaction_id=f"T{new_id()}",
            booked_on=day or today(),
            amount_minor=amount_minor,
            currency="CNY",
            kind=kind,
            counterparty_bank=bank,
        )

    def is_angry(self) -> list[CoreBankingEvent]:
        """Facts of today that alone raise the risk: nothing later today takes them back."""
        now = datetime.now(UTC)
        return [
            complaint_rejected(
                self.key, self.party_id, now - timedelta(minutes=1), opened_at=now - timedelta(minutes=2)
            ),
            worst_answer(self.key, self.party_id, now),
            self.pays(-4_500_000, TransactionKind.TRANSFER_OUT, bank="OTHER"),
        ]


async def item_of(http: httpx.AsyncClient, customer: Customer) -> dict[str, Any] | None:
    answer = await http.get("/api/notification/v1/inbox?limit=200")
    assert answer.status_code == 200, answer.text
    return next((item for item in answer.json()["items"] if item["customer_number"] == customer.number), None)


async def alerted(bank: Bank, customer: Customer) -> dict[str, Any]:
    """The inbox item that the customer's manager gets."""
    await bank.push(customer.arrives(), ids=f"{customer.key}-arrives")
    await bank.push(customer.is_angry(), ids=f"{customer.key}-angry")
    async with bank.http("manager", staff_id=customer.manager_id, branch_id=customer.branch_id) as http:
        return await eventually(lambda: item_of(http, customer))


async def test_a_customer_at_risk_reaches_their_manager_and_the_outcome_closes_the_alert(bank: Bank) -> None:
    customer = Customer()
    item = await alerted(bank, customer)
    assert item["state"] == "open"
    assert sum(reason["points"] for reason in item["reasons"]) == item["points"] >= 50
    customer_id, alert_id = item["customer_id"], item["alert_id"]
    async with bank.http("manager", staff_id="JM1", branch_id="J1") as http:
        read = (await http.get(f"/api/customer/v1/customers/{customer_id}")).json()
        assert (read["name"], read["customer_number"]) == (NAME, customer.number)
        assert (await http.post(f"/api/notification/v1/inbox/{item['item_id']}/acknowledge")).is_success
        contact = await http.post(
            f"/api/interaction/v1/customers/{customer_id}/contacts", json={"channel": "call", "alert_id": alert_id}
        )
        assert contact.status_code == 201, contact.text

        async def outcome_is_taken() -> bool:
            answer = await http.post(
                f"/api/interaction/v1/customers/{customer_id}/outcomes", json={"alert_id": alert_id, "outcome": "saved"}
            )
            return answer.status_code == 201

        await eventually(outcome_is_taken)

        async def closed() -> bool:
            alert = (await http.get(f"/api/scoring/v1/alerts/{alert_id}")).json()
            assert alert["customer_number"] == customer.number
            return bool(alert["closure"] == "outcome")

        await eventually(closed)

        async def told() -> list[str] | None:
            timeline = await http.get(f"/api/interaction/v1/customers/{customer_id}/timeline?limit=200")
            kinds = [entry["kind"] for entry in timeline.json()["items"]]
            whole = {
                "alert_raised",
                "alert_delivered",
                "alert_acknowledged",
                "contact",
                "outcome_recorded",
                "alert_closed",
            }
            return kinds if whole <= set(kinds) else None

        kinds = await eventually(told)
        assert kinds.count("alert_raised") == kinds.count("alert_closed") == kinds.count("outcome_recorded") == 1


async def test_the_mail_holds_the_number_and_a_link_and_no_name(bank: Bank) -> None:
    customer = Customer()
    item = await alerted(bank, customer)

    async def mailed() -> list[str]:
        mails = [mail for mail in await bank.mails() if mail["to"].startswith("jm1@")]
        texts = [await bank.mail(mail["url"]) for mail in mails]
        return [text for text in texts if customer.number in text]

    (text,) = await eventually(mailed)
    assert item["customer_id"] in text
    assert NAME not in text
    assert NAME.split()[0] not in text

    async with bank.http("manager", staff_id="JM1", branch_id="J1") as http:
        deliveries = (await http.get(f"/api/notification/v1/alerts/{item['alert_id']}/deliveries")).json()["items"]
        assert sorted(delivery["channel"] for delivery in deliveries) == ["email", "inbox"]


async def test_another_manager_sees_nothing_of_a_customer(bank: Bank) -> None:
    customer = Customer()
    item = await alerted(bank, customer)
    paths = [
        f"/api/customer/v1/customers/{item['customer_id']}",
        f"/api/scoring/v1/customers/{item['customer_id']}/score",
        f"/api/scoring/v1/alerts/{item['alert_id']}",
        f"/api/interaction/v1/customers/{item['customer_id']}/timeline",
        f"/api/notification/v1/inbox/{item['item_id']}",
        f"/api/notification/v1/alerts/{item['alert_id']}/deliveries",
    ]
    async with bank.http("manager", staff_id="JM1", branch_id="J1") as own:
        assert [(await own.get(path)).status_code for path in paths] == [200] * len(paths)
    async with bank.http("manager", staff_id="JM2", branch_id="J2") as other:
        assert [(await other.get(path)).status_code for path in paths] == [404] * len(paths)
    async with bank.http("branch_head", staff_id="JH2", branch_id="J2") as other_head:
        assert [(await other_head.get(path)).status_code for path in paths] == [404] * len(paths)


async def test_what_is_sent_again_changes_nothing(bank: Bank) -> None:
    customer = Customer()
    item = await alerted(bank, customer)
    again = await bank.push(customer.arrives()[:2], ids=f"{customer.key}-arrives")
    assert again["duplicate"] == 2
    async with bank.http("head_office", staff_id="JHO") as http:
        alerts = await http.get(f"/api/scoring/v1/alerts?customer_id={item['customer_id']}")
        assert len(alerts.json()["items"]) == 1
        accounts = (await http.get(f"/api/customer/v1/customers/{item['customer_id']}/accounts")).json()["items"]
        assert [a["transaction_count"] for a in accounts] == [2]


async def test_the_stream_tells_of_a_new_item_as_it_comes(bank: Bank) -> None:
    customer = Customer(manager_id="JM2", branch_id="J2")
    listening = asyncio.Event()

    async def hear() -> str:
        async with (
            bank.http("manager", staff_id="JM2", branch_id="J2") as http,
            http.stream("GET", "/api/notification/v1/inbox/stream", timeout=60) as stream,
        ):
            listening.set()
            async for line in stream.aiter_lines():
                if line.startswith("data:") and customer.number in line:
                    return line
        pytest.fail("the stream ended")

    hearing = asyncio.ensure_future(hear())
    await listening.wait()
    await alerted(bank, customer)
    assert customer.number in await asyncio.wait_for(hearing, 30)


async def test_a_transaction_before_its_account_waits_and_then_counts(bank: Bank) -> None:
    customer = Customer()
    who, which, paid = customer.arrives()
    assert (await bank.push([paid], ids=f"{customer.key}-early"))["held"] == 1
    await bank.push([who, which], ids=f"{customer.key}-then")
    async with bank.http("head_office", staff_id="JHO") as http:
        found = (await http.post("/api/customer/v1/customers/search", json={"query": customer.number})).json()["items"]

        async def aggregated() -> Sequence[Any]:
            path = f"/api/scoring/v1/customers/{found[0]['customer_id']}/daily-aggregates"
            answer = await http.get(path)
            return answer.json()["items"] if answer.is_success else []

        (day,) = await eventually(aggregated)
    assert day["salary"] == {"amount": {"amount_minor": 5_000_000, "currency": "CNY"}, "count": 1}


async def test_the_docs_of_all_four_services_are_there(bank: Bank) -> None:
    async with httpx.AsyncClient(base_url=bank.url) as http:
        assert (await http.get("/docs")).is_success
        for service in ("customer", "interaction", "scoring", "notification"):
            assert (await http.get(f"/api/{service}/v1/docs")).is_success
            document = (await http.get(f"/api/{service}/v1/openapi.json")).json()
            assert f"/api/{service}/v1/me" in document["paths"]
