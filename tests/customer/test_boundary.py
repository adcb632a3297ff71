"""The boundary over HTTP: what it takes, what it refuses, and what it tells of each event."""

import gzip
import json
from typing import Any

import httpx
import pytest

from services.customer.app import customer_service
from services.customer.settings import CustomerSettings
from shared.auth.principal import Principal
from tests.bank import NDJSON, SMALL_BANK, branch, lines, party, posted, push
from tests.conftest import NewDatabase
from tests.customer.asking import AUDITOR, HEAD_1, M1, OFFICE, OPERATOR
from tests.harness import PARTITIONS, ServiceUnderTest, program, under_test

CORE = program("corebanking:write")
SINGLE, BATCH = "application/cloudevents+json", "application/cloudevents-batch+json"
PATH = "/core-banking/events"


async def send(
    customer: ServiceUnderTest, body: bytes, media_type: str | None, actor: Principal = CORE
) -> httpx.Response:
    headers = {} if media_type is None else {"Content-Type": media_type}
    async with customer.http(actor) as http:
        return await http.post(PATH, content=body, headers=headers)


def as_batch(ndjson: bytes) -> bytes:
    return b"[" + b",".join(ndjson.split(b"\n")) + b"]"


async def became(customer: ServiceUnderTest, source: str, event_id: str) -> dict[str, Any]:
    async with customer.http(CORE) as http:
        answer = await http.get(f"{PATH}/{source}/{event_id}")
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


async def test_one_event_a_batch_or_lines_are_the_same_to_it(customer: ServiceUnderTest) -> None:
    for number, (media_type, body) in enumerate(
        [
            (SINGLE, lines([branch("B1")], ids="single")),
            ("application/json", lines([branch("B2")], ids="json")),
            (BATCH, as_batch(lines([branch("B3"), branch("B4")], ids="batch"))),
            ("application/x-ndjson", lines([branch("B5"), branch("B6")], ids="lines")),
            ("Application/X-NDJSON; charset=utf-8", lines([branch("B7")], ids="upper") + b"\r\n\r\n"),
        ]
    ):
        answer = await send(customer, body, media_type)
        assert answer.status_code == 200, (number, answer.text)
        assert answer.json()["applied"] == answer.json()["received"]
    assert await customer.count("branch") == 7


@pytest.mark.parametrize(
    ("media_type", "body", "status", "received"),
    [
        ("application/x-ndjson", b"", 200, 0),
        ("application/x-ndjson", b"\n \n\r\n", 200, 0),
        (BATCH, b"[]", 200, 0),
        (SINGLE, b"", 200, 1),
        (BATCH, b"", 400, None),
        (BATCH, b"{}", 400, None),
        (BATCH, b"[1,", 400, None),
        (BATCH, b"\xff", 400, None),
        (BATCH, b"[" * 200_000, 400, None),
        (None, b"{}", 415, None),
        ("text/plain", b"{}", 415, None),
        ("application/xml", b"<a/>", 415, None),
    ],
)
async def test_nothing_is_taken_as_nothing_and_what_is_no_events_is_refused(
    customer: ServiceUnderTest, media_type: str | None, body: bytes, status: int, received: int | None
) -> None:
    answer = await send(customer, body, media_type)
    assert answer.status_code == status, answer.text
    assert answer.json().get("received") == received
    if status == 415:
        assert SINGLE in answer.headers["Accept"]


async def test_a_compressed_body_is_not_guessed_at(customer: ServiceUnderTest) -> None:
    answer = await send(customer, gzip.compress(lines(SMALL_BANK)), "application/x-ndjson")
    assert answer.status_code == 200
    assert answer.json()["applied"] == 0


async def test_a_body_that_says_it_is_compressed_is_refused_whole(customer: ServiceUnderTest) -> None:
    for media_type in (SINGLE, BATCH, "application/x-ndjson"):
        async with customer.http(CORE) as http:
            headers = {"Content-Type": media_type, "Content-Encoding": "gzip"}
            answer = await http.post(PATH, content=gzip.compress(lines([branch("B1")])), headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")
        assert answer.headers["Accept-Encoding"] == "identity"


async def test_a_byte_order_mark_costs_no_event(customer: ServiceUnderTest) -> None:
    for number, (media_type, body) in enumerate(
        [
            (SINGLE, lines([branch("B1")], ids="single")),
            (BATCH, as_batch(lines([branch("B2")], ids="batch"))),
            ("application/x-ndjson", lines([branch("B3"), branch("B4")], ids="lines")),
        ]
    ):
        answer = await send(customer, b"\xef\xbb\xbf" + body, media_type)
        assert answer.json()["applied"] == answer.json()["received"], (number, answer.text)
    assert await customer.count("branch") == 4


async def test_too_many_or_too_large_is_refused_whole(new_database: NewDatabase) -> None:
    settings = CustomerSettings(ingestion_lines=3, ingestion_body_limit_bytes=4_096)
    service = customer_service(settings, partitions=PARTITIONS)
    async with under_test(service, await new_database("customer")) as customer:
        branches = [branch(f"B{n}") for n in range(4)]
        for media_type, body in (("application/x-ndjson", lines(branches)), (BATCH, as_batch(lines(branches)))):
            many = await send(customer, body, media_type)
            assert (many.status_code, many.json()["code"]) == (413, "too_many_events")
        large = await send(customer, b"\n" * 4_096 + lines(branches[:1]), "application/x-ndjson")
        assert (large.status_code, large.json()["code"]) == (413, "body_too_large")
        assert await customer.count("branch") == 0
        assert (await send(customer, lines(branches[:3]), "application/x-ndjson")).json()["applied"] == 3


async def test_only_the_cores_program_may_push_or_ask(customer: ServiceUnderTest) -> None:
    for actor in (M1, HEAD_1, OFFICE, AUDITOR, OPERATOR, program(), program("corebanking:read", "write")):
        assert (await send(customer, lines(SMALL_BANK), "application/x-ndjson", actor)).status_code == 403
        async with customer.http(actor) as http:
            assert (await http.get(f"{PATH}/core/e-1")).status_code == 403
    assert await customer.count("received_event") == 0


async def test_what_became_of_each_event_can_be_asked(customer: ServiceUnderTest) -> None:
    await push(customer, [*SMALL_BANK, posted("T1", 5), posted("T1", 5), posted("T2", 5, account_id="A9")])
    await push(customer, [posted("T1", 6)], ids="conflict")
    outcomes = {f"e-{n}": (await became(customer, "core", f"e-{n}"))["outcome"] for n in range(1, 8)}
    assert list(outcomes.values()) == ["applied"] * 5 + ["duplicate", "held"]
    parked = await became(customer, "core", "conflict-1")
    assert (parked["outcome"], parked["type"]) == ("parked", "corebanking.transaction_posted.v1")
    (kept,) = parked["kept"]
    assert (kept["code"], kept["pointer"], kept["waits_for"]) == ("conflicting_duplicate", "/data", None)
    async with customer.http(CORE) as http:
        for unknown in ("core/e-99", "other/e-1"):
            answer = await http.get(f"{PATH}/{unknown}")
            assert (answer.status_code, answer.json()["code"]) == (404, "core_event_not_found")


async def test_a_source_is_a_uri_and_can_be_asked_for(customer: ServiceUnderTest) -> None:
    source = "//core.bank.example/ledger/eu"
    await push(customer, lines([branch()], source=source))
    assert (await became(customer, "%2F%2Fcore.bank.example%2Fledger%2Feu", "e-1"))["source"] == source


async def test_what_is_wrong_is_told_without_its_values(customer: ServiceUnderTest) -> None:
    secret = "Meiqi-Secret"
    base: dict[str, Any] = {"party_id": "P1", "revision": 1, "customer_number": "1", "branch_id": "B1"}
    wrong: list[dict[str, Any]] = [
        {**base, "name": {"first": secret}},
        {**base, "birth_on": secret},
        {**base, "revision": secret},
        {**base, "phone": secret * 9},
        {secret: secret},
        {**base, "party_id": secret * 9},
        {**base, "left_on": f"{secret}"},
    ]
    payloads = [
        {"specversion": "1.0", "id": f"w{n}", "source": "core", "type": "corebanking.party_recorded.v1", "data": data}
        for n, data in enumerate(wrong)
    ]
    payloads += [
        {"specversion": secret, "id": "x", "source": "core", "type": "t", "data": {}},
        {"specversion": "1.0", "id": "y", "source": "core", "type": secret, "data": {}},
        {"specversion": "1.0", "id": "z", "source": "core", "type": "t", "time": secret, "data": {}},
    ]
    answer = await send(customer, b"\n".join(json.dumps(each).encode() for each in payloads), NDJSON["Content-Type"])
    assert answer.json()["parked"] == len(payloads)
    assert secret not in answer.text
    for number in range(len(wrong)):
        assert secret not in json.dumps((await became(customer, "core", f"w{number}"))["kept"])


async def test_a_large_or_deep_event_is_one_event_among_others(customer: ServiceUnderTest) -> None:
    large = lines([party("P2")], ids="large").replace(b'"P2"', b'"P2","note":"' + b"x" * 1_000_000 + b'"')
    deep = lines([party("P3")], ids="deep").replace(b'"P3"', b'"P3","note":' + b"[" * 5_000 + b"]" * 5_000)
    parked = lines([posted("T1", 5)], ids="parked").replace(b'"T1"', b'7,"note":"' + b"y" * 1_000_000 + b'"')
    summary = await push(customer, b"\n".join([lines(SMALL_BANK), large, deep, parked]))
    assert (summary["applied"], summary["parked"]) == (5, 2)
    assert {error["code"] for error in summary["errors"]} <= {"malformed_event", "malformed_cloud_event"}
    ((kept,),) = await customer.rows("select length(sealed) from kept_event where event_id = 'parked-1'")
    assert kept > 1_000_000, "what is parked is kept whole"
