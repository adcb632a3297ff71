"""What a machine lacks is told once, however many processes the tests run in."""

import os
import subprocess
import sys
from pathlib import Path

from tests.kafka_broker import ROOT

OF_KAFKA = ("tests/test_kafka_broker.py", "tests/messaging/test_null_headers.py")
"""A file for each process."""


def test_what_every_process_goes_without_is_told_in_one_line(tmp_path: Path) -> None:
    given = {name: value for name, value in os.environ.items() if not name.startswith(("BRANCHLINE_", "PYTEST_"))}
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-n", "2", "-p", "no:cacheprovider", *OF_KAFKA],
        env={**given, "PATH": str(tmp_path)},  # no java
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    told = [line for line in run.stdout.splitlines() if line.startswith("!!!")]
    assert told == ["!!! NOT TESTED: everything that needs a real Kafka (no java) !!!"], run.stdout + run.stderr
