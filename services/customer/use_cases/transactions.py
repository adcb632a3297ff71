"""Posting the core's transactions: each counts once, for ever, in the day that it belongs to."""

from collections import defaultdict
from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from services.customer.use_cases.ledger import LockedAccount, Posting, lock_accounts, recall_postings, write_postings
from services.customer.use_cases.posted_columns import MOST_IN_ONE_EVENT
from services.customer.use_cases.receiving import Arrived, Received, hashes_in
from services.customer.use_cases.reversals import reverse_transactions
from shared.columns import texts
from shared.events.corebanking import TransactionPosted, TransactionReversed
from shared.events.customer import PostedTransaction, TransactionsPosted
from shared.ids import derived_id
from shared.messaging.outbox import publish


async def post_transactions(session: AsyncSession, arrived: Arrived) -> None:
    """Writes the ledger and the balances, and tells each customer's transactions in one event."""
    movements: list[tuple[Received, TransactionPosted | TransactionReversed]]
    movements = arrived.of(TransactionPosted, TransactionReversed)
    if not movements:
        return
    accounts = await lock_accounts(session, arrived.source, {event.account_id for _, event in movements})
    named: dict[str, list[str]] = defaultdict(list)
    for (received, event), doubtful in zip(movements, _doubtful(arrived, movements), strict=True):
        account = accounts.get(event.account_id)
        if account is None:
            received.hold("account", event.account_id, "/data/account_id")
        elif isinstance(event, TransactionPosted) and event.currency != account.currency:
            received.park("currency_mismatch", "/data/currency", "the account is in another currency")
        elif doubtful:
            named[event.account_id].append(event.transaction_id)
    await recall_postings(session, [(accounts[core_id], ids) for core_id, ids in named.items()])
    for received, posted in arrived.of(TransactionPosted):
        account = accounts[posted.account_id]
        if account.is_new(received, posted.transaction_id):
            account.post(
                received,
                Posting(
                    account_id=account.account_id,
                    core_transaction_id=posted.transaction_id,
                    fingerprint=received.fingerprint,
                    customer_id=account.customer_id,
                    booked_on=posted.booked_on,
                    sequence=posted.sequence,
                    amount_minor=posted.amount_minor,
                    kind=posted.kind,
                    balance_after_minor=posted.balance_after_minor,
                    is_external=posted.counterparty_bank is not None,
                    reverses_transaction_id=None,
                ),
            )
    await reverse_transactions(session, arrived, accounts)
    moved = await write_postings(session, list(accounts.values()))
    _tell(session, moved)
    await _bring(session, arrived, moved)


def _doubtful(
    arrived: Arrived, movements: Sequence[tuple[Received, TransactionPosted | TransactionReversed]]
) -> list[bool]:
    """Which of them may have been posted before."""
    if arrived.remembered is None:
        return [True] * len(movements)
    ids = [event.account_id for _, event in movements], [event.transaction_id for _, event in movements]
    hashes = hashes_in(arrived.source, *map(texts, ids))
    doubtful: list[bool] = arrived.remembered.transactions.doubtful(hashes).tolist()
    arrived.remembered.transactions.add(hashes)
    return doubtful


_REVERSALS_WAIT = text("select exists (select from kept_event where waits_for is not null and code = :code)")


async def reversals_wait(session: AsyncSession) -> bool:
    """Whether any reversal is held: hardly ever. Ask it with the accounts locked that they are of."""
    return bool(await session.scalar(_REVERSALS_WAIT, {"code": "unknown_transaction"}))


async def _bring(session: AsyncSession, arrived: Arrived, moved: Sequence[LockedAccount]) -> None:
    """Reversals may wait for what was posted."""
    if moved and await reversals_wait(session):
        arrived.brought.update(
            f"transaction:{account.core_account_id}/{posting.core_transaction_id}"
            for account in moved
            for posting in account.postings
        )


def _tell(session: AsyncSession, moved: Sequence[LockedAccount]) -> None:
    by_customer: dict[UUID, list[PostedTransaction]] = defaultdict(list)
    for account in moved:
        account_id, currency = account.account_id, account.currency
        for posting in account.postings:
            by_customer[posting.customer_id].append(
                PostedTransaction(
                    transaction_id=derived_id(account_id, posting.core_transaction_id),
                    account_id=account_id,
                    booked_on=posting.booked_on,
                    sequence=posting.sequence,
                    amount_minor=posting.amount_minor,
                    currency=currency,
                    kind=posting.kind,
                    balance_after_minor=posting.balance_after_minor,
                    is_external=posting.is_external,
                    is_reversal=posting.reverses_transaction_id is not None,
                )
            )
    for customer_id, transactions in by_customer.items():
        for first in range(0, len(transactions), MOST_IN_ONE_EVENT):
            some = tuple(transactions[first : first + MOST_IN_ONE_EVENT])
            publish(session, TransactionsPosted(customer_id=customer_id, transactions=some))
