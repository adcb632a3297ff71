"""Scores of many customers on many days at once: which reasons hold, and what changes when."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from services.scoring.domain.features import Features
from services.scoring.domain.history import History, Span
from services.scoring.domain.scorecard import (
    SCORECARD,
    Bits,
    Dated,
    Measured,
    Points,
    irrevocable_points_of,
    points_of,
    reasons_in,
)


class HeldReason(NamedTuple):
    """A reason that holds for a customer on a day, with the figures of that day."""

    code: str
    points: int
    figures: dict[str, int]


@dataclass(frozen=True)
class Scores:
    """`bits` is customers × days, column 0 is `first_day`: bit n says that SCORECARD[n] holds."""

    first_day: int
    bits: Bits
    features: Features
    histories: Sequence[History]

    @cached_property
    def points(self) -> Points:
        return points_of(self.bits)

    @cached_property
    def irrevocable_points(self) -> Points:
        return irrevocable_points_of(self.bits)

    def changes(self, customer: int, start: int, end: int) -> list[int]:
        """Days from `start` up to and with `end` on which other reasons hold than on the day before.

        The day before the first column held none.
        """
        row = self.bits[customer]
        begin, stop = start - self.first_day, end - self.first_day + 1
        before = row[begin - 1] if begin else 0
        return [start + int(at) for at in np.flatnonzero(np.diff(row[begin:stop], prepend=before))]

    def reasons(self, customer: int, day: int) -> list[HeldReason]:
        """The reasons of a day, the weightiest first."""
        column = day - self.first_day
        return [
            HeldReason(reason.code, reason.points, self._figures(reason, customer, day))
            for reason in reasons_in(int(self.bits[customer, column]))
        ]

    def _figures(self, reason: Measured | Dated, customer: int, day: int) -> dict[str, int]:
        if isinstance(reason, Measured):
            column = day - self.first_day
            figures = {name: int(getattr(self.features, name)[customer, column]) for name in reason.figures}
            return {**figures, "measured_on": day}
        return weighing_on(reason, self.histories[customer], day)


def score(features: Features, histories: Sequence[History], *, material_minor: int, scored_from: int = 0) -> Scores:
    """Scores of every customer on every day of the features.

    No reason holds before `scored_from`, the first day that the bank closed, nor for who has left from that day on.
    """
    customers, width = features.last_salary.shape
    first_day = features.first_day
    bits = np.zeros((customers, width), np.int32)
    spans = _spans(histories, first_day, first_day + width)
    for bit, reason in enumerate(SCORECARD):
        if isinstance(reason, Measured):
            bits |= reason.holds(features, material_minor).astype(np.int32) << bit
        elif spans[bit]:
            edges = np.zeros((customers, width + 1), np.int32)
            at = np.array(spans[bit], np.int64)
            np.add.at(edges, (at[:, 0], at[:, 1]), 1)
            np.add.at(edges, (at[:, 0], at[:, 2]), -1)
            bits |= (np.cumsum(edges[:, :-1], axis=1) > 0).astype(np.int32) << bit
    for customer, history in enumerate(histories):
        if history.left < first_day + width:
            bits[customer, max(history.left - first_day, 0) :] = 0
    bits[:, : max(scored_from - first_day, 0)] = 0
    return Scores(first_day, bits, features, histories)


def _spans(histories: Sequence[History], start: int, end: int) -> dict[int, list[tuple[int, int, int]]]:
    """By reason, (customer, first column, column after the last) of what weighs on some of the days."""
    found: dict[int, list[tuple[int, int, int]]] = defaultdict(list)
    dated = [(bit, reason) for bit, reason in enumerate(SCORECARD) if isinstance(reason, Dated)]
    for customer, history in enumerate(histories):
        if history.facts or history.accounts:
            for bit, reason in dated:
                for span in reason.spans(history):
                    if span.start < span.until and span.start < end and span.until > start:
                        columns = max(span.start, start) - start, min(span.until, end) - start
                        found[bit].append((customer, *columns))
    return found


def weighing_on(reason: Dated, history: History, day: int) -> dict[str, int]:
    """The figures of the latest span that covers the day."""
    return dict(max(_covering(reason, history, day), key=lambda span: span.start).figures)


def _covering(reason: Dated, history: History, day: int) -> Iterator[Span]:
    return (span for span in reason.spans(history) if span.start <= day < span.until)


def irrevocable_reasons(history: History, day: int) -> list[HeldReason]:
    """The reasons of a day that nothing later on that day can take back: all that an open day may alert for."""
    if history.left <= day:
        return []
    return [
        HeldReason(reason.code, reason.points, weighing_on(reason, history, day))
        for reason in reasons_in(-1)
        if reason.irrevocable and isinstance(reason, Dated) and any(_covering(reason, history, day))
    ]


def next_change(scores: Scores, customer: int, day: int) -> int | None:
    """The first day after `day` on which, without any news, other reasons hold; None once the customer has left.

    Where that is not within the columns, the day after the last one: then it is time to look again.
    """
    if scores.histories[customer].left <= day:
        return None
    after = scores.bits[customer, day - scores.first_day :]
    changed = np.flatnonzero(after != after[0])
    return day + int(changed[0] if len(changed) else len(after))
