"""What a service does not start with outside the demo; and where secrets may come from."""

import base64
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from pydantic_settings import SettingsError

from services.distributed import database_settings
from services.notification.settings import NotificationSettings
from services.startup import UnfitSettings, refuse_unfit_settings
from shared.settings import Environment, PlatformSettings

OWNER = "postgresql://customer:kT9vQe2mXw7LpZ@db/customer"
REQUESTS = "postgresql://customer_api:Hn4cRy8sVb6JdM@db/customer"
FIT = {"oidc_issuer": "https://id.bank.example", "public_url": "https://crm.bank.example"}


def start(owner: str = OWNER, requests: str = REQUESTS, notification: Any = None, **platform: Any) -> str:
    """What is refused of the settings; empty when nothing is."""
    settings = PlatformSettings(**{**FIT, **platform})
    try:
        refuse_unfit_settings("customer", settings, notification or NotificationSettings(), owner, requests)
    except UnfitSettings as unfit:
        return str(unfit)
    return ""


def test_a_bank_that_names_its_own_starts() -> None:
    assert start() == ""
    assert start(jwks_url="https://id.bank.example/keys", cors_origins=("https://crm.bank.example",)) == ""
    assert start(oidc_issuer="http://127.0.0.1:9000/realm") == "", "a sidecar on the same machine"
    assert start(owner="postgresql://customer@/customer?host=/run/postgresql") == "", "the socket knows its user"


@pytest.mark.parametrize(
    ("changes", "refused"),
    [
        ({"oidc_issuer": "http://id.bank.example"}, "BRANCHLINE_OIDC_ISSUER is not https"),
        ({"oidc_issuer": "http://127.0.0.1.evil.example"}, "BRANCHLINE_OIDC_ISSUER is not https"),
        ({"jwks_url": "http://id.bank.example/keys"}, "BRANCHLINE_JWKS_URL is not https"),
        ({"public_url": "http://crm.bank.example"}, "BRANCHLINE_PUBLIC_URL is not https"),
        ({"cors_origins": ("http://crm.bank.example",)}, "BRANCHLINE_CORS_ORIGINS"),
        ({"kafka_password": SecretStr("short")}, "BRANCHLINE_KAFKA_PASSWORD is shorter than 12"),
        ({"kafka_password": SecretStr("a" * 30)}, "BRANCHLINE_KAFKA_PASSWORD is the same few characters"),
        ({"owner": "postgresql://customer:customer@db/customer"}, "CUSTOMER_DATABASE_URL: its password is shorter"),
        ({"owner": "postgresql://customer:customer-password@db/c"}, "CUSTOMER_DATABASE_URL: its password is made of"),
        ({"requests": "postgresql://customer_api:changeme1234@db/c"}, "CUSTOMER_REQUESTS_DATABASE_URL: its password"),
        ({"requests": OWNER.replace("customer:", "customer_api:")}, "have one password"),
        ({"requests": OWNER}, "name one role"),
        (
            {"notification": NotificationSettings(smtp_username="relay", smtp_password=SecretStr("relay"))},
            "CUSTOMER_SMTP_PASSWORD is shorter",
        ),
    ],
)
def test_a_weak_or_default_setting_stops_the_start_and_is_not_quoted(changes: dict[str, Any], refused: str) -> None:
    told = start(**changes)
    assert refused in told
    for secret in ("kT9vQe2mXw7LpZ", "changeme1234", "customer-password", "evil.example"):
        assert secret not in told


def test_the_defaults_are_for_the_demo_alone() -> None:
    def refused(settings: PlatformSettings) -> str:
        with pytest.raises(UnfitSettings) as unfit:
            refuse_unfit_settings("customer", settings, NotificationSettings(), OWNER, OWNER)
        return str(unfit.value)

    told = refused(PlatformSettings())
    assert "BRANCHLINE_OIDC_ISSUER is not set" in told
    assert "BRANCHLINE_PUBLIC_URL is not https" in told
    in_the_demo = refused(PlatformSettings(environment=Environment.DEMO))
    assert "name one role" in in_the_demo, "policies bind the demo's requests too"
    assert "BRANCHLINE" not in in_the_demo


def test_serve_ends_and_says_what_is_wrong(tmp_path: Path) -> None:
    environment = {
        "PATH": str(tmp_path),
        "BRANCHLINE_KAFKA": "127.0.0.1:1",
        "BRANCHLINE_AUDIT_KEYS": f"1:{base64.b64encode(os.urandom(32)).decode()}",
        "CUSTOMER_DATABASE_URL": "postgresql://customer:customer@127.0.0.1:1/customer",
        "CUSTOMER_REQUESTS_DATABASE_URL": "postgresql://customer_api:customer@127.0.0.1:1/customer",
    }
    command = [sys.executable, "-m", "services.cli", "serve", "customer", "--port", "0"]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1, ended.stderr
    assert "customer does not start like this" in ended.stderr
    assert "its password is shorter" in ended.stderr
    assert "customer:customer@" not in ended.stderr


def test_a_secret_is_read_from_the_file_that_the_environment_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("kafka", "from-a-file\n"), ("owner", f"{OWNER}\n"), ("requests", REQUESTS), ("smtp", "s \n")):
        (tmp_path / name).write_text(value)
    monkeypatch.setenv("BRANCHLINE_KAFKA_PASSWORD_FILE", str(tmp_path / "kafka"))
    monkeypatch.setenv("CUSTOMER_DATABASE_URL_FILE", str(tmp_path / "owner"))
    monkeypatch.setenv("CUSTOMER_REQUESTS_DATABASE_URL_FILE", str(tmp_path / "requests"))
    monkeypatch.setenv("NOTIFICATION_SMTP_USERNAME", "relay")
    monkeypatch.setenv("NOTIFICATION_SMTP_PASSWORD_FILE", str(tmp_path / "smtp"))
    stated = PlatformSettings().kafka_password, NotificationSettings().smtp_password
    assert [secret.get_secret_value() for secret in stated if secret] == ["from-a-file", "s "]
    urls = database_settings("customer")
    assert (urls.database_url, urls.requests_database_url) == (OWNER, REQUESTS)


def test_a_secret_in_two_places_or_in_none_stops_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRANCHLINE_KAFKA_PASSWORD_FILE", str(tmp_path / "none"))
    with pytest.raises((SettingsError, ValueError), match="BRANCHLINE_KAFKA_PASSWORD_FILE cannot be read"):
        PlatformSettings()
    (tmp_path / "none").write_text("from-a-file")
    monkeypatch.setenv("BRANCHLINE_KAFKA_PASSWORD", "from-the-environment")
    with pytest.raises((SettingsError, ValueError), match="two places for one thing") as refused:
        PlatformSettings()
    assert "from-a" not in str(refused.value)
    assert "from-the" not in str(refused.value)
