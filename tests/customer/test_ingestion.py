"""The boundary to the core: each event counts once, whatever order it comes in, and nothing is lost."""

import itertools
from typing import Any

import pytest

from shared.events.corebanking import PartyRelation, RelatedParty, TransactionReversed
from shared.events.customer import CustomerChanged, DayClosed, TransactionsPosted
from tests.bank import (
    SMALL_BANK,
    account,
    branch,
    day_closed,
    lines,
    manager_recorded,
    party,
    posted,
    push,
)
from tests.harness import PARTITIONS, ServiceUnderTest, head_office, program


async def balance(customer: ServiceUnderTest, account_id: str = "A1") -> tuple[Any, ...]:
    """(balance, sum of amounts, count)"""
    rows = await customer.rows(
        "select case when stated_minor is null then posted_minor else stated_minor + posted_since_minor end,"
        " posted_minor, transaction_count from account where core_account_id = :id",
        id=account_id,
    )
    return rows[0]


async def test_what_the_core_pushes_becomes_customers_accounts_and_events(customer: ServiceUnderTest) -> None:
    summary = await push(customer, [*SMALL_BANK, posted("T1", -500, balance_after_minor=9_500), day_closed(1)])
    assert summary == {"received": 6, "applied": 6, "held": 0, "parked": 0, "duplicate": 0, "errors": []}
    assert await balance(customer) == (9_500, -500, 1)
    (changed,) = await customer.published(CustomerChanged)
    assert (changed.customer_number, changed.branch_path, changed.manager_id) == ("10000001", ("B1",), "M1")
    (told,) = await customer.published(TransactionsPosted)
    assert told.customer_id == changed.customer_id
    assert [t.amount_minor for t in told.transactions] == [-500]
    assert len(await customer.published(DayClosed)) == PARTITIONS


async def test_a_transaction_sent_twice_counts_once_whatever_its_event_is_called(customer: ServiceUnderTest) -> None:
    await push(customer, [*SMALL_BANK, posted("T1", -500)])
    again = await push(customer, [posted("T1", -500)], ids="another")
    assert again["duplicate"] == 1
    both_at_once = await push(customer, [posted("T2", -500), posted("T2", -500)], ids="third")
    assert (both_at_once["applied"], both_at_once["duplicate"]) == (1, 1)
    assert await balance(customer) == (-1_000, -1_000, 2)


async def test_the_same_id_with_another_payload_is_parked_and_the_first_stays(customer: ServiceUnderTest) -> None:
    await push(customer, [*SMALL_BANK, posted("T1", -500)])
    other = await push(customer, [posted("T1", -501)], ids="other")
    assert other["errors"][0]["code"] == "conflicting_duplicate"
    same_event = await push(customer, [posted("T9", -9)], ids="other")
    assert same_event["applied"] == 1, "what was parked may be sent again, mended"
    assert (await balance(customer))[1:] == (-509, 2)


async def test_any_order_of_the_same_events_ends_the_same(customer: ServiceUnderTest) -> None:
    events = [branch(), party(), account(), posted("T1", -500)]
    for number, order in enumerate(itertools.permutations(range(4))):
        for position in order:
            await push(customer, lines([events[position]], ids=f"{number}-{position}", source=f"core-{number}"))
        rows = await customer.rows(
            "select posted_minor, transaction_count from account where source = :source", source=f"core-{number}"
        )
        assert rows == [(-500, 1)], order
        assert await customer.count("kept_event") == 0


async def test_an_event_that_names_what_is_unknown_is_held_and_says_so(customer: ServiceUnderTest) -> None:
    summary = await push(customer, [posted("T1", -500)])
    assert summary["errors"] == [
        {
            "line": 1,
            "id": "e-1",
            "outcome": "held",
            "code": "unknown_account",
            "pointer": "/data/account_id",
            "detail": "the account that it names has not arrived yet; it is applied when that does",
        }
    ]
    async with customer.http(program("corebanking:write")) as http:
        held = (await http.get("/core-banking/events/core/e-1")).json()
        assert (held["outcome"], held["kept"][0]["waits_for"]) == ("held", "account:A1")
        await push(customer, SMALL_BANK, ids="later")
        applied = (await http.get("/core-banking/events/core/e-1")).json()
        assert (applied["outcome"], applied["kept"]) == ("applied", [])


async def test_a_bad_line_does_not_stop_the_good_ones(customer: ServiceUnderTest) -> None:
    good = lines([*SMALL_BANK, posted("T1", -500)])
    bad = [
        b"{",
        b"\xff\xfe",
        b'{"specversion":"1.0"}',
        lines([posted("T2", 1)], ids="b").replace(b'"amount_minor":1', b'"amount_minor":"much"'),
        lines([posted("T3", 1)], ids="c").replace(b"transaction_posted.v1", b"transaction_posted.v9"),
        lines([posted("T4", 1)], ids="d").replace(b'"CNY"', b'"EUR"'),
        lines([posted("T5", 1)], ids="n").replace(b'"T5"', b'"T\\u00005"'),
        b"[" * 100_000,
    ]
    summary = await push(customer, b"\n".join([good, b"", *bad, b""]))
    assert (summary["applied"], summary["parked"]) == (5, len(bad))
    assert [(e["line"], e["code"], e["pointer"]) for e in summary["errors"]] == [
        (7, "malformed_cloud_event", ""),
        (8, "malformed_cloud_event", ""),
        (9, "malformed_cloud_event", "/id"),
        (10, "malformed_event", "/data/amount_minor"),
        (11, "unknown_event_type", "/type"),
        (12, "currency_mismatch", "/data/currency"),
        (13, "nul_character", "/data"),
        (14, "malformed_cloud_event", ""),
    ]
    assert "much" not in str(summary)


async def test_an_older_revision_changes_nothing(customer: ServiceUnderTest) -> None:
    await push(customer, [*SMALL_BANK, manager_recorded("M2"), party(revision=3, manager_id="M2")])
    old = await push(customer, [party(revision=2, manager_id="M1")], ids="old")
    assert old["duplicate"] == 1
    assert await customer.rows("select revision, manager_id from customer") == [(3, "M2")]
    conflicting = await push(customer, [party(revision=3, manager_id="M1")], ids="conflict")
    assert conflicting["errors"][0]["code"] == "conflicting_duplicate"


async def test_the_last_balance_is_the_greatest_day_and_sequence_not_the_last_to_arrive(
    customer: ServiceUnderTest,
) -> None:
    await push(customer, [*SMALL_BANK, posted("T3", -1, day=2, sequence=2, balance_after_minor=300)])
    await push(customer, [posted("T2", -1, day=2, sequence=1, balance_after_minor=200)], ids="late")
    await push(customer, [posted("T1", -1, day=1, sequence=9, balance_after_minor=100)], ids="later")
    assert await balance(customer) == (300, -3, 3)


async def test_what_is_booked_after_the_last_statement_moves_the_balance(customer: ServiceUnderTest) -> None:
    await push(customer, [*SMALL_BANK, posted("T1", 1_000, day=1, balance_after_minor=1_000)])
    await push(customer, [posted("T4", -40, day=4), posted("T3", -300, day=3)], ids="unstated")
    assert (await balance(customer))[0] == 660
    await push(customer, [posted("T2", 50, day=2, balance_after_minor=1_050)], ids="stated")
    assert (await balance(customer))[0] == 710, "T3 and T4 lie behind the new statement"
    await push(customer, [posted("T0", 7, day=1, sequence=0)], ids="late")
    assert (await balance(customer))[0] == 710, "the statement already knew of it"
    await push(customer, [day_closed(4)], ids="close")
    async with customer.http(head_office()) as http:
        assert (await http.get("/reconciliation-findings")).json()["items"] == [], "7 is within the tolerance"


@pytest.mark.parametrize("order", list(itertools.permutations(range(4)))[::3])
async def test_balances_do_not_depend_on_the_order_of_arrival(
    customer: ServiceUnderTest, order: tuple[int, ...]
) -> None:
    booked = [
        posted("T1", 1_000, day=1, balance_after_minor=1_000),
        posted("T2", -100, day=2),
        posted("T3", -200, day=3, balance_after_minor=700),
        posted("T4", -10, day=4),
    ]
    await push(customer, SMALL_BANK)
    for position in order:
        await push(customer, [booked[position]], ids=f"t{position}")
    assert await balance(customer) == (690, 690, 4)


async def test_a_reversal_takes_back_the_whole_amount_even_before_its_transaction(customer: ServiceUnderTest) -> None:
    reversal = TransactionReversed(
        account_id="A1", transaction_id="R1", reverses_transaction_id="T1", booked_on=posted("T1", 0).booked_on
    )
    held = await push(customer, [*SMALL_BANK, reversal])
    assert held["held"] == 1
    await push(customer, [posted("T1", -700)], ids="late")
    assert (await balance(customer))[1:] == (0, 2)


async def test_a_transaction_counts_for_the_primary_holder_only(customer: ServiceUnderTest) -> None:
    shared = account(
        parties=(
            RelatedParty(party_id="P1", relation=PartyRelation.HOLDER),
            RelatedParty(party_id="P2", relation=PartyRelation.PROXY),
        )
    )
    await push(customer, [branch(), party("P1"), party("P2"), shared, posted("T1", -500)])
    (told,) = await customer.published(TransactionsPosted)
    holder = await customer.rows("select customer_id from customer where party_id = 'P1'")
    assert told.customer_id == holder[0][0]


@pytest.mark.parametrize(
    "parties",
    [
        (RelatedParty(party_id="P1", relation=PartyRelation.PROXY),),
        (
            RelatedParty(party_id="P1", relation=PartyRelation.HOLDER),
            RelatedParty(party_id="P2", relation=PartyRelation.HOLDER),
        ),
    ],
)
async def test_an_account_without_exactly_one_holder_is_parked(
    customer: ServiceUnderTest, parties: tuple[RelatedParty, ...]
) -> None:
    summary = await push(customer, [branch(), party("P1"), party("P2"), account(parties=parties)])
    assert summary["errors"][0]["code"] == "no_single_holder"


async def test_a_difference_between_amounts_and_stated_balance_is_a_finding_until_they_agree(
    customer: ServiceUnderTest,
) -> None:
    async with customer.http(head_office()) as http:
        await push(customer, [*SMALL_BANK, posted("T1", 10_000, sequence=1, balance_after_minor=12_000), day_closed(1)])
        (finding,) = (await http.get("/reconciliation-findings")).json()["items"]
        assert finding["difference"] == {"amount_minor": -2_000, "currency": "CNY"}
        late = posted("T0", 2_000, balance_after_minor=2_000)
        await push(customer, [late, day_closed(2)], ids="late")
        assert (await http.get("/reconciliation-findings")).json()["items"] == []


async def test_a_closed_day_is_told_once(customer: ServiceUnderTest) -> None:
    await push(customer, [day_closed(1)])
    assert (await push(customer, [day_closed(1)], ids="again"))["duplicate"] == 1
    assert len(await customer.published(DayClosed)) == PARTITIONS
