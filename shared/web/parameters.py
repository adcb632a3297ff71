"""Parameters that operations of several services have, described once."""

from typing import Annotated
from uuid import UUID

from fastapi import Path, Query

CustomerId = Annotated[UUID, Path(description="The customer's `customer_id`, the same in all services.")]
AlertId = Annotated[UUID, Path(description="The alert's `alert_id`, the same in all services.")]

OfBranch = Annotated[
    str | None, Query(max_length=64, description="Only of this branch, without those below it.", examples=["B01"])
]
OfManager = Annotated[str | None, Query(max_length=64, description="Only of this manager.", examples=["M0107"])]
