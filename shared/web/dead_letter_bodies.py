"""What goes over HTTP of dead letters."""

from base64 import b64encode
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from shared.masking import masked

HeaderName = Annotated[str, StringConstraints(min_length=1, max_length=200)]
HeaderValue = Annotated[str, StringConstraints(max_length=4_000)]
Headers = Annotated[
    dict[HeaderName, HeaderValue | None],
    Field(
        max_length=50,
        description="Each replaces what is there under its name; null takes it out.",
        examples=[{"ce_type": "customer.survey_reported.v1"}],
    ),
]
Patch = Annotated[
    dict[str, Any] | None,
    Field(description="A JSON merge patch (RFC 7396) of the payload.", examples=[{"score": 9}]),
]


class DeadLetterRead(BaseModel):
    """An event that could not be delivered. What it holds is not told."""

    id: UUID
    code: str = Field(description="Why, for programs.", examples=["handler_failed"])
    detail: str = Field(description="Why, for people.", examples=["KeyError in aggregate_transactions, line 71"])
    type: str | None = Field(description="As the record states it.", examples=["customer.transactions_posted.v1"])
    event_id: str | None = Field(
        description="As the record states it.", examples=["0193a1c8-7d2e-7e3b-9a55-1f0c7a4e2b10"]
    )
    topic: str = Field(examples=["customer.transactions"])
    partition: int = Field(examples=[17])
    offset: int = Field(examples=[120_034])
    parked_at: datetime
    replays: int = Field(description="How often it was replayed in vain.", examples=[0])
    replayed_at: datetime | None = Field(description="When it was last replayed in vain.")
    edits: int = Field(description="How often it was edited.", examples=[0])


@masked
class RecordRead(BaseModel):
    """What a record holds. It may be personal: whoever reads it answers for that."""

    payload: str | None = Field(description="As text; null when it is none.", examples=['{"score": 11}'])
    payload_base64: str | None = Field(description="Where it is no text in UTF-8.", examples=[None])
    is_gone: bool = Field(
        default=False, description="Its customer was erased, and what it held with their key.", examples=[False]
    )
    headers: dict[str, str] = Field(examples=[{"ce_type": "customer.survey_reported.v1"}])

    @classmethod
    def of(cls, payload: bytes | None, headers: dict[str, str], **others: Any) -> Self:
        try:
            text, encoded = payload.decode() if payload is not None else None, None
        except UnicodeDecodeError:
            text, encoded = None, b64encode(payload or b"").decode()
        return cls(payload=text, payload_base64=encoded, headers=headers, **others)


class EditRead(RecordRead):
    """An edit, and what the record held before it."""

    edited_at: datetime
    edited_by: str = Field(examples=["OP1"])


class DeadLetterShown(DeadLetterRead):
    """A dead letter with what it holds, and what it held before it was edited."""

    key: str | None = Field(description="Of the record.", examples=["0193a1c8-7d2e-7e3b-9a55-1f0c7a4e2b11"])
    record: RecordRead
    history: list[EditRead] = Field(description="The first edit first.")


@masked
class _Edit(BaseModel):
    model_config = ConfigDict(hide_input_in_errors=True)

    payload_patch: Patch = None
    headers: Headers = Field(default_factory=dict)


class DeadLetterUpdate(_Edit):
    """What to change of what it holds. What it held is kept, with who changed it."""

    payload: str | None = Field(
        default=None, min_length=1, description="All of it anew, as JSON text.", examples=['{"score": 9}']
    )

    @model_validator(mode="after")
    def says_one_thing(self) -> Self:
        if self.payload is not None and self.payload_patch is not None:
            raise ValueError("payload or payload_patch, not both")
        if self.payload is None and self.payload_patch is None and not self.headers:
            raise ValueError("says nothing to change")
        return self


class DeadLettersUpdate(_Edit):
    """What to change of each of them."""

    @model_validator(mode="after")
    def says_something(self) -> Self:
        if self.payload_patch is None and not self.headers:
            raise ValueError("says nothing to change")
        return self


class ReplayOutcome(StrEnum):
    DELIVERED = "delivered"
    """It is no dead letter any more."""
    PARKED = "parked"
    """It failed again, and stays with its new reason."""


class ReplayRead(BaseModel):
    """What became of a dead letter that was replayed."""

    outcome: ReplayOutcome
    dead_letter: DeadLetterRead | None = Field(description="As it is now, if it failed again.")


class ReplaysRead(BaseModel):
    """What became of some dead letters that were replayed, and where to go on."""

    delivered: int = Field(examples=[49])
    parked: list[DeadLetterRead] = Field(description="Those that failed again, as they are now.")
    next: str | None = Field(description="Send as `cursor` for what follows; null at the end.")


class EditsRead(BaseModel):
    """What became of some dead letters that were to be edited, and where to go on."""

    edited: int = Field(examples=[50])
    unchanged: int = Field(description="They are so already.", examples=[0])
    refused: list[UUID] = Field(description="Their payload is no JSON object: edit them one by one.", examples=[[]])
    next: str | None = Field(description="Send as `cursor` for what follows; null at the end.")


class DeadLetterCount(BaseModel):
    """Dead letters of one kind."""

    code: str = Field(examples=["handler_failed"])
    type: str | None = Field(examples=["customer.transactions_posted.v1"])
    topic: str = Field(examples=["customer.transactions"])
    count: int = Field(examples=[3])
    oldest_at: datetime
    newest_at: datetime


class DeadLetterSummary(BaseModel):
    """How many dead letters there are, by kind: the 200 most frequent, the most first."""

    total: int = Field(examples=[3])
    kinds: list[DeadLetterCount]
