"""A person goes through the whole line and is erased: nothing of theirs is left in any table, topic, log or file."""

import asyncio
import base64
import io
import json
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import psycopg
import pytest
from sqlalchemy.engine import make_url

from services.catalog import SERVICES
from shared.audit.verification import verify_service
from shared.embedded_postgres import EmbeddedPostgres, start_postgres
from shared.events import corebanking
from shared.events.corebanking import AccountKind, PartyRelation, RelatedParty, TransactionKind
from shared.events.customer import CustomerChanged
from shared.ids import new_id
from shared.keyring import AuditKeys
from shared.messaging.kafka_connection import KafkaConnection
from shared.messaging.records import Outgoing, event_headers
from tests.bank import NDJSON, account, branch, lines, manager_recorded, party
from tests.journeys.conftest import Bank, eventually, running_bank
from tests.journeys.leftovers import Search, forms, vacuum
from tests.journeys.test_alert import Customer, item_of
from tests.kafka_broker import KafkaBroker
from tests.torture.topics import read_topics

PERSON: dict[str, Any] = {
    "name": "欧阳璧珩 Zephyrine Quillfeather",
    "phone": "+86 199 7774 1213",
    "email": "zephyrine.q@quillfeather.example",
    "address": "紫藤巷 88, Wisteria Backlane",
    "document_number": "QX7742190031",
}
VALUES = [
    *("欧阳璧珩", "Zephyrine", "Quillfeather", "zephyrine quillfeather"),
    *("+86 199 7774 1213", "8619977741213"),
    *("zephyrine.q@", "紫藤巷", "Wisteria Backlane", "QX7742190031"),
]
FREE_TEXT = ["Marzipan-Velocipede", "Gooseberry-Astrolabe"]
"""In an event that is parked, and in a dead letter."""


@pytest.fixture(params=["embedded", pytest.param("kafka", marks=pytest.mark.kafka)])
def broker(request: pytest.FixtureRequest) -> KafkaBroker | None:
    """Of the test's own: what others sent is not what is looked for."""
    return request.getfixturevalue("kafka_broker") if request.param == "kafka" else None


@pytest.fixture
def home() -> Iterator[tuple[EmbeddedPostgres, Path]]:
    """A folder with a PostgreSQL of its own: all that the line writes is in it."""
    folder = Path(tempfile.mkdtemp(prefix="branchline-erasure-"))
    folder.chmod(0o755)
    server = start_postgres(folder / "postgres")
    (folder / "line").mkdir()
    yield server, folder
    server.stop()
    shutil.rmtree(folder, ignore_errors=True)


async def push_raw(bank: Bank, line: bytes) -> dict[str, Any]:
    async with bank.http("service", scopes=["corebanking:write"]) as http:
        answer = await http.post("/api/customer/v1/core-banking/events", content=line, headers=NDJSON)
    assert answer.status_code == 200, answer.text
    summary: dict[str, Any] = answer.json()
    return summary


async def arrives(bank: Bank, customer: Customer) -> UUID:
    """The person, with an alert, a contact, and something of theirs in everything that keeps what went wrong."""
    await bank.push([branch("J1"), manager_recorded("JM1", "J1")], ids="setting")
    arrival = party(customer.party_id, customer_number=customer.number, branch_id="J1", manager_id="JM1", **PERSON)
    await bank.push([arrival, *customer.arrives()[1:]], ids=f"{customer.key}-arrives")
    await bank.push(customer.is_angry(), ids=f"{customer.key}-angry")
    async with bank.http("manager", staff_id="JM1", branch_id="J1") as http:
        item = await eventually(lambda: item_of(http, customer))
        contact = await http.post(
            f"/api/interaction/v1/customers/{item['customer_id']}/contacts",
            json={"channel": "call"},
            headers={"Idempotency-Key": customer.key},
        )
        assert contact.status_code == 201, contact.text
    customer_id = UUID(item["customer_id"])
    later = party(
        customer.party_id, revision=2, branch_id="J1", **{**PERSON, "name": f"{PERSON['name']} {FREE_TEXT[0]}"}
    )
    wrong = lines([later], ids=f"{customer.key}-wrong", source="journeys").replace(b'"revision":2', b'"revision":"two"')
    assert (await push_raw(bank, wrong))["parked"] == 1
    joint = (
        RelatedParty(party_id=customer.party_id, relation=PartyRelation.HOLDER),
        RelatedParty(party_id="nobody-yet", relation=PartyRelation.JOINT_HOLDER),
    )
    waiting = account(f"B{customer.key}", parties=joint, kind=AccountKind.SAVINGS)
    assert (await bank.push([waiting], ids=f"{customer.key}-held"))["held"] == 1
    assert bank.publisher is not None
    value = f'{{"customer_id":"{customer_id}","note":"{FREE_TEXT[1]} {PERSON["name"]}"}}'.encode()
    headers = event_headers(new_id(), CustomerChanged.TYPE, datetime.now(UTC), None)
    await bank.publisher.send([Outgoing(CustomerChanged.TOPIC, str(customer_id).encode(), value, headers)])
    return customer_id


def database_names(bank: Bank) -> dict[str, str]:
    assert bank.line is not None
    return {name: str(make_url(bank.line.databases[name].jobs_url).database) for name in SERVICES}


def counted(postgres: EmbeddedPostgres, database: str, query: str) -> int:
    with psycopg.connect(postgres.url("postgres", database)) as connection:
        row = connection.execute(query.encode()).fetchone()
    return int(row[0]) if row else 0


async def erased(http: httpx.AsyncClient, customer_id: UUID) -> dict[str, Any]:
    path = f"/api/customer/v1/customers/{customer_id}/erasure"
    answer = await http.post(path, json={"reason": "no_longer_necessary"}, headers={"X-Purpose": "subject_rights"})
    assert answer.status_code == 202, answer.text

    async def complete() -> dict[str, Any] | None:
        shown: dict[str, Any] = (await http.get(path)).json()
        return shown if shown["state"] == "complete" else None

    return await eventually(complete)


def test_a_search_finds_a_value_in_each_way_that_it_may_be_written() -> None:
    search = Search(["欧阳璧珩", "Quillfeather"])
    for number, form in enumerate(sorted(forms("欧阳璧珩"))):
        search.look(str(number), b"before" + form + b"after")
    assert len(search.found) == len(forms("欧阳璧珩"))
    for before in ("", "a", "ab"):
        search.look(f"base64 {before}", base64.b64encode(f"{before}Quillfeather!!".encode()))
    assert len(search.found) == len(forms("欧阳璧珩")) + 3


async def test_nothing_of_an_erased_person_is_left_anywhere(
    home: tuple[EmbeddedPostgres, Path],
    broker: KafkaBroker | None,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    postgres, folder = home
    audit_keys = AuditKeys.generate()
    kafka = broker.bootstrap if broker is not None else None
    async with running_bank(postgres, folder / "line", kafka, audit_keys=audit_keys) as bank:
        customer = Customer()
        customer_id = await arrives(bank, customer)
        names = database_names(bank)
        ids = [customer.party_id, customer.account_id, customer.number, f"B{customer.key}"]

        async def letters() -> bool:
            return all(
                counted(postgres, names[service], "select count(*) from dead_letter") == 1
                for service in ("interaction", "scoring", "notification")
            )

        await eventually(letters)
        before = Search([*VALUES, *FREE_TEXT, *ids])
        for name in names.values():
            before.look_at_database(postgres, name)
        assert {value for _, value in before.found} >= set(ids), "else nothing would be shown"
        assert not {value for _, value in before.found} & {*VALUES, *FREE_TEXT}, "what is personal is sealed"

        async with bank.http("head_office", staff_id="HO1") as http:
            assert (await http.get(f"/api/customer/v1/customers/{customer_id}")).json()["name"] == PERSON["name"]
            await restricted_and_lifted(bank, http, customer_id)
            archive = await exported(http, customer_id)
            shown = await erased(http, customer_id)
        rows = {name: json.loads(archive.read(name)).get("rows") for name in archive.namelist() if "/" in name}
        assert {value: rows["customer/customer.json"][0]["sealed"][value] for value in PERSON} == PERSON
        full = {name for name, found in rows.items() if found}
        assert full >= {"interaction/contact.json", "scoring/churn_alert.json", "notification/inbox_item.json"}
        certificate = shown["certificate"]
        assert all(part["key_destroyed"] and part["purged_at"] for part in certificate["services"])
        late = [
            party(customer.party_id, revision=9, branch_id="J1", customer_number=customer.number, **PERSON),
            customer.pays(-100, TransactionKind.CARD_PAYMENT),
        ]
        assert (await bank.push(late, ids=f"{customer.key}-late"))["duplicate"] == 2
        await asyncio.sleep(1)

        after = Search([*VALUES, *FREE_TEXT, *ids])
        for name in names.values():
            after.look_at_database(postgres, name)
        after.look("certificate", str(certificate).encode())
        assert after.found == set()
        assert after.looked_at > 50
        deleted = {part["service"]: {t["table"]: t["rows"] for t in part["tables"]} for part in certificate["services"]}
        assert deleted["customer"]["customer"] == 1
        assert deleted["customer"]["kept_event"] == 2
        assert deleted["interaction"]["idempotency_key"] == deleted["scoring"]["dead_letter"] == 1
        topics = Search([*VALUES, FREE_TEXT[0], customer.party_id, customer.account_id])
        if kafka is None:
            names["log"] = names["customer"].removesuffix("customer") + "log"
            forget_the_injected(postgres, names["log"])
            topics.look_at_database(postgres, names["log"], but="corebanking.events")
        else:
            await asyncio.to_thread(look_at_topics, topics, kafka)
        assert topics.found == set()
        assert topics.looked_at > 20
        assert bank.line is not None
        for service, database in bank.line.databases.items():
            assert (await verify_service(database.jobs_url, service, audit_keys)).faults == [], service
    vacuum(postgres, names.values())
    files = Search([*VALUES, *FREE_TEXT])
    files.look_at_files(folder)
    written = capfd.readouterr()
    files.look("output", (written.out + written.err + caplog.text).encode())
    assert files.found == set()
    assert files.looked_at > 1_000


async def exported(http: httpx.AsyncClient, customer_id: UUID) -> zipfile.ZipFile:
    path = f"/api/customer/v1/customers/{customer_id}/exports"
    answer = await http.post(path, headers={"X-Purpose": "subject_rights"})
    assert answer.status_code == 202, answer.text
    where = f"{path}/{answer.json()['export_id']}"

    async def ready() -> bool:
        return bool((await http.get(where)).json()["state"] == "ready")

    await eventually(ready)
    return zipfile.ZipFile(io.BytesIO((await http.get(f"{where}/archive")).content))


async def restricted_and_lifted(bank: Bank, http: httpx.AsyncClient, customer_id: UUID) -> None:
    path = f"/api/customer/v1/customers/{customer_id}/restriction"
    seen = {"If-Match": (await http.get(path)).headers["ETag"]}
    put = await http.put(path, json={"reason": "objection_pending"}, headers=seen)
    assert put.status_code == 200, put.text
    timeline = f"/api/interaction/v1/customers/{customer_id}/timeline"
    async with bank.http("manager", staff_id="JM1", branch_id="J1") as manager:

        async def is_hidden() -> bool:
            return (await manager.get(timeline)).status_code == 404

        await eventually(is_hidden)
        assert (await http.get(timeline)).status_code == 200
        lifted = await http.delete(path, headers={"If-Match": put.headers["ETag"]})
        assert lifted.status_code == 200, lifted.text

        async def is_shown() -> bool:
            return (await manager.get(timeline)).status_code == 200

        await eventually(is_shown)


def look_at_topics(search: Search, kafka: str) -> None:
    """All that is in our topics, but for what the test itself wrote there, for a dead letter."""
    ours = [record for record in read_topics(KafkaConnection(kafka)) if record.topic != corebanking.TOPIC]
    sent = [record for record in ours if FREE_TEXT[1].encode() not in record.value]
    assert len(ours) - len(sent) == 1
    for record in sent:
        search.look(record.topic, b"\n".join((record.key, record.value, str(record.headers).encode())))


def forget_the_injected(postgres: EmbeddedPostgres, database: str) -> None:
    """The test itself wrote a name into a topic, for a dead letter; none of ours would."""
    with psycopg.connect(postgres.url("postgres", database), autocommit=True) as connection:
        gone = connection.execute("delete from record where position('Gooseberry-Astrolabe'::bytea in value) > 0")
        assert gone.rowcount == 1
