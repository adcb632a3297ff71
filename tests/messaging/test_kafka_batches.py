"""Records read by columns are those that aiokafka's own parser reads, whatever the bytes are."""

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any

from aiokafka.record.default_records import DefaultRecordBatchBuilder
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.byte_slices import Unusual
from shared.events import Event
from shared.events.corebanking import LifeEventRecorded, TransactionPosted
from shared.messaging.kafka_batches import CRC_AT, HEADER, HeaderLayouts, KafkaBatch, batch_in
from shared.messaging.record_columns import ABSENT, TOLD, RecordColumns
from shared.messaging.records import Record, TopicPartition, headers_of
from tests.messaging.columns import columns_of

AT = TopicPartition("topic", 3)
NAMES = st.one_of(st.sampled_from(["ce_type", "ce_specversion", *TOLD, "traceparent", ""]), st.text(max_size=5))
TYPE = TransactionPosted.TYPE.encode()
SAID = st.sampled_from([b"1.0", b"2.0", b"", TYPE, TYPE[:-1] + b"2", LifeEventRecorded.TYPE.encode()])
NULLABLE = st.none() | st.binary(max_size=70) | st.integers(120, 8_400).map(bytes)
HEADERS = st.lists(st.tuples(NAMES, SAID | st.none() | st.binary(max_size=300)), max_size=5)
RECORDS = st.lists(
    st.tuples(st.integers(1, 300), st.integers(-(2**40), 2**40), NULLABLE, NULLABLE, HEADERS), min_size=1, max_size=8
)
"""By how much the offset grows (compaction leaves gaps), time, key, value, headers."""


def built(records: Sequence[tuple[Any, ...]], base: int, codec: int = 0) -> KafkaBatch:
    """As a fetch has it: the first record's offset is the batch's."""
    builder = DefaultRecordBatchBuilder(2, codec, 0, -1, -1, 0, 10_000_000)
    first = records[0][0]
    for offset, (_, time, key, value, headers) in zip(
        accumulate(record[0] for record in records), records, strict=True
    ):
        assert builder.append(offset - first, 10**12 + time, key, value, headers) is not None
    fetched = bytearray(builder.build())
    fetched[:8] = base.to_bytes(8)
    return as_batch(bytes(fetched))


def as_batch(fetched: bytes) -> KafkaBatch:
    batch = batch_in(fetched, slice(0, len(fetched)))
    assert isinstance(batch, KafkaBatch)
    return batch


def fetched_of(*batches: KafkaBatch) -> list[KafkaBatch]:
    """As one fetch."""
    fetched = b"".join(batch.bytes for batch in batches)
    ends = accumulate(len(batch.bytes) for batch in batches)
    return [
        batch._replace(fetched=fetched, first=a, last=b)
        for batch, (a, b) in zip(batches, pairwise([0, *ends]), strict=True)
    ]


def assert_same(columns: RecordColumns, records: list[Record]) -> None:
    assert list(columns) == records
    assert [columns[row] for row in range(len(records))] == records
    assert columns.offset.tolist() == [record.offset for record in records]
    for row, record in enumerate(records):
        assert columns.key.bytes_of(columns.buffer, row) == record.key
        assert columns.value.bytes_of(columns.buffer, row) == record.value
    for name in TOLD:
        told = columns.header(name)
        for row, record in enumerate(records):
            said = dict(record.headers)
            assert (told.length[row] == ABSENT) == (name not in said)
            assert told.bytes_of(columns.buffer, row) == said.get(name)
    for event_type in (TransactionPosted, LifeEventRecorded):
        assert columns.are(event_type).tolist() == [is_one(record, event_type) for record in records]
    for length in {len(record.key or b"") for record in records} - {0}:
        keys = {record.key for record in records if record.key is not None and len(record.key) == length}
        assert set(columns.distinct_keys(length)) == keys


def is_one(record: Record, event_type: type[Event]) -> bool:
    said = headers_of(record)
    return said.get("ce_specversion") == b"1.0" and said.get("ce_type") == event_type.TYPE.encode()


@settings(max_examples=40, deadline=None)
@given(st.lists(RECORDS, min_size=1, max_size=3), st.sampled_from([0, 1]), st.data())
def test_any_records_are_read_as_the_parser_reads_them(
    runs: list[list[tuple[Any, ...]]], codec: int, data: st.DataObject
) -> None:
    batches = fetched_of(*(built(run, number * 5_000, codec * (number % 2)) for number, run in enumerate(runs)))
    records = [record for batch in batches for record in batch.records(AT)]
    columns = columns_of(AT, batches, HeaderLayouts())
    assert_same(columns, records)
    first, last = sorted(data.draw(st.tuples(st.integers(0, len(records)), st.integers(0, len(records)))))
    assert_same(columns[first:last], records[first:last])
    assert_same(columns[first:][: last - first], records[first:last])
    assert_same(RecordColumns.of(records), records)


def test_a_batch_of_which_a_byte_is_wrong_is_not_whole() -> None:
    good = built([(1, 0, b"k", b"v", [("a", b"1")])], 7)
    assert good.is_whole()
    for place in range(CRC_AT, good.last):
        fetched = bytearray(good.bytes)
        fetched[place] ^= 1
        assert not good._replace(fetched=bytes(fetched)).is_whole()
    behind = good.bytes.tobytes() + b"-"
    assert good._replace(fetched=b"-" * 9 + behind, first=9, last=9 + len(good.bytes)).is_whole()


BYTES = [*range(9), 0x7E, 0x7F, 0x80, 0x81, 0x82, 0xFD, 0xFE, 0xFF]


def test_whatever_byte_is_wrong_records_are_read_as_the_parser_reads_them_or_left_to_it() -> None:
    headers = [("a", b"1"), ("é", None)]
    good = built([(1, 0, b"k", b"v", headers), (1, 300, None, b"", []), (1, 600, b"kk", None, headers)], 0)
    left = 0
    for place in range(HEADER.size, good.last):
        for byte in (*BYTES, good.fetched[place] ^ 1):
            fetched = bytearray(good.bytes)
            fetched[place] = byte
            batch = as_batch(bytes(fetched))
            try:
                columns = columns_of(AT, [batch], HeaderLayouts())
            except Unusual:
                left += 1
            else:
                assert_same(columns, batch.records(AT))
    assert left > 300


def test_headers_that_differ_only_in_what_they_name_are_told_apart() -> None:
    """And those of one length whose names or values are divided otherwise."""
    said = [
        [("ce_specversion", version), ("ce_type", name), ("ce_id", b"%036d" % number)]
        for number in range(3)
        for version in (b"1.0", b"2.0")
        for name in (TYPE, TYPE[:-1] + b"2")
    ]
    said += [[("ce_type", TYPE), ("ce_specversion", b"1.0"), ("ce_i", b"%037d" % 0)]]
    records = [(1, 0, b"k", b"v", headers) for headers in said]
    batch = built(records, 0)
    columns = columns_of(AT, [batch], HeaderLayouts())
    assert_same(columns, batch.records(AT))
    assert columns.are(TransactionPosted).sum() == 4


def test_ordinary_records_are_read_by_columns_compressed_or_not() -> None:
    headers = [("ce_specversion", b"1.0"), ("ce_type", TYPE), ("ce_id", bytes(36))]
    records = [(1, 7 * n, b"AC%010d" % n, b"-" * (390 + n % 20), headers) for n in range(2_500)]
    batches = fetched_of(*(built(records, codec * 10_000, codec) for codec in (0, 1)))
    layouts = HeaderLayouts()
    for _ in range(2):
        columns = columns_of(AT, batches, layouts)
        assert_same(columns, [record for batch in batches for record in batch.records(AT)])
        assert columns.are(TransactionPosted).all()
    assert len(layouts) == 1
