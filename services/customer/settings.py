"""What the customer service can be told: CUSTOMER_* in the environment, each with its default."""

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from shared.secret_files import Settings


class CustomerSettings(Settings):
    model_config = SettingsConfigDict(env_prefix="CUSTOMER_", extra="ignore", use_attribute_docstrings=True)

    reconciliation_tolerance_minor: int = Field(default=100, ge=0)
    """How far the sum of an account's amounts may be from its stated balance, in minor units: cores round interest."""
    ingestion_body_limit_bytes: int = Field(default=32 * 1024 * 1024, ge=1024)
    """The greatest body of core-banking events in one request."""
    ingestion_lines: int = Field(default=20_000, ge=1)
    """The most core-banking events in one request: they are one transaction."""
    ingestion_timeout_seconds: float = Field(default=30, gt=0, le=300)
    """After which one request of core-banking events is given up; nothing of it is kept, and it can be sent again."""
    export_days: int = Field(default=7, ge=1, le=90)
    """How long the archive of an export can be downloaded."""
    delegation_days: int = Field(default=92, ge=1, le=366)
    """The longest that a portfolio is delegated for: what is to last is assigned."""
