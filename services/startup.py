"""What a service does not start with where real customers may be: defaults, weak secrets, a way past the policies."""

from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit

from pydantic import SecretStr
from sqlalchemy.engine import make_url

from shared.settings import Environment, PlatformSettings

SHORTEST_SECRET = 12
WELL_KNOWN = ("password", "changeme", "secret", "default", "postgres", "branchline", "admin", "example", "12345678")


class UnfitSettings(Exception):
    """The settings have faults; none of them is quoted."""

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("\n".join(f"- {fault}" for fault in faults))


def refuse_unfit_settings(
    service: str, platform: PlatformSettings, settings: Any, database_url: str, requests_database_url: str
) -> None:
    """Raises UnfitSettings. In the demo only one database role for both uses is refused."""
    faults = list(_roles(service, database_url, requests_database_url))
    if platform.environment is not Environment.DEMO:
        faults += [
            *_addresses(platform),
            *_passwords(service, database_url, requests_database_url),
            *_secrets("BRANCHLINE_", platform),
            *_secrets(f"{service.upper()}_", settings),
        ]
    if faults:
        raise UnfitSettings(faults)


def _roles(service: str, database_url: str, requests_database_url: str) -> Iterator[str]:
    if make_url(database_url).username == make_url(requests_database_url).username:
        prefix = service.upper()
        yield (
            f"{prefix}_DATABASE_URL and {prefix}_REQUESTS_DATABASE_URL name one role: requests would read as the"
            " tables' owner, whom row-level security lets see everything"
        )


def _addresses(platform: PlatformSettings) -> Iterator[str]:
    if "oidc_issuer" not in platform.model_fields_set:
        yield "BRANCHLINE_OIDC_ISSUER is not set: it names the bank's identity provider"
    elif not _is_confidential(platform.oidc_issuer):
        yield "BRANCHLINE_OIDC_ISSUER is not https: whoever is in between could put keys of their own into it"
    if platform.jwks_url is not None and not _is_confidential(platform.jwks_url):
        yield "BRANCHLINE_JWKS_URL is not https: whoever is in between could put keys of their own into it"
    if not platform.public_url.startswith("https://"):
        yield "BRANCHLINE_PUBLIC_URL is not https: tokens and customers would cross the network in the clear"
    if any(origin.startswith("http://") for origin in platform.cors_origins):
        yield "BRANCHLINE_CORS_ORIGINS has an origin that is not https: whoever is in between could speak for its pages"


def _is_confidential(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in ("127.0.0.1", "::1", "localhost"))


def _passwords(service: str, database_url: str, requests_database_url: str) -> Iterator[str]:
    passwords = {}
    for name, stated in (("DATABASE_URL", database_url), ("REQUESTS_DATABASE_URL", requests_database_url)):
        url = make_url(stated)
        # Without a password the server asks for something else: a certificate, or the socket's user.
        if url.password is not None:
            passwords[name] = str(url.password)
            if fault := weakness(str(url.password), url.username or ""):
                yield f"{service.upper()}_{name}: its password {fault}"
    if len(passwords) == 2 and len(set(passwords.values())) == 1:
        yield f"{service.upper()}_DATABASE_URL and {service.upper()}_REQUESTS_DATABASE_URL have one password"


def _secrets(prefix: str, settings: Any) -> Iterator[str]:
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if isinstance(value, SecretStr) and (fault := weakness(value.get_secret_value())):
            yield f"{prefix}{name.upper()} {fault}"


def weakness(secret: str, *names: str) -> str | None:
    """Why a secret is none; None for one that may be."""
    if len(secret) < SHORTEST_SECRET:
        return f"is shorter than {SHORTEST_SECRET} characters"
    if len(set(secret)) < 5:
        return "is the same few characters again and again"
    lowered = secret.lower()
    left = lowered
    for word in (*WELL_KNOWN, *filter(None, names)):
        left = left.replace(word.lower(), "")
    if len(left) < SHORTEST_SECRET // 2:
        return "is made of words that everybody tries"
    return None
