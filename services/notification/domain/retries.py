"""How long to wait before something that failed is tried again."""

import random
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import NamedTuple


class Retries(NamedTuple):
    """How often something is tried, and the waits between, in seconds."""

    attempts: int
    first: float
    longest: float


def wait_seconds(attempts: int, *, first: float, longest: float) -> float:
    """After `attempts` failures: twice as long each time, up to `longest`, half of it by chance.

    "Equal jitter" (Brooker, Exponential Backoff And Jitter, 2015): those who failed together do not come back together.
    """
    full: float = min(longest, first * 2 ** min(attempts - 1, 60))
    return full * random.uniform(0.5, 1)  # noqa: S311 - jitter, not a secret


def retry_after_seconds(stated: str | None, now: datetime, *, most: float) -> float:
    """What a server asks for by a Retry-After of seconds or of an instant (RFC 9110, 10.2.3); 0 for neither."""
    if stated is None:
        return 0
    if stated.isascii() and stated.isdecimal():
        return min(float(stated[:9]), most)
    try:
        asked = (parsedate_to_datetime(stated) - now).total_seconds()
    except (ValueError, TypeError, OverflowError):  # no date, or one without a zone
        return 0
    return min(max(asked, 0), most)
