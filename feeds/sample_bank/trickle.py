"""The open day of a running demo: an event every 0.4 seconds, and now and then someone who is angry.

The events of a day are numbered. Each is a function of seed, sample, day and number alone, so that whoever stops
goes on at any later number and neither doubles nor contradicts anything. That is also why no balance is stated.
"""

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta

from feeds.cloudevents import line
from feeds.sample_bank.calendar import LAST_DAY, Calendar
from feeds.sample_bank.customers import CUSTOMERS, OTHER_BANKS, Customer, customer
from feeds.sample_bank.dice import Dice, Quantiles
from feeds.sample_bank.ledger import CURRENCY, SOURCE, Daybook
from feeds.sample_bank.life import CHANNELS, SCORES, Life
from feeds.sample_bank.staff import DEMO_MANAGER_ID, managers
from shared.events.corebanking import (
    ComplaintOutcome,
    ComplaintRecorded,
    ContactRecorded,
    CoreBankingEvent,
    SurveyAnswered,
    TransactionKind,
    TransactionPosted,
)

INTERVAL = timedelta(milliseconds=400)
LAST_NUMBER = timedelta(days=1) // INTERVAL - 1

ANGRY_EVERY = 125
COMPLAINS, PAYS_AWAY, IS_REJECTED, PAYS_THE_REST_AWAY, ANSWERS = 0, 10, 20, 30, 40
"""The steps of an angry customer, in numbers from their first."""

SMALL_SUMS: Quantiles = (6_00, 20_00, 45_00, 90_00, 180_00, 400_00)
LARGER_SUMS: Quantiles = (100_00, 300_00, 700_00, 1_500_00, 4_000_00)
KINDS = (
    (TransactionKind.CARD_PAYMENT, 0.62),
    (TransactionKind.TRANSFER_IN, 0.17),
    (TransactionKind.TRANSFER_OUT, 0.14),
    (TransactionKind.CASH_WITHDRAWAL, 0.07),
)
SPOKEN_SHARE, ASKED_SHARE = 0.07, 0.02


def trickle(seed: int, until: date, day: date, start_at: int = 0) -> Iterator[bytes]:
    """CloudEvents number `start_at` and on of a day after the sample's `until`, to the day's end."""
    open_day = OpenDay(seed, until, day)
    return (open_day.line(number) for number in range(start_at, LAST_NUMBER + 1))


def number_at(now: datetime) -> int:
    """The number of the event whose time has come: where to go on when nothing else is known."""
    midnight = datetime.combine(now.astimezone(UTC).date(), time(), UTC)
    return (now - midnight) // INTERVAL


class OpenDay:
    def __init__(self, seed: int, until: date, day: date) -> None:
        self._seed = seed
        self._day = day
        self._calendar = Calendar(until)
        staff = managers(seed)
        everyone = (customer(seed, number, staff, self._calendar.start) for number in range(1, CUSTOMERS + 1))
        self._staying = [one for one in everyone if not one.story.leaves]
        self._with_cards = [one for one in self._staying if one.has_card]
        calm = [one for one in self._staying if one.story.how == "everyday"]
        Dice(seed, "angry", day.isoformat()).shuffle(calm)
        self._calm = calm
        self._calm_of_demo_manager = [one for one in calm if one.manager.manager_id == DEMO_MANAGER_ID]
        self._balances: dict[int, int] = {}

    def line(self, number: int) -> bytes:
        moment = datetime.combine(self._day, time(), UTC) + number * INTERVAL
        story, step = divmod(number, ANGRY_EVERY)
        if step in {COMPLAINS, PAYS_AWAY, IS_REJECTED, PAYS_THE_REST_AWAY, ANSWERS}:
            id, event = self._anger(story, step, number, moment)
        else:
            id, event = self._everyday(number, moment)
        return line(SOURCE, id, f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z", event)

    def _everyday(self, number: int, moment: datetime) -> tuple[str, CoreBankingEvent]:
        dice = Dice(self._seed, "trickle", self._day.isoformat(), number)
        what = dice.roll()
        if what < SPOKEN_SHARE:
            return self._contact(dice.one_of(self._staying), number, moment, dice)
        if what < SPOKEN_SHARE + ASKED_SHARE:
            return self._answer(dice.one_of(self._staying), number, moment, dice.weighted(SCORES))
        kind = dice.weighted(KINDS)
        if kind is TransactionKind.CARD_PAYMENT:
            return self._posted(dice.one_of(self._with_cards), number, kind, -dice.amount(SMALL_SUMS))
        amount, bank = dice.amount(LARGER_SUMS), None
        if kind is TransactionKind.CASH_WITHDRAWAL:
            amount = dice.between(1, 15) * 100_00
        elif dice.chance(0.5):
            bank = dice.one_of(OTHER_BANKS)
        signed = amount if kind is TransactionKind.TRANSFER_IN else -amount
        return self._posted(dice.one_of(self._staying), number, kind, signed, bank)

    def _anger(self, story: int, step: int, number: int, moment: datetime) -> tuple[str, CoreBankingEvent]:
        """Every other one is a customer of the demo's manager, so that their inbox moves too."""
        among = self._calm if story % 2 else self._calm_of_demo_manager
        who = among[story // 2 % len(among)]
        if step in {PAYS_AWAY, PAYS_THE_REST_AWAY}:
            share = 0.6 if step == PAYS_AWAY else 0.25
            amount = max(int(self._balance(who) * share) // 100_00, 1) * 100_00
            return self._posted(who, number, TransactionKind.TRANSFER_OUT, -amount, who.rival_bank)
        if step == ANSWERS:
            return self._answer(who, number, moment, story % 3)
        opened = number if step == COMPLAINS else number - IS_REJECTED
        complaint_id = self._fact_id("Q", who, opened)
        complaint = ComplaintRecorded(
            complaint_id=complaint_id,
            revision=1 if step == COMPLAINS else 2,
            party_id=who.party_id,
            opened_at=moment if step == COMPLAINS else moment - IS_REJECTED * INTERVAL,
            resolved_at=None if step == COMPLAINS else moment,
            outcome=None if step == COMPLAINS else ComplaintOutcome.REJECTED,
        )
        return f"{complaint_id}-{complaint.revision}", complaint

    def _balance(self, who: Customer) -> int:
        """At the sample's end."""
        if who.number not in self._balances:
            again = customer(self._seed, who.number, managers(self._seed), self._calendar.start)
            life = Life(self._seed, again, Daybook(self._calendar))
            for span in self._calendar.spans(LAST_DAY):
                life.live(span)
            self._balances[who.number] = life.current.balance_minor
        return self._balances[who.number]

    def _fact_id(self, letter: str, who: Customer, number: int) -> str:
        return f"{letter}{who.number:06d}-{self._day:%y%m%d}-N{number}"

    def _posted(
        self, who: Customer, number: int, kind: TransactionKind, amount_minor: int, bank: str | None = None
    ) -> tuple[str, TransactionPosted]:
        """Sequences are beyond any that the bank's own day has."""
        transaction_id = f"{who.account_id}-{self._day:%y%m%d}-N{number}"
        return transaction_id, TransactionPosted(
            account_id=who.account_id,
            transaction_id=transaction_id,
            booked_on=self._day,
            sequence=1_000 + number,
            amount_minor=amount_minor,
            currency=CURRENCY,
            kind=kind,
            counterparty_bank=bank,
        )

    def _contact(self, who: Customer, number: int, moment: datetime, dice: Dice) -> tuple[str, ContactRecorded]:
        contact_id = self._fact_id("K", who, number)
        return contact_id, ContactRecorded(
            contact_id=contact_id,
            party_id=who.party_id,
            channel=dice.weighted(CHANNELS),
            occurred_at=moment,
            manager_id=who.manager.manager_id,
            by_customer=dice.chance(0.5),
        )

    def _answer(self, who: Customer, number: int, moment: datetime, score: int) -> tuple[str, SurveyAnswered]:
        survey_id = self._fact_id("S", who, number)
        answered = SurveyAnswered(survey_id=survey_id, party_id=who.party_id, answered_at=moment, score=score)
        return survey_id, answered
