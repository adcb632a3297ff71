"""Who sends a request, as their token says."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


class Role(StrEnum):
    MANAGER = "manager"
    """Sees their own portfolio, and the customers that they deputise for."""
    BRANCH_HEAD = "branch_head"
    """Sees their branch and those below it."""
    HEAD_OFFICE = "head_office"
    AUDITOR = "auditor"
    """Reads the audit log and nothing else."""
    OPERATOR = "operator"
    """Sees dead letters and health, no customer."""
    SERVICE = "service"
    """A program; its scopes say what it may do."""


@dataclass(frozen=True)
class Principal:
    subject: str
    role: Role
    staff_id: str | None = None
    branch_id: str | None = None
    scopes: frozenset[str] = field(default_factory=frozenset)
    expires_at: datetime | None = None
    """When the token ends, and with it a stream that it opened."""
    acting: str | None = None
    """Who sends it, where that is another than the subject, in whose name it is sent (RFC 8693, `act`)."""
