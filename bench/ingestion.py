"""The customer service's whole ingestion, as it is installed: what the product really does with each event.

Receipts by event id, fingerprints, accounts locked, held events released, ledger, balances, and one event of every
customer with each of their transactions in it.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

import psycopg

from bench.branchline import consume
from bench.check import NotExactlyOnce, compare
from bench.contender import Setup
from bench.input import FIRST_DAY, Day, Posted, fold, holders, up_to
from services.customer.handlers import CoreBanking
from services.customer.use_cases.ingestion import Rules
from shared.clock import system_clock
from shared.database import Database
from shared.events import decode, encode
from shared.events.corebanking import (
    AccountKind,
    AccountRecorded,
    BranchRecorded,
    CoreBankingEvent,
    PartyRecorded,
    PartyRelation,
    RelatedParty,
)
from shared.events.customer import TransactionsPosted
from shared.ids import new_id
from shared.messaging.records import Record, event_headers
from shared.messaging.subscriptions import Subscriptions
from shared.migrations import migrate
from shared.sealing.data_keys import DataKeys
from shared.sealing.master_keys import LocalMasterKeys
from tests.keys import MASTER_KEYS

SEED_BATCH = 5_000
_LEDGER = (
    "select core_account_id, booked_on, count(*),"
    " coalesce(-sum(amount_minor) filter (where amount_minor < 0), 0)::bigint,"
    " coalesce(sum(amount_minor) filter (where amount_minor > 0), 0)::bigint"
    " from posting join account using (account_id) group by 1, 2"
)
_ACCOUNTS = "select account_id, core_account_id, posted_minor from account"
_TOLD = "select payload from outbox where type = %s"
_LEFT = "select (select count(*) from dead_letter) + (select count(*) from kept_event)"
_OFFSETS = "select partition, next_offset from consumer_offset where topic = %s"


class CustomerIngestion:
    name = "customer_ingestion"
    processes = 1
    partitions = 4
    share = 0.25
    schema = None
    moves_offsets = True
    owner = "customer"

    async def prepare(self, setup: Setup) -> None:
        await migrate("customer", setup.database)
        database = Database(setup.database, setup.database)
        database.data_keys = DataKeys(LocalMasterKeys(MASTER_KEYS))
        core = _core_banking(setup)
        events = list(_bank(setup.customers))
        for first in range(0, len(events), SEED_BATCH):
            async with database.transaction() as session:
                records = [_record(event) for event in events[first : first + SEED_BATCH]]
                await core.receive_core_events(session, await core.read_core_events(records))
        await database.close()
        with psycopg.connect(setup.database, autocommit=True) as connection:
            connection.execute("delete from outbox")
            connection.execute("vacuum analyze")

    async def run(self, setup: Setup, stop: asyncio.Event) -> None:
        subscriptions = Subscriptions(group=setup.group)
        core = _core_banking(setup)
        subscriptions.on_records(setup.topic, core.receive_core_events, core.read_core_events)
        await consume(setup, subscriptions, stop)

    def check(self, setup: Setup, placed: Sequence[Sequence[Posted]]) -> None:
        """Ledger, balances and outbox come to the input; nothing is held or parked."""
        holder = holders(setup.customers)
        with psycopg.connect(setup.database) as connection:
            offsets: dict[int, int] = dict(connection.execute(_OFFSETS, [setup.topic]).fetchall())
            expected = fold(up_to(placed, offsets), setup.customers)
            ledger = connection.execute(_LEDGER).fetchall()
            accounts = connection.execute(_ACCOUNTS).fetchall()
            told = connection.execute(_TOLD, [TransactionsPosted.TYPE]).fetchall()
            left = connection.execute(_LEFT).fetchone()
        if left != (0,):
            raise NotExactlyOnce(f"{left} events are held or parked")
        compare("the ledger", {(holder[core_id], on): (n, d, c) for core_id, on, n, d, c in ledger}, expected)
        held_by = {account_id: holder[core_id] for account_id, core_id, _ in accounts}
        compare("the outbox", _told([payload for (payload,) in told], held_by), expected)
        balances: dict[UUID, int] = defaultdict(int)
        for (customer_id, _), (_, debit, credit) in expected.items():
            balances[customer_id] += credit - debit
        wrong = sum(balances[held_by[account_id]] != posted for account_id, _, posted in accounts)
        if wrong:
            raise NotExactlyOnce(f"the balances of {wrong} accounts are wrong")


def _core_banking(setup: Setup) -> CoreBanking:
    return CoreBanking(Rules(partitions=setup.partitions, tolerance_minor=100), system_clock)


def _bank(customers: int) -> Iterator[CoreBankingEvent]:
    yield BranchRecorded(branch_id="B1", revision=1, name="Branch")
    for account_id in holders(customers):
        party_id = f"P{account_id}"
        yield PartyRecorded(party_id=party_id, revision=1, customer_number=account_id, branch_id="B1")
        yield AccountRecorded(
            account_id=account_id,
            revision=1,
            kind=AccountKind.CURRENT,
            currency="EUR",
            parties=(RelatedParty(party_id=party_id, relation=PartyRelation.HOLDER),),
            opened_on=FIRST_DAY,
        )


def _record(event: CoreBankingEvent) -> Record:
    headers = event_headers(new_id(), event.TYPE, datetime.now(UTC), None)
    return Record(event.TOPIC, 0, 0, event.key.encode(), encode(event), headers)


def _told(payloads: Sequence[bytes], held_by: dict[Any, UUID]) -> dict[Day, tuple[int, int, int]]:
    totals: dict[tuple[UUID, date], list[int]] = defaultdict(lambda: [0, 0, 0])
    for payload in payloads:
        for told in decode(TransactionsPosted, payload).transactions:
            total = totals[held_by[told.account_id], told.booked_on]
            total[0] += 1
            total[1 if told.amount_minor < 0 else 2] += abs(told.amount_minor)
    return {day: (count, debit, credit) for day, (count, debit, credit) in totals.items()}
