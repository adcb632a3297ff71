"""What was sent against what is there."""

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any

from tests.compose.bank import Bank
from tests.compose.line import DATABASES, Line
from tests.compose.stream import Door

SHOWN = 5


class Tally:
    def __init__(self) -> None:
        self.lost = 0
        self.doubled = 0

    def compare(self, what: str, expected: Mapping[Any, int], found: Mapping[Any, int]) -> None:
        """Less than expected is lost, more is doubled, each by its amount."""
        lost = {key: expected[key] - found.get(key, 0) for key in expected if found.get(key, 0) < expected[key]}
        doubled = {key: found[key] - expected.get(key, 0) for key in found if found[key] > expected.get(key, 0)}
        self.lost += sum(lost.values())
        self.doubled += sum(doubled.values())
        print(f"   {what}: {sum(expected.values()):,} expected, {sum(found.values()):,} there", flush=True)
        for verdict, by_key in (("LOST", lost), ("DOUBLED", doubled)):
            for key in list(by_key)[:SHOWN]:
                print(f"   {verdict} {what}: {key} by {by_key[key]}", flush=True)

    def compare_days(self, what: str, bank: Bank, rows: Iterable[Mapping[str, Any]]) -> None:
        """Rows with core_account_id, booked_on, count, credit and debit against the days of the bank's accounts."""
        by_day = {(row["core_account_id"], date.fromisoformat(row["booked_on"])): row for row in rows}
        for name, expected in (("count", bank.bookings), ("credit", bank.credits), ("debit", bank.debits)):
            self.compare(f"{what}: {name} by account and day", expected, {at: row[name] for at, row in by_day.items()})

    def miss(self, what: str) -> None:
        self.lost += 1
        print(f"   LOST {what}", flush=True)


def once(keys: Iterable[Any]) -> dict[Any, int]:
    return dict.fromkeys(keys, 1)


def tally(line: Line, door: Door, bank: Bank) -> Tally:
    """Compares by SQL in each service's database and by the APIs. What is parked or held counts as lost."""
    found = Tally()
    in_the_ledger(line, bank, found)
    by_the_customer_api(door, bank, found)
    nothing_parked(line, found)
    return found


def in_the_ledger(line: Line, bank: Bank, found: Tally) -> None:
    receipts = line.rows("customer", "select event_id, outcome from received_event")
    applied = Counter(row["event_id"] for row in receipts if row["outcome"] == "applied")
    found.compare("events applied", once(bank.event_ids), applied)
    accounts = line.rows("customer", "select core_account_id, posted_minor, transaction_count from account")
    counts = {account_id: account.count for account_id, account in bank.accounts.items()}
    found.compare("accounts", once(bank.accounts), Counter(row["core_account_id"] for row in accounts))
    found.compare("bookings", counts, {row["core_account_id"]: row["transaction_count"] for row in accounts})
    ledger = line.rows(
        "customer",
        "select a.core_account_id, p.booked_on, count(*) as count,"
        " sum(greatest(p.amount_minor, 0)) as credit, sum(greatest(-p.amount_minor, 0)) as debit"
        " from posting p join account a using (account_id) group by 1, 2",
    )
    found.compare_days("ledger", bank, ledger)


def by_the_customer_api(door: Door, bank: Bank, found: Tally) -> None:
    token = door.token("head_office")
    customers = {row["customer_number"]: row["customer_id"] for row in door.pages("/api/customer/v1/customers", token)}
    numbers = Counter(account.customer_number for account in bank.accounts.values())
    found.compare("customers", once(numbers), once(customers))
    accounts = [
        account
        for customer_id in customers.values()
        for account in door.read(f"/api/customer/v1/customers/{customer_id}/accounts", token)["items"]
    ]
    balances = {account["core_account_id"]: account["balance"]["amount_minor"] for account in accounts}
    stated = {account_id: account.balance_minor for account_id, account in bank.accounts.items()}
    found.compare("balances (minor units)", stated, balances)


def nothing_parked(line: Line, found: Tally) -> None:
    for database in DATABASES:
        parked = line.rows(database, "select type, code, detail from dead_letter")
        found.compare(f"dead letters of {database}", {}, {})
        for row in parked:
            found.miss(f"{row['type']} parked by {database}: {row['code']}, {row['detail']}")
    for row in line.rows("customer", "select event_id, code, detail from kept_event"):
        found.miss(f"{row['event_id']} kept by customer: {row['code']}, {row['detail']}")
