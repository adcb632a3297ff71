"""What the scoring service can be told: SCORING_* in the environment, each with its default."""

from zoneinfo import ZoneInfo

from pydantic import Field, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from shared.secret_files import Settings


class ScoringSettings(Settings):
    model_config = SettingsConfigDict(env_prefix="SCORING_", extra="ignore", use_attribute_docstrings=True)

    alert_threshold: int = Field(default=50, ge=1, le=100)
    """The points at which a score that comes from below opens an alert."""
    alert_recovery: int = Field(default=35, ge=0, le=99)
    """The points to which a score must fall for an alert to close by recovery."""
    historic_after_days: int = Field(default=7, ge=1, le=365)
    """An alert found more than so many days after its day is recorded and not sent."""
    material_amount_minor: int = Field(default=50_000, ge=0)
    """From which amount, in minor units, balances and transfers weigh."""
    home_currency: str | None = Field(default=None, pattern="^[A-Z]{3}$")
    """The bank's currency; accounts in others count for habits and not for amounts. Without it, all are added up."""
    time_zone: str = "UTC"
    """The bank's time zone: on which day a contact or complaint was."""
    load_pause_seconds: float = Field(default=5, gt=0, le=60)
    """How long no past day may have closed before the days of a loaded history are scored."""

    @field_validator("time_zone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        try:
            if value != "UTC":
                ZoneInfo(value)
        except (KeyError, ValueError, OSError):
            raise ValueError("is no time zone of the IANA database") from None
        return value

    @model_validator(mode="after")
    def _recovery_below_threshold(self) -> "ScoringSettings":
        if self.alert_recovery >= self.alert_threshold:
            raise ValueError("alert_recovery must be below alert_threshold")
        return self
