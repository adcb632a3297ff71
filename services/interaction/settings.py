"""What the interaction service can be told: INTERACTION_* in the environment, each with its default."""

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from shared.secret_files import Settings


class InteractionSettings(Settings):
    model_config = SettingsConfigDict(env_prefix="INTERACTION_", extra="ignore", use_attribute_docstrings=True)

    contact_backdating_days: int = Field(default=90, ge=0, le=36_500)
    """How long ago a conversation may have been when somebody logs it."""
    clock_leeway_seconds: int = Field(default=60, ge=0, le=3600)
    """How far a caller's clock may be ahead of ours before a conversation counts as one in the future."""
