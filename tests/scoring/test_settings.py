"""What a bank can say about itself: its time zone, its currency, what is much, and when to alert."""

from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

from services.scoring.settings import ScoringSettings
from shared.events.corebanking import ContactChannel, TransactionKind
from shared.events.customer import PostedTransaction
from shared.events.interaction import ContactLogged
from shared.events.scoring import ChurnAlertRaised
from shared.ids import new_id
from tests.scoring.bank import (
    TODAY,
    close,
    codes,
    complaint,
    customer_changed,
    days_ago,
    posted,
    read,
    rejected,
    transaction,
)
from tests.scoring.conftest import ScoringOn


async def test_a_fact_belongs_to_the_day_in_the_banks_time_zone(scoring_on: ScoringOn) -> None:
    async with scoring_on(TODAY, time_zone="Asia/Shanghai") as scoring:
        late_evening = datetime(2026, 3, 5, 17, tzinfo=UTC)
        logged = ContactLogged(
            customer_id=new_id(), contact_id=new_id(), channel=ContactChannel.CALL, occurred_at=late_evening
        )
        await scoring.deliver([logged])
        assert [str(day) for (day,) in await scoring.rows("select began_on from customer_fact")] == ["2026-03-06"]


async def test_amounts_of_other_currencies_do_not_weigh_where_the_bank_names_its_own(scoring_on: ScoringOn) -> None:
    customer, dollars = new_id(), new_id()

    def of(ago: int, balance: int) -> PostedTransaction:
        other = TransactionKind.OTHER
        return transaction(dollars, days_ago(ago), -1, balance_after_minor=balance, currency="USD", kind=other)

    gone = posted(customer, of(150, 5_000_00), of(30, 0))
    for home, expected in ((None, ["balance_drained"]), ("CNY", [])):
        async with scoring_on(TODAY, home_currency=home) as scoring:
            await scoring.deliver([customer_changed(customer), gone])
            await close(scoring, TODAY)
            assert codes(await read(scoring, f"/customers/{customer}/score")) == expected


async def test_the_threshold_is_the_banks(scoring_on: ScoringOn) -> None:
    customer = new_id()
    async with scoring_on(TODAY, alert_threshold=40, alert_recovery=20) as scoring:
        await scoring.deliver([customer_changed(customer), rejected(customer, days_ago(3))])
        await scoring.deliver([complaint(customer, days_ago(2))])
        await close(scoring, days_ago(4), TODAY)
        (raised,) = await scoring.published(ChurnAlertRaised)
        assert raised.points == 40


@pytest.mark.parametrize(
    "wrong",
    [{"time_zone": "Middle/Earth"}, {"alert_recovery": 50}, {"home_currency": "yuan"}, {"alert_threshold": 0}],
    ids=str,
)
def test_a_setting_that_makes_no_sense_is_refused_at_once(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        ScoringSettings(**wrong)  # type: ignore[arg-type] # wrong on purpose
