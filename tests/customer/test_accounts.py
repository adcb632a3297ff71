"""Accounts are seen by whoever looks after somebody with a relation to them."""

from datetime import date

from shared.events.corebanking import AccountKind, PartyRelation, RelatedParty, TransactionReversed
from shared.events.customer import AccountChanged, TransactionsPosted
from shared.ids import new_id
from tests.bank import SMALL_BANK, account, party, posted, push
from tests.customer.asking import HEAD_2, M1, M2, account_id_of, get, id_of, shared_account, two_branches
from tests.harness import ServiceUnderTest, manager


async def test_accounts_are_listed_with_balance_and_relation(customer: ServiceUnderTest) -> None:
    await two_branches(customer)
    booked = posted("T1", -500, day=3, account_id="A3", balance_after_minor=9_500)
    await push(customer, [shared_account(kind=AccountKind.SAVINGS), booked], ids="more")
    items = (await get(customer, f"/customers/{await id_of(customer, 'P1')}/accounts", M1)).json()["items"]
    assert [(item["core_account_id"], item["relation"]) for item in items] == [("A1", "holder"), ("A3", "holder")]
    assert items[1]["balance"] == {"amount_minor": 9_500, "currency": "CNY"}
    assert (items[1]["balance_on"], items[1]["transaction_count"], items[1]["kind"]) == ("2026-03-03", 1, "savings")


async def test_a_proxy_of_another_manager_brings_the_account_and_not_its_holder(customer: ServiceUnderTest) -> None:
    await two_branches(customer)
    await push(customer, [shared_account()], ids="more")
    holder, proxy = await id_of(customer, "P1"), await id_of(customer, "P2")
    for actor in (M2, HEAD_2):
        items = (await get(customer, f"/customers/{proxy}/accounts", actor)).json()["items"]
        assert [(item["core_account_id"], item["relation"]) for item in items] == [("A2", "holder"), ("A3", "proxy")]
        assert (await get(customer, f"/accounts/{await account_id_of(customer, 'A3')}", actor)).status_code == 200
        assert (await get(customer, f"/accounts/{await account_id_of(customer, 'A1')}", actor)).status_code == 404
        assert (await get(customer, f"/customers/{holder}/accounts", actor)).status_code == 404
        assert holder not in str(items)


async def test_an_account_without_transactions_has_no_balance(customer: ServiceUnderTest) -> None:
    await push(customer, SMALL_BANK)
    read = await get(customer, f"/accounts/{await account_id_of(customer, 'A1')}", M1)
    assert (read.json()["balance"], read.json()["balance_on"], read.json()["transaction_count"]) == (None, None, 0)


async def test_an_account_is_read_until_it_moves(customer: ServiceUnderTest) -> None:
    await push(customer, SMALL_BANK)
    path = f"/accounts/{await account_id_of(customer, 'A1')}"
    tag = {"If-None-Match": (await get(customer, path)).headers["ETag"]}
    assert (await get(customer, path, headers=tag)).status_code == 304
    await push(customer, [posted("T1", 5)], ids="moved")
    moved = await get(customer, path, headers=tag)
    assert moved.json()["balance"] == {"amount_minor": 5, "currency": "CNY"}, (
        "of a core that states none, all that is booked"
    )
    assert (await get(customer, f"/accounts/{new_id()}")).status_code == 404


async def test_a_closed_account_still_takes_what_is_booked_late(customer: ServiceUnderTest) -> None:
    closed = account(revision=2, closed_on=date(2026, 3, 1))
    await push(customer, [*SMALL_BANK, closed, posted("T1", 5, day=2)])
    told = await customer.published(AccountChanged)
    assert [event.closed_on for event in told][-1] == date(2026, 3, 1)
    assert len(await customer.published(TransactionsPosted)) == 1
    read = (await get(customer, f"/accounts/{await account_id_of(customer, 'A1')}")).json()
    assert (read["closed_on"], read["transaction_count"]) == ("2026-03-01", 1)


async def test_a_new_holder_is_told_of_and_counts_from_then_on(customer: ServiceUnderTest) -> None:
    """What was booked before stays the old holder's, and so does what takes it back."""
    await push(customer, [*SMALL_BANK, party("P2", manager_id="M2"), posted("T1", -500)])
    await push(customer, [account(holder="P2", revision=2), posted("T2", -70, day=2)], ids="inherited")
    late_reversal = TransactionReversed(
        account_id="A1", transaction_id="R1", reverses_transaction_id="T1", booked_on=date(2026, 3, 3)
    )
    await push(customer, [late_reversal], ids="reversed")
    old, new = await id_of(customer, "P1"), await id_of(customer, "P2")
    before, after = await customer.published(AccountChanged)
    assert before.account_id == after.account_id
    assert (str(before.customer_id), str(after.customer_id)) == (old, new)
    assert after.revision > before.revision, "the greatest revision says whose it is"
    told = [
        (str(event.customer_id), posted.amount_minor)
        for event in await customer.published(TransactionsPosted)
        for posted in event.transactions
    ]
    assert told == [(old, -500), (new, -70), (old, 500)]
    assert (await get(customer, f"/customers/{old}/accounts", M1)).json()["items"] == []
    assert len((await get(customer, f"/customers/{new}/accounts", manager("M2"))).json()["items"]) == 1


async def test_a_party_named_twice_is_one_relation(customer: ServiceUnderTest) -> None:
    twice = (
        RelatedParty(party_id="P1", relation=PartyRelation.HOLDER),
        *[RelatedParty(party_id="P2", relation=PartyRelation.PROXY)] * 2,
    )
    summary = await push(customer, [*SMALL_BANK[:3], party("P2"), account(parties=twice)])
    assert summary["applied"] == 5
    assert await customer.count("account_party") == 2


async def test_an_account_keeps_its_currency_once_it_has_moved(customer: ServiceUnderTest) -> None:
    await push(customer, [*SMALL_BANK, account(revision=2, currency="EUR"), posted("T1", 5, currency="EUR")])
    refused = await push(customer, [account(revision=3, currency="CNY")], ids="back")
    assert [error["code"] for error in refused["errors"]] == ["currency_mismatch"]
