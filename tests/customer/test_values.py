"""Amounts, dates and texts at their ends: what a bank cannot mean is parked alone, and never breaks what follows."""

from datetime import date
from typing import Any

import pytest

from shared.events.customer import DayClosed, SurveyReported, TransactionsPosted
from tests.bank import SMALL_BANK, account, day_closed, lines, party, posted, push
from tests.harness import ServiceUnderTest

GREATEST = 2**53


async def test_the_greatest_amounts_are_counted(customer: ServiceUnderTest) -> None:
    ends = [
        posted("T1", GREATEST, sequence=1, balance_after_minor=GREATEST),
        posted("T2", -GREATEST, sequence=2, balance_after_minor=-GREATEST),
        posted("T3", -GREATEST, day=2, sequence=2**53),
    ]
    await push(customer, [*SMALL_BANK, *ends, day_closed(3)])
    rows = await customer.rows("select posted_minor, stated_minor, posted_since_minor from account")
    assert rows == [(-GREATEST, -GREATEST, -GREATEST)]


async def test_amounts_that_no_sum_holds_are_parked_and_other_accounts_go_on(customer: ServiceUnderTest) -> None:
    await push(customer, [*SMALL_BANK, account("A2")])
    huge = [posted(f"T{n}", GREATEST, sequence=n) for n in range(513)]
    summary = await push(customer, [*huge, posted("T1", 5, account_id="A2")], ids="huge")
    assert (summary["parked"], summary["applied"]) == (513, 1)
    assert {error["code"] for error in summary["errors"]} == {"sum_too_great"}
    assert (await push(customer, huge[:511], ids="fewer"))["applied"] == 511
    assert (await push(customer, [*huge[511:], day_closed(1)], ids="more"))["parked"] == 2
    told = await customer.published(TransactionsPosted)
    assert sum(len(event.transactions) for event in told) == 512
    assert await customer.rows("select transaction_count from account order by core_account_id") == [(511,), (1,)]


@pytest.mark.parametrize("amount", [GREATEST + 1, -GREATEST - 1, 2**63, 10**400, 1.5, True, None, "5", {}])
async def test_what_is_no_amount_is_parked(customer: ServiceUnderTest, amount: Any) -> None:
    written = {True: "true", None: "null"}.get(amount, repr(amount)).replace("'", '"') if amount != {} else "{}"
    line = lines([posted("T1", 5)]).replace(b'"amount_minor":5', b'"amount_minor":' + written.encode())
    summary = await push(customer, line)
    assert [(error["code"], error["pointer"]) for error in summary["errors"]] == [
        ("malformed_event", "/data/amount_minor")
    ]


async def test_dates_that_no_bank_means_are_parked(customer: ServiceUnderTest) -> None:
    await push(customer, SMALL_BANK)
    for number, (event, field) in enumerate(
        [
            (posted("T1", 5), "booked_on"),
            (day_closed(1), "business_date"),
            (account("A2", opened_on=date(2026, 3, 1)), "opened_on"),
            (party("P2", birth_on=date(2026, 3, 1)), "birth_on"),
            (party("P3", left_on=date(2026, 3, 1)), "left_on"),
        ]
    ):
        for day, code in (
            ("0001-01-01", "implausible_date"),
            ("1799-12-31", "implausible_date"),
            ("9999-12-31", "implausible_date"),
            ("2026-02-30", "malformed_event"),
            ("+10000-01-01", "malformed_event"),
            ("", "malformed_event"),
        ):
            line = lines([event], ids=f"{number}-{day}").replace(b"2026-03-01", day.encode())
            line = line.replace(f'"time":"{day}'.encode(), b'"time":"2026-03-01')
            summary = await push(customer, line)
            assert [(e["code"], e["pointer"]) for e in summary["errors"]] == [(code, f"/data/{field}")], (field, day)
    assert await customer.published(DayClosed) == []


async def test_a_day_that_is_not_over_anywhere_is_not_closed_nor_booked(customer: ServiceUnderTest) -> None:
    """One day of the next century would stand before all others as the last balance and the last closed day."""
    await push(customer, SMALL_BANK)
    for number, event in enumerate([posted("T1", 5), day_closed(1)]):
        line = lines([event], ids=f"f{number}").replace(b'"2026-03-01"', b'"2126-03-01"')
        summary = await push(customer, line)
        assert [error["code"] for error in summary["errors"]] == ["implausible_date"]


async def test_what_is_planned_may_lie_ahead(customer: ServiceUnderTest) -> None:
    await push(customer, SMALL_BANK)
    line = lines([account("A2", matures_on=date(2126, 3, 1))], ids="deposit")
    assert (await push(customer, line))["applied"] == 1


SURVEY = (
    b'{"specversion":"1.0","id":"%d","source":"core","type":"corebanking.survey_answered.v1","time":"%s",'
    b'"data":{"survey_id":"S%d","party_id":"P1","answered_at":"%s","score":3}}'
)
FINE = b"2026-03-01T09:00:00+01:00"


async def test_an_instant_has_an_offset_and_is_one_that_was(customer: ServiceUnderTest) -> None:
    await push(customer, SMALL_BANK)
    instants = [
        (FINE, FINE, None),
        (FINE, b"2026-03-01T09:00:00", ("malformed_event", "/data/answered_at")),
        (FINE, b"2026-03-01", ("malformed_event", "/data/answered_at")),
        (FINE, b"0001-01-01T00:00:00+14:00", ("implausible_date", "/data/answered_at")),
        (FINE, b"9999-12-31T23:59:59-14:00", ("implausible_date", "/data/answered_at")),
        (b"2026-03-01T09:00:00", FINE, ("malformed_cloud_event", "/time")),
        (b"yesterday", FINE, ("malformed_cloud_event", "/time")),
        (b"0001-01-01T00:00:00+14:00", FINE, ("implausible_date", "/time")),
        (b"2126-01-01T00:00:00Z", FINE, ("implausible_date", "/time")),
    ]
    body = b"\n".join(SURVEY % (n, time, n, answered) for n, (time, answered, _) in enumerate(instants))
    summary = await push(customer, body)
    assert [(e["code"], e["pointer"]) for e in summary["errors"]] == [wrong for _, _, wrong in instants if wrong]
    (told,) = await customer.published(SurveyReported)
    assert told.answered_at.isoformat() == "2026-03-01T09:00:00+01:00"


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        (r"T\u0000", "nul_character"),
        (r"T\\\u0000", "nul_character"),
        (r"T\\u0000", None),
        (r"T\ud83d\ude00", None),
        (r"T\ud800", "malformed_cloud_event"),
        ("T'; drop table posting; --", None),
        ("T" * 65, "malformed_event"),
        ("", "malformed_event"),
    ],
)
async def test_an_id_is_any_text_that_can_be_kept(customer: ServiceUnderTest, text: str, outcome: str | None) -> None:
    await push(customer, SMALL_BANK)
    line = lines([posted("T1", 5)], ids="text").replace(b'"T1"', f'"{text}"'.encode())
    summary = await push(customer, line)
    assert [error["code"] for error in summary["errors"]] == ([outcome] if outcome else [])
    assert await customer.count("posting") == (0 if outcome else 1)
