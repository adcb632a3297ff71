"""Ids made many at once are those that are made one by one."""

from datetime import UTC, datetime
from uuid import RFC_4122, UUID

from shared.ids import new_ids


def test_many_ids_at_once_are_distinct_uuids_of_now() -> None:
    joined = new_ids(10_000)
    ids = [UUID(bytes=joined[at : at + 16]) for at in range(0, len(joined), 16)]
    assert len(set(ids)) == 10_000
    assert {(one.version, one.variant) for one in ids} == {(7, RFC_4122)}
    made_at = {datetime.fromtimestamp((one.int >> 80) / 1_000, UTC) for one in ids}
    assert all(abs((datetime.now(UTC) - at).total_seconds()) < 60 for at in made_at)
    assert len({one.int >> 64 & 0xFFF for one in ids}) > 3_000
    assert new_ids(0) == b""
