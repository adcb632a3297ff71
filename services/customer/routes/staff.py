"""Branches, managers, and the findings that their bank should look into."""

from typing import Annotated
from uuid import UUID

from fastapi import Depends, Path
from sqlalchemy import Row, select

from services.customer.errors import BranchNotFound, ManagerNotFound
from services.customer.models import Account, AccountParty, Branch, Manager, ReconciliationFinding
from services.customer.schemas import BranchRead, ManagerRead, Money, ReconciliationFindingRead
from services.customer.use_cases import branches, managers
from shared.auth.dependencies import Actor, members_of_staff
from shared.auth.principal import Role
from shared.scope import visible_customers
from shared.web.auditing import Subjects
from shared.web.paging import Ordering, Page, PageRequest
from shared.web.parameters import OfBranch
from shared.web.problems import problems
from shared.web.transaction import Session, service_router

router = service_router(tag="branches and managers", dependencies=[members_of_staff])

branch_orderings = Ordering({"branch_id": Branch.branch_id}, default="branch_id", tie=Branch.branch_id)
manager_orderings = Ordering({"manager_id": Manager.manager_id}, default="manager_id", tie=Manager.manager_id)
finding_orderings = Ordering(
    {"as_of": ReconciliationFinding.as_of}, default="-as_of", tie=ReconciliationFinding.account_id
)


@router.get("/branches")
async def list_branches(session: Session, page: Annotated[PageRequest, Depends(branch_orderings)]) -> Page[BranchRead]:
    """The bank's branches."""
    return await page.of(session, select(Branch), BranchRead.model_validate)


@router.get("/branches/{branch_id}", responses=problems(BranchNotFound))
async def read_branch(
    branch_id: Annotated[str, Path(description="The bank's code of the branch.", examples=["B01"])], session: Session
) -> BranchRead:
    """One branch."""
    return BranchRead.model_validate(await branches.get_branch(session, branch_id))


@router.get("/managers")
async def list_managers(
    session: Session,
    page: Annotated[PageRequest, Depends(manager_orderings)],
    branch_id: OfBranch = None,
) -> Page[ManagerRead]:
    """The bank's relationship managers and branch heads."""
    query = select(Manager)
    if branch_id is not None:
        query = query.where(Manager.branch_id == branch_id)
    return await page.of(session, query, ManagerRead.model_validate)


@router.get("/managers/{manager_id}", responses=problems(ManagerNotFound))
async def read_manager(
    manager_id: Annotated[str, Path(description="The bank's id of the manager.", examples=["M0107"])], session: Session
) -> ManagerRead:
    """One relationship manager or branch head."""
    return ManagerRead.model_validate(await managers.get_manager(session, manager_id))


@router.get("/reconciliation-findings")
async def list_reconciliation_findings(
    session: Session, actor: Actor, subjects: Subjects, page: Annotated[PageRequest, Depends(finding_orderings)]
) -> Page[ReconciliationFindingRead]:
    """Accounts whose amounts do not add up to the balance that the core stated, at the close of a day."""

    def read(row: Row[ReconciliationFinding, str, UUID]) -> ReconciliationFindingRead:
        finding, currency = row.ReconciliationFinding, row.currency
        subjects.add(row.customer_id)

        def money(amount_minor: int) -> Money:
            return Money(amount_minor=amount_minor, currency=currency)

        return ReconciliationFindingRead(
            account_id=finding.account_id,
            as_of=finding.as_of,
            stated=money(finding.stated_minor),
            posted=money(finding.posted_minor),
            difference=money(finding.posted_minor - finding.stated_minor),
        )

    query = select(ReconciliationFinding, Account.currency, Account.customer_id).join(
        Account, Account.account_id == ReconciliationFinding.account_id
    )
    if actor.role is not Role.HEAD_OFFICE:  # who sees all has no use for the accounts of all
        of_visible = select(AccountParty.account_id).where(AccountParty.customer_id.in_(visible_customers()))
        query = query.where(ReconciliationFinding.account_id.in_(of_visible))
    return await page.of(session, query, read)
