"""Several ways in at the same moment, in transactions that really overlap, end as one way after the other."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from services.customer.use_cases.ingestion import Rules, receive_events
from services.customer.use_cases.receiving import Received, read_cloud_event
from shared.events.corebanking import CoreBankingEvent
from shared.events.customer import AccountChanged, CustomerChanged, DayClosed, TransactionsPosted
from shared.messaging.faults import is_transient
from tests.bank import NDJSON, SMALL_BANK, account, branch, day_closed, lines, manager_recorded, party, posted, push
from tests.customer.asking import HEAD_1, M1, NOW, assign, get, id_of, two_branches
from tests.harness import PARTITIONS, ServiceUnderTest, manager, program

RULES = Rules(partitions=PARTITIONS, tolerance_minor=100)
Step = Callable[[], Awaitable[None]]


async def nothing() -> None: ...


async def receive(
    customer: ServiceUnderTest, events: Sequence[CoreBankingEvent], ids: str, before_commit: Step = nothing
) -> list[str]:
    """One transaction of ingestion, and what became of its events; tried again as its caller would."""
    while True:
        read = [read_cloud_event(line, received_at=NOW) for line in lines(events, ids=ids).split(b"\n")]
        received = [event for event in read if isinstance(event, Received)]
        try:
            async with customer.database.transaction() as session:
                await receive_events(session, received, rules=RULES, now=NOW)
                await before_commit()
        except IntegrityError:
            continue
        except Exception as fault:
            if not is_transient(fault):
                raise
            continue
        return [str(event.outcome) for event in received]


async def overlapping(customer: ServiceUnderTest, *batches: tuple[Sequence[CoreBankingEvent], str]) -> list[list[str]]:
    """Each batch in a transaction that commits only when the others have got as far, or wait for it."""
    arrived = 0

    async def meet() -> None:
        nonlocal arrived
        arrived += 1
        for _ in range(40):
            if arrived >= len(batches):
                return
            await asyncio.sleep(0.01)

    return await asyncio.gather(*(receive(customer, events, ids, meet) for events, ids in batches))


async def state(customer: ServiceUnderTest) -> list[Any]:
    """What the tables hold, whatever ids it has got."""
    return [
        await customer.rows(query)
        for query in (
            "select party_id, revision, manager_id from customer order by party_id",
            "select core_account_id, posted_minor, stated_minor, transaction_count from account order by 1",
            "select core_transaction_id, amount_minor from posting order by 1",
            "select count(*) from account_party",
            "select business_date from business_day",
            "select waits_for from kept_event",
        )
    ]


EVERYTHING = [
    *SMALL_BANK,
    party("P2"),
    account("A2", holder="P2"),
    *(posted(f"T{n}", n, sequence=n, account_id=f"A{1 + n % 2}", balance_after_minor=n) for n in range(1, 200)),
    day_closed(1),
]


async def test_the_same_batch_twice_at_once_is_applied_exactly_once(customer: ServiceUnderTest) -> None:
    for round_number in range(3):
        events = [
            *EVERYTHING[:-1],
            *(posted(f"R{round_number}-{n}", n, day=2, sequence=n) for n in range(50)),
            day_closed(1 + round_number),
        ]
        await overlapping(customer, (events, f"same-{round_number}"), (events, f"same-{round_number}"))
    told = [t.transaction_id for e in await customer.published(TransactionsPosted) for t in e.transactions]
    assert len(told) == len(set(told)) == 199 + 150
    assert await customer.count("posting") == 349
    assert len(await customer.published(CustomerChanged)) == 2
    assert len(await customer.published(AccountChanged)) == 2
    assert len(await customer.published(DayClosed)) == 3 * PARTITIONS
    ((sums,),) = await customer.rows("select sum(posted_minor)::bigint from account")
    ((ledger,),) = await customer.rows("select sum(amount_minor)::bigint from posting")
    assert sums == ledger


async def test_by_two_ways_at_once_under_other_ids_counts_once(customer: ServiceUnderTest) -> None:
    outcomes = await overlapping(customer, (EVERYTHING, "rest"), (EVERYTHING[::-1], "kafka"), (EVERYTHING, "again"))
    assert sorted(o.count("applied") for o in outcomes) == [0, 0, len(EVERYTHING)]
    told = [t.transaction_id for e in await customer.published(TransactionsPosted) for t in e.transactions]
    assert len(told) == len(set(told)) == 199


async def test_over_http_at_once_each_event_counts_once(customer: ServiceUnderTest) -> None:
    """Whoever is too slow is told to send again, and then learns that all of it is known."""

    async def send() -> list[int]:
        statuses: list[int] = []
        async with customer.http(program("corebanking:write")) as http:
            while not statuses or statuses[-1] != 200:
                answer = await http.post("/core-banking/events", content=lines(EVERYTHING), headers=NDJSON)
                statuses.append(answer.status_code)
                assert answer.status_code == 200 or answer.headers["Retry-After"], answer.text
        return statuses

    for statuses in await asyncio.gather(send(), send(), send()):
        assert set(statuses) <= {200, 503}
    assert await customer.count("posting") == 199
    assert await customer.count("received_event") == len(EVERYTHING)


async def test_what_two_transactions_hold_for_each_other_is_not_held_for_ever(customer: ServiceUnderTest) -> None:
    """The account is brought while the transaction on it is being held, and neither sees the other."""
    for number in range(4):
        accounts: list[CoreBankingEvent] = [account(f"A{number}"), *([] if number else SMALL_BANK[:3])]
        moved: list[CoreBankingEvent] = [posted(f"T{number}", 5, account_id=f"A{number}")]
        batches: list[tuple[Sequence[CoreBankingEvent], str]] = [
            (accounts, f"account-{number}"),
            (moved, f"moved-{number}"),
        ]
        await overlapping(customer, *(batches if number % 2 else batches[::-1]))
    assert await customer.count("kept_event") == 0
    assert await customer.count("posting") == 4


async def test_an_account_that_arrives_after_it_was_looked_for_is_found_again(customer: ServiceUnderTest) -> None:
    """Both wait for their turn, whoever brings before whoever holds: neither sees the other's rows when it looks."""
    await receive(customer, SMALL_BANK[:3], "setting")
    async with customer.database.jobs.begin() as turn:
        await turn.execute(text("select pg_advisory_xact_lock(hashtext('customer.held'))"))
        brings = asyncio.create_task(receive(customer, [account()], "account"))
        await _until_waiting(customer, 1)
        holds = asyncio.create_task(receive(customer, [posted("T1", 5)], "moved"))
        await _until_waiting(customer, 2)
    assert await brings == ["applied"]
    assert await holds == ["applied"]
    assert await customer.count("kept_event") == 0


async def _until_waiting(customer: ServiceUnderTest, count: int) -> None:
    waiting = (
        "select count(*) from pg_locks l join pg_database d on d.oid = l.database, pg_sleep(0.01)"
        " where d.datname = current_database() and locktype = 'advisory' and not granted"
    )
    while await customer.rows(waiting) != [(count,)]:
        pass


async def test_every_part_by_its_own_way_ends_like_all_in_one(customer: ServiceUnderTest) -> None:
    parts = [(EVERYTHING[start::5], f"part-{start}") for start in range(5)]
    await overlapping(customer, *parts)
    in_parts = await state(customer)
    for table in (
        "posting",
        "account_party",
        "account",
        "customer_scope",
        "customer",
        "received_event",
        "business_day",
    ):
        async with customer.database.jobs.begin() as connection:
            await connection.execute(text(f"delete from {table}"))
    await receive(customer, EVERYTHING, "whole")
    assert await state(customer) == in_parts
    assert in_parts[-1] == []


async def test_a_branch_that_moves_while_customers_arrive_leaves_none_with_the_old_path(
    customer: ServiceUnderTest,
) -> None:
    await push(customer, [branch("HQ"), branch("B1")], ids="setting")
    for revision in range(2, 6):
        above = {"parent_branch_id": "HQ"} if revision % 2 == 0 else {}
        await overlapping(
            customer,
            ([branch("B1", revision=revision, **above)], f"moved-{revision}"),
            ([party(f"P{revision}{n}") for n in range(20)], f"parties-{revision}"),
        )
        stale = await customer.rows(
            "select count(*) from customer_scope s join branch b using (branch_id) where s.branch_path <> b.branch_path"
        )
        assert stale == [(0,)], revision


async def test_an_assignment_and_the_cores_news_at_once_both_stay(customer: ServiceUnderTest) -> None:
    await two_branches(customer)
    await push(customer, [manager_recorded("M3")], ids="m3")
    customer_id = await id_of(customer, "P1")
    for revision in range(2, 8):
        news = party("P1", revision=revision, name=f"Name {revision}", manager_id="M1")
        answer, _ = await asyncio.gather(
            assign(customer, customer_id, {"manager_id": "M3"}, HEAD_1),
            receive(customer, [news], f"news-{revision}"),
        )
        assert answer.status_code == 200
        read = (await get(customer, f"/customers/{customer_id}", manager("M3"))).json()
        assert (read["name"], read["manager_id"]) == (f"Name {revision}", "M3")
        assert (await get(customer, f"/customers/{customer_id}", M1)).status_code == 404
    told = [c for c in await customer.published(CustomerChanged) if str(c.customer_id) == customer_id]
    assert [c.revision for c in told] == list(range(1, len(told) + 1)), "in the order in which they became true"
