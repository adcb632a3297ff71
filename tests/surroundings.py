"""What a test needs and not every machine has: skipped with one loud line, or insisted on."""

import os
from typing import NoReturn

import pytest

_gone_without = pytest.StashKey[dict[str, str]]()


def do_without(config: pytest.Config, what: str, why: str, insist: str) -> NoReturn:
    """Skips the test that asked, or fails it when the variable named `insist` is 1."""
    if os.environ.get(insist) == "1":
        pytest.fail(f"{insist}=1, but {what} cannot be had: {why}", pytrace=False)
    config.stash.setdefault(_gone_without, {})[what] = why.splitlines()[0]
    pytest.skip(f"without {what}: {why}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for what, why in config.stash.get(_gone_without, {}).items():
        terminalreporter.write_line(f"!!! NOT TESTED: everything that needs {what} ({why}) !!!", red=True, bold=True)
