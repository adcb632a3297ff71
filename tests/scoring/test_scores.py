"""Scores follow from what happened, at the close of a day, for whoever may see the customer."""

from datetime import date, timedelta
from uuid import UUID

from shared.auth.principal import Principal
from shared.events.corebanking import AccountKind, ComplaintOutcome, LifeEventKind, TransactionKind
from shared.events.customer import DayClosed, LifeEventReported
from shared.events.scoring import RiskBand, RiskBandChanged
from shared.ids import new_id
from tests.harness import PARTITIONS, ServiceUnderTest, branch_head, head_office, manager, program
from tests.scoring.bank import (
    CLOSES,
    TODAY,
    account_changed,
    close,
    codes,
    complaint,
    contact,
    customer_changed,
    days_ago,
    points_of,
    posted,
    read,
    rejected,
    salaries,
    survey,
    transaction,
    until,
)


async def test_a_score_names_its_reasons_in_words_at_the_close_of_the_day(
    scoring: ServiceUnderTest, customer: UUID
) -> None:
    await scoring.deliver([salaries(customer, new_id(), days_ago(47))])
    await close(scoring, *until(TODAY, 3))
    body = await read(scoring, f"/customers/{customer}/score")
    assert (body["points"], body["band"], body["scored_on"]) == (25, "medium", str(TODAY))
    assert body["reasons"] == [
        {
            "code": "salary_stopped",
            "points": 25,
            "text": "No salary has arrived for 47 days; before that one came every month.",
        }
    ]


async def test_the_sentences_go_with_the_days(scoring: ServiceUnderTest, customer: UUID) -> None:
    await scoring.deliver([salaries(customer, new_id(), days_ago(47))])
    await close(scoring, days_ago(5))
    await close(scoring, days_ago(1), TODAY)
    body = await read(scoring, f"/customers/{customer}/score")
    assert "47 days" in body["reasons"][0]["text"]
    assert body["since"] == str(days_ago(5))
    assert await scoring.count("score_change") == 1


async def test_a_score_changes_on_the_day_that_nothing_happened_for_too_long(
    scoring: ServiceUnderTest, customer: UUID
) -> None:
    await scoring.deliver([salaries(customer, new_id(), days_ago(40))])
    await close(scoring, days_ago(1))
    assert await points_of(scoring, customer) == 0
    await close(scoring, TODAY)
    assert await points_of(scoring, customer) == 25


async def test_transactions_of_the_open_day_wait_for_its_close(scoring: ServiceUnderTest, customer: UUID) -> None:
    account = new_id()
    await scoring.deliver([salaries(customer, account, days_ago(45))])
    await close(scoring, days_ago(1))
    await scoring.deliver([posted(customer, transaction(account, TODAY, 1_00, kind=TransactionKind.SALARY))])
    assert await points_of(scoring, customer) == 25
    await close(scoring, TODAY)
    assert await points_of(scoring, customer) == 0


async def test_transactions_that_come_before_the_day_before_them_closes_count_on_their_day(
    scoring: ServiceUnderTest, customer: UUID
) -> None:
    account = new_id()
    await scoring.deliver([salaries(customer, account, days_ago(45))])
    await close(scoring, days_ago(2))
    today = transaction(account, TODAY, 1_00, kind=TransactionKind.SALARY)
    await scoring.deliver([posted(customer, transaction(account, days_ago(1)), today)])
    await close(scoring, days_ago(1))
    assert await points_of(scoring, customer) == 25
    await close(scoring, TODAY)
    assert await points_of(scoring, customer) == 0


async def test_a_late_transaction_has_the_days_since_its_own_scored_anew(
    scoring: ServiceUnderTest, customer: UUID
) -> None:
    account = new_id()
    await scoring.deliver([salaries(customer, account, days_ago(45))])
    await close(scoring, *until(TODAY, 10))
    assert await points_of(scoring, customer) == 25
    await scoring.deliver([posted(customer, transaction(account, days_ago(15), 1_00, kind=TransactionKind.SALARY))])
    assert await points_of(scoring, customer) == 0
    assert (await read(scoring, f"/customers/{customer}/scores"))["items"] == []


async def test_what_arrives_before_its_customer_is_known_counts(scoring: ServiceUnderTest) -> None:
    customer = new_id()
    await scoring.deliver([complaint(customer, days_ago(3))])
    await scoring.deliver([survey(customer, days_ago(2), 6)])
    await close(scoring, TODAY)
    await read(scoring, f"/customers/{customer}/score", status=404)
    await scoring.deliver([customer_changed(customer)])
    assert codes(await read(scoring, f"/customers/{customer}/score")) == ["complaint_open", "survey_low"]


async def test_an_older_revision_changes_nothing(scoring: ServiceUnderTest, customer: UUID) -> None:
    complaint_id = new_id()
    upheld = complaint(customer, days_ago(5), days_ago(3), ComplaintOutcome.UPHELD, complaint_id=complaint_id)
    await scoring.deliver([upheld])
    await scoring.deliver([complaint(customer, days_ago(5), complaint_id=complaint_id)])
    await close(scoring, TODAY)
    assert codes(await read(scoring, f"/customers/{customer}/score")) == ["complaint_settled_fast"]


async def test_a_rejection_is_not_unsaid_by_a_correction(scoring: ServiceUnderTest, customer: UUID) -> None:
    first = rejected(customer, days_ago(3))
    await scoring.deliver([first])
    corrected = complaint(
        customer, days_ago(6), days_ago(2), ComplaintOutcome.UPHELD, complaint_id=first.complaint_id, revision=3
    )
    await scoring.deliver([corrected])
    await close(scoring, TODAY)
    body = await read(scoring, f"/customers/{customer}/score")
    assert codes(body) == ["complaint_rejected", "complaint_settled_fast"]
    assert body["points"] == 30


async def test_a_deposit_that_is_not_renewed_weighs_until_another_is_opened(
    scoring: ServiceUnderTest, customer: UUID
) -> None:
    kind = AccountKind.TERM_DEPOSIT
    matured = account_changed(customer, new_id(), kind=kind, opened_on=days_ago(400), matures_on=days_ago(20))
    await scoring.deliver([matured])
    await close(scoring, days_ago(1))
    assert codes(await read(scoring, f"/customers/{customer}/score")) == ["deposit_not_renewed"]
    again = TODAY + timedelta(days=300)
    await scoring.deliver([account_changed(customer, new_id(), kind=kind, opened_on=days_ago(15), matures_on=again)])
    assert codes(await read(scoring, f"/customers/{customer}/score")) == ["new_product"]


async def test_a_loan_is_not_the_customers_own_money(scoring: ServiceUnderTest, customer: UUID) -> None:
    loan = new_id()
    await scoring.deliver(
        [
            posted(
                customer,
                transaction(loan, days_ago(120), 1, balance_after_minor=10_000_00, kind=TransactionKind.OTHER),
                transaction(loan, days_ago(28), 1, balance_after_minor=0, kind=TransactionKind.OTHER),
            )
        ]
    )
    await close(scoring, days_ago(1))
    assert codes(await read(scoring, f"/customers/{customer}/score")) == ["balance_drained"]
    await scoring.deliver([account_changed(customer, loan, kind=AccountKind.LOAN)])
    assert codes(await read(scoring, f"/customers/{customer}/score")) == []


async def test_an_account_counts_for_its_last_holder(scoring: ServiceUnderTest, customer: UUID) -> None:
    account, heir = new_id(), new_id()
    await scoring.deliver([account_changed(customer, account, closed_on=days_ago(3)), customer_changed(heir)])
    await close(scoring, days_ago(1))
    assert codes(await read(scoring, f"/customers/{customer}/score")) == ["account_closed"]
    await scoring.deliver([account_changed(heir, account, revision=2, closed_on=days_ago(3))])
    await close(scoring, TODAY)
    assert codes(await read(scoring, f"/customers/{customer}/score")) == []
    assert codes(await read(scoring, f"/customers/{heir}/score")) == ["account_closed"]


async def test_a_death_in_the_household_weighs_and_a_wedding_does_not(
    scoring: ServiceUnderTest, customer: UUID
) -> None:
    for kind in (LifeEventKind.DEATH_IN_HOUSEHOLD, LifeEventKind.MARRIAGE):
        event = LifeEventReported(customer_id=customer, life_event_id=new_id(), kind=kind, happened_on=days_ago(2))
        await scoring.deliver([event])
    await close(scoring, TODAY)
    assert codes(await read(scoring, f"/customers/{customer}/score")) == ["death_in_household"]


async def test_a_contact_ends_the_silence(scoring: ServiceUnderTest, customer: UUID) -> None:
    await scoring.deliver([contact(customer, days_ago(190))])
    await close(scoring, days_ago(1))
    assert codes(await read(scoring, f"/customers/{customer}/score")) == ["not_contacted"]
    await scoring.deliver([contact(customer, TODAY)])
    await close(scoring, TODAY)
    assert codes(await read(scoring, f"/customers/{customer}/score")) == []


async def test_who_has_left_has_no_score_and_is_in_no_list(scoring: ServiceUnderTest, customer: UUID) -> None:
    await scoring.deliver([complaint(customer, days_ago(9))])
    await close(scoring, days_ago(1))
    assert await points_of(scoring, customer) == 10
    await scoring.deliver([customer_changed(customer, revision=2, left_on=days_ago(1))])
    assert await points_of(scoring, customer) == 0
    assert (await read(scoring, "/customers"))["items"] == []


async def test_another_band_is_told_once(scoring: ServiceUnderTest, customer: UUID) -> None:
    await scoring.deliver([salaries(customer, new_id(), days_ago(45))])
    await close(scoring, *until(days_ago(1), 5))
    await close(scoring, TODAY)
    (told,) = await scoring.published(RiskBandChanged)
    assert (told.customer_id, told.band, told.points, told.scored_on) == (customer, RiskBand.MEDIUM, 25, days_ago(1))


async def test_the_days_before_the_first_that_closed_have_no_score(scoring: ServiceUnderTest, customer: UUID) -> None:
    await scoring.deliver([complaint(customer, days_ago(30))])
    await close(scoring, days_ago(2))
    (change,) = (await read(scoring, f"/customers/{customer}/scores"))["items"]
    assert change["scored_on"] == str(days_ago(2))
    await close(scoring, days_ago(4))
    (change,) = (await read(scoring, f"/customers/{customer}/scores"))["items"]
    assert change["scored_on"] == str(days_ago(4))


async def test_a_day_that_is_to_come_cannot_close(scoring: ServiceUnderTest, customer: UUID) -> None:
    await close(scoring, TODAY)
    await scoring.deliver([DayClosed(business_date=date(9999, 12, 31))], partition=0, parked=1)
    assert (await read(scoring, f"/customers/{customer}/score"))["scored_on"] == str(TODAY)


async def test_a_bank_may_close_days_of_long_ago(scoring: ServiceUnderTest, customer: UUID) -> None:
    await scoring.deliver([complaint(customer, days_ago(3))])
    await close(scoring, TODAY)
    await close(scoring, date(1900, 1, 1))
    job = next(job for job in scoring.service.jobs if job.name == "score_backlog")
    await job.run(scoring.database)
    assert await points_of(scoring, customer) == 10


async def test_a_manager_sees_their_own_customers_and_no_others(scoring: ServiceUnderTest) -> None:
    mine, other, elsewhere = new_id(), new_id(), new_id()
    await scoring.deliver(
        [
            customer_changed(mine, deputy_manager_id="M9"),
            customer_changed(other, manager_id="M2"),
            customer_changed(elsewhere, manager_id="M3", branch_id="B2", branch_path=("BANK", "B2")),
        ]
    )

    async def seen(principal: Principal) -> set[UUID]:
        items = (await read(scoring, "/customers", principal))["items"]
        return {UUID(item["customer_id"]) for item in items}

    assert await seen(manager("M1")) == await seen(manager("M9")) == {mine}
    assert await seen(branch_head("B1")) == {mine, other}
    assert await seen(head_office()) == {mine, other, elsewhere}
    await read(scoring, "/customers", program(), 403)
    for path in ("score", "scores", "daily-aggregates"):
        assert (await read(scoring, f"/customers/{other}/{path}", manager("M1"), 404))["code"] == "customer_not_scored"


async def test_customers_come_by_risk_and_can_be_filtered(scoring: ServiceUnderTest) -> None:
    customers = [new_id() for _ in range(5)]
    await scoring.deliver([customer_changed(customer) for customer in customers])
    await scoring.deliver([complaint(customer, days_ago(2)) for customer in customers[:3]])
    await scoring.deliver([rejected(customer, days_ago(2)) for customer in customers[:2]])
    await close(scoring, TODAY)
    items = (await read(scoring, "/customers", sort="-risk"))["items"]
    assert [item["points"] for item in items] == [40, 40, 10, 0, 0]
    assert len((await read(scoring, "/customers", band="medium"))["items"]) == 2
    assert len((await read(scoring, "/customers", min_points=10))["items"]) == 3
    assert len((await read(scoring, "/customers", branch_id="B2"))["items"]) == 0
    seen, cursor = [], None
    while True:
        page = await read(scoring, "/customers", limit=2, **({"cursor": cursor} if cursor else {}))
        seen += [item["customer_id"] for item in page["items"]]
        if (cursor := page["next"]) is None:
            break
    assert seen == [item["customer_id"] for item in items]


async def test_a_score_that_has_not_changed_is_not_sent_again(scoring: ServiceUnderTest, customer: UUID) -> None:
    await close(scoring, days_ago(1))
    async with scoring.http(head_office()) as client:
        first = await client.get(f"/customers/{customer}/score")
        tag = {"If-None-Match": first.headers["ETag"]}
        assert (await client.get(f"/customers/{customer}/score", headers=tag)).status_code == 304
        await close(scoring, TODAY)
        assert (await client.get(f"/customers/{customer}/score", headers=tag)).status_code == 200


async def test_a_day_is_scored_when_every_topic_that_brings_its_facts_has_closed_it(scoring: ServiceUnderTest) -> None:
    customer_id = new_id()
    await scoring.deliver([customer_changed(customer_id)])
    *others, last = CLOSES
    for closed in others:
        for partition in range(PARTITIONS):
            await scoring.deliver([closed(business_date=TODAY)], partition=partition)
    assert await scoring.rows("select last_closed_on from business_day") == []
    for partition in range(PARTITIONS):
        await scoring.deliver([last(business_date=days_ago(1))], partition=partition)
    complete = await scoring.rows("select last_closed_on from business_day")
    assert complete == [], "no day is closed by all of them yet"
    for partition in range(PARTITIONS):
        await scoring.deliver([last(business_date=TODAY)], partition=partition)
    assert await scoring.rows("select last_closed_on from business_day") == [(TODAY,)] * PARTITIONS
