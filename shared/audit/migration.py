"""Version 1 of the audit's tables, for the services' migrations: once released it is not changed."""

from alembic import op

_TABLES = (
    """
    create table audit_chain (
        chain_id uuid primary key,
        key_id text not null,
        process text not null,
        started_at timestamptz not null,
        mac bytea not null
    )
    """,
    """
    create table audit_record (
        chain_id uuid not null,
        sequence bigint not null,
        at timestamptz not null,
        action text not null,
        outcome text not null,
        status smallint,
        operation text not null,
        resource text not null,
        purpose text not null,
        actor text not null,
        role text not null,
        branch_id text,
        on_behalf_of text,
        address text,
        request_id text,
        trace_id text,
        customer_ids uuid[] not null,
        customer_count integer not null,
        mac bytea not null,
        constraint pk_audit_record primary key (chain_id, sequence, at)
    ) partition by range (at)
    """,
    "create index ix_audit_record_at on audit_record (at, chain_id)",
    "create index ix_audit_record_actor on audit_record (actor, at, chain_id)",
    "create index ix_audit_record_customer_ids on audit_record using gin (customer_ids)",
    """
    create function refuse_audit_change() returns trigger language plpgsql as $$
    begin
        raise exception 'the audit is append-only' using errcode = 'insufficient_privilege';
    end
    $$
    """,
    """
    create trigger audit_chain_stays before update or delete on audit_chain
        for each row execute function refuse_audit_change()
    """,
    "create trigger audit_chain_whole before truncate on audit_chain execute function refuse_audit_change()",
    """
    create trigger audit_record_stays before update or delete on audit_record
        for each row execute function refuse_audit_change()
    """,
    "create trigger audit_record_whole before truncate on audit_record execute function refuse_audit_change()",
    # Row triggers come to a partition by themselves; those on truncate do not.
    """
    create function make_audit_partition(month date) returns void language plpgsql as $$
    declare
        name text := 'audit_record_' || to_char(month, 'YYYYMM');
        first date := date_trunc('month', month);
    begin
        if to_regclass(name) is null then
            execute format(
                'create table %I partition of audit_record for values from (%L) to (%L)',
                name, first || ' 00:00+00', (first + interval '1 month')::date || ' 00:00+00'
            );
            execute format(
                'create trigger audit_record_whole before truncate on %I execute function refuse_audit_change()', name
            );
        end if;
    end
    $$
    """,
    # What the clock puts beyond every month's partition is kept all the same.
    "create table audit_record_other partition of audit_record default",
    "create trigger audit_record_whole before truncate on audit_record_other execute function refuse_audit_change()",
    """
    select make_audit_partition(((now() at time zone 'UTC') + n * interval '1 month')::date)
    from generate_series(0, 2) as n
    """,
)


def create_audit_tables(service: str) -> None:
    """Requests may add rows, and read none: auditors are answered from the owner's transaction."""
    for statement in (*_TABLES, f"grant insert on audit_chain, audit_record to {service}_api"):
        op.execute(statement)


def drop_audit_tables() -> None:
    op.execute("drop table audit_record, audit_chain")
    op.execute("drop function make_audit_partition(date), refuse_audit_change()")
