"""What routes ask for: who acts, and whether their role or scope may."""

from typing import Annotated

from fastapi import Depends, Request, params

from shared.auth.errors import InsufficientScope, MissingToken
from shared.auth.principal import Principal, Role
from shared.web.problems import documented
from shared.web.refusals import Forbidden


async def authenticate(request: Request) -> Principal:
    """Verifies the bearer token of a request; the route does it once, before it reads the body."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise MissingToken
    principal: Principal = await request.app.state.verifier.verify(token.strip())
    request.state.actor = principal
    return principal


async def _actor(request: Request) -> Principal:
    actor: Principal = request.state.actor
    return actor


Actor = Annotated[Principal, Depends(_actor)]
"""Who sends the request."""


async def _staff_id(actor: Actor) -> str:
    assert actor.staff_id is not None  # only programs and operators may have none, and such routes are not for them
    return actor.staff_id


StaffId = Annotated[str, Depends(_staff_id)]
"""Who of the staff sends the request: for routes that are for members of staff."""


def require_role(*roles: Role) -> params.Depends:
    """For a route's `dependencies=`: refuses every other role with 403."""

    @documented(Forbidden, allows=f"Role {' or '.join(roles)}.")
    async def check_role(actor: Actor) -> None:
        if actor.role not in roles:
            raise Forbidden(f"Is for the role {' or '.join(roles)}.")

    return params.Depends(check_role)


members_of_staff = require_role(Role.MANAGER, Role.BRANCH_HEAD, Role.HEAD_OFFICE)
"""For a router's `dependencies=`: those who look after customers. Auditors, operators and programs are not."""


def require_scope(scope: str) -> params.Depends:
    """For a route's `dependencies=`: only a program whose token has `scope`."""

    @documented(InsufficientScope, allows=f"Role service with the scope `{scope}`.")
    async def check_scope(actor: Actor) -> None:
        if actor.role is not Role.SERVICE or scope not in actor.scopes:
            raise InsufficientScope(scope)

    return params.Depends(check_scope)
