"""A plugin of the tests: how a run in several processes, `-n 2`, is shared out among them.

Each process has a PostgreSQL, a Kafka and folders of its own: no test meets one of another process.
"""

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

TOGETHER = "tests/journeys/"
"""The whole line is started for these once, and uses Kafka's topics under the names that they have at a bank."""
FIRST = (
    "tests/backfill/test_loading.py",
    TOGETHER,
    "tests/messaging/test_outages.py",
    "tests/backfill/test_formats.py",
    "tests/torture/",
    "tests/scoring/test_order.py",
)
"""What takes longest, so that a run does not end with one process that waits for the other."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if hasattr(config, "workerinput"):  # one process alone keeps the order of the tree
        items.sort(key=lambda item: not item.nodeid.startswith(FIRST))


class BySubject(LoadFileScheduling):  # type: ignore[misc] # it ships no types
    """A file's tests share what was started for them, and so stay in one process, in their order."""

    def _split_scope(self, nodeid: str) -> str:
        return TOGETHER if nodeid.startswith(TOGETHER) else str(super()._split_scope(nodeid))


@pytest.hookimpl(optionalhook=True)  # pytest-xdist's
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> BySubject:
    config.option.loadscopereorder = False  # by the number of tests, which says nothing of how long they take
    return BySubject(config, log)
