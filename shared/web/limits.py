"""How much of a service one caller may take, a token bucket each, and how long one request.

Buckets are kept in each process: with more processes a principal may send that many times as much.
"""

import asyncio
import math
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from shared.web.refusals import Problem, RequestTimeout

MAX_BUCKETS = 10_000


class TooManyRequests(Problem):
    status, code, title = 429, "too_many_requests", "Too many requests"
    remedy = "Wait for the seconds in Retry-After, then go on more slowly; RateLimit tells what is left."


@dataclass
class _Bucket:
    tokens: float
    filled_at: float


class RateLimiter:
    """A token bucket a key, `burst` deep and filled by `per_second`.

    Beyond `MAX_BUCKETS` the one that was longest out of use is forgotten, so that memory is bounded.
    """

    def __init__(
        self, per_second: float, burst: int, *, of: str = "principal", seconds: Callable[[], float] = time.monotonic
    ) -> None:
        self.of = of
        self.per_second = per_second
        self.burst = burst
        self.seconds = seconds
        self.buckets: OrderedDict[str, _Bucket] = OrderedDict()
        # draft-ietf-httpapi-ratelimit-headers: q is the quota, w the seconds in which it is there again.
        self.policy = f'"{of}";q={burst};w={math.ceil(burst / per_second)}'

    def take(self, key: str) -> dict[str, str]:
        """Takes one token and gives the headers that tell what is left. Raises TooManyRequests."""
        now = self.seconds()
        bucket = self.buckets.setdefault(key, _Bucket(self.burst, now))
        self.buckets.move_to_end(key)
        if len(self.buckets) > MAX_BUCKETS:
            self.buckets.popitem(last=False)
        bucket.tokens = min(self.burst, bucket.tokens + (now - bucket.filled_at) * self.per_second)
        bucket.filled_at = now
        if bucket.tokens < 1:
            wait = math.ceil((1 - bucket.tokens) / self.per_second)
            raise TooManyRequests(headers={**self._headers(0, wait), "Retry-After": str(wait)})
        bucket.tokens -= 1
        return self._headers(int(bucket.tokens), math.ceil((self.burst - bucket.tokens) / self.per_second))

    def _headers(self, left: int, reset: int) -> dict[str, str]:
        return {"RateLimit-Policy": self.policy, "RateLimit": f'"{self.of}";r={left};t={reset}'}


@asynccontextmanager
async def time_limit(seconds: float) -> AsyncIterator[asyncio.Timeout]:
    """Raises RequestTimeout when what is in it takes longer; `reschedule(None)` lifts it."""
    try:
        async with asyncio.timeout(seconds) as limit:
            yield limit
    except TimeoutError as exception:
        if not limit.expired():
            raise
        raise RequestTimeout(headers={"Retry-After": "1"}) from exception
