"""Looks for values in all that a line leaves behind: tables, topics, logs and files, however they are written."""

import base64
import json
import re
import urllib.parse
from collections.abc import Iterable, Iterator
from pathlib import Path

import psycopg
from psycopg import sql

from shared.embedded_postgres import EmbeddedPostgres

_BYTEA = re.compile(rb"\\\\?x((?:[0-9a-f]{2})+)")


def forms(value: str) -> set[bytes]:
    """The value as it may be written: in other encodings, escaped, as hex digits, and within base64."""
    plain = value.encode()
    encoded = {plain, value.encode("utf-16-le"), value.encode("utf-16-be"), urllib.parse.quote(value).encode()}
    if not value.isascii():
        encoded |= {value.encode("gb18030"), json.dumps(value)[1:-1].encode()}
    hexadecimal = {plain.hex().encode(), plain.hex().upper().encode()}
    # Where in a group of three bytes the value begins is not known; the characters at its ends depend on neighbours.
    within = {base64.b64encode(b"\0" * shift + plain)[(0, 2, 3)[shift] : -4] for shift in range(3)}
    return encoded | hexadecimal | {part for part in within if len(part) >= 8}


class Search:
    """For each value the places where it was found."""

    def __init__(self, values: Iterable[str]) -> None:
        self._forms = {form: value for value in values for form in forms(value)}
        self._any = re.compile(b"|".join(re.escape(form) for form in sorted(self._forms, key=len, reverse=True)))
        self.looked_at = 0
        self.found: set[tuple[str, str]] = set()

    def look(self, where: str, content: bytes) -> None:
        self.looked_at += 1
        for match in self._any.finditer(content):
            self.found.add((where, self._forms[match.group()]))

    def look_at_database(self, postgres: EmbeddedPostgres, database: str, *, but: str | None = None) -> None:
        """Every row of every table as text, and its binary values as the bytes that they are; `but` leaves rows out."""
        with psycopg.connect(postgres.url("postgres", database)) as connection:
            tables = connection.execute(
                "select relname from pg_class where relnamespace = 'public'::regnamespace and relkind = 'r'"
            ).fetchall()
            for (table,) in tables:
                query = sql.SQL("select t::text from {} t").format(sql.Identifier(table))
                if but is not None and table == "record":
                    query = sql.SQL("select t::text from {} t where topic <> {}").format(sql.Identifier(table), but)
                for (row,) in connection.execute(query):
                    written = str(row).encode()
                    self.look(f"{database}.{table}", written)
                    for digits in _BYTEA.findall(written):
                        self.look(f"{database}.{table}", bytes.fromhex(digits.decode()))

    def look_at_files(self, folder: Path) -> None:
        for path in _files(folder):
            self.look(str(path.relative_to(folder)), path.read_bytes())


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink())


def vacuum(postgres: EmbeddedPostgres, databases: Iterable[str]) -> None:
    """Has PostgreSQL let go of what is deleted: in its tables, and in the log that it would recover from."""
    with psycopg.connect(postgres.url("postgres", "postgres"), autocommit=True) as connection:
        connection.execute("alter system set wal_recycle = off")
        connection.execute("alter system set min_wal_size = '32MB'")
        connection.execute("select pg_reload_conf()")
    for database in databases:
        with psycopg.connect(postgres.url("postgres", database), autocommit=True) as connection:
            connection.execute("vacuum full analyze")
    with psycopg.connect(postgres.url("postgres", "postgres"), autocommit=True) as connection:
        for _ in range(3):
            connection.execute("select pg_switch_wal()")
            connection.execute("checkpoint")
