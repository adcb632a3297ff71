"""The settings reference: every environment variable that a process reads."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from pydantic_core import PydanticUndefined
from pydantic_settings import BaseSettings

from services.distributed import DatabaseSettings
from services.documents.line import GENERATED, DocumentedLine
from services.documents.words import Schemas, code, one_line, table

HEAD = f"""# Settings

{GENERATED}

What a process is told, it is told by its environment. A value that is not as it must be ends the process at its start.
Where `X_FILE` is set, `X` is what the file holds that it names: for secrets that are mounted as files.
Tracing has OpenTelemetry's own variables: nothing is exported until `OTEL_EXPORTER_OTLP_ENDPOINT` names a collector.
"""


def documents(line: DocumentedLine) -> Iterator[tuple[Path, str]]:
    yield Path("settings.md"), "\n".join(_page(line))


def settings_classes(line: DocumentedLine) -> list[tuple[str, str, type[BaseSettings]]]:
    """Title, prefix of the variables and class of each group of settings."""
    groups: list[tuple[str, str, type[BaseSettings]]] = [("Platform", "BRANCHLINE_", type(line.platform))]
    for name, service in line.services.items():
        groups.append((f"{name.capitalize()} service", f"{name.upper()}_", type(service.settings)))
    return groups


def _page(line: DocumentedLine) -> Iterator[str]:
    yield HEAD
    for title, prefix, settings in settings_classes(line):
        yield from (f"## {title}", "")
        if prefix == "BRANCHLINE_":
            yield from (one_line(settings.__doc__ or ""), "")
        yield from table(("variable", "default", "type", ""), _rows(prefix, settings))
    yield from ("## Databases", "")
    yield "Of each service by itself (`branchline serve`, `branchline migrate`), with the service's prefix. The demo"
    yield from ("makes its own databases and reads none of these.", "")
    yield from table(("variable", "default", "type", ""), _rows("<SERVICE>_", DatabaseSettings))


def _rows(prefix: str, settings: type[BaseSettings]) -> Iterator[tuple[str, str, str, str]]:
    schema = settings.model_json_schema()
    schemas = Schemas(schema.get("$defs", {}), "#/$defs/")
    for name, field in settings.model_fields.items():
        yield (
            code(f"{prefix}{name.upper()}"),
            _default(field.get_default()),
            schemas.given_in_words(schema["properties"][name]),
            one_line(field.description or ""),
        )


def _default(value: Any) -> str:
    if value is PydanticUndefined:
        return "must be set"
    if value is None or value == () or isinstance(value, SecretStr):
        return "none"
    return code(str(value).lower() if isinstance(value, bool) else str(value))
