"""Lists by keyset: each page begins after the last row of the one before, so that inserts move nothing.

```python
by_risk = Ordering({"risk": ChurnScore.risk, "scored_on": ChurnScore.scored_on}, default="-risk", tie=ChurnScore.id)

@router.get("/scores")
async def list_scores(session: Session, page: Annotated[PageRequest, Depends(by_risk)]) -> Page[ScoreRead]:
    return await page.of(session, select(ChurnScore).where(...), ScoreRead.model_validate)
```

A cursor holds the order and the last row's keys, and is not signed: it says only where to begin, and row-level
security decides what is there.
"""

import base64
import binascii
import inspect
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any, Generic, TypeVar
from uuid import UUID

from fastapi import Query
from pydantic import BaseModel, Field, TypeAdapter, ValidationError
from sqlalchemy import ColumnElement, Select, and_, false, literal, or_, tuple_
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from shared.keepable_text import is_keepable
from shared.web.problems import problems
from shared.web.refusals import InvalidInput, Problem

Item = TypeVar("Item", bound=BaseModel)

MAX_LIMIT = 200
MAX_CURSOR = 2000


class Page(BaseModel, Generic[Item]):
    """A part of a list, and where the next begins."""

    items: list[Item]
    next: str | None = Field(description="Send as `cursor` for what follows; null at the end.")


class InvalidCursor(Problem):
    status, code, title = 422, "invalid_cursor", "The cursor is not one of this list in this order"
    remedy = "Send `next` of the page before, with the same sort; or leave cursor out to begin again."


Sortable = InstrumentedAttribute[Any] | ColumnElement[Any]


@dataclass(frozen=True)
class SortKey:
    name: str
    column: Sortable
    descending: bool

    @property
    def expression(self) -> ColumnElement[Any]:
        return self.column.expression if isinstance(self.column, InstrumentedAttribute) else self.column

    @property
    def nullable(self) -> bool:
        """What is no column may be null."""
        return bool(getattr(self.expression, "nullable", True))

    @property
    def ordered(self) -> ColumnElement[Any]:
        ordered: ColumnElement[Any] = self.expression.desc() if self.descending else self.expression.asc()
        return ordered.nulls_last() if self.nullable else ordered

    def equal(self, value: Any) -> ColumnElement[bool]:
        return self.expression.is_(None) if value is None else self.expression == value

    def after(self, value: Any, *, inclusive: bool = False) -> ColumnElement[bool]:
        """The rows that come after `value`; nulls come last in either direction."""
        if value is None:
            return self.expression.is_(None) if inclusive else false()
        if self.descending:
            beyond = self.expression <= value if inclusive else self.expression < value
        else:
            beyond = self.expression >= value if inclusive else self.expression > value
        return or_(beyond, self.expression.is_(None)) if self.nullable else beyond


def after_row(keys: tuple[SortKey, ...], values: tuple[Any, ...]) -> ColumnElement[bool]:
    """The rows that come after the one with these values.

    Columns of one direction without nulls compare as a row, which an index answers as one range. Any others
    compare step by step; the bound on the first of them, which follows from the rest, gives the index its range.
    """
    if len({key.descending for key in keys}) == 1 and not any(key.nullable for key in keys):
        row = tuple_(*(key.expression for key in keys))
        bound = tuple_(*(literal(value, key.expression.type) for key, value in zip(keys, values, strict=True)))
        return row < bound if keys[0].descending else row > bound
    steps = [
        and_(
            *(key.equal(value) for key, value in zip(keys[:depth], values, strict=False)),
            keys[depth].after(values[depth]),
        )
        for depth in range(len(keys))
    ]
    return and_(keys[0].after(values[0], inclusive=True), or_(*steps))


@dataclass(frozen=True)
class PageRequest:
    limit: int
    keys: tuple[SortKey, ...]
    after: tuple[Any, ...] | None

    @property
    def order(self) -> str:
        return ",".join(("-" if key.descending else "") + key.name for key in self.keys)

    async def of(
        self,
        session: AsyncSession,
        statement: Select[*tuple[Any, ...]],
        read: Callable[[Any], Item],
        *,
        complete: Callable[[AsyncSession, Sequence[Any]], Awaitable[None]] | None = None,
    ) -> Page[Item]:
        """The page of what `statement` selects; `read` makes an item of an entity, or of a row if it selects more.

        `complete` is first given all of them, for what one statement does for the whole page.
        """
        width = len(statement.column_descriptions)
        columns = [key.expression.label(f"key_{index}") for index, key in enumerate(self.keys)]
        paged = statement.add_columns(*columns).order_by(None).order_by(*(key.ordered for key in self.keys))
        if self.after is not None:
            paged = paged.where(after_row(self.keys, self.after))
        rows = (await session.execute(paged.limit(self.limit + 1))).all()
        found = [row[0] if width == 1 else row for row in rows[: self.limit]]
        if complete is not None:
            await complete(session, found)
        items = [read(each) for each in found]
        more = len(rows) > self.limit
        return Page(items=items, next=self._cursor(rows[self.limit - 1][width:]) if more else None)

    def _cursor(self, values: tuple[Any, ...]) -> str:
        written = json.dumps([self.order, *(_written(value) for value in values)], separators=(",", ":"))
        return base64.urlsafe_b64encode(written.encode()).decode().rstrip("=")


class Ordering:
    """The orders that a list has: what it may be sorted by, how it is by default, and what breaks ties.

    As a dependency it reads `limit`, `cursor` and `sort`, and documents what sort may be. Whether a column may be
    null is taken from the table; give a column of an outer join as an expression, which may always be.
    """

    responses = problems(InvalidCursor)

    def __init__(self, columns: Mapping[str, Sortable], *, default: str, tie: Sortable) -> None:
        self.columns = dict(columns)
        self.tie = tie
        self.default = default
        self._keys(default)
        names = ", ".join(f"`{name}`" for name in self.columns)
        self.__signature__ = _signature(
            f"What to sort by: {names}; several with commas between, a minus before for descending order.", default
        )

    async def __call__(self, limit: int, cursor: str | None, sort: str) -> PageRequest:
        keys = self._keys(sort)
        request = PageRequest(limit, keys, None)
        return PageRequest(limit, keys, _read_cursor(cursor, request)) if cursor else request

    def _keys(self, sort: str) -> tuple[SortKey, ...]:
        keys: list[SortKey] = []
        for part in sort.split(","):
            name = part.removeprefix("-")
            if name not in self.columns or name in [key.name for key in keys]:
                allowed = ", ".join(self.columns)
                raise InvalidInput.at("/sort", "invalid_sort", f"Sorts by each once of: {allowed}", where="query")
            keys.append(SortKey(name, self.columns[name], part.startswith("-")))
        return (*keys, SortKey("", self.tie, keys[-1].descending))


def _signature(sort_description: str, default: str) -> inspect.Signature:
    def parameter(name: str, annotation: Any, default: Any) -> inspect.Parameter:
        return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default)

    cursor = Query(max_length=MAX_CURSOR, description="`next` of the page before.")
    sort = Query(max_length=200, description=sort_description, examples=[default])
    return inspect.Signature(
        [
            parameter("limit", Annotated[int, Query(ge=1, le=MAX_LIMIT, description="At most so many items.")], 50),
            parameter("cursor", Annotated[str | None, cursor], None),
            parameter("sort", Annotated[str, sort], default),
        ]
    )


def _written(value: Any) -> Any:
    match value:
        case datetime() | date():
            return value.isoformat()
        case UUID() | Decimal():
            return str(value)
    return value


def _read_cursor(cursor: str, request: PageRequest) -> tuple[Any, ...]:
    try:
        written = json.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True))
        order, *values = written
        if order != request.order or len(values) != len(request.keys):
            raise InvalidCursor
        return tuple(_read_value(value, key) for value, key in zip(values, request.keys, strict=True))
    except (binascii.Error, ValueError, TypeError, RecursionError, ValidationError):
        raise InvalidCursor from None


def _read_value(value: Any, key: SortKey) -> Any:
    if value is None and key.nullable:
        return None
    if isinstance(value, str) and not is_keepable(value):
        raise InvalidCursor
    return TypeAdapter(key.expression.type.python_type).validate_python(value)
