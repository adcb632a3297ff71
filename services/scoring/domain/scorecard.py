"""The scorecard: each reason declared once, with its points and a sentence that a manager can say aloud.

docs/scorecard.md shows it; a test holds the two together.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from functools import cache
from string import Formatter
from typing import Any

import numpy as np
import numpy.typing as npt

from services.scoring.domain import history as dated
from services.scoring.domain.features import NEVER, Features
from services.scoring.domain.history import Spans

Flags = npt.NDArray[np.bool_]
Bits = npt.NDArray[np.int32]
Points = npt.NDArray[np.int16]
Figures = Mapping[str, int]

MOST_POINTS = 100
MEDIUM_FROM, HIGH_FROM = 25, 50


@dataclass(frozen=True)
class Reason:
    """A line of the scorecard. Negative points protect.

    `irrevocable`: once it holds on a day, no later event of that day can take it back.
    In `sentence`, `{x:date}` is a day, `{x:days}` the days since it, `{x:money}` an amount.
    """

    code: str
    points: int
    when: str
    sentence: str
    irrevocable: bool = False


@dataclass(frozen=True)
class Measured(Reason):
    """Read off the features of a day. `figures` names the features that the sentence shows."""

    holds: Callable[[Features, int], Flags] = lambda features, _: np.zeros(features.last_salary.shape, np.bool_)
    figures: tuple[str, ...] = ()


@dataclass(frozen=True)
class Dated(Reason):
    """Holds for spans of days that follow from what happened."""

    spans: Spans = lambda _: ()


def salary_stopped(features: Features, _: int) -> Flags:
    days = _days_since(features, features.last_salary)
    return (days >= 40) & (features.salaries_before >= 3)


def balance_falling(features: Features, material_minor: int) -> Flags:
    falling = (features.balance_recent <= features.balance_before // 2) & (features.balance_before >= material_minor)
    return falling & ~balance_drained(features, material_minor)


def balance_drained(features: Features, material_minor: int) -> Flags:
    return (features.balance_recent <= features.balance_before // 5) & (features.balance_before >= material_minor)


def card_quiet(features: Features, _: int) -> Flags:
    return (features.cards_before >= 12) & (features.cards_recent * 12 <= features.cards_before)


def money_leaving(features: Features, material_minor: int) -> Flags:
    moved = features.external_recent_minor
    return (
        (moved >= material_minor) & (moved >= features.external_before_minor) & (moved >= features.balance_before // 3)
    )


def inactive(features: Features, _: int) -> Flags:
    days = _days_since(features, features.last_initiated)
    return (days >= 45) & (features.initiated_before >= 3)


def _days_since(features: Features, last: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Days since the last one, at the close of each day; -1 when there is none."""
    today = features.first_day + np.arange(last.shape[1])
    return np.where(last == NEVER, -1, today - last)


SCORECARD: tuple[Measured | Dated, ...] = (
    Measured(
        "salary_stopped",
        25,
        "No salary or pension for 40 days or more (up to 120), after at least 3 in the 66 days up to the last one.",
        "No salary has arrived for {last_salary:days} days; before that one came every month.",
        holds=salary_stopped,
        figures=("last_salary",),
    ),
    Measured(
        "balance_falling",
        15,
        "The mean balance of the last 30 days is at most half of that of the 90 days before, which was material.",
        "The balance averaged {balance_recent:money} in the 30 days to {measured_on:date}; "
        "in the three months before it was {balance_before:money}.",
        holds=balance_falling,
        figures=("balance_recent", "balance_before"),
    ),
    Measured(
        "balance_drained",
        30,
        "The same, at most a fifth; in place of balance_falling.",
        "Hardly anything is left: the balance averaged {balance_recent:money} in the 30 days to {measured_on:date}; "
        "in the three months before it was {balance_before:money}.",
        holds=balance_drained,
        figures=("balance_recent", "balance_before"),
    ),
    Measured(
        "card_quiet",
        15,
        "Card transactions in the last 30 days are at most a quarter of the monthly average of the 90 days before, "
        "which had at least 12.",
        "The card was used {cards_recent} times in the 30 days to {measured_on:date}, "
        "and {cards_before} times in the three months before.",
        holds=card_quiet,
        figures=("cards_recent", "cards_before"),
    ),
    Measured(
        "money_leaving",
        15,
        "Transfers to other banks in the last 30 days are material, at least a third of the mean balance of the 90 "
        "days before, and at least as much as went there in those 90 days.",
        "{external_recent_minor:money} went to other banks in the 30 days to {measured_on:date}; "
        "in the three months before it was {external_before_minor:money}.",
        holds=money_leaving,
        figures=("external_recent_minor", "external_before_minor"),
    ),
    Measured(
        "inactive",
        10,
        "No transaction of the customer's own doing for 45 days or more (up to 120), after at least 3 in the 60 days "
        "up to the last one.",
        "The customer has paid, transferred or withdrawn nothing for {last_initiated:days} days.",
        holds=inactive,
        figures=("last_initiated",),
    ),
    Dated(
        "deposit_not_renewed",
        20,
        "A term deposit ended 7 to 67 days ago, and no term deposit was opened since (or in the week before).",
        "A term deposit ended on {ended_on:date}, and no other one has been opened.",
        spans=dated.deposits_not_renewed,
    ),
    Dated(
        "account_closed",
        15,
        "A current or savings account was closed in the last 60 days, and none with own money was opened since (or in "
        "the week before).",
        "An account was closed on {closed_on:date}, and no other one has been opened.",
        spans=dated.accounts_closed,
    ),
    Dated(
        "complaint_open",
        10,
        "A complaint is open.",
        "A complaint has been open for {opened_on:days} days.",
        spans=dated.open_complaints,
    ),
    Dated(
        "complaint_rejected",
        30,
        "A complaint was rejected in the last 90 days; a later correction does not unsay it.",
        "A complaint was rejected on {rejected_on:date}.",
        irrevocable=True,
        spans=dated.rejections,
    ),
    Dated(
        "survey_low",
        10,
        "A survey of the last 90 days was answered with 6 or less (a detractor of the Net Promoter Score).",
        "In a survey on {answered_on:date} the customer answered {score} of 10.",
        irrevocable=True,
        spans=dated.surveys_up_to(dated.SURVEY_LOW),
    ),
    Dated(
        "survey_very_low",
        10,
        "The same with 2 or less; on top of survey_low.",
        "An answer of {score} of 10, as on {answered_on:date}, is among the worst there are.",
        irrevocable=True,
        spans=dated.surveys_up_to(dated.SURVEY_VERY_LOW),
    ),
    Dated(
        "death_in_household",
        15,
        "A death in the household in the last 180 days.",
        "There was a death in the household on {happened_on:date}.",
        irrevocable=True,
        spans=dated.deaths_in_household,
    ),
    Dated(
        "not_contacted",
        5,
        "The last contact was 180 days ago or more; a customer never contacted has no such habit to miss.",
        "Nobody of the bank has been in touch for {last_contact_on:days} days.",
        spans=dated.contacts_overdue,
    ),
    Dated(
        "new_product",
        -10,
        "An account was opened in the last 60 days, not the customer's first.",
        "An account was opened on {opened_on:date}.",
        spans=dated.products_opened,
    ),
    Dated(
        "complaint_settled_fast",
        -10,
        "A complaint was upheld within 14 days, in the last 90 days.",
        "A complaint was upheld on {upheld_on:date}, {took_days} days after it was made.",
        spans=dated.complaints_settled_fast,
    ),
)

BY_CODE: Mapping[str, Measured | Dated] = {reason.code: reason for reason in SCORECARD}


def points_of(bits: Bits) -> Points:
    """Points of each set of reasons: their sum within 0 to 100, and never less than the irrevocable ones alone."""
    table, _ = _tables()
    return table[bits]


def irrevocable_points_of(bits: Bits) -> Points:
    """What the irrevocable reasons of each set are worth alone."""
    _, table = _tables()
    return table[bits]


@cache
def _tables() -> tuple[Points, Points]:
    """Points by set of reasons, for every set that there can be."""
    sets = np.arange(1 << len(SCORECARD), dtype=np.int32)
    total = np.zeros(len(sets), np.int16)
    irrevocable = np.zeros(len(sets), np.int16)
    for bit, reason in enumerate(SCORECARD):
        has = (sets >> bit & 1).astype(np.int16) * np.int16(reason.points)
        total += has
        if reason.irrevocable:
            irrevocable += has
    irrevocable = np.clip(irrevocable, 0, MOST_POINTS)
    return np.clip(np.maximum(total, irrevocable), 0, MOST_POINTS), irrevocable


def reasons_in(bits: int) -> list[Measured | Dated]:
    """The reasons of a set, the weightiest first."""
    held = [reason for bit, reason in enumerate(SCORECARD) if bits >> bit & 1]
    return sorted(held, key=lambda reason: -reason.points)


def band_of(points: int) -> str:
    return "high" if points >= HIGH_FROM else "medium" if points >= MEDIUM_FROM else "low"


def sentence(code: str, figures: Figures, as_of: date, currency: str) -> str:
    """What a manager can say on `as_of`. Figures that are days are ordinals.

    A reason that the scorecard no longer has, of an old score, is said by its code.
    """
    reason = BY_CODE.get(code)
    return (
        _Sentence(as_of, currency).format(reason.sentence, **figures) if reason else code.replace("_", " ").capitalize()
    )


_MINOR_DIGITS = {
    **dict.fromkeys(("BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG"), 0),
    **dict.fromkeys(("RWF", "UGX", "UYI", "VND", "VUV", "XAF", "XOF", "XPF"), 0),
    **dict.fromkeys(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"), 3),
}
"""Digits after the point where they are not two (ISO 4217)."""


class _Sentence(Formatter):
    def __init__(self, as_of: date, currency: str) -> None:
        self._as_of = as_of
        self._currency = currency

    def format_field(self, value: Any, format_spec: str) -> str:
        match format_spec:
            case "days":
                return str(self._as_of.toordinal() - value)
            case "date":
                day = date.fromordinal(value)
                return f"{day.day} {day:%B %Y}"
            case "money":
                digits = _MINOR_DIGITS.get(self._currency, 2)
                return f"{value / 10**digits:,.{digits}f} {self._currency}".rstrip()
            case _:
                return super().format_field(value, format_spec)  # type: ignore[no-any-return] # format_field is typed Any
