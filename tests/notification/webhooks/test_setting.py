"""One's own webhook: set, read and removed, by nobody else, and never an address of our own."""

from base64 import b64decode
from collections.abc import Sequence
from ipaddress import ip_address

import pytest

from services.notification.settings import NotificationSettings
from shared.database import Database
from shared.outbound import Address, resolve
from tests.harness import ServiceUnderTest, branch_head, head_office
from tests.notification.bank import (
    M2,
    Watch,
    get,
    told,
)
from tests.notification.receiver import Receiver, saying
from tests.notification.webhooks.hooks import hook_of, hooking, put, remove, send, verify


async def test_ones_webhook_is_read_set_and_removed_by_its_version(
    notification: ServiceUnderTest, receiver: Receiver
) -> None:
    none = await get(notification, "/me/webhook")
    assert none.json() == {"url": None, "set_at": None, "switched_off_at": None, "code": None}
    assert (await put(notification, receiver.url, if_match=None)).status_code == 428
    was_set = await put(notification, receiver.url, if_match=none.headers["ETag"])
    assert was_set.status_code == 200, was_set.text
    read = await get(notification, "/me/webhook")
    assert read.json() == {name: value for name, value in was_set.json().items() if name != "secret"}
    assert (read.json()["url"], read.json()["set_at"]) == (receiver.url, "2026-11-24T09:30:00Z")
    assert read.headers["ETag"] == was_set.headers["ETag"]
    assert (await put(notification, receiver.url, if_match=none.headers["ETag"])).json()["code"] == "stale_version"
    again = await put(notification, receiver.url, if_match=read.headers["ETag"])
    assert again.json()["secret"] != was_set.json()["secret"]
    assert (await remove(notification, read.headers["ETag"])).status_code == 412
    removed = await remove(notification, again.headers["ETag"])
    assert removed.json() == none.json()
    assert removed.headers["ETag"] not in (none.headers["ETag"], again.headers["ETag"])


async def test_nobody_reads_or_changes_anothers(notification: ServiceUnderTest, receiver: Receiver) -> None:
    mine = (await put(notification, receiver.url)).json()
    for other in (M2, branch_head("B1"), head_office()):
        assert (await get(notification, "/me/webhook", other)).json()["url"] is None
        assert (await put(notification, receiver.url, other)).status_code == 200
    assert (await get(notification, "/me/webhook")).json()["set_at"] == mine["set_at"]
    await told(notification)
    await send(notification)
    verify(mine["secret"], receiver.called[0])
    async with notification.database.requests.begin() as connection:
        await connection.exec_driver_sql("select set_config('branchline.staff_id', 'M2', true)")
        seen = await connection.exec_driver_sql("select staff_id from webhook")
        assert [tuple(row) for row in seen] == [("M2",)]


async def test_neither_address_nor_secret_is_in_the_database_or_the_log(
    notification: ServiceUnderTest,
    receiver: Receiver,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    receiver.answer = saying("404 Not Found")
    secret = (await put(notification, receiver.url)).json()["secret"]
    await told(notification)
    await send(notification)
    kept = b"".join(bytes(sealed) for (sealed,) in await notification.rows("select sealed from webhook"))
    raw = b64decode(secret.removeprefix("whsec_"))
    assert not [found for found in (raw, b"path-secret", b"127.0.0.1") if found in kept]
    tables = await notification.rows(
        "select w::text, (select string_agg(a::text, '') from audit_record a) from webhook w"
    )
    written = f"{tables}{caplog.text}{capsys.readouterr().out}"
    assert "delivery_failed" in written
    assert not [found for found in (secret, raw.hex(), "path-secret") if found in written]


REFUSED = {
    "https://10.0.0.1/": "not_public",
    "https://169.254.169.254/latest/meta-data/": "not_public",
    "https://[::1]/": "not_public",
    "https://user:password@hook.example/": "has_credentials",
    "https://2130706433/": "odd_address",
    "http://93.184.216.34/": "not_https",
    "https://93.184.216.34:22/": "not_https",
    "ftp://93.184.216.34/": "not_a_url",
    "nothing": "not_a_url",
    f"https://{'a' * 64}.example/": "not_a_url",
    "https://nobody.invalid/": "not_public",
    "https://inside.bank.example/": "not_public",
}


async def test_an_address_of_our_own_is_refused_when_it_is_set(database: Database, watch: Watch) -> None:
    async def resolver(host: str, port: int) -> Sequence[Address]:
        if host == "nobody.invalid":
            raise OSError("Name or service not known")
        return [ip_address("192.168.7.7")] if host == "inside.bank.example" else await resolve(host, port)

    async with hooking(database, watch, webhook_networks="", resolver=resolver) as notification:
        for url, code in REFUSED.items():
            refused = await put(notification, url)
            assert (refused.status_code, refused.json()["code"]) == (422, "webhook_target_refused"), url
            (error,) = refused.json()["errors"]
            assert (error["in"], error["pointer"], error["code"]) == ("body", "/url", code), url
        assert (await get(notification, "/me/webhook")).json()["url"] is None


async def test_a_channel_that_is_off_sends_and_takes_nothing(
    database: Database, watch: Watch, receiver: Receiver
) -> None:
    async with hooking(database, watch) as notification:
        await put(notification, receiver.url)
        raised = await told(notification)
    async with hooking(database, watch, webhooks=False) as notification:
        refused = await put(notification, receiver.url)
        assert (refused.status_code, refused.json()["code"]) == (409, "webhooks_off")
        await send(notification)
        delivery = await hook_of(notification, raised)
        assert (delivery["state"], delivery["code"], receiver.called) == ("cancelled", "webhook_off", [])
        assert (await remove(notification)).json()["url"] is None
    assert NotificationSettings().webhooks is False, "the operator switches it on"
