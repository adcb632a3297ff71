"""Settings that may be in files: where the environment has `X_FILE`, the file that it names holds `X`.

An orchestrator mounts secrets as files, and what is in the environment is seen by whoever lists processes.
"""

from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource


class SecretFiles(PydanticBaseSettingsSource):
    """Reads the files. Raises ValueError when a file cannot be read, or a setting is in two places."""

    def __init__(self, settings: type[BaseSettings], environment: EnvSettingsSource) -> None:
        super().__init__(settings)
        self.environment = environment

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:  # noqa: ARG002 - pydantic's
        name = f"{self.environment.env_prefix}{field_name}"
        path = self.environment.env_vars.get(f"{name}_file".lower())
        # A setting that is the path of a file itself is read by whoever it is for.
        if path is None or f"{field_name}_file" in self.settings_cls.model_fields:
            return None, field_name, False
        if name.lower() in self.environment.env_vars:
            raise ValueError(f"{name.upper()} and {name.upper()}_FILE are two places for one thing; set one of them")
        try:
            return Path(path).read_text(encoding="utf-8").rstrip("\r\n"), field_name, False
        except (OSError, UnicodeDecodeError) as fault:
            raise ValueError(f"{name.upper()}_FILE cannot be read ({type(fault).__name__})") from None

    def __call__(self) -> dict[str, Any]:
        read = {name: self.get_field_value(field, name)[0] for name, field in self.settings_cls.model_fields.items()}
        return {name: value for name, value in read.items() if value is not None}


class Settings(BaseSettings):
    """What every group of settings is: read from the environment, or from files that it names."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - none: a forgotten .env would be a second place
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - pydantic's own files have other names
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        assert isinstance(env_settings, EnvSettingsSource)
        return init_settings, env_settings, SecretFiles(settings_cls, env_settings)
