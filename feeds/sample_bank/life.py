"""A customer's days: every month brings its routine, the story its beats; both become bookings and other facts."""

from collections.abc import Callable
from datetime import timedelta
from heapq import heappop, heappush
from typing import Any, TypeAlias

import msgspec

from feeds.sample_bank.calendar import MINUTES, Span
from feeds.sample_bank.customers import OTHER_BANKS, Customer, Segment, account_id, party
from feeds.sample_bank.dice import Dice, Quantiles
from feeds.sample_bank.ledger import CURRENCY, Account, Daybook
from feeds.sample_bank.stories import NEVER, Answers, Beat, Calls, Complains, Lives, PaysAway, TakesCash
from shared.events.corebanking import (
    AccountKind,
    AccountRecorded,
    ComplaintOutcome,
    ComplaintRecorded,
    ContactChannel,
    ContactRecorded,
    LifeEventKind,
    LifeEventRecorded,
    PartyRelation,
    RelatedParty,
    SurveyAnswered,
    TransactionKind,
)

PURCHASES: Quantiles = (6_00, 22_00, 48_00, 95_00, 190_00, 420_00, 2_600_00)
TRANSFERS: Quantiles = (50_00, 200_00, 500_00, 1_200_00, 4_000_00)
SCORES = ((10, 0.2), (9, 0.22), (8, 0.25), (7, 0.15), (6, 0.08), (5, 0.05), (3, 0.03), (1, 0.02))
CHANNELS = ((ContactChannel.CALL, 0.6), (ContactChannel.VISIT, 0.2), (ContactChannel.MESSAGE, 0.2))
EVERYDAY_EVENTS = (
    (LifeEventKind.MOVE, 0.3),
    (LifeEventKind.BIRTH, 0.2),
    (LifeEventKind.MARRIAGE, 0.2),
    (LifeEventKind.JOB_CHANGE, 0.15),
    (LifeEventKind.DEATH_IN_HOUSEHOLD, 0.15),
)

POSITIONS = {AccountKind.CURRENT: 1, AccountKind.SAVINGS: 2, AccountKind.CARD: 3}
LAST_POSITION = 10
"""In the account's number; deposits are numbered behind it."""

# Minutes of a day in UTC; the bank opens at 9 in UTC+8, and all of its day is one day of both.
OPENING, CLOSING = 60, 540
FIRST_BOOKING, LAST_BOOKING = 60, 880
LAST_CALL = 890

Act: TypeAlias = Callable[[int, Any], None]


class Life:
    def __init__(self, seed: int, customer: Customer, book: Daybook) -> None:
        self.customer = customer
        self.book = book
        self.dice = Dice(seed, "life", customer.number)
        self.party = party(seed, customer, book.calendar.start)
        self.cushion_minor = customer.cushion_minor
        self.deposits_opened = 0
        self.gone = False
        self.savings: Account | None = None
        self.card: Account | None = None
        self.deposit: Account | None = None
        self._agenda: list[tuple[int, int, Act, Any]] = []
        self._entries = 0
        self._opened_at = 0
        self._told = 0
        self._opens()

    def at(self, when: int, act: Act, argument: Any = None) -> None:
        self._entries += 1
        heappush(self._agenda, (when, self._entries, act, argument))

    def live(self, span: Span) -> None:
        if not self.gone:
            self._routine(span)
        end = (span.last + 1) * MINUTES
        while self._agenda and self._agenda[0][0] < end:
            when, _, act, argument = heappop(self._agenda)
            if when > self._opened_at and (not self.gone or act == self._leaves):
                act(when, argument)

    def _opens(self) -> None:
        """The relationship as it is on the sample's first day, or on the day of joining."""
        customer, story, dice = self.customer, self.customer.story, self.dice
        new = customer.joined > 0
        when = customer.joined * MINUTES + (OPENING if new else 1)
        self.book.write(when, f"{customer.party_id}-1", self.party)
        self._opened_at = when + 2
        brought = TransactionKind.TRANSFER_IN if new else TransactionKind.OTHER
        since = 0 if new else (self.book.calendar.start - customer.since).days
        self.current = self._account(when + 1, AccountKind.CURRENT, since)
        self.current.post(when + 2, brought, customer.balance_minor, customer.income_bank if new else None)
        if customer.savings_minor is not None:
            self.savings = self._account(when + 1, AccountKind.SAVINGS, since * 2 // 3)
            if customer.savings_minor:
                self.savings.post(when + 2, brought, customer.savings_minor, customer.income_bank if new else None)
        if customer.has_card:
            self.card = self._account(when + 1, AccountKind.CARD, since // 2)
        if (deposit := customer.deposit) is not None:
            days = deposit.term_days - deposit.matures
            self.deposit = self._account(when + 1, AccountKind.TERM_DEPOSIT, days, deposit.matures)
            self.deposit.post(when + 2, TransactionKind.OTHER, deposit.amount_minor)
            self.at(deposit.matures * MINUTES + 30, self._deposit_matures)
        for beat in story.beats:
            self.at(beat.day * MINUTES + dice.between(OPENING, CLOSING), self._tells, beat)
        if story.closes < NEVER:
            self.at(story.closes * MINUTES + LAST_CALL, self._closes)
            self.at(story.left * MINUTES + CLOSING, self._leaves)

    def _account(self, when: int, kind: AccountKind, days_before: int = 0, matures: int | None = None) -> Account:
        calendar, day = self.book.calendar, when // MINUTES
        if kind is AccountKind.TERM_DEPOSIT:
            self.deposits_opened += 1
        position = POSITIONS.get(kind) or LAST_POSITION + self.deposits_opened
        recorded = AccountRecorded(
            account_id=account_id(self.customer.number, position),
            revision=1,
            kind=kind,
            currency=CURRENCY,
            branch_id=self.customer.manager.branch_id,
            parties=(RelatedParty(party_id=self.customer.party_id, relation=PartyRelation.HOLDER),),
            opened_on=calendar.day(day) - timedelta(days=days_before),
            matures_on=None if matures is None else calendar.day(matures),
        )
        return Account(self.book, when, recorded)

    def _routine(self, span: Span) -> None:
        customer, dice, share = self.customer, self.dice, span.share_of_month()
        if customer.segment is Segment.SELF_EMPLOYED:
            for _ in range(dice.times(1.6 * share)):
                self.at(self._sometime(span), self._is_paid, dice.share(0.2, 1.1))
        elif customer.income_minor and (day := span.on(customer.income_day)) is not None:
            self.at(day * MINUTES + dice.between(60, 120), self._is_paid, 1.0)
            if dice.chance(0.5):
                self.at((day + dice.between(2, 9)) * MINUTES + dice.between(180, 700), self._pays_out)
        if customer.rent_minor and (day := span.on(customer.bill_day)) is not None:
            self.at(day * MINUTES + 130, self._pays_bill, (TransactionKind.RENT, customer.rent_minor))
        if customer.bill_minor and (day := span.on(customer.bill_day)) is not None:
            amount = int(customer.bill_minor * dice.share(0.7, 1.3))
            self.at(day * MINUTES + 140, self._pays_bill, (TransactionKind.HOUSEHOLD, amount))
        if customer.insurance_minor and span.month % 3 == customer.number % 3 and (day := span.on(11)) is not None:
            self.at(day * MINUTES + 150, self._pays_bill, (TransactionKind.INSURANCE, customer.insurance_minor))
        if (
            customer.saves_minor
            and (span.month + customer.number) % 2
            and (day := span.on(customer.income_day)) is not None
        ):
            self.at(day * MINUTES + 170, self._saves, customer.saves_minor)
        if self.savings is not None and span.month % 3 == 0 and (day := span.on(21)) is not None:
            self.at(day * MINUTES + 30, self._earns_interest)
        for _ in range(dice.times(customer.card_rate * share)):
            self.at(self._sometime(span), self._buys, dice.amount(PURCHASES))
        for _ in range(dice.times(customer.cash_rate * share)):
            self.at(self._sometime(span), self._takes_cash, dice.between(2, 25) * 100_00)
        for _ in range(dice.times(customer.transfer_rate * share)):
            self.at(self._sometime(span), self._transfers, dice.amount(TRANSFERS))
        self._talks(span, share)

    def _talks(self, span: Span, share: float) -> None:
        customer, dice = self.customer, self.dice
        for _ in range(dice.times(customer.contact_rate * share)):
            self.at(self._sometime(span, CLOSING), self._is_contacted, dice.chance(0.2))
        if dice.chance(0.05 * share):
            self.at(self._sometime(span, CLOSING), self._is_contacted, True)
        if dice.chance(0.05 * share):
            self.at(self._sometime(span, CLOSING), self._answers, dice.weighted(SCORES))
        if dice.chance(0.0035 * share):
            outcome = ComplaintOutcome.UPHELD if dice.chance(0.65) else ComplaintOutcome.REJECTED
            when = self._sometime(span, CLOSING)
            self.at(when, self._complains, (when // MINUTES + dice.between(1, 14), outcome))
        if dice.chance(0.005 * share):
            self.at(self._sometime(span, CLOSING), self._lives, dice.weighted(EVERYDAY_EVENTS))

    def _sometime(self, span: Span, until: int = LAST_BOOKING) -> int:
        dice = self.dice
        return dice.between(span.first, span.last) * MINUTES + dice.between(FIRST_BOOKING, until)

    # Money

    def _is_paid(self, when: int, part: float) -> None:
        customer, story, day = self.customer, self.customer.story, when // MINUTES
        if not story.income_comes(day):
            return
        kinds = {Segment.EMPLOYED: TransactionKind.SALARY, Segment.PENSIONER: TransactionKind.PENSION}
        kind, amount = kinds.get(customer.segment, TransactionKind.TRANSFER_IN), int(customer.income_minor * part)
        if day >= story.income_resumes:
            kind = TransactionKind.PENSION if story.retires else kind
            amount = amount * 6 // 10 if story.retires else amount * 115 // 100
        self.current.post(when, kind, amount, customer.income_bank)

    def _pays(self, when: int, kind: TransactionKind, amount_minor: int, bank: str | None = None) -> bool:
        """Not more than there is: what the balance does not cover is not done."""
        if amount_minor > self.current.balance_minor:
            return False
        self.current.post(when, kind, -amount_minor, bank)
        return True

    def _pays_bill(self, when: int, bill: tuple[TransactionKind, int]) -> None:
        if when // MINUTES < self.customer.story.bills_stop:
            kind, amount = bill
            self._pays(when, kind, amount, self.customer.other_bank if kind is TransactionKind.RENT else None)

    def _pays_out(self, when: int, _: None) -> None:
        """What is above the cushion is spent in ways that no single booking shows."""
        spare = self.current.balance_minor - self.cushion_minor
        amount = int(spare * self.dice.share(0.5, 0.95)) // 100 * 100
        if amount >= 200_00 and self.customer.story.card_is_used(when // MINUTES):
            self._pays(when, TransactionKind.TRANSFER_OUT, amount, self.customer.other_bank)

    def _saves(self, when: int, amount_minor: int) -> None:
        if self.savings is not None and self.customer.story.income_comes(when // MINUTES):
            self._moves(when, self.current, self.savings, amount_minor)

    def _moves(self, when: int, source: Account, target: Account, amount_minor: int) -> None:
        """Between the customer's own accounts."""
        if 0 < amount_minor <= source.balance_minor:
            source.post(when, TransactionKind.TRANSFER_OUT, -amount_minor)
            target.post(when, TransactionKind.TRANSFER_IN, amount_minor)

    def _earns_interest(self, when: int, _: None) -> None:
        if self.savings is not None and (interest := self.savings.balance_minor * 35 // 40_000) > 0:
            self.savings.post(when, TransactionKind.INTEREST, interest)

    def _buys(self, when: int, amount_minor: int) -> None:
        if self.customer.story.card_is_used(when // MINUTES):
            self._pays(when, TransactionKind.CARD_PAYMENT, amount_minor)

    def _takes_cash(self, when: int, amount_minor: int) -> None:
        if self.customer.story.card_is_used(when // MINUTES):
            self._pays(when, TransactionKind.CASH_WITHDRAWAL, amount_minor)

    def _transfers(self, when: int, amount_minor: int) -> None:
        dice = self.dice
        bank = dice.one_of(OTHER_BANKS) if dice.chance(0.5) else None
        if dice.chance(0.3):
            self.current.post(when, TransactionKind.TRANSFER_IN, amount_minor, bank)
        else:
            self._pays(when, TransactionKind.TRANSFER_OUT, amount_minor, bank)

    # Term deposits

    def _deposit_matures(self, when: int, _: None) -> None:
        terms = self.customer.deposit
        if self.deposit is None or terms is None:
            return
        self.deposit.post(when, TransactionKind.INTEREST, terms.interest_minor())
        self._ends_deposit(when)
        if terms.renewed < NEVER:
            self.cushion_minor += terms.amount_minor
            self.at(terms.renewed * MINUTES + self.dice.between(OPENING, CLOSING), self._renews_deposit)
        elif self.savings is not None and not self.customer.story.leaves:
            self.at(when + 400, self._saves, terms.amount_minor)
        else:
            self.cushion_minor += terms.amount_minor

    def _ends_deposit(self, when: int) -> None:
        if self.deposit is not None:
            amount = self.deposit.balance_minor
            self.deposit.post(when, TransactionKind.DEPOSIT_MATURED, -amount)
            self.current.post(when, TransactionKind.DEPOSIT_MATURED, amount)
            self.deposit.close(when)
            self.deposit = None

    def _renews_deposit(self, when: int, _: None) -> None:
        terms, day = self.customer.deposit, when // MINUTES
        if terms is None:
            return
        self.cushion_minor -= terms.amount_minor
        if terms.amount_minor > self.current.balance_minor:
            return
        terms.matures = day + terms.term_days
        terms.renewed = terms.matures + self.dice.between(0, 4) if self.dice.chance(0.85) else NEVER
        self.deposit = self._account(when, AccountKind.TERM_DEPOSIT, matures=terms.matures)
        self.current.post(when, TransactionKind.DEPOSIT_PLACED, -terms.amount_minor)
        self.deposit.post(when, TransactionKind.DEPOSIT_PLACED, terms.amount_minor)
        self.at(terms.matures * MINUTES + 30, self._deposit_matures)

    # What is said

    def _fact_id(self, letter: str, when: int) -> str:
        _, stamp = self.book.calendar.dated(when // MINUTES)
        self._told += 1
        return f"{letter}{self.customer.number:06d}-{stamp}-{self._told}"

    def _is_contacted(self, when: int, by_customer: bool) -> None:
        contact_id = self._fact_id("K", when)
        contact = ContactRecorded(
            contact_id=contact_id,
            party_id=self.party.party_id,
            channel=self.dice.weighted(CHANNELS),
            occurred_at=self.book.calendar.moment(when),
            manager_id=self.customer.manager.manager_id,
            by_customer=by_customer,
        )
        self.book.write(when, contact_id, contact)

    def _answers(self, when: int, score: int) -> None:
        survey_id = self._fact_id("S", when)
        moment = self.book.calendar.moment(when)
        answered = SurveyAnswered(survey_id=survey_id, party_id=self.party.party_id, answered_at=moment, score=score)
        self.book.write(when, survey_id, answered)

    def _complains(self, when: int, resolution: tuple[int, ComplaintOutcome]) -> None:
        day, outcome = resolution
        complaint = ComplaintRecorded(
            complaint_id=self._fact_id("Q", when),
            revision=1,
            party_id=self.party.party_id,
            opened_at=self.book.calendar.moment(when),
        )
        self.book.write(when, f"{complaint.complaint_id}-1", complaint)
        resolved = day * MINUTES + self.dice.between(OPENING, CLOSING)
        self.at(max(resolved, when + 60), self._is_answered, (complaint, outcome))

    def _is_answered(self, when: int, answer: tuple[ComplaintRecorded, ComplaintOutcome]) -> None:
        complaint, outcome = answer
        moment = self.book.calendar.moment(when)
        resolved = msgspec.structs.replace(complaint, revision=2, resolved_at=moment, outcome=outcome)
        self.book.write(when, f"{complaint.complaint_id}-2", resolved)

    def _lives(self, when: int, kind: LifeEventKind) -> None:
        happened_on, _ = self.book.calendar.dated(when // MINUTES)
        life_event_id = self._fact_id("L", when)
        event = LifeEventRecorded(
            life_event_id=life_event_id, party_id=self.party.party_id, kind=kind, happened_on=happened_on
        )
        self.book.write(when, life_event_id, event)

    # The story

    def _tells(self, when: int, beat: Beat) -> None:
        match beat:
            case PaysAway(_, share, all_accounts):
                self._pays_away(when, share, all_accounts)
            case TakesCash(_, share):
                amount = int(self.current.balance_minor * share) // 100_00 * 100_00
                if amount:
                    self._pays(when, TransactionKind.CASH_WITHDRAWAL, amount)
            case Complains(_, resolved, outcome):
                self._complains(when, (resolved, outcome))
            case Answers(_, score):
                self._answers(when, score)
            case Lives(_, event):
                self._lives(when, event)
            case Calls():
                self._is_contacted(when, True)

    def _pays_away(self, when: int, share: float, all_accounts: bool) -> None:
        if all_accounts and self.savings is not None:
            self._moves(when, self.savings, self.current, int(self.savings.balance_minor * share) // 100 * 100)
        amount = int(self.current.balance_minor * share) // 100_00 * 100_00
        if amount >= 500_00:
            self._pays(when, TransactionKind.TRANSFER_OUT, amount, self.customer.rival_bank)

    def _closes(self, when: int, _: None) -> None:
        """Takes everything away and closes every account."""
        self._ends_deposit(when)
        if self.savings is not None:
            self._moves(when, self.savings, self.current, self.savings.balance_minor)
        if self.current.balance_minor:
            self._pays(when, TransactionKind.TRANSFER_OUT, self.current.balance_minor, self.customer.rival_bank)
        for account in (self.savings, self.card, self.current):
            if account is not None:
                account.close(when)
        self.gone = True

    def _leaves(self, when: int, _: None) -> None:
        left_on = self.book.calendar.day(when // MINUTES)
        self.book.write(
            when, f"{self.party.party_id}-2", msgspec.structs.replace(self.party, revision=2, left_on=left_on)
        )
