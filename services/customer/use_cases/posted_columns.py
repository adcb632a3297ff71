"""What a batch of posted transactions leaves, by columns: ledger, receipts, and what customers' events tell."""

from datetime import date
from itertools import compress, pairwise

import msgspec
import numpy as np
from sqlalchemy.ext.asyncio import AsyncSession

from services.customer.use_cases.account_columns import Accounts, Booked, Flags
from services.customer.use_cases.receiving import Outcome
from services.customer.use_cases.transaction_columns import AT_ONCE, Ints, Transactions
from shared.columns import Column, booleans, choices, codes, constant, dates, integers
from shared.copying import copy_columns
from shared.events.corebanking import TransactionPosted
from shared.events.customer import TransactionsPosted
from shared.ids import derived_ids, texts_of
from shared.messaging.outbox import publish_encoded

MOST_IN_ONE_EVENT = 1_000


async def write_receipts(session: AsyncSession, transactions: Transactions, at: Ints, applied: Flags) -> None:
    """Of the events at these indexes, which have none yet: each is applied, or a duplicate."""
    outcomes = choices([Outcome.DUPLICATE.value, Outcome.APPLIED.value])
    columns = {
        "source": constant(transactions.source, len(at)),
        "event_id": codes([transactions.event_ids[index] for index in at.tolist()]),
        "type": constant(TransactionPosted.TYPE, len(at)),
        "fingerprint": integers("int8", transactions.fingerprints[at]),
        "outcome": outcomes.take(applied.astype(np.int64)),
    }
    await copy_columns(session, "received_event", columns)


async def write_postings(
    session: AsyncSession, transactions: Transactions, accounts: Accounts, rows: Booked, order: Ints
) -> None:
    """`order` are the transactions' indexes for the `rows`."""
    columns = transactions.columns
    banks = columns["counterparty_bank"]
    written = {
        "account_id": Column("uuid", accounts.account_id[rows.account]),
        "core_transaction_id": codes(columns["transaction_id"]).take(order),
        "fingerprint": integers("int8", transactions.fingerprints[order]),
        "customer_id": Column("uuid", accounts.customer_id[rows.account]),
        "booked_on": dates(rows.day),
        "sequence": integers("int8", rows.sequence),
        "amount_minor": integers("int8", rows.amount),
        "kind": choices(columns["kind"]).take(order),
        "balance_after_minor": integers("int8", rows.stated, ~rows.states),
        "is_external": booleans(np.array([bank is not None for bank in banks])[order]),
    }
    await copy_columns(session, "posting", written)


class _Told(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """`PostedTransaction` as it is written, with ids that are texts already; the rest of the event is put around it."""

    transaction_id: str
    account_id: str
    booked_on: date
    sequence: int
    amount_minor: int
    currency: str
    kind: str
    balance_after_minor: int | None = None
    is_external: bool = False


_encoder = msgspec.json.Encoder()


def tell_customers(
    session: AsyncSession, transactions: Transactions, accounts: Accounts, rows: Booked, order: Ints
) -> None:
    """Publishes each customer's transactions in one event, or in as few as may be."""
    customers, customer = np.unique(accounts.customer_id.view("S16"), return_inverse=True)
    customer_ids = texts_of(customers.tobytes())
    by_customer = np.argsort(customer[rows.account], kind="stable")
    told_to = customer[rows.account[by_customer]]
    told = _told(transactions, accounts, rows, order, by_customer)
    starts = np.flatnonzero(np.concatenate(([True], told_to[1:] != told_to[:-1])))
    keys, payloads = [], []
    for key, (first, last) in zip(told_to[starts].tolist(), pairwise([*starts.tolist(), len(told)]), strict=True):
        customer_id = customer_ids[key]
        for some in range(first, last, MOST_IN_ONE_EVENT):
            listed = b",".join(told[some : min(some + MOST_IN_ONE_EVENT, last)])
            keys.append(customer_id)
            payloads.append(b'{"customer_id":"%b","transactions":[%b]}' % (customer_id.encode(), listed))
    publish_encoded(session, TransactionsPosted, keys, payloads)


def _told(transactions: Transactions, accounts: Accounts, rows: Booked, order: Ints, wanted: Ints) -> list[bytes]:
    """The `wanted` rows as they are written. They are made in the order in which they came, as they lie in memory."""
    joined = accounts.account_id.tobytes()
    account_ids = [joined[at : at + 16] for at in range(0, len(joined), 16)]
    account_texts = texts_of(joined)
    account_of = np.full(len(transactions), -1)
    account_of[order] = rows.account
    columns, told = transactions.columns, list[bytes]()
    for first in range(0, len(transactions), AT_ONCE):
        which = account_of[first : first + AT_ONCE].tolist()
        part = {name: column[first : first + AT_ONCE] for name, column in columns.items()}
        if -1 in which:
            new = [at >= 0 for at in which]
            which = list(compress(which, new))
            part = {name: list(compress(column, new)) for name, column in part.items()}
        made = list(
            map(
                _Told,
                texts_of(derived_ids([account_ids[at] for at in which], part["transaction_id"])),
                [account_texts[at] for at in which],
                part["booked_on"],
                part["sequence"],
                part["amount_minor"],
                part["currency"],
                part["kind"],
                part["balance_after_minor"],
                [bank is not None for bank in part["counterparty_bank"]],
            )
        )
        told += _encoder.encode_lines(made).split(b"\n")[: len(made)]  # a line break within a text is escaped
    place = np.empty(len(transactions), np.int64)
    place[np.sort(order)] = np.arange(len(order))
    return [told[at] for at in place[order[wanted]].tolist()]
