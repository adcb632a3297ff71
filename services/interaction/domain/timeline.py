"""What a customer's timeline holds, and what it says about each entry in a sentence."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

Facts = Mapping[str, Any]
"""What the sentence is made of; nothing personal."""


class EntryKind(StrEnum):
    CONTACT = "contact"
    COMPLAINT_OPENED = "complaint_opened"
    COMPLAINT_RESOLVED = "complaint_resolved"
    SURVEY = "survey"
    LIFE_EVENT = "life_event"
    ACCOUNT_OPENED = "account_opened"
    ACCOUNT_CLOSED = "account_closed"
    RISK_BAND_CHANGED = "risk_band_changed"
    ALERT_RAISED = "alert_raised"
    ALERT_DELIVERED = "alert_delivered"
    ALERT_ACKNOWLEDGED = "alert_acknowledged"
    ALERT_SNOOZED = "alert_snoozed"
    ALERT_CLOSED = "alert_closed"
    OUTCOME_RECORDED = "outcome_recorded"


SUBJECT: Mapping[EntryKind, str] = {
    EntryKind.CONTACT: "contact_id",
    EntryKind.COMPLAINT_OPENED: "complaint_id",
    EntryKind.COMPLAINT_RESOLVED: "complaint_id",
    EntryKind.SURVEY: "survey_id",
    EntryKind.LIFE_EVENT: "life_event_id",
    EntryKind.ACCOUNT_OPENED: "account_id",
    EntryKind.ACCOUNT_CLOSED: "account_id",
    EntryKind.OUTCOME_RECORDED: "outcome_id",
}
"""What an entry's subject is the id of; those not named are about an alert, or about the customer alone."""


@dataclass(frozen=True, slots=True)
class Entry:
    """`identity` and `kind` make it one entry: telling it again changes nothing."""

    customer_id: UUID
    kind: EntryKind
    identity: UUID
    occurred_at: datetime
    facts: Facts
    subject_id: UUID | None = None
    alert_id: UUID | None = None


def start_of(day: date) -> datetime:
    """Where something stands that is known by its day alone."""
    return datetime.combine(day, time(), UTC)


def within(day: date, told_at: datetime) -> datetime:
    """Where something stands that was found by the close of `day`: when it was told, or that day's last moment."""
    if day == date.max:
        return told_at
    return min(told_at, start_of(day + timedelta(days=1)) - timedelta(microseconds=1))


def before(instant: datetime) -> datetime:
    """Where the cause of what has the same instant stands: a risk's new band, and the alert that it raises."""
    return instant - timedelta(microseconds=1)


def after(instant: datetime) -> datetime:
    """Where the consequence of what has the same instant stands: an alert's end, and the outcome that ends it."""
    return instant + timedelta(microseconds=1)


def references(kind: EntryKind, subject_id: UUID | None, alert_id: UUID | None) -> dict[str, UUID]:
    """The ids to read more by, under their names."""
    named = {"alert_id": alert_id}
    if kind in SUBJECT:
        named[SUBJECT[kind]] = subject_id
    return {name: value for name, value in named.items() if value is not None}


def summarise(kind: EntryKind, facts: Facts) -> str:
    """One plain sentence, without a full stop."""
    return _SENTENCES[kind](facts)


_BY_BANK = {
    "call": "called the customer",
    "visit": "met the customer",
    "message": "sent the customer a message",
    "email": "sent the customer an e-mail",
}
_BY_CUSTOMER = {
    "call": "The customer called",
    "visit": "The customer came to the branch",
    "message": "The customer sent a message",
    "email": "The customer sent an e-mail",
}
_ACCOUNTS = {
    "current": "a current account",
    "savings": "a savings account",
    "term_deposit": "a term deposit",
    "card": "a card",
    "loan": "a loan",
}
_LIFE_EVENTS = {
    "death_in_household": "a death in the household",
    "marriage": "a marriage",
    "birth": "a birth",
    "move": "a move",
    "retirement": "retirement",
    "job_change": "a new job",
}
_CLOSURES = {
    "outcome": "an outcome was recorded",
    "recovery": "the risk has fallen again",
    "departure": "the customer has left",
    "restriction": "the customer's record is restricted",
}
_CHANNELS = {"inbox": "in the inbox", "email": "by e-mail", "webhook": "by a webhook"}
_OUTCOMES = {"saved": "saved", "lost": "lost", "not_a_risk": "not a risk"}
MOST_REASONS = 3


def _named(names: Mapping[str, str], value: Any) -> str:
    """A value's name; one that a later version brings is shown as it is written."""
    return names.get(value) or str(value).replace("_", " ")


def _contact(facts: Facts) -> str:
    channel = facts.get("channel")
    if facts.get("by_customer"):
        told = _BY_CUSTOMER.get(str(channel)) or "The customer got in touch"
        return f"{told}, {facts['manager_id']} took it" if facts.get("manager_id") else told
    return f"{facts.get('manager_id') or 'The bank'} {_BY_BANK.get(str(channel)) or 'contacted the customer'}"


def _survey(facts: Facts) -> str:
    """The bands of the Net Promoter Score (Reichheld 2003)."""
    score = facts.get("score", 0)
    band = "promoter" if score >= 9 else "passive" if score >= 7 else "detractor"
    return f"Survey answered: {score} of 10 ({band})"


def _alert_raised(facts: Facts) -> str:
    reasons = list(facts.get("reasons", ()))
    told = "; ".join(str(reason).rstrip(".") for reason in reasons[:MOST_REASONS])
    if len(reasons) > MOST_REASONS:
        told += f"; and {len(reasons) - MOST_REASONS} more"
    sentence = f"Churn alert, {facts.get('points')} points" + (f": {told}" if told else "")
    return f"{sentence} (found later, nobody was told)" if facts.get("is_historic") else sentence


def _alert_snoozed(facts: Facts) -> str:
    until = datetime.fromisoformat(facts["snoozed_until"]).astimezone(UTC)
    return f"{facts.get('manager_id')} put the alert off until {until:%Y-%m-%d %H:%M} UTC"


_SENTENCES: Mapping[EntryKind, Callable[[Facts], str]] = {
    EntryKind.CONTACT: _contact,
    EntryKind.COMPLAINT_OPENED: lambda _: "The customer complained",
    EntryKind.COMPLAINT_RESOLVED: lambda facts: f"Complaint {facts.get('outcome') or 'resolved'}",
    EntryKind.SURVEY: _survey,
    EntryKind.LIFE_EVENT: lambda facts: f"Life event: {_named(_LIFE_EVENTS, facts.get('kind'))}",
    EntryKind.ACCOUNT_OPENED: lambda facts: f"Opened {_named(_ACCOUNTS, facts.get('kind'))} ({facts.get('currency')})",
    EntryKind.ACCOUNT_CLOSED: lambda facts: f"Closed {_named(_ACCOUNTS, facts.get('kind'))} ({facts.get('currency')})",
    EntryKind.RISK_BAND_CHANGED: lambda facts: f"Risk is now {facts.get('band')}, {facts.get('points')} points",
    EntryKind.ALERT_RAISED: _alert_raised,
    EntryKind.ALERT_DELIVERED: lambda facts: (
        f"{facts.get('manager_id')} was told of the alert {_named(_CHANNELS, facts.get('channel'))}"
    ),
    EntryKind.ALERT_ACKNOWLEDGED: lambda facts: f"{facts.get('manager_id')} acknowledged the alert",
    EntryKind.ALERT_SNOOZED: _alert_snoozed,
    EntryKind.ALERT_CLOSED: lambda facts: f"Alert closed: {_named(_CLOSURES, facts.get('closure'))}",
    EntryKind.OUTCOME_RECORDED: lambda facts: (
        f"{facts.get('manager_id')} recorded: {_named(_OUTCOMES, facts.get('outcome'))}"
    ),
}
