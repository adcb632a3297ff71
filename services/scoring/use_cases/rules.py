"""What scoring is told once, where the service is put together."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo

from services.scoring.domain.alerts import Levels
from shared.clock import Clock


@dataclass(frozen=True)
class Rules:
    levels: Levels
    material_minor: int
    historic_after_days: int
    home_currency: str | None
    time_zone: tzinfo
    load_pause_seconds: float
    clock: Clock

    def day_of(self, instant: datetime) -> date:
        """The bank's day of an instant."""
        return instant.astimezone(self.time_zone).date()

    def end_of(self, day: date) -> datetime:
        """The instant at which a day of the bank was over."""
        return datetime.combine(day + timedelta(days=1), time(), self.time_zone).astimezone(UTC)

    def is_news(self, day: date) -> bool:
        """Whether what happened on `day` is still worth telling, and not history being loaded."""
        return (self.day_of(self.clock()) - day).days <= self.historic_after_days

    def open_day(self, last_closed: date | None) -> date | None:
        """Today, where it may alert before its close: neither closed nor far from the last closed day."""
        today = self.day_of(self.clock())
        is_open = last_closed is None or 0 < (today - last_closed).days <= self.historic_after_days
        return today if is_open else None
