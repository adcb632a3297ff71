"""Who may see a customer, as conditions of row-level security that indexes answer.

Each way to see a customer is one arm of an `or`, an indexed column against an expression that reads nothing but the
transaction's settings: null, and so no row, for whoever is not of that way. The planner knows those values and
combines the arms' indexes; a `case` over the role reads every row. That is why requests plan each statement anew
(`plan_cache_mode`): a plan that was kept for a manager would read a million rows for head office.

A table of customers' rows looks its customer up by a scalar subquery, which stays a look-up: for `exists` and `in` the
planner may read the whole scope into a hash first. A list then joins `customer_scope`, which drives it from what the
reader may see instead of looking every row up.

What is here is history like a migration: once released it is not changed; what comes after is a new one.
"""

_ROLE = "current_setting('branchline.role', true)"
_STAFF = f"case when {_ROLE} in ('manager', 'branch_head') then current_setting('branchline.staff_id', true) end"
_BRANCH = f"case when {_ROLE} = 'branch_head' then current_setting('branchline.branch_id', true) end"
_FIRST = f"case when {_ROLE} = 'head_office' then '00000000-0000-0000-0000-000000000000'::uuid end"
_NOW = "nullif(current_setting('branchline.now', true), '')::timestamptz"
_DELEGATED = f"d.delegate_id = {_STAFF} and d.starts_at <= {_NOW} and {_NOW} < d.ends_at"

VISIBLE_CUSTOMER = f"""
    manager_id = {_STAFF}
    or deputy_manager_id = {_STAFF}
    or branch_path @> array[{_BRANCH}]
    or customer_id >= {_FIRST}
    or manager_id = any (array(
        select d.manager_id from delegation d where {_DELEGATED} and d.customer_ids is null))
    or customer_id = any (array(
        select unnest(d.customer_ids) from delegation d where {_DELEGATED}))
        and exists (
            select 1 from delegation d
            where {_DELEGATED} and d.manager_id = customer_scope.manager_id
            and customer_scope.customer_id = any (d.customer_ids))
"""  # noqa: S608 - no value is in it
"""Of `customer_scope`: one's own, one's as deputy, one's branch's and those below it, all, and what is delegated."""

VISIBLE_UNRESTRICTED_CUSTOMER = f"customer_id >= {_FIRST} or (not restricted and ({VISIBLE_CUSTOMER}))"
"""Of `customer_scope`: as before, but who is restricted is seen by head office only."""

OWN_DELEGATION = f"delegate_id = {_STAFF} or manager_id = {_STAFF} or {_ROLE} = 'head_office'"
"""Of `delegation`: given to or by whoever asks."""

OF_BRANCH_DELEGATION = (
    "manager_id in (select m.manager_id from manager m join branch b on b.branch_id = m.branch_id"  # noqa: S608 - no value is in it
    f" where {_BRANCH} = any (b.branch_path))"
)
"""Of the customer service's `delegation`: of a manager of the branch head's branch or one below it."""

MAY_DELEGATE = f"manager_id = {_STAFF} or {_ROLE} = 'head_office' or {OF_BRANCH_DELEGATION}"


def of_customer(table: str) -> str:
    """The condition for a table with a `customer_id`: its customer's scope row is visible."""
    return f"(select true from customer_scope s where s.customer_id = {table}.customer_id)"  # noqa: S608 - a table's name
