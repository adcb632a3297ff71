"""What happens in a customer's year beside the everyday: why some leave, and why others only look like it.

A story is told in days of the sample and can begin before its end and be over after it. No event carries it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from feeds.sample_bank.calendar import LAST_DAY
from feeds.sample_bank.dice import Dice
from shared.events.corebanking import ComplaintOutcome, LifeEventKind

NEVER = 1_000_000


class PaysAway(NamedTuple):
    """So much of the current account, and of the savings too if `all_accounts`, goes to another bank."""

    day: int
    share: float
    all_accounts: bool = False


class TakesCash(NamedTuple):
    day: int
    share: float


class Complains(NamedTuple):
    day: int
    resolved: int
    outcome: ComplaintOutcome


class Answers(NamedTuple):
    """A survey, 0 to 10."""

    day: int
    score: int


class Lives(NamedTuple):
    day: int
    event: LifeEventKind


class Calls(NamedTuple):
    day: int


Beat: TypeAlias = PaysAway | TakesCash | Complains | Answers | Lives | Calls


@dataclass(slots=True)
class Story:
    """`how` it goes; from `began` on it shows. Days are NEVER where something does not happen."""

    how: str
    began: int = NEVER
    beats: list[Beat] = field(default_factory=list)
    income_stops: int = NEVER
    income_resumes: int = NEVER
    last_income: int | None = None
    """The last payday, where the story needs it to be a certain one."""
    retires: bool = False
    unpaid: bool = False
    """The story is of someone without salary or pension."""
    card_stops: int = NEVER
    card_resumes: int = NEVER
    bills_stop: int = NEVER
    deposit_matures: int | None = None
    deposit_renewed: int = NEVER
    closes: int = NEVER
    left: int = NEVER

    @property
    def leaves(self) -> bool:
        return self.closes < NEVER

    def income_comes(self, day: int) -> bool:
        return day < self.income_stops or day >= self.income_resumes

    def card_is_used(self, day: int) -> bool:
        return day < self.card_stops or day >= self.card_resumes


Teller: TypeAlias = Callable[[Dice, int], Story]


def salary_moved(dice: Dice, day: int) -> Story:
    return Story(
        "salary_moved",
        income_stops=day,
        bills_stop=day + dice.between(20, 50),
        card_stops=day + dice.between(15, 40),
        beats=[
            PaysAway(day + dice.between(5, 15), dice.share(0.5, 0.75), all_accounts=True),
            PaysAway(day + dice.between(25, 38), dice.share(0.5, 0.8), all_accounts=True),
        ],
        closes=day + dice.between(65, 95),
    )


def balance_drained(dice: Dice, day: int) -> Story:
    beats: list[Beat] = [PaysAway(day + 7 * week, dice.share(0.45, 0.65), all_accounts=True) for week in range(4)]
    if dice.chance(0.6):
        beats.append(Answers(day + dice.between(18, 40), dice.between(3, 6)))
    return Story(
        "balance_drained",
        beats=beats,
        income_stops=day + dice.between(5, 25),
        card_stops=day + dice.between(10, 40),
        bills_stop=day + dice.between(30, 45),
        closes=day + dice.between(55, 85),
    )


def card_quiet(dice: Dice, day: int) -> Story:
    return Story(
        "card_quiet",
        card_stops=day,
        bills_stop=day + dice.between(20, 35),
        income_stops=day + dice.between(10, 30),
        beats=[
            PaysAway(day + dice.between(20, 32), dice.share(0.5, 0.7), all_accounts=True),
            PaysAway(day + dice.between(38, 50), dice.share(0.6, 0.9), all_accounts=True),
        ],
        closes=day + dice.between(70, 100),
    )


def complaint_gone_badly(dice: Dice, day: int) -> Story:
    resolved = day + dice.between(6, 14)
    return Story(
        "complaint_gone_badly",
        beats=[
            Calls(day - 1),
            Complains(day, resolved, ComplaintOutcome.REJECTED),
            Answers(resolved + dice.between(1, 4), dice.between(0, 3)),
            PaysAway(resolved + dice.between(3, 9), dice.share(0.4, 0.6)),
            PaysAway(resolved + dice.between(14, 24), dice.share(0.5, 0.8), all_accounts=True),
        ],
        income_stops=day + dice.between(20, 35),
        card_stops=day + dice.between(25, 40),
        bills_stop=day + dice.between(30, 40),
        closes=day + dice.between(45, 70),
    )


def deposit_not_renewed(dice: Dice, day: int) -> Story:
    return Story(
        "deposit_not_renewed",
        deposit_matures=day,
        beats=[
            PaysAway(day + dice.between(2, 8), dice.share(0.75, 0.92)),
            PaysAway(day + dice.between(12, 25), dice.share(0.6, 0.9), all_accounts=True),
        ],
        card_stops=day + dice.between(20, 40),
        income_stops=day + dice.between(20, 45),
        bills_stop=day + dice.between(30, 45),
        closes=day + dice.between(50, 85),
    )


def death_in_household(dice: Dice, day: int) -> Story:
    return Story(
        "death_in_household",
        beats=[
            Lives(day, LifeEventKind.DEATH_IN_HOUSEHOLD),
            Calls(day + dice.between(2, 5)),
            TakesCash(day + dice.between(6, 10), 0.15),
            PaysAway(day + dice.between(12, 30), dice.share(0.4, 0.6)),
            PaysAway(day + dice.between(32, 48), dice.share(0.5, 0.8), all_accounts=True),
        ],
        income_stops=day + 5,
        card_stops=day + dice.between(0, 20),
        bills_stop=day + dice.between(20, 50),
        closes=day + dice.between(65, 100),
    )


def nothing_at_all(_: Dice, day: int) -> Story:
    return Story("nothing_at_all", closes=day)


def fresh_salary_moved(dice: Dice, day: int) -> Story:
    return Story(
        "salary_moved",
        began=day - 39,
        last_income=day - 40,
        card_stops=day - dice.between(10, 34),
        beats=[
            PaysAway(day - 22, dice.share(0.7, 0.8), all_accounts=True),
            PaysAway(day - 4, dice.share(0.5, 0.8), all_accounts=True),
        ],
    )


def fresh_balance_drained(dice: Dice, day: int) -> Story:
    return Story(
        "balance_drained",
        began=day - 29,
        unpaid=True,
        income_stops=day - 29,
        card_stops=day - 20,
        beats=[
            PaysAway(day - 29, dice.share(0.75, 0.85), all_accounts=True),
            PaysAway(day - 28, dice.share(0.75, 0.85), all_accounts=True),
            Answers(day, dice.between(3, 5)),
        ],
    )


def fresh_card_quiet(dice: Dice, day: int) -> Story:
    return Story(
        "card_quiet",
        began=day - 37,
        card_stops=day - 37,
        income_stops=day - 8,
        bills_stop=day - 15,
        beats=[
            PaysAway(day - 25, dice.share(0.8, 0.9), all_accounts=True),
            PaysAway(day - 6, dice.share(0.6, 0.8), all_accounts=True),
            Answers(day, dice.between(2, 5)),
        ],
    )


def fresh_complaint(dice: Dice, day: int) -> Story:
    opened = day - dice.between(7, 12)
    return Story(
        "complaint_gone_badly",
        began=opened,
        beats=[
            Complains(opened, day - 1, ComplaintOutcome.REJECTED),
            Answers(day, dice.between(0, 2)),
            PaysAway(day, dice.share(0.4, 0.7)),
        ],
    )


def fresh_deposit(dice: Dice, day: int) -> Story:
    beats: list[Beat] = [
        PaysAway(day - 22, dice.share(0.85, 0.95), all_accounts=True),
        PaysAway(day - 9, dice.share(0.5, 0.8), all_accounts=True),
    ]
    return Story("deposit_not_renewed", began=day - 24, deposit_matures=day - 24, income_stops=day - 15, beats=beats)


def fresh_death(dice: Dice, day: int) -> Story:
    return Story(
        "death_in_household",
        began=day - 38,
        last_income=day - 40,
        card_stops=day - 38,
        beats=[
            Lives(day - 38, LifeEventKind.DEATH_IN_HOUSEHOLD),
            Calls(day - 33),
            TakesCash(day - 15, 0.2),
            PaysAway(day - 6, dice.share(0.5, 0.8), all_accounts=True),
        ],
    )


def long_holiday(dice: Dice, day: int) -> Story:
    return Story("long_holiday", card_stops=day, card_resumes=day + dice.between(30, 50))


def big_purchase(dice: Dice, day: int) -> Story:
    return Story("big_purchase", beats=[PaysAway(day, dice.share(0.6, 0.9), all_accounts=True)])


def complaint_well_resolved(dice: Dice, day: int) -> Story:
    resolved = day + dice.between(2, 6)
    beats: list[Beat] = [
        Calls(day),
        Complains(day, resolved, ComplaintOutcome.UPHELD),
        Answers(resolved + dice.between(2, 6), dice.between(8, 10)),
    ]
    return Story("complaint_well_resolved", beats=beats)


def complaint_got_over(dice: Dice, day: int) -> Story:
    """Rejected, angry, and still here a year later."""
    resolved = day + dice.between(3, 12)
    beats: list[Beat] = [
        Complains(day, resolved, ComplaintOutcome.REJECTED),
        Answers(resolved + dice.between(1, 4), dice.between(1, 4)),
    ]
    return Story("complaint_got_over", beats=beats)


def deposit_renewed_late(dice: Dice, day: int) -> Story:
    return Story("deposit_renewed_late", deposit_matures=day, deposit_renewed=day + dice.between(18, 35))


def new_job(dice: Dice, day: int) -> Story:
    """Between two employers; some move house meanwhile."""
    beats: list[Beat] = [Lives(day + dice.between(0, 20), LifeEventKind.JOB_CHANGE)]
    if dice.chance(0.4):
        beats.append(PaysAway(day + dice.between(0, 15), dice.share(0.5, 0.8), all_accounts=True))
    return Story("new_job", income_stops=day, income_resumes=day + dice.between(35, 60), beats=beats)


def retirement(dice: Dice, day: int) -> Story:
    beats: list[Beat] = [Lives(day, LifeEventKind.RETIREMENT)]
    return Story("retirement", income_stops=day, income_resumes=day + dice.between(20, 35), retires=True, beats=beats)


LEAVERS: tuple[tuple[Teller, float], ...] = (
    (salary_moved, 0.26),
    (balance_drained, 0.18),
    (complaint_gone_badly, 0.15),
    (deposit_not_renewed, 0.13),
    (card_quiet, 0.12),
    (death_in_household, 0.07),
    (nothing_at_all, 0.09),
)
FRESH: tuple[tuple[Teller, float], ...] = (
    (fresh_salary_moved, 0.26),
    (fresh_balance_drained, 0.18),
    (fresh_complaint, 0.22),
    (fresh_deposit, 0.14),
    (fresh_card_quiet, 0.12),
    (fresh_death, 0.08),
)
LOOK_ALIKES: tuple[tuple[Teller, float], ...] = (
    (long_holiday, 0.22),
    (big_purchase, 0.2),
    (complaint_well_resolved, 0.18),
    (complaint_got_over, 0.08),
    (deposit_renewed_late, 0.12),
    (new_job, 0.14),
    (retirement, 0.06),
)

LEAVER_SHARE = 0.112
"""Those who begin to leave within the year; about 0.085 have left when it ends."""
FRESH_SHARE = 0.019
"""Those whose story comes to its head in the sample's last week."""
LOOK_ALIKE_SHARE = 0.12


def story_of(dice: Dice, share: float) -> Story:
    """`share` is the customer's place among all, 0 to 1: what a story is worth is how many places it gets."""
    if share < LEAVER_SHARE:
        day = dice.between(5, LAST_DAY - 10)
        story = dice.weighted(LEAVERS)(dice, day)
        story.began = day
    elif share < LEAVER_SHARE + FRESH_SHARE:
        day = LAST_DAY - dice.between(0, 5)
        story = dice.weighted(FRESH)(dice, day)
        story.closes = day + dice.between(30, 50)
    elif share < LEAVER_SHARE + FRESH_SHARE + LOOK_ALIKE_SHARE:
        day = dice.between(10, LAST_DAY - 3)
        story = dice.weighted(LOOK_ALIKES)(dice, day)
        story.began = day
    else:
        story = Story("everyday")
    if story.closes < NEVER:
        story.left = story.closes + dice.between(14, 28)
    if story.last_income is not None:
        story.income_stops = story.last_income + 1
    return story
