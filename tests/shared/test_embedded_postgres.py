import json
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from subprocess import SubprocessError

import psycopg
import pytest

from shared.embedded_postgres import EmbeddedPostgres, start_postgres


@pytest.fixture
def own_postgres() -> Iterator[EmbeddedPostgres]:
    folder = Path(tempfile.mkdtemp(prefix="branchline-test-"))
    folder.chmod(0o755)
    server = start_postgres(folder / "postgres")
    yield server
    server.stop()
    shutil.rmtree(folder, ignore_errors=True)


def revive(postgres: EmbeddedPostgres) -> bool:
    for _ in range(20):
        try:
            return postgres.revive()
        except SubprocessError:
            time.sleep(0.5)
    raise AssertionError("it did not start again")


def test_a_postgres_that_was_killed_is_started_again_with_what_it_held(own_postgres: EmbeddedPostgres) -> None:
    url = own_postgres.url("postgres", "postgres")
    with psycopg.connect(url) as connection:
        connection.execute("create table kept as select 7 as seven")
    assert not own_postgres.revive()
    pid = own_postgres.server.get_pid()
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    own_postgres.server.get_postmaster_info().process.wait(10)  # type: ignore[union-attr] # a running server has a process
    assert revive(own_postgres)
    with psycopg.connect(url) as connection:
        assert connection.execute("select seven from kept").fetchone() == (7,)


def test_a_postgres_that_takes_long_to_recover_is_tried_again(
    own_postgres: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wheel waits for 10 s; of a server that is there by then and not ready, it only says that it is not."""
    pid = own_postgres.server.get_pid()
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    own_postgres.server.get_postmaster_info().process.wait(10)  # type: ignore[union-attr] # a running server has a process

    def not_ready() -> None:
        raise AssertionError

    with monkeypatch.context() as recovering:
        recovering.setattr(own_postgres.server, "start", not_ready)
        with pytest.raises(SubprocessError):
            own_postgres.revive()
    assert revive(own_postgres)


def test_a_user_that_was_killed_does_not_keep_it_running(own_postgres: EmbeddedPostgres) -> None:
    killed = 2**22 + 1  # above every pid that Linux gives
    (own_postgres.server.pgdata / ".handle_pids.json").write_text(json.dumps([killed, os.getpid()]))
    own_postgres.stop()
    assert not (own_postgres.server.pgdata / "postmaster.pid").exists()
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(own_postgres.url("postgres", "postgres"))
