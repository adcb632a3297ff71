"""What the notification service can be told: NOTIFICATION_* in the environment, each with its default."""

from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from services.notification.domain.mails import InvalidAddress, customer_link, mail_address
from shared.secret_files import Settings


class SmtpTls(StrEnum):
    NONE = "none"
    STARTTLS = "starttls"
    """In the clear until STARTTLS, which the server must offer."""
    TLS = "tls"
    """From the first byte on (port 465)."""


class NotificationSettings(Settings):
    model_config = SettingsConfigDict(env_prefix="NOTIFICATION_", extra="ignore", use_attribute_docstrings=True)

    smtp_host: str = "127.0.0.1"
    """The bank's mail relay."""
    smtp_port: int = Field(default=25, ge=1, le=65535)
    """Its port."""
    smtp_tls: SmtpTls = SmtpTls.STARTTLS
    """How the connection is kept from others' eyes; `none` is for a relay on the same machine."""
    smtp_ca_file: Path | None = None
    """Certificates that the relay's is checked against; without it the system's."""
    smtp_username: str | None = None
    """Whom to log in as, with `smtp_password`; without it nobody logs in."""
    smtp_password: SecretStr | None = None
    """Sent over TLS only."""
    smtp_from: str = "branchline@localhost"
    """The sender's address."""
    smtp_timeout_seconds: float = Field(default=20, gt=0, le=300)
    """The most that one mail may take, the connection included."""

    customer_url: str = "{public_url}/api/customer/v1/customers/{customer_id}"
    """The link of a mail to a customer; may name `{public_url}` and `{customer_id}`."""

    mail_attempts: int = Field(default=100, ge=1)
    """After so many a mail has failed; with the waits below about a day."""
    mail_first_wait_seconds: float = Field(default=5, gt=0)
    """Before the second attempt; every next wait is twice as long."""
    mail_longest_wait_seconds: float = Field(default=900, gt=0)
    """What a wait does not grow beyond."""

    webhooks: bool = False
    """Whether members of staff may have alerts sent to an address of theirs. Off, what waits is cancelled."""
    webhook_networks: Annotated[tuple[str, ...], NoDecode] = ()
    """Networks of the bank's own that webhooks may reach as well, by http and on any port, separated by commas."""
    webhook_timeout_seconds: float = Field(default=5, gt=0, le=60)
    """The most that one call may take, finding and reaching the address included."""
    webhook_attempts: int = Field(default=100, ge=1)
    """After so many a webhook has failed; with the waits below about a day."""
    webhook_first_wait_seconds: float = Field(default=5, gt=0)
    """Before the second attempt; every next wait is twice as long, or what the receiver asks for."""
    webhook_longest_wait_seconds: float = Field(default=900, gt=0)
    """What a wait does not grow beyond unless the receiver asks for it."""

    @property
    def networks_of_webhooks(self) -> tuple[IPv4Network | IPv6Network, ...]:
        return tuple(ip_network(stated) for stated in self.webhook_networks)

    @field_validator("webhook_networks", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("webhook_networks")
    @classmethod
    def _networks(cls, stated: tuple[str, ...]) -> tuple[str, ...]:
        for network in map(ip_network, stated):
            if network.prefixlen == 0:
                raise ValueError("names networks of the bank's own; all addresses would be every address")
        return stated

    @field_validator("smtp_from")
    @classmethod
    def _address(cls, value: str) -> str:
        try:
            mail_address(value)
        except InvalidAddress:
            raise ValueError("is an address, user@domain, in ASCII") from None
        return value

    @field_validator("customer_url")
    @classmethod
    def _template(cls, value: str) -> str:
        try:
            customer_link(value, public_url="", customer_id="")
        except (LookupError, ValueError, AttributeError):
            raise ValueError("may name {public_url} and {customer_id} and nothing else") from None
        return value

    @model_validator(mode="after")
    def _confidential(self) -> Self:
        if (self.smtp_username is None) != (self.smtp_password is None):
            raise ValueError("smtp_username and smtp_password come together")
        if self.smtp_password is not None and self.smtp_tls is SmtpTls.NONE:
            raise ValueError("a password is sent over TLS only: set smtp_tls to starttls or tls")
        return self
