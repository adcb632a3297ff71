"""Every effect of a bank's events in the four services, compared with the oracle's."""

from collections import Counter, defaultdict
from datetime import date
from typing import Any

import msgspec

from services.catalog import SERVICES, compose
from shared.events import EVENT_TYPES
from shared.settings import PlatformSettings
from tests.torture.bank import SOURCE, Bank
from tests.torture.fold import Booking, Day, Expected, Posting, fold
from tests.torture.line import Line
from tests.torture.quiet import heard_topics
from tests.torture.topics import POISON_KEY, OnTopic, Poison
from tests.torture.verdict import Verdict

DAY_COLUMNS = tuple(Day.__dataclass_fields__)


class Comparison:
    """Fills `verdict`. The line is quiet and whole; `log` is everything on its topics."""

    def __init__(self, line: Line, bank: Bank, poison: list[Poison], log: list[OnTopic], verdict: Verdict) -> None:
        self._line = line
        self._bank = bank
        self._poison = poison
        self._log = log
        self._verdict = verdict
        self._expected: Expected = fold(bank)
        parties = line.rows("customer", "select party_id, customer_id, revision, manager_id from customer")
        self._customers: dict[str, Any] = {party: customer_id for party, customer_id, _, _ in parties}
        self._parties = {customer_id: party for party, customer_id in self._customers.items()}
        accounts = line.rows("customer", "select account_id, core_account_id from account")
        self._accounts: dict[Any, str] = {account_id: core_id for account_id, core_id in accounts}  # noqa: C416 - typed
        verdict.once("customers", self._expected.revisions, [row[0] for row in parties])
        verdict.same("revision of customer", self._expected.revisions, {row[0]: row[2] for row in parties})
        verdict.same("manager of customer", self._expected.managers, {row[0]: row[3] for row in parties})

    def compare(self) -> None:
        self._receipts()
        self._ledger()
        self._daily_aggregates()
        self._scores()
        self._alerts()
        self._interactions()
        self._dead_letters()
        self._topics()

    def _receipts(self) -> None:
        """Each fact was applied once, under whichever of the ids it came; what came again is a duplicate."""
        facts = {sent.event_id: sent.fact for sent in self._bank.arrivals}
        rows = self._line.rows("customer", "select event_id, outcome from received_event where source = %s", SOURCE)
        self._verdict.once("receipts", facts, [event_id for event_id, _ in rows])
        settled: dict[str, Counter[str]] = defaultdict(Counter)
        for event_id, outcome in rows:
            settled[facts.get(event_id, event_id)][outcome] += 1
        state = {fact for fact, event in self._bank.facts.items() if hasattr(event, "revision")}
        applied = {fact: counts["applied"] for fact, counts in settled.items() if fact not in state}
        self._verdict.counts("facts applied", Counter(self._bank.facts.keys() - state), applied)
        unsettled = {fact for fact, counts in settled.items() if counts.keys() - {"applied", "duplicate"}}
        for fact in sorted(unsettled):
            self._verdict.violate(f"receipt: {fact} is {dict(settled[fact])}")
        kept = self._line.rows("customer", "select event_id, code from kept_event where source = %s", SOURCE)
        for event_id, code in kept:
            self._verdict.violate(f"kept event: {event_id} is kept as {code}")

    def _ledger(self) -> None:
        rows = self._line.rows(
            "customer",
            "select a.core_account_id, p.core_transaction_id, p.booked_on, p.sequence, p.amount_minor, p.kind,"
            " p.balance_after_minor, p.is_external, p.reverses_transaction_id"
            " from posting p join account a using (account_id)",
        )
        found: dict[Booking, Posting] = {(row[0], row[1]): Posting(*row[2:]) for row in rows}
        self._verdict.once("postings", self._expected.postings, [(row[0], row[1]) for row in rows])
        self._verdict.same("posting", self._expected.postings, found)
        accounts = self._line.rows(
            "customer",
            "select core_account_id, posted_minor, coalesce(stated_minor + posted_since_minor, posted_minor),"
            " transaction_count from account",
        )
        balances = {row[0]: row[2] for row in accounts if row[3]}
        self._verdict.once("accounts with postings", self._expected.balances, balances)
        self._verdict.same("balance", self._expected.balances, balances)
        self._verdict.same("sum of postings", self._expected.balances, {row[0]: row[1] for row in accounts})
        counts = Counter(account for account, _ in self._expected.postings)
        self._verdict.counts("postings counted", counts, {row[0]: row[3] for row in accounts})

    def _daily_aggregates(self) -> None:
        rows = self._line.rows(
            "scoring", f"select customer_id, account_id, booked_on, {', '.join(DAY_COLUMNS)} from daily_aggregate"
        )
        found: dict[tuple[str, date], Day] = {}
        for customer_id, account_id, booked_on, *values in rows:
            account = self._accounts.get(account_id, str(account_id))
            found[account, booked_on] = Day(*values)
            if self._parties.get(customer_id) != f"P{account[1:]}":
                self._verdict.violate(f"daily aggregate: {account} counts for {self._parties.get(customer_id)}")
        expected = self._expected.days
        for name in ("credit_count", "debit_count"):
            self._verdict.counts(
                f"transactions aggregated, {name}",
                {at: getattr(day, name) for at, day in expected.items()},
                {at: getattr(day, name) for at, day in found.items()},
            )
        self._verdict.same("daily aggregate", expected, found)

    def _scores(self) -> None:
        rows = self._line.rows("scoring", "select customer_id, points from customer_score")
        points = {self._parties.get(customer_id, str(customer_id)): value for customer_id, value in rows}
        self._verdict.once("customers scored", self._expected.points, points)
        self._verdict.same("points", self._expected.points, points)

    def _alerts(self) -> None:
        """Raised once on their day; told once, to the one responsible, in the inbox, by mail, and to the others."""
        rows = self._line.rows(
            "scoring", "select alert_id, customer_id, raised_on, closed_on is null and not is_historic from churn_alert"
        )
        alerts = {row[0]: (self._parties.get(row[1], str(row[1])), row[2]) for row in rows}
        self._verdict.once("alerts", self._expected.alerts, alerts.values())
        for alert_id, *_, is_open in rows:
            if not is_open:
                self._verdict.violate(f"alert: {alerts[alert_id]} is closed or historic")
        ids = list(alerts)
        managers = {alert_id: self._expected.managers.get(party) for alert_id, (party, _) in alerts.items()}
        items = self._line.rows("notification", "select alert_id, staff_id from inbox_item")
        self._verdict.once("inbox items", managers.items(), items)
        mails = self._line.rows(
            "notification",
            "select alert_id, staff_id, delivery_id from delivery where channel = 'email' and state = 'delivered'",
        )
        self._verdict.once("mails delivered", managers.items(), [(row[0], row[1]) for row in mails])
        self._verdict.once("mails received", [str(row[2]) for row in mails], self._line.mails())
        raised = self._line.rows("interaction", "select alert_id from timeline_entry where kind = 'alert_raised'")
        self._verdict.once("alerts on timelines", ids, [row[0] for row in raised])
        told = self._line.rows(
            "interaction", "select alert_id, facts->>'channel' from timeline_entry where kind = 'alert_delivered'"
        )
        channels = [(alert_id, channel) for alert_id in ids for channel in ("inbox", "email")]
        self._verdict.once("deliveries on timelines", channels, told)
        self._verdict.once(
            "alerts known to interaction", ids, [row[0] for row in self._line.rows("interaction", _INTERACTION_ALERTS)]
        )

    def _interactions(self) -> None:
        contacts = self._line.rows("interaction", "select customer_id from contact")
        expected = Counter(contact.removeprefix("K") for contact in self._expected.contacts)
        self._verdict.counts("contacts", expected, Counter(self._parties.get(row[0], str(row[0])) for row in contacts))
        for table, ids in (("complaint", self._expected.complaints), ("survey", self._expected.surveys)):
            rows = self._line.rows("interaction", f"select customer_id from {table}")
            found = Counter(self._parties.get(row[0], str(row[0])) for row in rows)
            self._verdict.counts(table, Counter(fact[1:] for fact in ids), found)

    def _dead_letters(self) -> None:
        """Exactly the poison, once for each record of it and each service that reads its topic.

        What says to be an event of a known type is passed by unread where nobody hears that type.
        """
        heard = heard_topics()
        codes = {poison.key: poison.code for poison in self._poison}
        records = Counter((record.topic, record.key) for record in self._log if record.key.startswith(POISON_KEY))
        types = {
            poison.key: EVENT_TYPES.get(dict(poison.headers).get("ce_type", b"").decode()) for poison in self._poison
        }
        self._verdict.once("poison sent", codes, {key for _, key in records})
        for service in SERVICES:
            hears = compose(service, PlatformSettings()).subscriptions.hears
            expected = {
                (topic, key.decode(), codes.get(key)): count
                for (topic, key), count in records.items()
                if topic in heard[service] and ((known := types.get(key)) is None or hears(known))
            }
            rows = self._line.rows(service, "select topic, key, code from dead_letter")
            found = Counter((topic, bytes(key or b"").decode("utf-8", "replace"), code) for topic, key, code in rows)
            self._verdict.counts(f"dead letters of {service}", expected, found)

    def _topics(self) -> None:
        """A log may hold a record twice; under one id it is one event, and whoever hears its type has had it once."""
        events: dict[str, OnTopic] = {}
        for record in self._log:
            event_id = record.headers.get("ce_id", "")
            if record.key.startswith(POISON_KEY) or not event_id:
                continue
            first = events.setdefault(event_id, record)
            if (first.value, first.key) != (record.value, record.key):
                self._verdict.violate(f"topic {record.topic}: two events have the id {event_id}")
        for service in SERVICES:
            self._delivered(service, events)
        self._transactions_told(list(events.values()))
        self._revisions_in_order()

    def _delivered(self, service: str, events: dict[str, OnTopic]) -> None:
        subscriptions = compose(service, PlatformSettings()).subscriptions
        heard = [
            event_id
            for event_id, record in events.items()
            if (event_type := EVENT_TYPES.get(record.headers.get("ce_type", ""))) and subscriptions.hears(event_type)
        ]
        rows = self._line.rows(service, "select event_id::text from delivered_event")
        self._verdict.once(f"events delivered to {service}", heard, [row[0] for row in rows])

    def _transactions_told(self, events: list[OnTopic]) -> None:
        accounts = {str(account_id): core_id for account_id, core_id in self._accounts.items()}
        told: Counter[tuple[str, date, int]] = Counter()
        for record in events:
            if record.headers.get("ce_type") == "customer.transactions_posted.v1":
                for each in msgspec.json.decode(record.value)["transactions"]:
                    account, booked_on = accounts.get(each["account_id"], ""), date.fromisoformat(each["booked_on"])
                    told[account, booked_on, each["sequence"]] += 1
        expected = Counter(
            (account, posting.booked_on, posting.sequence) for (account, _), posting in self._expected.postings.items()
        )
        self._verdict.counts("transactions told", expected, told)

    def _revisions_in_order(self) -> None:
        """State events of one key lie in the log in the order of their revisions, however often each does."""
        last: dict[tuple[str, bytes, str], int] = {}
        seen: set[str] = set()
        for record in sorted(self._log, key=lambda record: (record.topic, record.partition, record.offset)):
            event_id = record.headers.get("ce_id", "")
            if not record.topic.startswith("customer.") or record.key.startswith(POISON_KEY) or event_id in seen:
                continue
            seen.add(event_id)
            body = msgspec.json.decode(record.value)
            if "revision" in body:
                at = (record.headers["ce_type"], record.key, body.get("account_id", body.get("complaint_id", "")))
                if body["revision"] < last.get(at, -1):
                    self._verdict.violate(f"order on {record.topic}: {at[0]} of {at[1].decode()} went back in revision")
                last[at] = body["revision"]


_INTERACTION_ALERTS = "select alert_id from alert where raised_on is not null and closed_at is null"
