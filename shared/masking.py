"""Types that hold personal details print that they do, and none of it: in logs, tracebacks and debuggers alike."""

import dataclasses
from collections.abc import Iterator
from typing import Any, TypeVar

T = TypeVar("T", bound=type)

MASK = "…"
PERSONAL = frozenset(
    {
        *("name", "birth_on", "phone", "email", "address", "document_number"),
        *("payload", "payload_base64", "payload_patch", "patch", "cloud_event", "data", "value", "content", "body"),
        *("query", "name_key", "phone_key", "document_key", "person", "personal", "headers"),
        *("secret", "url"),
    }
)
"""Names of fields that hold somebody's details, text of theirs or what opens something. A test walks all types."""


def masked(cls: T) -> T:
    """Class decorator, outermost, for structs, models, dataclasses and named tuples: `PERSONAL` fields print as `…`."""
    cls.__repr__ = _masked_repr  # type: ignore[assignment] # as a class sets its own
    cls.__str__ = _masked_repr  # type: ignore[assignment] # as above
    cls.__rich_repr__ = _masked_fields  # type: ignore[attr-defined] # what rich asks for
    return cls


def is_masked(value: object) -> bool:
    return getattr(type(value), "__rich_repr__", None) is _masked_fields


def fields_of(cls: type) -> tuple[str, ...]:
    """Of a struct, a model, a dataclass or a named tuple; of others none."""
    if dataclasses.is_dataclass(cls):
        return tuple(field.name for field in dataclasses.fields(cls))
    for declared in ("__struct_fields__", "model_fields", "_fields"):
        if found := getattr(cls, declared, None):
            return tuple(found)
    return ()


def _masked_fields(self: Any) -> Iterator[tuple[str, Any]]:
    for name in fields_of(type(self)):
        yield name, _Mask() if name in PERSONAL else getattr(self, name, None)


def _masked_repr(self: Any) -> str:
    return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in _masked_fields(self))})"


class _Mask:
    def __repr__(self) -> str:
        return MASK
