"""Entity tags (RFC 9110, 8.8 and 13): a reader may keep what has not changed, a writer must have seen what they change.

```python
@router.get("/customers/{customer_id}")
async def read_customer(customer_id: UUID, session: Session, tag: ReadTag) -> CustomerRead:
    customer = await portfolio.read_customer(session, customer_id)
    tag.show(customer.version)
    return CustomerRead.model_validate(customer)

@router.patch("/customers/{customer_id}")
async def update_customer(customer_id: UUID, body: CustomerUpdate, session: Session, seen: SeenTag) -> CustomerRead:
    customer = await portfolio.update_customer(session, customer_id, body, seen)  # seen.check(customer.version)
    seen.show(customer.version)
    return CustomerRead.model_validate(customer)
```
"""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import Depends, FastAPI, Header, Request, Response

from shared.web.problems import documented
from shared.web.refusals import Problem

Version = int | datetime
"""What changes with every change of a row."""


class NotModified(Exception):
    def __init__(self, tag: str) -> None:
        super().__init__(tag)
        self.tag = tag


class PreconditionRequired(Problem):
    status, code, title = 428, "precondition_required", "The request does not say what it changes"
    remedy = "Read it, and send its ETag as If-Match."


class StaleVersion(Problem):
    status, code, title = 412, "stale_version", "It has changed since you read it"
    remedy = "Read it again, decide again, and send the new ETag as If-Match."


def entity_tag(version: Version) -> str:
    """A strong tag; of an instant in microseconds, which is what the database keeps."""
    if isinstance(version, datetime):
        since = version - datetime(1970, 1, 1, tzinfo=UTC)
        version = since // (since.resolution)
    return f'"{version:x}"'


class _Tag:
    def __init__(self, response: Response, stated: str) -> None:
        self.response = response
        self.stated = [tag.strip() for tag in stated.split(",")]

    def _show(self, tag: str) -> None:
        self.response.headers["ETag"] = tag


class ReadableTag(_Tag):
    def show(self, version: Version) -> None:
        """States what is being read. Ends the request with 304 when its reader has that already."""
        tag = entity_tag(version)
        if "*" in self.stated or tag in [stated.removeprefix("W/") for stated in self.stated]:
            raise NotModified(tag)
        self._show(tag)


class WritableTag(_Tag):
    def check(self, version: Version) -> None:
        """Raises StaleVersion unless the writer has seen `version`. Lock the row first."""
        if "*" not in self.stated and entity_tag(version) not in self.stated:
            raise StaleVersion

    def show(self, version: Version) -> None:
        """States what it has become."""
        self._show(entity_tag(version))


async def _read_tag(
    response: Response,
    if_none_match: Annotated[str, Header(max_length=1000, description="An ETag: 304 while it is still that.")] = "",
) -> ReadableTag:
    return ReadableTag(response, if_none_match)


@documented(PreconditionRequired, StaleVersion)
async def seen_tag(
    response: Response,
    if_match: Annotated[
        str | None, Header(max_length=1000, description="The ETag of what you change; 428 without, 412 when stale.")
    ] = None,
) -> WritableTag:
    if if_match is None:
        raise PreconditionRequired
    return WritableTag(response, if_match)


vars(_read_tag)["responses"] = {304: {"description": "What you have is still that."}}

ReadTag = Annotated[ReadableTag, Depends(_read_tag)]
SeenTag = Annotated[WritableTag, Depends(seen_tag)]


def install_not_modified(app: FastAPI) -> None:
    async def answer(request: Request, exception: Exception) -> Response:  # noqa: ARG001 - Starlette's signature
        assert isinstance(exception, NotModified)
        return Response(status_code=304, headers={"ETag": exception.tag})

    app.add_exception_handler(NotModified, answer)
