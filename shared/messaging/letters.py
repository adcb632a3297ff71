"""Which dead letters are meant: by what they are, and when they were parked."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement

from shared.messaging.tables import dead_letter


@dataclass(frozen=True)
class LetterFilter:
    """What is None leaves it open; none of it means all. From `parked_from` on and before `parked_until`."""

    code: str | None = None
    type: str | None = None
    topic: str | None = None
    parked_from: datetime | None = None
    parked_until: datetime | None = None

    @property
    def conditions(self) -> list[ColumnElement[bool]]:
        columns = dead_letter.c
        equal = ((columns.code, self.code), (columns.type, self.type), (columns.topic, self.topic))
        found: list[ColumnElement[bool]] = [column == wanted for column, wanted in equal if wanted is not None]
        if self.parked_from is not None:
            found.append(columns.parked_at >= self.parked_from)
        if self.parked_until is not None:
            found.append(columns.parked_at < self.parked_until)
        return found
