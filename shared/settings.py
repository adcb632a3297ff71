"""What the platform under every service is told: BRANCHLINE_* in the environment, each with its default."""

import re
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, HttpUrl, SecretStr, field_validator, model_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from shared.auth.principal import Role
from shared.secret_files import Settings


class Environment(StrEnum):
    DEMO = "demo"
    """One machine, invented customers: the demo issuer runs here and nowhere else."""
    PRODUCTION = "production"


class KafkaSecurity(StrEnum):
    PLAINTEXT = "PLAINTEXT"
    SSL = "SSL"
    SASL_PLAINTEXT = "SASL_PLAINTEXT"
    SASL_SSL = "SASL_SSL"

    @property
    def has_tls(self) -> bool:
        return self.value.endswith("SSL")

    @property
    def has_sasl(self) -> bool:
        return self.value.startswith("SASL")


class SaslMechanism(StrEnum):
    PLAIN = "PLAIN"
    SCRAM_SHA_256 = "SCRAM-SHA-256"
    SCRAM_SHA_512 = "SCRAM-SHA-512"


class PlatformSettings(Settings):
    """Read once, where a process is put together, and handed on."""

    model_config = SettingsConfigDict(env_prefix="BRANCHLINE_", extra="ignore", use_attribute_docstrings=True)

    environment: Environment = Environment.PRODUCTION
    """What is allowed here; only `demo` starts the demo issuer."""
    home: Path = Path(".branchline")
    """Where the demo keeps its database, keys and mails."""
    host: str = "127.0.0.1"
    """The address to listen on; a container says 0.0.0.0."""
    port: int = Field(default=8080, ge=0, le=65535)
    """The port to listen on; of the gateway in the demo, of the service in a container."""
    public_url: str = "http://127.0.0.1:8080"
    """What the services are reached under from outside, without a slash at its end; in links and problem types."""

    oidc_issuer: str = "http://127.0.0.1:8080/demo"
    """The `iss` of every token that is accepted, to the letter."""
    oidc_audience: str = "branchline"
    """The `aud` of every token that is accepted."""
    jwks_url: str | None = None
    """Where the issuer's keys are; without it the issuer's discovery document says."""
    token_leeway_seconds: int = Field(default=30, ge=0, le=300)
    """How far the issuer's clock may be from ours."""

    cors_origins: Annotated[tuple[str, ...], NoDecode] = ()
    """Origins whose pages may call the APIs, separated by commas; none by default."""
    body_limit_bytes: int = Field(default=1_048_576, ge=1024)
    """The greatest request body; an operation that takes more says so itself."""
    request_timeout_seconds: float = Field(default=5, gt=0, le=300)
    """After which a request is given up; a write transaction stays under it."""
    audit_keys: SecretStr | None = None
    """What the audit's chains are made with: `id:base64` of 32 random bytes; after a comma those that it was before,
    which verify what they made. There is no default; `openssl rand -base64 32` makes one."""
    audit_keys_file: Path | None = None
    """A file that holds them, in place of `audit_keys`; one a line."""
    master_keys: SecretStr | None = None
    """What the customers' own keys are wrapped with: `id:base64` of 32 random bytes; after a comma those that it was
    before, until `branchline keys rewrap` has been run. There is no default; `branchline keys generate` makes one.
    Whoever loses it has lost every customer's name; whoever has it can read them."""
    master_keys_file: Path | None = None
    """A file that holds them, in place of `master_keys`; one a line."""
    forget_unattributed_days: int = Field(default=30, ge=1)
    """Days after which a dead letter or an event of the core that names no known customer is forgotten: nobody's key
    seals it, so nobody's erasure would reach it."""
    purpose_required_of: Annotated[tuple[Role, ...], NoDecode] = ()
    """Roles, separated by commas, that must say in X-Purpose what they ask for; others may, and have a usual one."""
    rate_limit_per_second: float = Field(default=50, gt=0)
    """Requests a second that one principal may go on sending, in each process."""
    rate_limit_burst: int = Field(default=200, ge=1)
    """Requests that one principal may send at once."""
    address_limit_per_second: float = Field(default=500, gt=0)
    """Requests a second that one address may go on sending, in each process; a branch may be one address."""
    address_limit_burst: int = Field(default=2_000, ge=1)
    """Requests that one address may send at once."""
    trusted_proxies: Annotated[tuple[str, ...], NoDecode] = ()
    """Networks of the proxies before the services, as `10.0.0.0/8`, separated by commas: their `X-Forwarded-For` says
    which address a request comes from. Without them it is the peer's."""

    kafka: str | None = None
    """`host:port` of Kafka's bootstrap servers, separated by commas; without it the embedded transport."""
    kafka_security: KafkaSecurity = KafkaSecurity.PLAINTEXT
    """How Kafka is reached; PLAINTEXT is for a network that nobody else is on."""
    kafka_sasl_mechanism: SaslMechanism = SaslMechanism.SCRAM_SHA_512
    """How to log in, where `kafka_security` says SASL."""
    kafka_username: str | None = None
    """Whom to log in as."""
    kafka_password: SecretStr | None = None
    """With what."""
    kafka_ca_file: Path | None = None
    """Certificates that the brokers' are checked against; without it the system's."""
    kafka_certificate_file: Path | None = None
    """Our own certificate, where the brokers ask for one."""
    kafka_key_file: Path | None = None
    """Its key, unless it is in the same file."""
    partitions: int = Field(default=48, ge=1)
    """Partitions of each topic, fixed at installation: more would move keys. The embedded log has 4."""
    parking_limit: bool = True
    """Stops a subscription of which 100 events in a row, or 5 % of the last 10,000, would be parked: a bad deploy.
    Off, they are parked: when it is the data after all."""
    log_level: str = Field(default="INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$")
    """The least level that is logged."""

    @property
    def public_url_of_demo(self) -> str:
        """Where the demo of this machine answers."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def trusted_networks(self) -> tuple[IPv4Network | IPv6Network, ...]:
        return tuple(ip_network(stated) for stated in self.trusted_proxies)

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, stated: tuple[str, ...]) -> tuple[str, ...]:
        for network in map(ip_network, stated):
            if network.prefixlen == 0:
                raise ValueError("names the proxies' own networks: with all of them anybody says where they come from")
        return stated

    @field_validator("cors_origins", "purpose_required_of", "trusted_proxies", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _can_log_in(self) -> Self:
        if self.kafka_security.has_sasl and (self.kafka_username is None or self.kafka_password is None):
            raise ValueError("kafka_security says SASL: kafka_username and kafka_password say as whom")
        return self

    @field_validator("cors_origins")
    @classmethod
    def _exact(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        if "*" in origins:
            raise ValueError("names each origin; * would let any page call the APIs")
        for origin in origins:
            if not re.fullmatch(r"https?://[a-z0-9.-]+(:[0-9]+)?|https?://\[[0-9a-f:]+\](:[0-9]+)?", origin):
                raise ValueError(f"{origin} is not as browsers name an origin, https://crm.bank.example")
        return origins

    @field_validator("public_url")
    @classmethod
    def _url(cls, value: str) -> str:
        HttpUrl(value)
        return value.rstrip("/")
