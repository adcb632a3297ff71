"""A plugin of the tests: `berka`, the folder of the Berka bank's files.

It is read from where BRANCHLINE_DATA says, by default ../shared/data beside the checkout.
BRANCHLINE_REQUIRE_DATA=1 makes going without a failure.
"""

import os
from pathlib import Path

import pytest

from tests.surroundings import do_without

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def berka(pytestconfig: pytest.Config) -> Path:
    """The folder that holds account.asc.gz, client.asc.gz, disp.asc.gz, trans.asc.gz and the others."""
    folder = Path(os.environ.get("BRANCHLINE_DATA") or ROOT.parent / "shared" / "data") / "berka"
    if not (folder / "trans.asc.gz").is_file():
        do_without(pytestconfig, "the Berka bank's files", f"{folder} has none", "BRANCHLINE_REQUIRE_DATA")
    return folder
