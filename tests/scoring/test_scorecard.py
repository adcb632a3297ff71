"""The scorecard says what docs/scorecard.md says, and each reason holds when it says it does."""

from datetime import date
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from services.scoring.domain import scorecard
from services.scoring.domain.features import LOOKBACK, AccountDays, Features, measure
from services.scoring.domain.history import FOREVER, UPHELD, Account, Fact, History
from services.scoring.domain.scorecard import BY_CODE, SCORECARD, band_of, irrevocable_points_of, points_of, sentence
from services.scoring.domain.scores import Scores, irrevocable_reasons, next_change, score
from shared.events.scoring import RiskBand

TODAY = date(2024, 6, 1).toordinal()
MATERIAL = 50_000
DOCUMENT = Path(__file__).parents[2] / "docs" / "scorecard.md"

Day = dict[str, int]


def features_of(days: dict[int, Day], first_day: int = TODAY, last_day: int = TODAY) -> Features:
    """Features of one customer with one account; `days` maps ordinals to what happened on them."""
    at = sorted(day for day in days if first_day - LOOKBACK <= day <= last_day)
    earlier = [day for day in days if day < first_day - LOOKBACK and "balance" in days[day]]
    if earlier:
        at.insert(0, first_day - LOOKBACK - 1)
        days = {**days, at[0]: {"balance": days[max(earlier)]["balance"]}}

    def column(name: str) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        return np.array([days[day].get(name, 0) for day in at], np.int64)

    return measure(
        AccountDays(
            np.zeros(len(at), np.int64),
            np.array(at, np.int64),
            column("salaries"),
            column("cards"),
            column("initiated"),
            column("external"),
            column("external_minor"),
            column("change"),
            np.array(["balance" in days[day] for day in at], np.bool_),
            column("balance"),
        ),
        customer_of=np.zeros(1, np.int64),
        counts_balance=np.ones(1, np.bool_),
        customers=1,
        first_day=first_day,
        last_day=last_day,
    )


def scored(
    days: dict[int, Day], history: History | None = None, first_day: int = TODAY, last_day: int = TODAY
) -> Scores:
    return score(features_of(days, first_day, last_day), [history or History()], material_minor=MATERIAL)


def codes(days: dict[int, Day] | None = None, history: History | None = None, day: int = TODAY) -> set[str]:
    scores = scored(days or {}, history, day, day)
    return {reason.code for reason in scores.reasons(0, day)}


def every(days: int, until_ago: int, times: int, what: Day) -> dict[int, Day]:
    return {TODAY - until_ago - n * days: dict(what) for n in range(times)}


def test_the_document_shows_the_scorecard_as_it_is() -> None:
    lines = [
        f"| `{reason.code}` | {reason.points} | {'yes' if reason.irrevocable else ''} "
        f"| {reason.when} | {reason.sentence} |"
        for reason in SCORECARD
    ]
    assert "\n".join(lines) in DOCUMENT.read_text()


def test_the_bands_are_those_of_the_published_language() -> None:
    assert [band_of(points) for points in (0, 24, 25, 49, 50, 100)] == [
        RiskBand.LOW,
        RiskBand.LOW,
        RiskBand.MEDIUM,
        RiskBand.MEDIUM,
        RiskBand.HIGH,
        RiskBand.HIGH,
    ]


def test_codes_are_unique_and_reasons_fit_into_their_bits() -> None:
    assert len(BY_CODE) == len(SCORECARD) <= 20


def test_points_stay_within_0_and_100_and_protection_does_not_outweigh_the_irrevocable() -> None:
    bit = {reason.code: np.int32(1 << at) for at, reason in enumerate(SCORECARD)}
    sets = np.array([0, bit["new_product"], (1 << len(SCORECARD)) - 1, bit["complaint_rejected"] | bit["new_product"]])
    assert points_of(sets).tolist() == [0, 0, 100, 30]


def test_salary_stopped_after_coming_every_month() -> None:
    monthly = every(30, 47, 4, {"salaries": 1})
    assert codes(monthly) == {"salary_stopped"}
    assert codes(every(30, 39, 4, {"salaries": 1})) == set()
    assert codes(every(30, 47, 2, {"salaries": 1})) == set()
    assert codes(every(30, 121, 4, {"salaries": 1})) == set()


def test_a_salary_that_comes_again_takes_the_reason_away() -> None:
    days = {**every(30, 47, 4, {"salaries": 1}), TODAY: {"salaries": 1}}
    assert codes(days) == set()


def test_a_balance_that_falls_and_one_that_is_drained() -> None:
    high = {TODAY - 150: {"balance": 1_000_00}}
    assert codes({**high, TODAY - 29: {"balance": 400_00}}) == {"balance_falling"}
    assert codes({**high, TODAY - 29: {"balance": 150_00}}) == {"balance_drained"}
    assert codes({TODAY - 150: {"balance": 400_00}, TODAY - 29: {"balance": 0}}) == set()
    assert codes(high) == set()


def test_a_balance_known_from_before_the_days_looked_at_counts() -> None:
    assert codes({TODAY - 400: {"balance": 1_000_00}, TODAY - 29: {"balance": 0}}) == {"balance_drained"}


def test_a_bank_that_states_no_balances_is_summed_up() -> None:
    assert codes({TODAY - 150: {"change": 1_000_00}, TODAY - 29: {"change": -1_000_00}}) == {"balance_drained"}


def test_amounts_after_the_last_stated_balance_move_it() -> None:
    features = features_of({TODAY - 10: {"balance": 300, "change": 5}, TODAY - 4: {"change": -100}})
    assert features.balance_recent[0, 0] == (300 * 6 + 200 * 5) // 30


def test_a_card_gone_quiet() -> None:
    used = every(5, 31, 18, {"cards": 1})
    assert codes(used) == {"card_quiet"}
    assert codes({**used, TODAY: {"cards": 2}}) == set()


def test_money_that_goes_to_another_bank_more_than_usual() -> None:
    balance = {TODAY - 150: {"balance": 1_000_00}}
    assert "money_leaving" in codes({**balance, TODAY - 3: {"external": 1, "external_minor": 600_00}})
    usual = every(30, 40, 3, {"external": 1, "external_minor": 300_00})
    assert codes({**balance, **usual, TODAY - 3: {"external": 1, "external_minor": 600_00}}) == set()


def test_a_customer_who_does_nothing_any_more() -> None:
    assert codes(every(10, 45, 4, {"initiated": 1})) == {"inactive"}
    assert codes(every(10, 44, 4, {"initiated": 1})) == set()


def test_a_deposit_that_matured_and_was_not_renewed() -> None:
    matured = Account("term_deposit", TODAY - 400, TODAY - 7)
    assert codes(history=History([matured])) == {"deposit_not_renewed"}
    assert codes(history=History([matured]), day=TODAY - 1) == set()
    assert codes(history=History([matured, Account("term_deposit", TODAY - 9, TODAY + 300)])) == {"new_product"}


def test_a_week_long_deposit_does_not_renew_itself() -> None:
    assert codes(history=History([Account("term_deposit", TODAY - 14, TODAY - 7)])) == {"deposit_not_renewed"}


def test_a_closed_account_unless_another_was_opened() -> None:
    closed = Account("current", TODAY - 900, closed=TODAY - 3)
    assert codes(history=History([closed])) == {"account_closed"}
    assert codes(history=History([closed, Account("savings", TODAY - 5)])) == {"new_product"}


def test_complaints_open_rejected_and_settled_fast() -> None:
    assert codes(history=History(facts=[Fact("complaint", TODAY - 3)])) == {"complaint_open"}
    rejected = [Fact("complaint", TODAY - 9, TODAY - 2, 0), Fact("rejection", TODAY - 2)]
    assert codes(history=History(facts=rejected)) == {"complaint_rejected"}
    assert codes(history=History(facts=[Fact("complaint", TODAY - 9, TODAY - 2, UPHELD)])) == {"complaint_settled_fast"}
    assert codes(history=History(facts=[Fact("complaint", TODAY - 29, TODAY - 2, UPHELD)])) == set()


def test_the_worst_survey_counts() -> None:
    surveys = [Fact("survey", TODAY - 9, value=1), Fact("survey", TODAY - 1, value=9)]
    assert codes(history=History(facts=surveys)) == {"survey_low", "survey_very_low"}
    assert codes(history=History(facts=[Fact("survey", TODAY, value=6)])) == {"survey_low"}
    assert codes(history=History(facts=[Fact("survey", TODAY - 90, value=0)])) == set()


def test_only_who_was_ever_contacted_can_miss_it() -> None:
    assert codes(history=History(facts=[Fact("contact", TODAY - 180)])) == {"not_contacted"}
    assert codes(history=History(facts=[Fact("contact", TODAY - 180), Fact("contact", TODAY - 20)])) == set()
    assert codes() == set()


def test_who_has_left_is_no_risk_any_more() -> None:
    assert codes(history=History(facts=[Fact("complaint", TODAY - 3)], left=TODAY)) == set()


def test_sentences_name_figures_that_stay_true() -> None:
    scores = scored(every(30, 47, 4, {"salaries": 1}))
    (reason,) = scores.reasons(0, TODAY)
    said = sentence(reason.code, reason.figures, date.fromordinal(TODAY + 3), "CZK")
    assert said == "No salary has arrived for 50 days; before that one came every month."


def test_amounts_are_said_in_their_currency() -> None:
    figures = {"balance_recent": 1_234_50, "balance_before": 10_000_00, "measured_on": TODAY}
    said = sentence("balance_falling", figures, date.fromordinal(TODAY), "CZK")
    assert said == (
        "The balance averaged 1,234.50 CZK in the 30 days to 1 June 2024; "
        "in the three months before it was 10,000.00 CZK."
    )
    assert "123,450 JPY" in sentence("balance_falling", figures, date.fromordinal(TODAY), "JPY")


def test_every_sentence_can_be_said() -> None:
    figures = {
        **dict.fromkeys(("cards_recent", "cards_before", "score", "took_days", "external_before_minor"), 1),
        **dict.fromkeys(("balance_recent", "balance_before", "external_recent_minor"), 100),
    }
    names = ("last_salary", "last_initiated", "measured_on", "opened_on", "ended_on", "closed_on", "rejected_on")
    figures.update(dict.fromkeys((*names, "answered_on", "happened_on", "last_contact_on", "upheld_on"), TODAY))
    for reason in SCORECARD:
        assert sentence(reason.code, figures, date.fromordinal(TODAY), "EUR").endswith(".")


def test_a_reason_that_the_scorecard_no_longer_has_is_still_said() -> None:
    assert sentence("moved_abroad", {}, date.fromordinal(TODAY), "EUR") == "Moved abroad"


what_happened = st.fixed_dictionaries(
    {},
    optional={
        "salaries": st.integers(1, 2),
        "cards": st.integers(1, 9),
        "initiated": st.integers(1, 9),
        "external_minor": st.integers(1, 5_000_00),
        "change": st.integers(-5_000_00, 5_000_00),
        "balance": st.integers(-100_00, 5_000_00),
    },
)
some_days = st.dictionaries(st.integers(TODAY - 320, TODAY + 60), what_happened, max_size=60)
recent = st.integers(TODAY - 250, TODAY + 60)
facts = st.one_of(
    st.builds(Fact, st.just("complaint"), recent, recent, st.sampled_from([0, UPHELD])),
    st.builds(Fact, st.just("survey"), recent, value=st.integers(0, 10)),
    st.builds(Fact, st.sampled_from(["contact", "rejection", "death_in_household"]), recent),
)
accounts = st.builds(
    Account,
    st.sampled_from(["current", "term_deposit", "loan"]),
    recent,
    recent | st.just(FOREVER),
    recent | st.just(FOREVER),
)
histories = st.builds(
    History,
    st.lists(accounts, max_size=4),
    st.lists(facts, max_size=6),
    st.just(FOREVER) | st.integers(TODAY, TODAY + 90),
)


@settings(max_examples=60)
@given(some_days, histories, st.integers(1, 60))
def test_a_score_is_the_same_however_many_days_are_scored_together(
    days: dict[int, Day], history: History, width: int
) -> None:
    days = {day: what for day, what in days.items() if day >= TODAY - LOOKBACK}
    together = scored(days, history, TODAY, TODAY + width)
    for day in range(TODAY, TODAY + width + 1, 7):
        alone = scored(days, history, day, day)
        assert together.bits[0, day - TODAY] == alone.bits[0, 0]
        assert together.reasons(0, day) == alone.reasons(0, day)


@settings(max_examples=60)
@given(some_days, histories)
def test_until_the_next_change_nothing_changes(days: dict[int, Day], history: History) -> None:
    days = {day: what for day, what in days.items() if TODAY - LOOKBACK <= day <= TODAY}
    horizon = scored(days, history, TODAY, TODAY + 45)
    following = next_change(horizon, 0, TODAY)
    if following is None:
        assert history.left <= TODAY
    else:
        assert following in {*horizon.changes(0, TODAY + 1, TODAY + 45)[:1], TODAY + 46}


@given(st.lists(facts, max_size=8), st.lists(facts, max_size=4))
def test_what_is_irrevocable_is_not_taken_back_by_anything_later(before: list[Fact], later: list[Fact]) -> None:
    def irrevocable(known: list[Fact]) -> int:
        return sum(reason.points for reason in irrevocable_reasons(History(facts=known), TODAY))

    assert irrevocable(before + later) >= irrevocable(before)


@given(histories)
def test_an_open_day_is_judged_as_the_close_of_that_day_will_judge_it(history: History) -> None:
    scores = scored({}, history)
    alone = sum(reason.points for reason in irrevocable_reasons(history, TODAY))
    assert irrevocable_points_of(scores.bits)[0, 0] == alone
    assert scores.points[0, 0] >= min(alone, scorecard.MOST_POINTS)


@pytest.mark.parametrize(
    "reason", [reason for reason in SCORECARD if reason.irrevocable], ids=lambda reason: reason.code
)
def test_what_is_irrevocable_weighs_towards_leaving(reason: scorecard.Reason) -> None:
    assert reason.points > 0
