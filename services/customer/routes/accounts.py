"""Accounts, their balances, and where the core's figures do not agree."""

from typing import Annotated
from uuid import UUID

from fastapi import Path

from services.customer.errors import AccountNotFound, CustomerNotFound
from services.customer.models import Account
from services.customer.schemas import AccountRead, Accounts, Money
from services.customer.use_cases import accounts, portfolio
from shared.auth.dependencies import members_of_staff
from shared.events.corebanking import AccountKind, PartyRelation
from shared.web.auditing import Subjects
from shared.web.etag import ReadTag
from shared.web.parameters import CustomerId
from shared.web.problems import problems
from shared.web.transaction import Session, service_router

router = service_router(tag="accounts", dependencies=[members_of_staff])


@router.get("/customers/{customer_id}/accounts", responses=problems(CustomerNotFound))
async def list_accounts(customer_id: CustomerId, session: Session) -> Accounts:
    """The accounts that a customer holds or has a relation to, with their balances."""
    await portfolio.get_customer(session, customer_id)
    found = await accounts.accounts_of_customer(session, customer_id)
    return Accounts(items=[_read(account, PartyRelation(relation)) for account, relation in found])


@router.get("/accounts/{account_id}", responses=problems(AccountNotFound))
async def read_account(
    account_id: Annotated[UUID, Path(description="The account's `account_id`.")],
    session: Session,
    subjects: Subjects,
    tag: ReadTag,
) -> AccountRead:
    """One account and its balance as the core stated it last."""
    account = await accounts.get_account(session, account_id)
    subjects.add(account.customer_id)
    tag.show(account.version)
    return _read(account, None)


def _read(account: Account, relation: PartyRelation | None) -> AccountRead:
    balance = None
    if account.balance_minor is not None:
        balance = Money(amount_minor=account.balance_minor, currency=account.currency)
    return AccountRead(
        account_id=account.account_id,
        core_account_id=account.core_account_id,
        kind=AccountKind(account.kind),
        currency=account.currency,
        opened_on=account.opened_on,
        matures_on=account.matures_on,
        closed_on=account.closed_on,
        balance=balance,
        balance_on=account.latest_on,
        transaction_count=account.transaction_count,
        relation=relation,
    )
