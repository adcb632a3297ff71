"""What the tests of feeds share: the Berka bank's files, and the sample bank's year, made once."""

import pytest

from tests.data_fixtures import berka
from tests.feeds.sample import Year, read_year

__all__ = ["berka"]


@pytest.fixture(scope="session")
def year() -> Year:
    return read_year()
