"""Ids made many at once are those that are made one by one."""

from datetime import UTC, datetime
from uuid import RFC_4122, UUID

import numpy as np

from shared.ids import derived_id, derived_ids, new_ids, written_ids


def test_many_ids_at_once_are_distinct_uuids_of_now() -> None:
    joined = new_ids(10_000)
    ids = [UUID(bytes=joined[at : at + 16]) for at in range(0, len(joined), 16)]
    assert len(set(ids)) == 10_000
    assert {(one.version, one.variant) for one in ids} == {(7, RFC_4122)}
    made_at = {datetime.fromtimestamp((one.int >> 80) / 1_000, UTC) for one in ids}
    assert all(abs((datetime.now(UTC) - at).total_seconds()) < 60 for at in made_at)
    assert len({one.int >> 64 & 0xFFF for one in ids}) > 3_000
    assert new_ids(0) == b""


def test_ids_that_are_derived_and_written_at_once_are_those_that_are_one_by_one() -> None:
    causes = [UUID(int=0), UUID(int=2**128 - 1), *(UUID(bytes=new_ids(1)) for _ in range(50))]
    steps = [f"step {number}" for number in range(len(causes))]
    joined = np.frombuffer(b"".join(cause.bytes for cause in causes), "V16")
    derived = derived_ids(joined, [cause.bytes + step.encode() for cause, step in zip(causes, steps, strict=True)])
    expected = [derived_id(cause, step) for cause, step in zip(causes, steps, strict=True)]
    assert [bytes(each) for each in derived] == [one.bytes for one in expected]
    assert [bytes(each).decode() for each in written_ids(derived)] == [str(one) for one in expected]
