"""Branches and managers are the bank's, and everybody who works there may see them; findings follow their account."""

from shared.events.customer import BranchChanged, CustomerChanged, ManagerChanged
from tests.bank import branch, day_closed, lines, manager_recorded, party, posted, push
from tests.customer.asking import (
    HEAD_1,
    HEAD_2,
    M1,
    M2,
    OFFICE,
    account_id_of,
    get,
    listed,
    shared_account,
    two_branches,
)
from tests.harness import ServiceUnderTest


async def test_branches_and_managers_are_known_to_all_staff(customer: ServiceUnderTest) -> None:
    await two_branches(customer)
    for actor in (M1, HEAD_2, OFFICE):
        branches = await listed(customer, "/branches", actor, limit=1)
        assert [(one["branch_id"], one["parent_branch_id"]) for one in branches] == [
            ("B1", "HQ"),
            ("B2", "HQ"),
            ("HQ", None),
        ]
        assert [one["manager_id"] for one in await listed(customer, "/managers", actor, limit=1)] == ["M1", "M2"]
        assert [one["manager_id"] for one in await listed(customer, "/managers", actor, branch_id="B2")] == ["M2"]
        assert (await get(customer, "/branches/B1", actor)).json()["name"] == "Branch B1"
        assert (await get(customer, "/managers/M1", actor)).json()["email"] == "m1@bank.example"


async def test_what_is_no_branch_or_manager_is_not_found(customer: ServiceUnderTest) -> None:
    for path in ("/branches/B9", "/managers/M9", "/branches/%27%3B--"):
        answer = await get(customer, path)
        assert (answer.status_code, answer.headers["Content-Type"]) == (404, "application/problem+json"), path


async def test_a_manager_who_changes_is_told_of_once_a_revision(customer: ServiceUnderTest) -> None:
    await two_branches(customer)
    moved = manager_recorded("M1", "B2", revision=2, is_active=False)
    await push(customer, [moved, manager_recorded("M1", "B1", revision=1)], ids="moved")
    told = [(m.branch_id, m.is_active) for m in await customer.published(ManagerChanged) if m.manager_id == "M1"]
    assert told == [("B1", True), ("B2", False)]


async def test_a_branch_that_moves_takes_what_is_below_and_their_customers_along(customer: ServiceUnderTest) -> None:
    region = branch("R1", parent_branch_id="HQ")
    below = branch("B11", parent_branch_id="B1")
    await two_branches(customer)
    await push(customer, [below, party("P3", branch_id="B11"), region], ids="more")
    await push(customer, [branch("B1", revision=2, parent_branch_id="R1")], ids="moved")
    paths = dict(await customer.rows("select branch_id, branch_path from branch"))
    assert paths["B1"] == ["HQ", "R1", "B1"]
    assert paths["B11"] == ["HQ", "R1", "B1", "B11"]
    assert {b.branch_id: list(b.branch_path) for b in await customer.published(BranchChanged)} == paths
    newest = {c.customer_number: c for c in await customer.published(CustomerChanged)}
    assert newest["10000003"].branch_path == ("HQ", "R1", "B1", "B11")
    assert (newest["10000003"].revision, newest["10000002"].revision) == (2, 1)
    seen = await customer.rows("select customer_number, branch_path from customer_scope")
    assert {number: tuple(path) for number, path in seen} == {n: c.branch_path for n, c in newest.items()}


async def test_a_branch_is_never_above_itself_nor_too_deep(customer: ServiceUnderTest) -> None:
    chain = [branch("C0"), *(branch(f"C{n}", parent_branch_id=f"C{n - 1}") for n in range(1, 10))]
    assert (await push(customer, chain[::-1]))["applied"] == 10
    for event, code in (
        (branch("C0", revision=2, parent_branch_id="C9"), "branch_cycle"),
        (branch("C0", revision=3, parent_branch_id="C0"), "branch_cycle"),
        (branch("C10", parent_branch_id="C9"), "branch_too_deep"),
    ):
        summary = await push(customer, [event], ids=f"{event.branch_id}-{event.revision}")
        assert [error["code"] for error in summary["errors"]] == [code]
    await push(customer, [branch("TOP")], ids="top")
    deeper = await push(customer, [branch("C0", revision=4, parent_branch_id="TOP")], ids="deeper")
    assert [error["code"] for error in deeper["errors"]] == ["branch_too_deep"]


async def test_a_branch_held_for_its_parent_does_not_hide_its_older_state(customer: ServiceUnderTest) -> None:
    summary = await push(customer, [branch("B1"), branch("B1", revision=2, parent_branch_id="R9"), party("P1")])
    assert (summary["applied"], summary["held"]) == (2, 1)
    await push(customer, [branch("R9")], ids="region")
    assert await customer.rows("select branch_path from customer_scope") == [(["R9", "B1"],)]
    assert await customer.count("kept_event") == 0


async def test_a_branch_from_another_source_releases_what_waits_for_it(customer: ServiceUnderTest) -> None:
    await push(customer, lines([party("P1")], source="crm"))
    await push(customer, lines([branch("B1")], source="core"))
    assert await customer.rows("select source, party_id from customer") == [("crm", "P1")]


async def test_a_finding_is_seen_with_its_account(customer: ServiceUnderTest) -> None:
    await two_branches(customer)
    await push(
        customer,
        [shared_account(), posted("T1", 1_000, account_id="A3", balance_after_minor=5_000), day_closed(1)],
        ids="day",
    )
    own, both = await account_id_of(customer, "A1"), await account_id_of(customer, "A3")
    for actor, seen in (
        (OFFICE, {own, both}),
        (M1, {own, both}),
        (HEAD_1, {own, both}),
        (M2, {both}),
        (HEAD_2, {both}),
    ):
        findings = await listed(customer, "/reconciliation-findings", actor, limit=1)
        assert {finding["account_id"] for finding in findings} == seen
        assert len(findings) == len(seen)
