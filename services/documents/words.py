"""JSON Schema in words and tables, and examples put together from it."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Schema = Mapping[str, Any]

FORMATS = {"uuid": "UUID", "date": "date", "date-time": "instant (RFC 3339)", "binary": "bytes"}
EXAMPLES = {
    "uuid": "0193a1c8-7d2e-7e3b-9a55-1f0c7a4e2b10",
    "date": "2026-11-24",
    "date-time": "2026-11-24T09:30:00Z",
}


class NoExample(Exception):
    """Nothing says what a value looks like; the text is the JSON pointer to it."""


@dataclass(frozen=True)
class Schemas:
    """Named schemas, and the prefix of references to them."""

    named: Mapping[str, Schema]
    prefix: str

    def name_of(self, schema: Schema) -> str | None:
        """The name of a schema that is a reference."""
        reference = schema.get("$ref")
        return str(reference).removeprefix(self.prefix) if reference is not None else None

    def resolve(self, schema: Schema) -> Schema:
        name = self.name_of(schema)
        return self.named[name] if name is not None else schema

    def is_table(self, schema: Schema) -> bool:
        """Whether it has fields that are worth a table of their own."""
        return bool(self.resolve(schema).get("properties"))

    def tables_in(self, schema: Schema) -> list[str]:
        """The names of the tables that a schema names, directly or through lists, in order."""
        found: dict[str, None] = {}

        def look(part: Schema) -> None:
            name = self.name_of(part)
            if name is not None and self.is_table(part):
                if name in found:
                    return
                found[name] = None
            resolved = self.resolve(part)
            for inner in (*resolved.get("properties", {}).values(), *_alternatives(resolved)):
                look(inner)
            for items in (resolved.get("items"), resolved.get("x-item-schema"), resolved.get("additionalProperties")):
                if isinstance(items, Mapping):
                    look(items)

        look(schema)
        return list(found)

    def in_words(self, schema: Schema, link: str = "") -> str:
        """A type and what holds it in bounds. A table's name is linked to `link` + its anchor."""
        name = self.name_of(schema)
        if name is not None and self.is_table(schema):
            page = re.fullmatch(r"Page_(\w+)_", name)
            short = page[1] if page else name.rpartition(".")[2]
            return f"{'page of ' if page else ''}[{short}]({link}#{short.lower()})"
        schema = self.resolve(schema)
        if alternatives := _alternatives(schema):
            return "; or ".join(self.in_words(alternative, link) for alternative in alternatives)
        if "const" in schema:
            return code(schema["const"])
        if "enum" in schema:
            return "one of " + ", ".join(map(code, schema["enum"]))
        kind = schema.get("type", "anything")
        if kind == "array":
            return self._list_in_words(schema, link)
        words = FORMATS.get(schema.get("format", ""), str(kind))
        bounds = [_range(schema, "Length", " characters"), _range(schema, "imum", "")]
        pattern = [f"like {code(schema['pattern'])}"] if "pattern" in schema else []
        return ", ".join([words, *filter(None, bounds), *pattern])

    def given_in_words(self, schema: Schema) -> str:
        """The type of something that is given or left out: there, null says nothing."""
        present = [each for each in _alternatives(schema) if each.get("type") != "null"]
        return "; or ".join(map(self.in_words, present)) or self.in_words(schema)

    def _list_in_words(self, schema: Schema, link: str) -> str:
        bounds = _range(schema, "Items", " of them")
        return "list of " + self.in_words(schema.get("items", {}), link) + (f"; {bounds}" if bounds else "")

    def table(self, name: str, link: str = "") -> list[str]:
        """The fields of a schema as a Markdown table."""
        schema = self.named[name]
        required = schema.get("required", ())
        rows = []
        for field, inner in schema["properties"].items():
            resolved = self.resolve(inner)
            words = self.in_words(inner, link)
            default = inner.get("default")
            if field not in required and default is not None:
                words += f"; {code(default)} when absent"
            what = inner.get("description") or ("" if self.is_table(inner) else resolved.get("description", ""))
            rows.append((code(field), words, "" if field in required else "optional", one_line(what)))
        return table(("field", "type", "", ""), rows)

    def example(self, schema: Schema, pointer: str = "") -> Any:
        """A value of the schema. Raises NoExample where neither an example nor the type itself gives one."""
        schema = {**self.resolve(schema), **{key: value for key, value in schema.items() if key != "$ref"}}
        if examples := schema.get("examples"):
            return examples[0]
        for key in ("example", "const"):
            if key in schema:
                return schema[key]
        if "enum" in schema:
            return schema["enum"][0]
        if alternatives := _alternatives(schema):
            return self._example_of_one(alternatives, schema, pointer)
        if "properties" in schema:
            return {field: self.example(inner, f"{pointer}/{field}") for field, inner in schema["properties"].items()}
        if schema.get("type") == "array":
            return [self.example(schema["items"], f"{pointer}/0")]
        if schema.get("format") in EXAMPLES:
            return EXAMPLES[schema["format"]]
        if "default" in schema:
            return schema["default"]
        if schema.get("type") == "boolean":
            return False
        raise NoExample(pointer or "/")

    def _example_of_one(self, alternatives: Sequence[Schema], schema: Schema, pointer: str) -> Any:
        """Of the first alternative; null where that is allowed and nothing more telling was given."""
        nullable = any(alternative.get("type") == "null" for alternative in alternatives)
        first = next(alternative for alternative in alternatives if alternative.get("type") != "null")
        if nullable and not (self.is_table(first) or "examples" in self.resolve(first)):
            return None
        return schema["default"] if "default" in schema else self.example(first, pointer)


def _alternatives(schema: Schema) -> Sequence[Schema]:
    found: Sequence[Schema] = schema.get("anyOf") or schema.get("oneOf") or schema.get("allOf") or ()
    return found


def _range(schema: Schema, suffix: str, unit: str) -> str:
    least, most = schema.get(f"min{suffix}"), schema.get(f"max{suffix}")
    above = schema.get("exclusiveMinimum") if suffix == "imum" else None
    if above is not None:
        return f"more than {_number(above)}" + (f", at most {_number(most)}" if most is not None else "")
    if least is not None and most is not None:
        return f"{_number(least)} to {_number(most)}{unit}"
    if least is not None:
        return f"at least {_number(least)}{unit}"
    return f"at most {_number(most)}{unit}" if most is not None else ""


def _number(value: float) -> str:
    if abs(value) == 2**53:
        return "2⁵³" if value > 0 else "−2⁵³"
    return f"{value:,}".removesuffix(".0")


def code(value: object) -> str:
    text = value if isinstance(value, str) else "true" if value is True else "false" if value is False else str(value)
    return f"`{text}`"


def one_line(text: str) -> str:
    return " ".join(text.split())


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A Markdown table, or nothing when there are no rows."""
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads), *lines, ""] if lines else []
