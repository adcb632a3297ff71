"""Reasons as they are stored, and as they are said."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any

from services.scoring.domain.scorecard import sentence
from services.scoring.domain.scores import HeldReason
from shared.events.scoring import Reason


def stored(reasons: Sequence[HeldReason]) -> list[dict[str, Any]]:
    return [reason._asdict() for reason in reasons]


def told(reasons: Iterable[Mapping[str, Any]], as_of: date, currency: str) -> list[Reason]:
    """Stored reasons as a manager can say them on a day."""
    return [
        Reason(
            code=reason["code"],
            points=reason["points"],
            text=sentence(reason["code"], reason["figures"], as_of, currency),
        )
        for reason in reasons
    ]
