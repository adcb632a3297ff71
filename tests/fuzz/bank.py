"""A bank with something of every kind in it, so that what is asked for is there to be found."""

import asyncio
from datetime import UTC, datetime, timedelta

import msgspec

from shared.events import EVENT_TYPES
from shared.events.corebanking import BusinessDayClosed, CoreBankingEvent, TransactionKind
from shared.ids import new_id
from shared.messaging.records import Outgoing, event_headers
from tests.bank import NDJSON, branch, manager_recorded, posted
from tests.harness import rows_as_owner
from tests.journeys.conftest import Bank, eventually, today
from tests.journeys.test_alert import Customer

CUSTOMERS, AT_RISK = 60, 15
"""Taken in by each of two branches in every round, and how many of them raise an alert."""
MOST_KNOWN = 100

NOBODY = "http://127.0.0.1:9/alerts"
"""A webhook where nobody listens; schemathesis' own addresses are none, and a document's example leads nowhere."""

Known = dict[str, list[str]]
"""By the name of a parameter or of a body's field, values that name something; the latest first."""

KNOWN: dict[str, dict[str, str]] = {
    "customer": {
        "customer_id": "select customer_id from customer where not exists"
        " (select from erasure e where e.customer_id = customer.customer_id) order by 1 desc",
        "account_id": "select account_id from account order by 1 desc",
        "branch_id": "select branch_id from branch",
        "manager_id": "select manager_id from manager",
        "event_id": "select event_id from kept_event order by kept_at desc",
        "letter_id": "select id from dead_letter order by 1 desc",
    },
    "interaction": {
        "customer_id": "select customer_id from customer_scope order by 1 desc",
        "alert_id": "select alert_id from alert order by 1 desc",
        "contact_id": "select contact_id from contact order by 1 desc",
        "letter_id": "select id from dead_letter order by 1 desc",
    },
    "scoring": {
        "customer_id": "select customer_id from customer_scope order by 1 desc",
        "alert_id": "select alert_id from churn_alert order by 1 desc",
        "letter_id": "select id from dead_letter order by 1 desc",
    },
    "notification": {
        "alert_id": "select alert_id from alert order by 1 desc",
        "item_id": "select item_id from inbox_item order by 1 desc",
        "letter_id": "select id from dead_letter order by 1 desc",
    },
}


async def open_bank(bank: Bank) -> None:
    """Branches and their staff, and on every topic a record that nobody can read."""
    branches = [branch("HQ"), *(branch(f"B{n}", parent_branch_id="HQ") for n in (1, 2))]
    people = [manager_recorded(f"{kind}{n}", f"B{n}") for n in (1, 2) for kind in "MC"]
    yesterday = BusinessDayClosed(business_date=today() - timedelta(days=1))
    await bank.push([*branches, *people, yesterday], ids="bank", source="core")
    now = datetime.now(UTC)
    assert bank.publisher is not None
    await bank.publisher.send(
        [
            Outgoing(kind.TOPIC, b"unreadable", b'{"customer_id": 1}', event_headers(new_id(), name, now, None))
            for name, kind in EVENT_TYPES.items()
            if not issubclass(kind, CoreBankingEvent)
        ]
    )


async def take_in(bank: Bank, round_number: int) -> None:
    """Customers, some of them about to leave; events that are held, one that does not agree, some that are wrong."""
    customers = [Customer(f"M{n}", f"B{n}") for n in (1, 2) for _ in range(CUSTOMERS)]
    leaving = customers[:: CUSTOMERS // AT_RISK]
    events = [event for customer in customers for event in customer.arrives()]
    events += [event for customer in leaving for event in customer.is_angry()]
    events += [msgspec.structs.replace(customers[0].pays(5, TransactionKind.OTHER), sequence=9, balance_after_minor=1)]
    events += [posted(f"T{n}", -1, account_id=f"U{round_number}-{n}") for n in range(5)]
    await bank.push(events, ids=f"round-{round_number}", source="core")
    wrong = [
        {"specversion": "1.0", "id": f"wrong-{round_number}-{n}", "source": "core", "type": kind, "data": {}}
        for n, kind in enumerate(("corebanking.party_recorded.v1", "corebanking.unheard_of.v1"))
    ]
    async with bank.http("service", scopes=["corebanking:write"]) as http:
        body = b"\n".join(map(msgspec.json.encode, wrong))
        answer = await http.post("/api/customer/v1/core-banking/events", content=body, headers=NDJSON)
    assert answer.json()["parked"] == len(wrong), answer.text
    await eventually(lambda: _have_alerts(bank, {customer.number for customer in leaving}))


async def _have_alerts(bank: Bank, numbers: set[str]) -> bool:
    assert bank.line is not None
    query = (
        "select s.customer_number from inbox_item join alert a using (alert_id)"
        " join customer_scope s on s.customer_id = a.customer_id"
    )
    return numbers <= {number for (number,) in await rows_as_owner(bank.line.databases["notification"], query)}


async def known(bank: Bank, service: str) -> Known:
    assert bank.line is not None
    database = bank.line.databases[service]
    found = await asyncio.gather(
        *(rows_as_owner(database, f"{query} limit {MOST_KNOWN}") for query in KNOWN[service].values())
    )
    ids = {
        name: [str(value) for (value,) in values] for name, values in zip(KNOWN[service], found, strict=True) if values
    }
    return {**ids, "url": [NOBODY]} if service == "notification" else ids
