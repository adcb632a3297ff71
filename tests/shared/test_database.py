"""What every session of a service's database begins with."""

from sqlalchemy import text

from tests.conftest import NewDatabase

_KEEPALIVES = text(
    "select name, reset_val from pg_settings where starts_with(name, 'tcp_keepalives') and source = 'client'"
)


async def test_the_server_finds_out_that_a_process_has_vanished(new_database: NewDatabase) -> None:
    """Its advisory locks end with its session, and others wait for them."""
    database = await new_database("scoring")
    for engine in (database.jobs, database.requests):
        async with engine.connect() as connection:
            # On a Unix socket they are 0, whatever was asked for.
            asked = {name: int(value) for name, value in await connection.execute(_KEEPALIVES)}
        seconds = asked["tcp_keepalives_idle"] + asked["tcp_keepalives_interval"] * asked["tcp_keepalives_count"]
        assert 0 < seconds <= 30
