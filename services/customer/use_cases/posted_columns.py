"""What a batch of posted transactions leaves, by columns: ledger, receipts, and what customers' events tell."""

from collections.abc import Generator
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from sqlalchemy.ext.asyncio import AsyncSession

from services.customer.use_cases.account_columns import Accounts, Booked, Flags
from services.customer.use_cases.receiving import Outcome
from services.customer.use_cases.transaction_columns import AT_ONCE, Ints, Transactions, texts_in
from services.customer.use_cases.transaction_ids import event_id_of
from shared import json_columns as json
from shared.columns import Column, booleans, choices, constant, dates, integers, texts
from shared.copying import copy_columns
from shared.events.corebanking import TransactionPosted
from shared.ids import derived_ids, written_ids
from shared.json_columns import Part, Written
from shared.masking import masked

MOST_IN_ONE_EVENT = 1_000
ROWS_AT_ONCE = 20_000
"""Of which customers' events are made."""


async def write_receipts(session: AsyncSession, transactions: Transactions, at: Ints, applied: Flags) -> None:
    """Of the events at these indexes, which have none yet: each is applied, or a duplicate."""
    outcomes = choices([Outcome.DUPLICATE.value, Outcome.APPLIED.value])
    event_ids, facts = transactions.event_ids, transactions.facts
    if event_ids is None:
        named = zip(texts_in(facts.account_id, at), texts_in(facts.transaction_id, at), strict=True)
        ids = texts([event_id_of(*each) for each in named])
    else:
        ids = event_ids.take(at)
    columns = {
        "source": constant(transactions.source, len(at)),
        "event_id": ids,
        "type": constant(TransactionPosted.TYPE, len(at)),
        "fingerprint": integers("int8", transactions.fingerprints[at]),
        "outcome": outcomes.take(applied.astype(np.int64)),
    }
    await copy_columns(session, "received_event", columns)


async def write_postings(
    session: AsyncSession, transactions: Transactions, accounts: Accounts, rows: Booked, order: Ints
) -> None:
    """`order` are the transactions' indexes for the `rows`."""
    facts = transactions.facts
    written = {
        "account_id": Column("uuid", accounts.account_id[rows.account]),
        "core_transaction_id": facts.transaction_id.take(order),
        "fingerprint": integers("int8", transactions.fingerprints[order]),
        "customer_id": Column("uuid", accounts.customer_id[rows.account]),
        "booked_on": dates(rows.day),
        "sequence": integers("int8", rows.sequence),
        "amount_minor": integers("int8", rows.amount),
        "kind": facts.kind.take(order),
        "balance_after_minor": integers("int8", rows.stated, ~rows.states),
        "is_external": booleans(facts.is_external[order]),
        "is_receipt": booleans(np.full(len(order), transactions.event_ids is None)),
    }
    await copy_columns(session, "posting", written)


@masked
class Told(NamedTuple):
    """Customers' events, each with its key."""

    keys: list[str]
    payloads: list[bytes]


def telling(transactions: Transactions, accounts: Accounts, rows: Booked, order: Ints) -> Generator[None, None, Told]:
    """Bit by bit, each customer's transactions in one event, or in as few as may be."""
    customers, customer = np.unique(accounts.customer_id.view("S16"), return_inverse=True)
    by_customer = np.argsort(customer[rows.account], kind="stable")
    told_to = customer[rows.account[by_customer]]
    starts = np.flatnonzero(np.concatenate(([True], told_to[1:] != told_to[:-1])))
    counts = np.diff(np.append(starts, len(told_to)))
    begins = (np.arange(len(told_to)) - np.repeat(starts, counts)) % MOST_IN_ONE_EVENT == 0
    yield
    keys = [each.decode() for each in written_ids(customers).view("S36")[told_to[begins]].tolist()]
    events, payloads = np.append(np.flatnonzero(begins), len(told_to)), list[bytes]()
    first = 0
    while first < len(told_to):
        # As many whole events as begin within so many rows: all at once, their bytes would be there thrice.
        last = int(events[np.searchsorted(events, min(first + ROWS_AT_ONCE, len(told_to)))])
        some = slice(first, last)
        rows_of, index = rows.take(by_customer[some]), order[by_customer[some]]
        told = yield from _telling(transactions, accounts, rows_of, index, begins[some])
        bounds = [*told.at[begins[some]].tolist(), int(told.at[-1] + told.length[-1])]
        payloads += [told.buffer[at:end] for at, end in pairwise(bounds)]
        first = last
    return Told(keys, payloads)


def _telling(
    transactions: Transactions, accounts: Accounts, rows: Booked, order: Ints, begins: Flags
) -> Generator[None, None, Written]:
    """The rows as customers' events say them, one after the other: where one `begins`, with what comes before it."""
    facts, account_texts = transactions.facts, written_ids(accounts.account_id)
    customer_texts = written_ids(accounts.customer_id)
    ends = np.append(begins[1:], True)
    is_external = facts.is_external
    told = []
    for first in range(0, len(order), AT_ONCE):
        some = slice(first, first + AT_ONCE)
        index, account, new, end = order[some], rows.account[some], begins[some], ends[some]
        cause = accounts.account_id[account]
        step = json.texts(facts.transaction_id.take(index))
        ids = derived_ids(cause, json.written([json.fixed(cause), step], len(index)).rows())
        parts: list[bytes | Part] = [json.literal(b",", ~new), json.literal(b'{"customer_id":"', new)]
        parts += [json.fixed(customer_texts[account]).where(new), json.literal(b'","transactions":[', new)]
        parts += [b'{"transaction_id":"', json.fixed(written_ids(ids)), b'","account_id":"']
        parts += [json.fixed(account_texts[account]), b'","booked_on":"', json.dates(rows.day[some]), b'","sequence":']
        parts += [json.integers(rows.sequence[some]), transactions.told.part(index)]
        parts += [json.literal(b',"is_external":true', is_external[index]), b"}", json.literal(b"]}", end)]
        told.append(json.written(parts, len(index)))
        yield
    return json.joined(told)
