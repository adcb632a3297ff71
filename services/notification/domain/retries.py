"""How long to wait before something that failed is tried again."""

import random


def wait_seconds(attempts: int, *, first: float, longest: float) -> float:
    """After `attempts` failures: twice as long each time, up to `longest`, half of it by chance.

    "Equal jitter" (Brooker, Exponential Backoff And Jitter, 2015): those who failed together do not come back together.
    """
    full: float = min(longest, first * 2 ** min(attempts - 1, 60))
    return full * random.uniform(0.5, 1)  # noqa: S311 - jitter, not a secret
