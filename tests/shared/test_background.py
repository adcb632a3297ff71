"""A task that ends for good is told to Prometheus and makes the process unready."""

import pytest
from prometheus_client import REGISTRY

from shared.service import Background


async def test_a_task_that_fails_for_good_alarms_and_makes_the_process_unready() -> None:
    async def fail() -> None:
        raise RuntimeError

    tasks = Background("scoring")
    await tasks.check()
    tasks.start("a task of a test", fail())
    await tasks.stop(5)
    told = {"service": "scoring", "task": "a task of a test"}
    assert REGISTRY.get_sample_value("branchline_background_failures_total", told) == 1
    with pytest.raises(RuntimeError, match="a task of a test has stopped"):
        await tasks.check()
