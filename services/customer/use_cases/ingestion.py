"""Receiving the core's events: each is applied, held, parked or known already, and its sender can ask which."""

from collections import deque
from collections.abc import Sequence, Set
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from services.customer.use_cases.accounts import record_accounts
from services.customer.use_cases.branches import record_branches
from services.customer.use_cases.business_days import close_business_days
from services.customer.use_cases.column_posting import post_columns
from services.customer.use_cases.erasures import let_go_of_erased
from services.customer.use_cases.fingerprints import keyed_fingerprints
from services.customer.use_cases.managers import record_managers
from services.customer.use_cases.parties import record_parties
from services.customer.use_cases.receipts import Receipts, due_releases, forget_due, release_held
from services.customer.use_cases.receiving import Arrived, Received, Remembered, by_source
from services.customer.use_cases.reported_facts import report_facts
from services.customer.use_cases.rows import ANY_ID, as_json
from services.customer.use_cases.transaction_columns import Transactions
from services.customer.use_cases.transaction_ids import transaction_named_by
from services.customer.use_cases.transactions import post_transactions
from shared.clock import Clock
from shared.database import Database
from shared.events.corebanking import AccountRecorded


@dataclass(frozen=True)
class Rules:
    """`partitions` is how many `customer.transactions` has: each is told of a closed day."""

    partitions: int
    tolerance_minor: int


MOST_RELEASED = 10_000
"""Held events that one transaction applies besides its own: relays wait for its end."""


class _Step(NamedTuple):
    """A source and what there is of it; `was_held` says that its events were held until now."""

    source: str
    events: Sequence[Received]
    was_held: bool = False
    transactions: Transactions | None = None


@dataclass
class Settled:
    """What became of transactions that came by columns. The others are in `left`, each with its outcome."""

    applied: int = 0
    duplicates: int = 0
    left: list[Received] = field(default_factory=list)


async def receive_events(
    session: AsyncSession,
    received: Sequence[Received],
    *,
    rules: Rules,
    now: datetime,
    remembered: Remembered | None = None,
    transactions: Sequence[Transactions] = (),
) -> Settled:
    """Applies what can be applied and notes the outcome of each, on `received` and in the database.

    `transactions` are further events, at most one batch of a source; with them, lines tell the order.
    The order within `received` matters only where the core left it open: what an event names is
    applied before it, and state has revisions. Raises IntegrityError, or UniqueViolation, when another transaction
    applied the same at the same moment: again, it is known.
    """
    columns = {each.source: each for each in transactions}
    events = by_source(received)
    sources = sorted(columns.keys() | events.keys())
    steps = deque(_Step(source, events.get(source, ()), False, columns.get(source)) for source in sources)
    return await _receive(session, steps, rules, now, remembered)


async def release_due_events(session: AsyncSession, *, rules: Rules, now: datetime) -> bool:
    """Applies some of the held events that were too many for the transaction that brought what they waited for.

    False when there are none.
    """
    due = await due_releases(session, now, MOST_RELEASED)
    if due is None:
        return False
    waiting = deque(_Step(source, events, True) for source, events in by_source(due.events).items())
    await _receive(session, waiting, rules, now)
    await forget_due(session, due)
    return True


async def release_all_due(database: Database, rules: Rules, clock: Clock) -> None:
    """Applies the held events that were too many for one transaction, some in each."""
    more = True
    while more:
        async with database.transaction() as session:
            more = await release_due_events(session, rules=rules, now=clock())


async def _receive(
    session: AsyncSession, due: "deque[_Step]", rules: Rules, now: datetime, remembered: Remembered | None = None
) -> Settled:
    releasable = MOST_RELEASED
    settled = Settled()
    fingerprints = await keyed_fingerprints(session)
    while due:
        source, events, was_held, transactions = due.popleft()
        brought = set[str]()
        if transactions is not None:
            transactions = replace(transactions, fingerprints=fingerprints.of(transactions.fingerprints))
            events, brought = await _post(session, transactions, events, remembered, settled)
            if not events and not brought:
                continue
        fingerprints.give(events)
        arrived = Arrived(source, events, brought, remembered)
        await _lock_customers(session, arrived)
        receipts = await Receipts.of(session, arrived, were_held=was_held)
        await _apply(session, arrived, rules)
        held = arrived.held()
        if held or arrived.brought:
            await session.execute(_TAKE_TURNS)
            if held:
                await _try_again(session, arrived, held, rules)
                await let_go_of_erased(session, arrived)
        await receipts.write(session)
        released = await release_held(session, arrived, now, releasable)
        releasable -= len(released)
        due.extend(_Step(source, events, True) for source, events in by_source(released).items())
    return settled


async def _post(
    session: AsyncSession,
    transactions: Transactions,
    others: Sequence[Received],
    remembered: Remembered | None,
    settled: Settled,
) -> tuple[list[Received], set[str]]:
    """Posts what is plain; returns what is left to do, in order, and what held reversals may have waited for."""
    if others:
        named = set(transactions.named.names)
        await _lock_customers(session, Arrived(transactions.source, others), named)
    posted = await post_columns(session, transactions, others, remembered)
    left = [transactions.receive_line(int(transactions.lines[at])) for at in posted.left]
    settled.applied += posted.applied
    settled.duplicates += posted.duplicates
    settled.left += left
    events = sorted([*others, *left], key=lambda event: event.line) if left else list(others)
    return events, {f"transaction:{account}/{transaction}" for account, transaction in posted.identities}


async def _apply(session: AsyncSession, arrived: Arrived, rules: Rules) -> None:
    await record_branches(session, arrived)
    await record_managers(session, arrived)
    await record_parties(session, arrived)
    await record_accounts(session, arrived)
    await post_transactions(session, arrived)
    await report_facts(session, arrived)
    await close_business_days(session, arrived, partitions=rules.partitions, tolerance_minor=rules.tolerance_minor)


_TAKE_TURNS = text("select pg_advisory_xact_lock(hashtext('customer.held'))")
"""Whoever holds events and whoever brings what others hold for see each other's rows: one after the other.

Else an account could arrive in one transaction while another, which cannot see it yet, holds for it for ever.
"""


async def _try_again(session: AsyncSession, arrived: Arrived, held: list[Received], rules: Rules) -> None:
    """What they wait for may have been committed since it was looked for."""
    for event in held:
        event.try_again()
    again = Arrived(arrived.source, held, arrived.brought, arrived.remembered)
    await _lock_customers(session, again)
    await _apply(session, again, rules)


_LOCK_CUSTOMERS = text(
    "select from customer where customer_id in ("  # noqa: S608 - no value is in it
    f"  select customer_id from customer where source = :source and party_id {ANY_ID}"
    "  union all"
    "  select customer_id from account where source = :source and core_account_id = any ("
    "    array (select json_array_elements_text(cast(:accounts as json)))))"
    " order by customer_id for no key update"
)


async def _lock_customers(session: AsyncSession, arrived: Arrived, accounts: Set[str] = frozenset()) -> None:
    """Locks the customers whom the events or accounts are about, in one order, before anything else of theirs.

    So a customer's events leave in the order in which they became true, and two transactions wait
    for each other in one direction only. An id that names a transaction is about its account, whatever the event says.
    """
    parties = arrived.named("party_id")
    parties.update(p.party_id for _, event in arrived.of(AccountRecorded) for p in event.parties)
    accounts = (
        arrived.named("account_id")
        | accounts
        | {which.account_id for event in arrived.events if (which := transaction_named_by(event.event_id)) is not None}
    )
    if parties or accounts:
        named = {"source": arrived.source, "ids": as_json(parties), "accounts": as_json(accounts)}
        await session.execute(_LOCK_CUSTOMERS, named)
