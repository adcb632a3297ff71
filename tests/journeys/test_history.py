"""A history loaded by `branchline backfill` gives rise to the alerts of its days, and only the last week's are sent."""

import asyncio
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import text
from typer.testing import CliRunner

from services.cli import app
from shared import batch_memory
from shared.events.corebanking import (
    ComplaintOutcome,
    ComplaintRecorded,
    CoreBankingEvent,
    SurveyAnswered,
)
from tests.audit.ledger import KEYS as AUDIT_KEYS
from tests.backfill.history import write_csv
from tests.bank import account, party
from tests.journeys.conftest import PARTITIONS, Bank, eventually, today
from tests.journeys.test_alert import Customer, item_of
from tests.keys import MASTER_KEYS

CALLED = {
    "party_recorded": "parties",
    "account_recorded": "accounts",
    "complaint_recorded": "complaints",
    "survey_answered": "surveys",
    "transaction_posted": "transactions",
}


def at_risk_on(customer: Customer, day: date) -> list[CoreBankingEvent]:
    """A customer of some years, whose risk crosses the threshold on that day."""
    noon = datetime.combine(day, time(12), UTC)
    named: dict[str, Any] = {"customer_number": customer.number, "manager_id": customer.manager_id}
    complaint = ComplaintRecorded(
        complaint_id=f"C{customer.key}",
        revision=1,
        party_id=customer.party_id,
        opened_at=noon - timedelta(hours=2),
        resolved_at=noon,
        outcome=ComplaintOutcome.REJECTED,
    )
    survey = SurveyAnswered(survey_id=f"S{customer.key}", party_id=customer.party_id, answered_at=noon, score=1)
    return [
        party(customer.party_id, branch_id=customer.branch_id, **named),
        account(customer.account_id, customer.party_id, opened_on=day - timedelta(days=900)),
        *customer.moves(day),
        complaint,
        survey,
    ]


def load(bank: Bank, folder: Path, events: list[CoreBankingEvent]) -> str:
    for kind, name in CALLED.items():
        write_csv(folder / f"{name}.csv", [event for event in events if f"corebanking.{kind}.v1" == event.TYPE])
    assert bank.line is not None
    environment = {
        "CUSTOMER_DATABASE_URL": bank.line.databases["customer"].jobs_url,
        "BRANCHLINE_PARTITIONS": str(PARTITIONS),
        "BRANCHLINE_MASTER_KEYS": MASTER_KEYS.written(),
        "BRANCHLINE_AUDIT_KEYS": AUDIT_KEYS.written(),
    }
    done = CliRunner().invoke(app, ["backfill", str(folder), "--source=journeys"], env=environment)
    assert done.exit_code == 0, done.output
    return done.output


async def test_alerts_of_a_loaded_history_are_recorded_and_only_the_last_weeks_are_sent(
    bank: Bank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_memory, "expect_batches", lambda: None)  # of a process of the command's own
    if bank.line is None:
        pytest.skip("the databases of a line behind a gateway are out of reach")
    past, recent = Customer(), Customer()
    days = {past.number: today() - timedelta(days=20), recent.number: today() - timedelta(days=3)}
    events = [event for each in (past, recent) for event in at_risk_on(each, days[each.number])]
    summary = await asyncio.to_thread(load, bank, tmp_path, events)
    assert f"{len(events)} applied, 0 duplicates, 0 held, 0 parked" in summary

    async with bank.http("head_office", staff_id="JHO") as http:
        alerts = {
            customer.number: await eventually(lambda customer=customer: alert_of(http, customer))  # type: ignore[misc] # a lambda's default
            for customer in (past, recent)
        }
    raised = {number: (alert["raised_on"], alert["is_historic"]) for number, alert in alerts.items()}
    assert raised == {
        past.number: (days[past.number].isoformat(), True),
        recent.number: (days[recent.number].isoformat(), False),
    }

    async with bank.http("manager", staff_id="JM1", branch_id="J1") as http:
        await eventually(lambda: item_of(http, recent))

        async def mailed() -> list[str]:
            texts = [await bank.mail(mail["url"]) for mail in await bank.mails()]
            return [written for written in texts if recent.number in written]

        assert len(await eventually(mailed)) == 1

        async def is_kept() -> list[tuple[Any, ...]]:
            return await of_alert(bank, "select state from alert where alert_id = :id", alerts[past.number])

        assert await eventually(is_kept) == [("historic",)]
        assert await item_of(http, past) is None
    sent = "select channel from delivery where alert_id = :id"
    assert await of_alert(bank, sent, alerts[past.number]) == []
    assert len(await of_alert(bank, sent, alerts[recent.number])) == 2
    texts = [await bank.mail(mail["url"]) for mail in await bank.mails()]
    assert not [written for written in texts if past.number in written]


async def alert_of(http: httpx.AsyncClient, customer: Customer) -> dict[str, Any] | None:
    items: list[dict[str, Any]] = (await http.get("/api/scoring/v1/alerts?limit=200")).json()["items"]
    return next((item for item in items if item["customer_number"] == customer.number), None)


async def of_alert(bank: Bank, query: str, alert: dict[str, Any]) -> list[tuple[Any, ...]]:
    assert bank.line is not None
    async with bank.line.databases["notification"].jobs.connect() as connection:
        return [tuple(row) for row in await connection.execute(text(query), {"id": alert["alert_id"]})]
