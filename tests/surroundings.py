"""What a test needs and not every machine has: skipped with one loud line, or insisted on."""

import os
from typing import NoReturn

import pytest
from xdist.workermanage import WorkerController

_gone_without = pytest.StashKey[dict[str, str]]()
_TOLD = "gone_without"
"""What a process of a run with -n tells the one that started it."""


def do_without(config: pytest.Config, what: str, why: str, insist: str) -> NoReturn:
    """Skips the test that asked, or fails it when the variable named `insist` is 1."""
    if os.environ.get(insist) == "1":
        pytest.fail(f"{insist}=1, but {what} cannot be had: {why}", pytrace=False)
    config.stash.setdefault(_gone_without, {})[what] = why.splitlines()[0]
    pytest.skip(f"without {what}: {why}")


def pytest_sessionfinish(session: pytest.Session) -> None:
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput[_TOLD] = session.config.stash.get(_gone_without, {})


@pytest.hookimpl(optionalhook=True)  # pytest-xdist's
def pytest_testnodedown(node: WorkerController, error: object) -> None:
    told = getattr(node, "workeroutput", {})  # none from a process that was killed
    node.config.stash.setdefault(_gone_without, {}).update(told.get(_TOLD, {}))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for what, why in config.stash.get(_gone_without, {}).items():
        terminalreporter.write_line(f"!!! NOT TESTED: everything that needs {what} ({why}) !!!", red=True, bold=True)
