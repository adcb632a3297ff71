"""The core's topic: CloudEvents in either mode of the Kafka binding, the same use case as over HTTP."""

import msgspec
import pytest

from services.customer.handlers import CoreBanking
from services.customer.use_cases.ingestion import Rules
from shared.events.customer import TransactionsPosted
from shared.messaging.dead_letters import failed, offsets_parked_in, park
from shared.messaging.records import Record
from shared.messaging.seen import Seen
from tests.bank import SMALL_BANK, lines, posted, push
from tests.customer.asking import NOW
from tests.harness import PARTITIONS, ServiceUnderTest, operator
from tests.messaging.columns import hashes_of

T1 = msgspec.json.encode(posted("T1", 5))
HEADERS = {
    "ce_specversion": b"1.0",
    "ce_id": b"t-1",
    "ce_source": b"core",
    "ce_type": posted("T1", 5).TYPE.encode(),
    "ce_time": b"2026-03-01T09:00:00Z",
}


def record_of(value: bytes | None, **headers: bytes) -> Record:
    return Record("corebanking.events", 0, 7, b"any key", value, tuple(headers.items()))


async def receive(customer: ServiceUnderTest, value: bytes | None, **headers: bytes) -> set[int]:
    """The offsets of what was parked: the record's is 7."""
    return await deliver(customer, CoreBanking(Rules(PARTITIONS, 100), lambda: NOW), record_of(value, **headers))


async def deliver(customer: ServiceUnderTest, core: CoreBanking, *records: Record) -> set[int]:
    async with customer.database.transaction() as session:
        await core.receive_core_events(session, await core.read_core_events(records))
        return offsets_parked_in(session)


def trusting() -> CoreBanking:
    """One that trusts what it remembers, which is nothing yet."""
    core = CoreBanking(Rules(PARTITIONS, 100), lambda: NOW)
    core._remembered.events, core._remembered.transactions = Seen(distrusted=0), Seen(distrusted=0)
    return core


async def outcomes(customer: ServiceUnderTest) -> list[tuple[str, str]]:
    rows = await customer.rows("select event_id, outcome from received_event where event_id like 't-%' order by 1")
    return [(event_id, outcome) for event_id, outcome in rows]


async def letters(customer: ServiceUnderTest) -> list[tuple[str, str]]:
    return [(code, detail) for code, detail in await customer.rows("select code, detail from dead_letter")]


async def test_binary_and_structured_mode_and_http_are_one_identity(customer: ServiceUnderTest) -> None:
    await push(customer, SMALL_BANK)
    await receive(customer, T1, **HEADERS)
    await receive(customer, lines([posted("T1", 5)], ids="t"))
    assert (await push(customer, [posted("T1", 5)], ids="t"))["duplicate"] == 1
    assert await outcomes(customer) == [("t-1", "applied")]
    assert await customer.count("posting") == 1
    assert await letters(customer) == []


async def test_what_the_topic_holds_back_http_can_release(customer: ServiceUnderTest) -> None:
    assert await receive(customer, T1, **HEADERS) == set(), "held is not parked"
    assert await outcomes(customer) == [("t-1", "held")]
    await push(customer, SMALL_BANK)
    assert await outcomes(customer) == [("t-1", "applied")]


@pytest.mark.parametrize(
    ("value", "changed", "code"),
    [
        (T1, {"ce_id": b""}, "malformed_cloud_event"),
        (T1, {"ce_source": b"s" * 201}, "malformed_cloud_event"),
        (T1, {"ce_time": b"yesterday"}, "malformed_cloud_event"),
        (T1, {"ce_time": b"2026-03-01T09:00:00"}, "malformed_cloud_event"),
        (T1, {"ce_specversion": b"0.3"}, "unknown_specversion"),
    ],
)
async def test_what_has_no_identity_is_a_dead_letter(
    customer: ServiceUnderTest, value: bytes, changed: dict[str, bytes], code: str
) -> None:
    await receive(customer, value, **{**HEADERS, **changed})
    assert [found for found, _ in await letters(customer)] == [code]
    assert await outcomes(customer) == []


@pytest.mark.parametrize("value", [None, b"", b"{", b"\xff", b"[" * 50_000, b"null", b"7", b"{}"])
async def test_what_has_an_identity_and_no_sense_is_parked_under_it(
    customer: ServiceUnderTest, value: bytes | None
) -> None:
    assert await receive(customer, value, **HEADERS) == {7}, "it counts toward the limit"
    assert await outcomes(customer) == [("t-1", "parked")]
    assert await customer.count("kept_event") == 1
    await push(customer, SMALL_BANK)
    await receive(customer, T1, **HEADERS)
    assert await outcomes(customer) == [("t-1", "applied")], "sent again, mended"
    assert await customer.count("kept_event") == 0


@pytest.mark.parametrize("value", [None, b"", b"{", b"null", b"[]", b"\xff\xfe"])
async def test_a_record_that_is_no_event_is_a_dead_letter(customer: ServiceUnderTest, value: bytes | None) -> None:
    await receive(customer, value)
    assert len(await letters(customer)) == 1


@pytest.mark.parametrize("event_id", ["t-1", "\u53f7 1", "an id"])
async def test_a_handlers_fault_takes_no_identity_away(customer: ServiceUnderTest, event_id: str) -> None:
    """What is parked as a dead letter is received under its own id when it is replayed, whatever that is written in."""
    await push(customer, SMALL_BANK)
    record = record_of(T1, **HEADERS | {"ce_id": event_id.encode(), "ce_source": b"core"})
    async with customer.database.transaction() as session:
        await park(session, [failed(record, RuntimeError("a bad deploy"))])
    assert event_id == "t-1" or event_id not in str(await customer.rows("select headers::text from dead_letter"))
    async with customer.http(operator()) as http:
        (letter,) = (await http.get("/dead-letters")).json()["items"]
        assert letter["type"] == HEADERS["ce_type"].decode()
        replayed = await http.post(f"/dead-letters/{letter['id']}/replay")
    assert (replayed.status_code, replayed.json()["outcome"]) == (200, "delivered")
    assert await customer.rows("select outcome from received_event where event_id = :id", id=event_id) == [("applied",)]
    assert await customer.count("posting") == 1


@pytest.mark.parametrize(
    ("value", "held"),
    [(None, {}), (b"{", {"data_base64": "ew=="}), (b"\xff", {"data_base64": "/w=="}), (b"7", {"data": 7})],
)
async def test_a_dead_letter_of_the_core_tells_an_operator_all_that_it_was(
    customer: ServiceUnderTest, value: bytes | None, held: dict[str, object]
) -> None:
    await receive(customer, value, **HEADERS | {"ce_id": "\u53f7 1".encode(), "ce_time": b"no time"})
    async with customer.http(operator()) as http:
        (letter,) = (await http.get("/dead-letters")).json()["items"]
        shown = (await http.get(f"/dead-letters/{letter['id']}")).json()["record"]
        mended = {"payload_patch": {"time": "2026-03-01T09:00:00Z"}}
        edited = await http.patch(f"/dead-letters/{letter['id']}", json=mended, headers={"If-Match": "*"})
    assert edited.json()["type"] == letter["type"] == HEADERS["ce_type"].decode()
    assert shown["headers"] == {"content-type": "application/cloudevents+json"}
    said = {name.removeprefix("ce_"): said.decode() for name, said in HEADERS.items()}
    assert msgspec.json.decode(shown["payload"]) == {**said, "id": "\u53f7 1", "time": "no time", **held}


async def test_what_is_remembered_is_known_again_without_asking_for_all(customer: ServiceUnderTest) -> None:
    await push(customer, SMALL_BANK)
    core = trusting()
    other = msgspec.json.encode(posted("T1", 6))
    await deliver(customer, core, record_of(T1, **HEADERS), record_of(T1, **HEADERS))
    await deliver(customer, core, record_of(T1, **HEADERS), record_of(T1, **HEADERS | {"ce_id": b"t-2"}))
    await deliver(customer, core, record_of(other, **HEADERS | {"ce_id": b"t-3"}))
    assert await outcomes(customer) == [("t-1", "applied"), ("t-2", "duplicate"), ("t-3", "parked")]
    assert await customer.count("posting") == 1


@pytest.mark.parametrize("event_id", [b"t-1", b"t-2"])
async def test_what_was_forgotten_counts_once_all_the_same(customer: ServiceUnderTest, event_id: bytes) -> None:
    """Months later, or after another process applied it: the filter takes it for new, the unique index does not."""
    await push(customer, SMALL_BANK)
    await push(customer, [posted("T1", 5)], ids="t")
    core = trusting()
    again = record_of(T1, **HEADERS | {"ce_id": event_id})
    fresh = record_of(msgspec.json.encode(posted("T2", 7)), **HEADERS | {"ce_id": b"t-9"})
    await deliver(customer, core, record_of(b"no event"), fresh, again)
    first = [("t-1", "applied")] if event_id == b"t-1" else [("t-1", "applied"), ("t-2", "duplicate")]
    assert await outcomes(customer) == [*first, ("t-9", "applied")]
    assert await customer.count("posting") == 2
    assert len(await letters(customer)) == 1, "what the first attempt parked was taken back with it"
    told = [t.amount_minor for event in await customer.published(TransactionsPosted) for t in event.transactions]
    assert told == [5, 7]
    assert core._remembered.events.doubtful(hashes_of(["never", "seen"])).all(), "more of the past may follow"
