"""An export gathers what every service has, sealed on its way, and can be downloaded until it expires."""

import base64
import io
import json
import zipfile
import zlib
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import httpx
import pytest

from shared.events import Event
from shared.events.customer import CustomerErased, CustomerExportRequested, ExportPartPrepared
from shared.events.interaction import ExportPartPrepared as PartOfInteraction
from shared.events.notification import ExportPartPrepared as PartOfNotification
from shared.events.scoring import ExportPartPrepared as PartOfScoring
from shared.exports.preparing import context_of
from shared.exports.sealing import new_recipient, open_with, seal_to
from shared.sealing.master_keys import NotOpened
from tests.bank import party, push
from tests.customer.asking import HEAD_1, NOW, OFFICE, get, id_of, post, two_branches
from tests.harness import ServiceUnderTest

OTHERS = (PartOfInteraction, PartOfNotification, PartOfScoring)


@pytest.fixture(autouse=True)
async def bank(customer: ServiceUnderTest) -> None:
    await two_branches(customer)
    await push(customer, [party("P1", revision=2, manager_id="M1", name="Ada Lovelace", phone="+1 555 0100")], ids="p")


async def requested(customer: ServiceUnderTest) -> tuple[CustomerExportRequested, str]:
    """The event, and where the export is read."""
    path = f"/customers/{await id_of(customer, 'P1')}/exports"
    answer = await post(customer, path, None)
    assert answer.status_code == 202, answer.text
    assert answer.json()["state"] == "preparing"
    return (await customer.published(CustomerExportRequested))[-1], f"{path}/{answer.json()['export_id']}"


def of_others(asked: CustomerExportRequested, pieces: int = 1) -> list[Event]:
    """Parts of the other services, each in a number of pieces."""
    told: list[Event] = []
    for part in OTHERS:
        packed = zlib.compress(json.dumps({"alert": {"about": "x", "fields": {}, "rows": []}}).encode())
        size = -(-len(packed) // pieces)
        for number in range(1, pieces + 1):
            context = context_of(asked.export_id, part.TYPE.partition(".")[0], number, pieces)
            piece = packed[(number - 1) * size : number * size]
            sealed = base64.b64encode(seal_to(base64.b64decode(asked.public_key), piece, context)).decode()
            facts = {"customer_id": asked.customer_id, "export_id": asked.export_id}
            told.append(part(**facts, number=number, of=pieces, sealed=sealed))
    return told


async def own_part(customer: ServiceUnderTest, asked: CustomerExportRequested) -> Sequence[Event]:
    await customer.deliver([asked])
    return await customer.published(ExportPartPrepared)


async def download(customer: ServiceUnderTest, where: str, actor: Any = OFFICE) -> httpx.Response:
    return await get(customer, f"{where}/archive", actor)


async def test_an_export_is_one_archive_of_all_services_with_words_for_every_field(customer: ServiceUnderTest) -> None:
    asked, where = await requested(customer)
    assert (await download(customer, where)).json()["code"] == "export_not_ready"
    own = await own_part(customer, asked)
    await customer.deliver(own)
    shown = (await get(customer, where)).json()
    assert [each["service"] for each in shown["services"] if each["prepared"]] == ["customer"]
    await customer.deliver(of_others(asked, pieces=2))
    assert (await get(customer, where)).json()["state"] == "ready"
    answer = await download(customer, where)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/zip")
    archive = zipfile.ZipFile(io.BytesIO(answer.content))
    person = json.loads(archive.read("customer/customer.json"))
    assert person["rows"][0]["sealed"]["name"] == "Ada Lovelace"
    assert "minor units" in json.loads(archive.read("customer/account.json"))["fields"]["posted_minor"]
    manifest = json.loads(archive.read("manifest.json"))
    assert {each["file"] for each in manifest["files"]} | {"manifest.json"} == set(archive.namelist())
    assert {"interaction/alert.json", "scoring/alert.json", "notification/alert.json"} <= set(archive.namelist())


async def test_parts_come_in_any_order_and_more_than_once(customer: ServiceUnderTest) -> None:
    asked, where = await requested(customer)
    own = await own_part(customer, asked)
    parts = [*reversed(of_others(asked, pieces=3)), *own]
    await customer.deliver([parts[0], *parts])
    before = (await download(customer, where)).content
    await customer.deliver(parts)
    assert (await download(customer, where)).content == before
    assert await customer.rows("select private_key from customer_export") == [(None,)], "the key is of one use"
    assert await customer.count("customer_export_part") == 0


async def test_what_travels_and_what_is_stored_cannot_be_read(customer: ServiceUnderTest) -> None:
    asked, _where = await requested(customer)
    own = await own_part(customer, asked)
    await customer.deliver([*own, *of_others(asked)])
    for (row,) in await customer.rows("select t::text from outbox t union all select t::text from customer_export t"):
        stored = row.encode()
        assert b"Lovelace" not in stored
        assert b"Lovelace".hex().encode() not in stored
        assert base64.b64encode(b"Lovelace")[:8] not in stored


async def test_an_archive_expires_and_is_gone_with_the_customer(customer: ServiceUnderTest) -> None:
    asked, where = await requested(customer)
    await customer.deliver([*await own_part(customer, asked), *of_others(asked)])
    customer.app.state.clock = lambda: NOW + timedelta(days=8)
    assert (await download(customer, where)).json()["code"] == "export_expired"
    (forget,) = [job for job in customer.service.jobs if job.name == "forget_expired_exports"]
    async with customer.database.jobs.begin() as connection:
        await connection.exec_driver_sql("update customer_export set expires_at = now() - interval '1 day'")
    await forget.run(customer.database)
    assert await customer.rows("select archive from customer_export") == [(None,)]
    rows = await customer.rows("select customer_ids from audit_record where resource = 'customer_export'")
    assert rows == [([asked.customer_id],)]
    customer.app.state.clock = lambda: NOW
    erasure = await post(customer, f"/customers/{asked.customer_id}/erasure", {"reason": "objection"})
    assert erasure.status_code == 202
    await customer.deliver(await customer.published(CustomerErased))
    assert (await download(customer, where)).status_code == 404
    assert await customer.count("customer_export") == 0


async def test_exports_are_head_offices(customer: ServiceUnderTest) -> None:
    asked, where = await requested(customer)
    assert (await get(customer, where, HEAD_1)).status_code == 403
    assert (await post(customer, where.rpartition("/")[0], None, HEAD_1)).status_code == 403
    other = await id_of(customer, "P2")
    assert (await get(customer, f"/customers/{other}/exports/{asked.export_id}")).status_code == 404


def test_what_is_sealed_opens_with_its_key_in_its_place_only() -> None:
    private, public = new_recipient()
    sealed = seal_to(public, b"plain", b"1")
    assert open_with(private, sealed, b"1") == b"plain"
    for key, written, context in (
        (new_recipient()[0], sealed, b"1"),
        (private, sealed, b"2"),
        (private, sealed[:-1] + bytes([sealed[-1] ^ 1]), b"1"),
        (private, b"", b"1"),
    ):
        with pytest.raises(NotOpened):
            open_with(key, written, context)
