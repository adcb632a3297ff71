"""Who a customer is: what comes in, what goes out, and the story of their year. A function of seed and number."""

from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum
from functools import cache

from feeds.sample_bank import names
from feeds.sample_bank.calendar import DAYS, LAST_DAY
from feeds.sample_bank.dice import Dice, Quantiles
from feeds.sample_bank.staff import Manager
from feeds.sample_bank.stories import NEVER, Story, story_of
from shared.events.corebanking import PartyRecorded

CUSTOMERS = 6_000
HOUSEHOLD_SHARE = 0.3
JOINER_SHARE = 0.04
DEPUTY_SHARE = 0.1

OTHER_BANKS = ("LHB", "NSB", "QTB", "WYB", "XGB", "ZRB")


class Segment(StrEnum):
    EMPLOYED = "employed"
    PENSIONER = "pensioner"
    SELF_EMPLOYED = "self_employed"
    STUDENT = "student"
    SAVER = "saver"


SEGMENTS = (
    (Segment.EMPLOYED, 0.50),
    (Segment.PENSIONER, 0.20),
    (Segment.SELF_EMPLOYED, 0.10),
    (Segment.STUDENT, 0.08),
    (Segment.SAVER, 0.12),
)
AGES = {
    Segment.EMPLOYED: (22, 59),
    Segment.PENSIONER: (60, 88),
    Segment.SELF_EMPLOYED: (25, 64),
    Segment.STUDENT: (18, 24),
    Segment.SAVER: (30, 78),
}
INCOMES: dict[Segment, Quantiles] = {
    Segment.EMPLOYED: (4_200_00, 6_500_00, 8_500_00, 11_500_00, 16_000_00, 25_000_00, 60_000_00),
    Segment.PENSIONER: (1_800_00, 3_000_00, 3_800_00, 4_800_00, 7_500_00),
    Segment.SELF_EMPLOYED: (3_000_00, 9_000_00, 15_000_00, 28_000_00, 80_000_00),
    Segment.STUDENT: (1_000_00, 1_500_00, 2_000_00, 3_500_00),
    Segment.SAVER: (0, 0),
}
FORTUNES: Quantiles = (20_000_00, 60_000_00, 120_000_00, 250_000_00, 500_000_00, 1_500_000_00)
TERMS = ((91, 0.3), (182, 0.4), (365, 0.3))

STORIES_OF_PAY = {"salary_moved", "new_job", "retirement"}
STORIES_OF_A_CARD = {"card_quiet", "long_holiday"}
STORIES_OF_A_DEPOSIT = {"deposit_not_renewed", "deposit_renewed_late"}
STORIES_OF_MONEY = {"balance_drained", "big_purchase", "card_quiet", "complaint_gone_badly", "salary_moved"}


@dataclass(slots=True)
class Deposit:
    """A term deposit that matures on a day of the sample; `renewed` is when it is placed again, or NEVER."""

    amount_minor: int
    term_days: int
    matures: int
    renewed: int
    rate_basis_points: int

    def interest_minor(self) -> int:
        return self.amount_minor * self.rate_basis_points * self.term_days // (365 * 10_000)


@dataclass(slots=True)
class Customer:
    """Rates are times a month; 0 is never. Days of the month are 1 to 28."""

    number: int
    manager: Manager
    segment: Segment
    story: Story
    joined: int
    since: date
    income_minor: int
    income_day: int
    income_bank: str | None
    balance_minor: int
    cushion_minor: int
    savings_minor: int | None
    saves_minor: int
    deposit: Deposit | None
    has_card: bool
    card_rate: float
    cash_rate: float
    transfer_rate: float
    other_bank: str | None
    rival_bank: str
    rent_minor: int
    bill_minor: int
    bill_day: int
    insurance_minor: int
    contact_rate: float
    household: int | None
    names_deputy: bool

    @property
    def party_id(self) -> str:
        return f"P{self.number:06d}"

    @property
    def customer_number(self) -> str:
        return customer_number(self.number)

    @property
    def account_id(self) -> str:
        return account_id(self.number, 1)


def customer_number(number: int) -> str:
    return f"C{number:06d}"


def account_id(number: int, position: int) -> str:
    return f"A{number:06d}{position:02d}"


def story_of_customer(seed: int, number: int) -> Story:
    return story_of(Dice(seed, "story", number), _places(seed)[number - 1] / CUSTOMERS)


@cache
def _places(seed: int) -> list[int]:
    """Shuffled, so that every seed has as many leavers, and others of them."""
    places = list(range(CUSTOMERS))
    Dice(seed, "places").shuffle(places)
    return places


def customer(seed: int, number: int, staff: list[Manager], start: date) -> Customer:
    story = story_of_customer(seed, number)
    dice = Dice(seed, "customer", number)
    manager = staff[number % len(staff)]
    segment = segment_of(dice, story)
    income = dice.amount(INCOMES[segment])
    wealthy = story.how in STORIES_OF_MONEY or dice.chance(0.3)
    income_day = dice.between(1, 28)
    if story.last_income is not None:
        income_day = min(28, (start + timedelta(days=story.last_income)).day)
    cushion = int((income or 8_000_00) * (dice.share(2, 5) if wealthy else dice.share(0.4, 2)))
    savings = savings_of(dice, segment, income, wealthy)
    card_rate = card_rate_of(dice, segment, story)
    bill_share = {Segment.EMPLOYED: 0.55, Segment.PENSIONER: 0.5, Segment.SELF_EMPLOYED: 0.4}.get(segment, 0.15)
    active = dice.chance(manager.coverage)
    joins = story.how == "everyday" and dice.chance(JOINER_SHARE / 0.75)
    joined = dice.between(1, LAST_DAY - 20) if joins else -dice.between(200, 7_000)
    pair = (number - 1) // (2 * len(staff)) * len(staff) + (number - 1) % len(staff)
    return Customer(
        number=number,
        manager=manager,
        segment=segment,
        story=story,
        joined=max(joined, 0),
        since=start + timedelta(days=joined),
        income_minor=income,
        income_day=income_day,
        income_bank=dice.one_of(OTHER_BANKS) if dice.chance(0.6) else None,
        balance_minor=cushion + int(income * dice.share(0, 1)),
        cushion_minor=cushion,
        savings_minor=savings,
        saves_minor=int(income * dice.share(0.05, 0.2)) if savings is not None and dice.chance(0.2) else 0,
        deposit=deposit_of(dice, segment, story, income) if not joins else None,
        has_card=card_rate > 0,
        card_rate=card_rate,
        cash_rate=dice.share(0.3, 1.1) if segment is Segment.PENSIONER else dice.share(0, 0.25),
        transfer_rate=dice.share(0.05, 0.45) if segment is not Segment.SELF_EMPLOYED else dice.share(0.3, 1.2),
        other_bank=dice.one_of(OTHER_BANKS) if dice.chance(0.4) else None,
        rival_bank=dice.one_of(OTHER_BANKS),
        rent_minor=int(income * dice.share(0.18, 0.3)) if segment is Segment.EMPLOYED and dice.chance(0.22) else 0,
        bill_minor=dice.between(80_00, 900_00) if dice.chance(bill_share) else 0,
        bill_day=dice.between(1, 28),
        insurance_minor=dice.between(300_00, 2_500_00) if dice.chance(0.2) else 0,
        contact_rate=dice.share(0.1, 0.35) if active else 0,
        household=pair if Dice(seed, "household", pair).chance(HOUSEHOLD_SHARE) else None,
        names_deputy=dice.chance(DEPUTY_SHARE),
    )


def segment_of(dice: Dice, story: Story) -> Segment:
    segment = dice.weighted(SEGMENTS)
    if story.how in STORIES_OF_PAY:
        return Segment.EMPLOYED
    if story.how == "death_in_household":
        return Segment.PENSIONER if segment is not Segment.EMPLOYED else segment
    if story.how in STORIES_OF_A_CARD:
        return segment if segment in {Segment.EMPLOYED, Segment.SELF_EMPLOYED} else Segment.EMPLOYED
    if story.how == "balance_drained" and (story.unpaid or segment is Segment.STUDENT):
        return Segment.SAVER if dice.chance(0.6) else Segment.SELF_EMPLOYED
    return segment


def savings_of(dice: Dice, segment: Segment, income: int, wealthy: bool) -> int | None:
    if segment is Segment.SAVER:
        return dice.amount(FORTUNES)
    if dice.chance(0.5 if wealthy else 0.25):
        return int(income * dice.share(1, 12))
    return None


def card_rate_of(dice: Dice, segment: Segment, story: Story) -> float:
    if story.how in STORIES_OF_A_CARD:
        return dice.share(4, 7)
    shares = {Segment.EMPLOYED: 0.75, Segment.SELF_EMPLOYED: 0.7, Segment.STUDENT: 0.9, Segment.PENSIONER: 0.25}
    if not dice.chance(shares.get(segment, 0.4)):
        return 0
    return dice.share(2.5, 5) if dice.chance(0.2) else dice.share(0.2, 1.1)


def deposit_of(dice: Dice, segment: Segment, story: Story, income: int) -> Deposit | None:
    told = story.how in STORIES_OF_A_DEPOSIT
    if story.leaves and not told:
        return None
    if not (told or dice.chance(0.5 if segment is Segment.SAVER else 0.09)):
        return None
    amount = dice.amount(FORTUNES) if segment is Segment.SAVER else max(income, 3_000_00) * dice.between(3, 15)
    term = dice.weighted(TERMS)
    matures = dice.between(0, term - 1)
    renewed = matures + dice.between(0, 4) if dice.chance(0.85) else NEVER
    if story.deposit_matures is not None:
        matures, renewed = story.deposit_matures, story.deposit_renewed
        term = term if matures < term else DAYS
    return Deposit(amount // 1_000_00 * 1_000_00, term, matures, renewed, dice.between(110, 190))


def party(seed: int, of: Customer, start: date) -> PartyRecorded:
    """Names and addresses come from chance of their own: who draws no party need not draw them."""
    dice = Dice(seed, "party", of.number)
    lives_at = dice if of.household is None else Dice(seed, "address", of.household)
    return PartyRecorded(
        party_id=of.party_id,
        revision=1,
        customer_number=of.customer_number,
        branch_id=of.manager.branch_id,
        name=names.person(dice),
        birth_on=names.birthday(dice, start, *AGES[of.segment]),
        phone=names.phone(of.number),
        email=names.email(of.number) if dice.chance(0.6) else None,
        address=names.address(lives_at, of.manager.city),
        household_id=None if of.household is None else f"H{of.household:05d}",
        manager_id=of.manager.manager_id,
        deputy_manager_id=of.manager.deputy_id if of.names_deputy else None,
        customer_since=of.since,
    )
