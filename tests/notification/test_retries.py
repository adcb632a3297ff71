"""Waits grow, have an end, and do not fall together."""

import pytest

from services.notification.domain.retries import wait_seconds


@pytest.mark.parametrize(
    ("attempts", "longest"), [(1, 5), (2, 10), (3, 20), (8, 640), (9, 900), (10, 900), (5000, 900)]
)
def test_each_wait_is_twice_as_long_up_to_the_longest(attempts: int, longest: float) -> None:
    waits = {wait_seconds(attempts, first=5, longest=900) for _ in range(100)}
    assert all(longest / 2 <= wait <= longest for wait in waits)
    assert len(waits) > 50, "those who failed together do not come back together"
