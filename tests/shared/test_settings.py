from pathlib import Path

import pytest
from pydantic import ValidationError

from shared.settings import Environment, PlatformSettings


def test_settings_are_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRANCHLINE_ENVIRONMENT", "demo")
    monkeypatch.setenv("BRANCHLINE_CORS_ORIGINS", "https://a.example, https://b.example,")
    monkeypatch.setenv("BRANCHLINE_PUBLIC_URL", "https://bank.example/")
    monkeypatch.setenv("BRANCHLINE_HOME", "/var/lib/branchline")
    settings = PlatformSettings()
    assert settings.environment is Environment.DEMO
    assert settings.cors_origins == ("https://a.example", "https://b.example")
    assert settings.public_url == "https://bank.example"
    assert settings.home == Path("/var/lib/branchline")


def test_nothing_is_a_demo_unless_it_says_so() -> None:
    assert PlatformSettings().environment is Environment.PRODUCTION


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CORS_ORIGINS", "*"),
        ("CORS_ORIGINS", "https://a.example,*"),
        ("CORS_ORIGINS", '["https://a.example"]'),
        ("CORS_ORIGINS", "https://a.example/"),
        ("CORS_ORIGINS", "a.example"),
        ("ENVIRONMENT", "test"),
        ("PORT", "70000"),
        ("PUBLIC_URL", "bank.example"),
        ("BODY_LIMIT_BYTES", "0"),
        ("LOG_LEVEL", "LOUD"),
    ],
)
def test_a_setting_that_makes_no_sense_stops_the_start(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"BRANCHLINE_{name}", value)
    with pytest.raises(ValidationError):
        PlatformSettings()


def test_every_setting_says_what_it_is() -> None:
    assert [name for name, field in PlatformSettings.model_fields.items() if not field.description] == []
