"""What is held is applied when what it names arrives, once; what was wrong may be mended; nothing stays by mistake."""

from datetime import UTC, date, datetime
from typing import Any

import pytest

from services.customer.use_cases import ingestion
from shared.events.corebanking import ComplaintRecorded, LifeEventKind, LifeEventRecorded, TransactionReversed
from shared.events.customer import ComplaintReported, LifeEventReported, TransactionsPosted
from tests.bank import NDJSON, SMALL_BANK, account, branch, day_closed, lines, manager_recorded, party, posted, push
from tests.customer.asking import get, id_of
from tests.harness import ServiceUnderTest, program


async def became(customer: ServiceUnderTest, event_id: str) -> tuple[str, list[str]]:
    async with customer.http(program("corebanking:write")) as http:
        told = (await http.get(f"/core-banking/events/core/{event_id}")).json()
    return told["outcome"], [kept["code"] for kept in told["kept"]]


async def amounts(customer: ServiceUnderTest) -> list[int]:
    return [
        posting.amount_minor for event in await customer.published(TransactionsPosted) for posting in event.transactions
    ]


def reversal(transaction_id: str, reverses: str, day: int = 9, **more: Any) -> TransactionReversed:
    return TransactionReversed(
        transaction_id=transaction_id,
        reverses_transaction_id=reverses,
        booked_on=date(2026, 3, day),
        **{"account_id": "A1", **more},
    )


async def test_more_held_events_than_one_transaction_applies_are_applied_in_several(
    customer: ServiceUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Events for two accounts and a reversal that waits for one of them; the job applies what the arrival left."""
    monkeypatch.setattr(ingestion, "MOST_RELEASED", 30)
    many = [posted(f"T{n}", n, account_id=f"A{1 + n % 2}", sequence=n) for n in range(1, 101)]
    assert (await push(customer, [*many, reversal("R3", "T3", account_id="A2")]))["held"] == 101
    await push(customer, [branch(), manager_recorded(), party(), account("A1"), account("A2")], ids="later")
    assert 0 < len(await amounts(customer)) <= 30, "the transaction of the arrival applies so many"
    assert len(await customer.rows("select from held_release")) == 2
    await push(customer, [many[99], posted("T200", 200, sequence=200)], ids="meanwhile")  # T100 again, and one more
    before = await customer.count("outbox")
    (release,) = [job for job in customer.service.jobs if job.name == "release_held"]
    await release.run(customer.database)
    assert sorted(await amounts(customer)) == sorted([*range(1, 101), 200, -3])
    assert await customer.count("kept_event") == await customer.count("held_release") == 0
    assert await customer.rows("select outcome, count(*) from received_event group by outcome order by 1") == [
        ("applied", 5 + 1 + 99 + 1 + 1),
        ("duplicate", 1),
    ]
    assert await customer.count("outbox") > before
    transactions = await customer.rows("select count(distinct xid) from outbox where type like '%transactions%'")
    assert transactions[0][0] >= 4, "in transactions of their own"


async def test_a_thousand_events_held_for_one_account_are_applied_when_it_arrives(customer: ServiceUnderTest) -> None:
    many = [posted(f"T{n}", n, sequence=n) for n in range(1, 1_001)]
    assert (await push(customer, many))["held"] == 1_000
    await push(customer, SMALL_BANK, ids="later")
    assert await amounts(customer) == list(range(1, 1_001))
    assert await customer.rows("select outcome, count(*) from received_event group by outcome") == [("applied", 1_004)]
    assert await customer.count("kept_event") == 0


async def test_an_event_held_a_thousand_times_is_kept_once_and_applied_once(customer: ServiceUnderTest) -> None:
    for _ in range(3):
        await push(customer, b"\n".join([lines([posted("T1", 5)])] * 333))
    assert await customer.count("kept_event") == 1
    await push(customer, SMALL_BANK, ids="later")
    assert await amounts(customer) == [5]
    assert await became(customer, "e-1") == ("applied", [])


async def test_what_waits_for_one_thing_after_another_arrives_in_the_end(customer: ServiceUnderTest) -> None:
    for number, event in enumerate([reversal("R1", "T1"), posted("T1", -5), account(), party(), manager_recorded()]):
        assert (await push(customer, [event], ids=f"h{number}"))["held"] == 1
    await push(customer, [branch()], ids="root")
    assert await amounts(customer) == [-5, 5]
    assert await customer.count("kept_event") == 0


async def test_a_held_event_that_turns_out_old_news_is_no_longer_kept(customer: ServiceUnderTest) -> None:
    await push(customer, [branch(), party(revision=1, branch_id="B9")], ids="old")
    await push(customer, [party(revision=2)], ids="new")
    await push(customer, [branch("B9")], ids="b9")
    assert await became(customer, "old-2") == ("duplicate", [])
    assert await customer.rows("select branch_id from customer") == [("B1",)]


async def test_a_held_event_that_turns_out_wrong_is_parked(customer: ServiceUnderTest) -> None:
    await push(customer, [posted("T1", 5, currency="EUR")])
    await push(customer, SMALL_BANK, ids="later")
    assert await became(customer, "e-1") == ("parked", ["currency_mismatch"])
    mended = await push(customer, [posted("T1", 5)])
    assert mended["applied"] == 1
    assert await became(customer, "e-1") == ("applied", [])


async def test_a_held_event_that_is_mended_counts_as_mended(customer: ServiceUnderTest) -> None:
    await push(customer, [posted("T1", 5)])
    await push(customer, [posted("T7", 7)])
    await push(customer, SMALL_BANK, ids="later")
    assert await amounts(customer) == [7], "the last that came under the id"
    assert await became(customer, "e-1") == ("applied", [])


async def test_a_wrong_event_does_not_take_the_place_of_one_that_waits(customer: ServiceUnderTest) -> None:
    await push(customer, [posted("T1", 5)])
    await push(customer, lines([posted("T1", 5)]).replace(b":5,", b':"five",'))
    assert (await became(customer, "e-1"))[0] == "held"
    await push(customer, SMALL_BANK, ids="later")
    assert await amounts(customer) == [5]
    assert await became(customer, "e-1") == ("applied", [])


async def test_wrong_and_right_under_one_id_in_one_batch_is_applied(customer: ServiceUnderTest) -> None:
    right = lines([posted("T1", 5)])
    summary = await push(customer, b"\n".join([lines(SMALL_BANK, ids="s"), right.replace(b":5,", b':"x",'), right]))
    assert (summary["applied"], summary["parked"]) == (5, 1)
    assert await became(customer, "e-1") == ("applied", [])


async def test_another_payload_under_an_applied_id_stays_to_be_looked_at(customer: ServiceUnderTest) -> None:
    summary = await push(
        customer, b"\n".join([lines(SMALL_BANK, ids="s"), *(lines([posted("T1", n)]) for n in (5, 6))])
    )
    (error,) = summary["errors"]
    assert (error["code"], error["pointer"]) == ("conflicting_duplicate", "/id")
    assert await became(customer, "e-1") == ("applied", ["conflicting_duplicate"])
    assert await amounts(customer) == [5]


async def test_a_transaction_is_taken_back_once(customer: ServiceUnderTest) -> None:
    await push(customer, [*SMALL_BANK, posted("T1", -5), reversal("R1", "T1")])
    again = await push(customer, [reversal("R2", "T1"), reversal("R3", "R3")], ids="again")
    assert [error["code"] for error in again["errors"]] == ["already_reversed", "reverses_itself"]
    same = await push(customer, [reversal("R1", "T1")], ids="same")
    assert same["duplicate"] == 1
    other = await push(customer, [reversal("R1", "T1", day=10)], ids="other")
    assert [error["code"] for error in other["errors"]] == ["conflicting_duplicate"]
    assert await amounts(customer) == [-5, 5]


async def test_a_reversal_can_be_reversed_in_any_order(customer: ServiceUnderTest) -> None:
    first = [reversal("R3", "R2"), reversal("R2", "R1"), reversal("R1", "T1")]
    await push(customer, [*SMALL_BANK, *first])
    await push(customer, [posted("T1", -5)], ids="t")
    assert await customer.rows("select posted_minor, transaction_count from account") == [(0, 4)]
    at_once = [reversal(f"{r.transaction_id}x", f"{r.reverses_transaction_id}x") for r in first]
    await push(customer, [posted("T1x", -7), *at_once], ids="x")
    assert await customer.rows("select posted_minor, transaction_count from account") == [(0, 8)]


async def test_a_fact_is_of_one_party_for_ever(customer: ServiceUnderTest) -> None:
    def complaint(party_id: str, revision: int) -> ComplaintRecorded:
        opened_at = datetime(2026, 3, 1, tzinfo=UTC)
        return ComplaintRecorded(complaint_id="C1", revision=revision, party_id=party_id, opened_at=opened_at)

    await push(customer, [*SMALL_BANK, party("P2"), complaint("P1", 1)])
    summary = await push(customer, [complaint("P2", 2), complaint("P1", 3)], ids="more")
    assert [error["code"] for error in summary["errors"]] == ["party_mismatch"]
    told = await customer.published(ComplaintReported)
    assert {(str(c.customer_id), c.complaint_id) for c in told} == {(await id_of(customer, "P1"), told[0].complaint_id)}
    assert [c.revision for c in told] == [1, 3]


async def test_a_household_belongs_to_the_record_and_its_deaths_to_the_customer(customer: ServiceUnderTest) -> None:
    death = LifeEventRecorded(
        life_event_id="L1", party_id="P1", kind=LifeEventKind.DEATH_IN_HOUSEHOLD, happened_on=date(2026, 3, 1)
    )
    await push(customer, [*SMALL_BANK[:2], party(household_id="H1"), death, party("P2", household_id="H1")])
    (told,) = await customer.published(LifeEventReported)
    assert str(told.customer_id) == await id_of(customer, "P1")
    read = (await get(customer, f"/customers/{await id_of(customer, 'P2')}")).json()
    assert read["household_id"] == "H1"


async def test_a_customer_who_left_still_takes_what_comes_late(customer: ServiceUnderTest) -> None:
    await push(customer, [*SMALL_BANK, party(revision=2, left_on=date(2026, 3, 1)), posted("T1", 5, day=2)])
    assert await amounts(customer) == [5]
    back = await push(customer, [party(revision=3)], ids="back")
    assert back["applied"] == 1
    assert await customer.rows("select left_on, revision from customer_scope") == [(None, 2)]


async def test_twenty_thousand_events_of_all_kinds_are_one_request(customer: ServiceUnderTest) -> None:
    parties = [party(f"P{n}") for n in range(500)]
    accounts = [account(f"A{n}", holder=f"P{n % 500}") for n in range(900)]
    movements = [
        posted(f"T{n}", n % 997, account_id=f"A{n % 900}", day=1 + n % 28, sequence=n, balance_after_minor=n)
        for n in range(18_500)
    ]
    rest = [day_closed(day) for day in range(1, 29)]
    events = [*rest, *movements[::-1], *accounts, *parties, manager_recorded(), branch()]
    ahead = [reversal(f"R{n}", f"T{n * 900 + 1}") for n in range(20)]
    async with customer.http(program("corebanking:write")) as http:
        answer = await http.post("/core-banking/events", content=lines([*ahead, *events]), headers=NDJSON)
    summary = answer.json()
    assert (summary["received"], summary["applied"]) == (19_950, 19_950), summary["errors"][:3]
    expected = sum(movement.amount_minor for movement in movements if movement.account_id != "A1")
    ((total,),) = await customer.rows("select sum(posted_minor)::bigint from account where core_account_id <> 'A1'")
    assert total == expected
    ((count,),) = await customer.rows("select count(*) from posting")
    assert count == 18_520
