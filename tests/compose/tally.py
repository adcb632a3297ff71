"""What was sent against what is there."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from datetime import date
from typing import Any

from tests.compose.bank import Bank
from tests.compose.line import DATABASES, Line
from tests.compose.stream import Door

SHOWN = 5
SAMPLED = 4
"""One customer of so many is read by the API; by SQL all are."""


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

    def compare_amounts(self, what: str, expected: Mapping[Any, int], found: Mapping[Any, int]) -> None:
        """An amount that is too small has lost something, one that is too great has something twice."""
        print(f"   {what}: {sum(expected.values()):,} expected, {sum(found.values()):,} there", flush=True)
        for key in expected.keys() | found.keys():
            difference = found.get(key, 0) - expected.get(key, 0)
            if difference:
                self.lost += difference < 0
                self.doubled += difference > 0
                print(f"   WRONG {what}: {key} by {difference}", flush=True)

    def compare_days(self, what: str, bank: Bank, rows: Iterable[Mapping[str, Any]]) -> None:
        """Rows with core_account_id, booked_on, count, credit and debit against the days of the bank's accounts."""
        by_day = {(row["core_account_id"], date.fromisoformat(row["booked_on"])): row for row in rows}
        self.compare(f"{what}, bookings", bank.bookings, {at: row["count"] for at, row in by_day.items()})
        for name, expected in (("credit", bank.credits), ("debit", bank.debits)):
            self.compare_amounts(f"{what}, {name}", expected, {at: row[name] for at, row in by_day.items()})

    def miss(self, what: str) -> None:
        self.lost += 1
        print(f"   LOST {what}", flush=True)


def once(keys: Iterable[Any]) -> dict[Any, int]:
    return dict.fromkeys(keys, 1)


def tally(line: Line, door: Door, bank: Bank, settled: Collection[str]) -> Tally:
    """Compares by SQL in each service's database and by the APIs. What is parked or held counts as lost.

    `settled` are the alerts that managers recorded a contact and an outcome of.
    """
    found = Tally()
    in_the_ledger(line, bank, found)
    by_the_customer_api(door, bank, found)
    in_the_scores(line, bank, found)
    in_the_inboxes(line, door, found)
    in_the_timelines(line, bank, settled, found)
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
        for customer_id in list(customers.values())[::SAMPLED]
        for account in door.read(f"/api/customer/v1/customers/{customer_id}/accounts", token)["items"]
    ]
    balances = {account["core_account_id"]: account["balance"]["amount_minor"] for account in accounts}
    stated = {account_id: bank.accounts[account_id].balance_minor for account_id in balances}
    found.compare_amounts("balances", stated, balances)


def in_the_scores(line: Line, bank: Bank, found: Tally) -> None:
    core_ids = {
        row["account_id"]: row["core_account_id"]
        for row in line.rows("customer", "select account_id, core_account_id from account")
    }
    aggregates = line.rows(
        "scoring",
        "select account_id, booked_on, credit_count + debit_count as count, credit_minor as credit,"
        " debit_minor as debit from daily_aggregate",
    )
    days = [{**row, "core_account_id": core_ids.get(row["account_id"])} for row in aggregates]
    found.compare_days("daily aggregates", bank, days)
    raised = line.rows(
        "scoring",
        "select s.customer_number from churn_alert a join customer_scope s using (customer_id) where not a.is_historic",
    )
    by_number = Counter(row["customer_number"] for row in raised)
    found.compare("alerts of those at risk", once(bank.at_risk), {n: by_number[n] for n in bank.at_risk})


def in_the_inboxes(line: Line, door: Door, found: Tally) -> None:
    """Every alert that was raised lies in one inbox and went out in one e-mail."""
    alerts = once(alerts_raised(line))
    items = line.rows("notification", "select alert_id from inbox_item")
    found.compare("inbox items", alerts, Counter(row["alert_id"] for row in items))
    mails = line.rows(
        "notification",
        "select d.alert_id, d.delivery_id, d.state = 'cancelled' and a.state = 'closed' as withdrawn, d.state"
        " from delivery d join alert a using (alert_id) where d.channel = 'email'",
    )
    settled = Counter(row["alert_id"] for row in mails if row["state"] == "delivered" or row["withdrawn"])
    found.compare("e-mails delivered, or withdrawn with their alert", alerts, settled)
    withdrawn = {row["delivery_id"] for row in mails if row["withdrawn"]}
    kept = Counter(mail["message_id"].strip("<>").partition("@")[0] for mail in door.mails())
    expected = once(row["delivery_id"] for row in mails if not row["withdrawn"])
    found.compare("e-mails received", expected, {key: kept[key] for key in kept.keys() - withdrawn})


def in_the_timelines(line: Line, bank: Bank, settled: Collection[str], found: Tally) -> None:
    contacts = line.rows(
        "interaction",
        "select s.customer_number, c.alert_id from contact c join customer_scope s using (customer_id)",
    )
    reported = Counter(row["customer_number"] for row in contacts if row["alert_id"] is None)
    found.compare("contacts reported", bank.contacts, reported)
    logged = Counter(row["alert_id"] for row in contacts if row["alert_id"] is not None)
    found.compare("contacts logged", once(settled), logged)
    told = line.rows("interaction", "select alert_id from timeline_entry where kind = 'alert_raised'")
    found.compare("alerts on timelines", once(alerts_raised(line)), Counter(row["alert_id"] for row in told))
    for database in ("interaction", "scoring"):
        outcomes = line.rows(database, "select alert_id from retention_outcome")
        found.compare(f"outcomes in {database}", once(settled), Counter(row["alert_id"] for row in outcomes))
    closed = line.rows("scoring", "select alert_id from churn_alert where closed_on is not null")
    found.compare("settled alerts closed", once(settled), once({row["alert_id"] for row in closed} & set(settled)))


def alerts_raised(line: Line) -> list[str]:
    return [row["alert_id"] for row in line.rows("scoring", "select alert_id from churn_alert where not is_historic")]


def nothing_parked(line: Line, found: Tally) -> None:
    for database in DATABASES:
        parked = line.rows(database, "select type, code, detail from dead_letter")
        found.compare(f"dead letters of {database}", {}, {})
        for row in parked:
            found.miss(f"{row['type']} parked by {database}: {row['code']}, {row['detail']}")
    for row in line.rows("customer", "select event_id, code, detail from kept_event"):
        found.miss(f"{row['event_id']} kept by customer: {row['code']}, {row['detail']}")
