"""The line as it is documented, put together once for all of these tests."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from services.documents import documents
from services.documents.line import DocumentedLine, compose_line


@pytest.fixture(scope="session")
def line() -> DocumentedLine:
    return compose_line()


@pytest.fixture(scope="session")
def made() -> Mapping[Path, str]:
    """Every generated document's text, by its path below docs/reference."""
    return documents()
