"""Ids of events that say no more than which transaction they post, as those of a history's rows."""

from collections.abc import Sequence
from typing import NamedTuple

from shared.events.corebanking import TransactionPosted

PREFIX = f"{TransactionPosted.TYPE}:"


class Transaction(NamedTuple):
    """By the core's ids."""

    account_id: str
    transaction_id: str


def transaction_named_by(event_id: str) -> Transaction | None:
    """The transaction that an event with this id posts, if its id says so."""
    if not event_id.startswith(PREFIX):
        return None
    account_id, slash, transaction_id = event_id.removeprefix(PREFIX).partition("/")
    return Transaction(account_id, transaction_id) if slash and "/" not in transaction_id else None


def event_id_of(account_id: str, transaction_id: str) -> str:
    """For what `can_name` allows."""
    return f"{PREFIX}{account_id}/{transaction_id}"


def can_name(accounts: Sequence[str], transactions: Sequence[str]) -> bool:
    """Whether their ids tell these transactions from all others."""
    return "/" not in "".join(accounts) and "/" not in "".join(transactions)
