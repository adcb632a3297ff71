"""An operator rotates the master key with two commands; a service without the old one does not start before that."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncSession
from typer.testing import CliRunner, Result

from services.cli import app
from services.demo.home import Home
from services.distributed import serve_service
from shared.audit.verification import verify_service
from shared.ids import new_id
from shared.keyring import AuditKeys, MasterKeyring
from shared.sealing.data_keys import DataKeys
from shared.sealing.master_keys import LocalMasterKeys
from shared.settings import PlatformSettings
from tests.audit.ledger import KEYS
from tests.conftest import NewDatabase
from tests.harness import rows_as_owner

OLD, NEW = MasterKeyring.generate("2025"), MasterKeyring.generate("2026")


def branchline(*arguments: str, **environment: str) -> Result:
    return CliRunner().invoke(app, arguments, env=environment)


def written(*keyrings: MasterKeyring) -> str:
    return ",".join(keyring.written().strip() for keyring in keyrings)


def test_a_generated_key_is_read_as_a_master_key_and_is_another_each_time() -> None:
    first, second = branchline("keys", "generate", "--id", "2027"), branchline("keys", "generate", "--id", "2027")
    assert MasterKeyring.parse(first.stdout).current == "2027"
    assert first.stdout != second.stdout
    assert branchline("keys", "generate", "--id", "an id").exit_code == 1


async def test_rewrapping_says_when_the_old_master_key_may_go(
    new_database: NewDatabase, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    demo = Home(tmp_path)
    for path, keyring in ((demo.audit_keys, AuditKeys.generate()), (demo.master_keys, OLD)):
        demo.write_secret(path, keyring.written())
    monkeypatch.setenv("BRANCHLINE_HOME", str(tmp_path))
    databases = {name: await new_database(name) for name in ("customer", "interaction", "scoring", "notification")}
    for name, database in databases.items():
        for role, url in (("", database.jobs_url), ("REQUESTS_", database.requests.url)):
            stated = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
            monkeypatch.setenv(f"{name.upper()}_{role}DATABASE_URL", stated)
    customers = [new_id() for _ in range(5)]
    async with AsyncSession(databases["customer"].jobs) as session:
        sealed = (await DataKeys(LocalMasterKeys(OLD)).make(session, customers))[customers[0]].seal(b"x", "f")
        await session.commit()

    with pytest.raises(SystemExit, match=r"customer does not start: .* 2025, which is not"):
        await serve_service("customer", demo_with(NEW), "127.0.0.1", 0)

    refused = await ask("keys", "rewrap", BRANCHLINE_MASTER_KEYS=written(NEW))
    assert refused.exit_code == 1
    assert "there is no key: set BRANCHLINE_AUDIT_KEYS" in refused.stderr, (
        "nothing is done unrecorded, or with a demo's"
    )
    recording = {"BRANCHLINE_AUDIT_KEYS": KEYS.written()}
    refused = await ask("keys", "rewrap", BRANCHLINE_MASTER_KEYS=written(NEW), **recording)
    assert "there is no master key 2025" in refused.stderr

    environment = {"BRANCHLINE_MASTER_KEYS": written(NEW, OLD), **recording}
    part = await ask("keys", "rewrap", "customer", "--chunk", "2", **environment)
    assert part.exit_code == 0, part.output
    assert "customer: 5 keys wrapped again; now 5 with 2026." in part.stdout
    assert "no master key may be taken away yet" in part.stdout
    rest = await ask("keys", "rewrap", **environment)
    assert "customer: 0 keys wrapped again; now 5 with 2026." in rest.stdout
    assert "Nothing is wrapped with 2025 any more" in rest.stdout
    async with AsyncSession(databases["customer"].jobs) as session:
        opened = await DataKeys(LocalMasterKeys(NEW)).find(session, customers)
    assert opened[customers[0]].open(sealed, "f") == b"x"
    rows = "select action, resource, customer_count from audit_record where operation = 'keys.rewrap' order by at"
    attempted = ("change", "data_key/2026", 5)
    assert await rows_as_owner(databases["customer"], rows) == [attempted, attempted], "refused, and done"
    assert (await verify_service(databases["customer"].jobs_url, "customer", KEYS)).faults == []


async def ask(*arguments: str, **environment: str) -> Result:
    return await asyncio.to_thread(branchline, *arguments, **environment)


def demo_with(master_keys: MasterKeyring) -> PlatformSettings:
    stated: Mapping[str, Any] = {
        "environment": "demo",
        "kafka": "127.0.0.1:1",
        "audit_keys": AuditKeys.generate().written(),
        "master_keys": master_keys.written(),
    }
    return PlatformSettings(**stated)
