from collections.abc import AsyncIterator

import pytest

from shared.web import limits
from shared.web.limits import RateLimiter, TooManyRequests
from tests.shared.web.notes import Notes


class Seconds:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_principal_may_send_a_burst_and_then_what_fills_up() -> None:
    seconds = Seconds()
    limiter = RateLimiter(2, 4, seconds=seconds)
    assert [limiter.take("M1")["RateLimit"] for _ in range(4)] == [
        '"principal";r=3;t=1',
        '"principal";r=2;t=1',
        '"principal";r=1;t=2',
        '"principal";r=0;t=2',
    ]
    with pytest.raises(TooManyRequests) as refused:
        limiter.take("M1")
    assert refused.value.headers == {
        "RateLimit-Policy": '"principal";q=4;w=2',
        "RateLimit": '"principal";r=0;t=1',
        "Retry-After": "1",
    }
    limiter.take("M2")
    seconds.now += 0.5
    limiter.take("M1")
    with pytest.raises(TooManyRequests):
        limiter.take("M1")
    seconds.now += 3600
    assert limiter.take("M1")["RateLimit"] == '"principal";r=3;t=1', "a bucket is never deeper than its burst"


def test_a_flood_of_principals_takes_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_BUCKETS", 3)
    limiter = RateLimiter(1, 2, seconds=Seconds())
    for name in ("a", "b", "c", "a", "d"):
        limiter.take(name)
    assert list(limiter.buckets) == ["c", "a", "d"], "the one longest out of use is forgotten"


async def test_every_answer_tells_what_is_left_and_too_many_are_refused(notes: Notes) -> None:
    notes.app.state.limiter = RateLimiter(1, 2, seconds=Seconds())
    async with notes.http("M1") as client, notes.http("M2") as other:
        first = await client.get("/me")
        refused_by_route = await client.get("/notes", params={"limit": 0})
        too_many = await client.get("/me")
        others = await other.get("/me")
    assert first.headers["ratelimit-policy"] == '"principal";q=2;w=2'
    assert first.headers["ratelimit"] == '"principal";r=1;t=1'
    assert refused_by_route.headers["ratelimit"] == '"principal";r=0;t=2'
    assert (too_many.status_code, too_many.json()["code"]) == (429, "too_many_requests")
    assert too_many.headers["retry-after"] == "1"
    assert too_many.headers["ratelimit"] == '"principal";r=0;t=1'
    assert others.status_code == 200


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_over_the_limit_is_refused_as_a_problem(notes: Notes, chunked: bool) -> None:
    limit = notes.app.state.settings.body_limit_bytes
    body = b'{"subject": "' + b"x" * limit + b'"}'

    async def pieces() -> AsyncIterator[bytes]:
        yield body[:1000]
        yield body[1000:]

    async with notes.http() as client:
        content = pieces() if chunked else body
        answer = await client.post("/notes", content=content, headers={"content-type": "application/json"})
        raw = await client.post("/feed", content=b"x" * (limit + 1))
    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-request-id"]
    assert raw.status_code in (403, 413)
    assert await notes.rows("select count(*) from note") == [(0,)]
