"""What the tables of the customer service have in common."""

from datetime import datetime

from sqlalchemy import BigInteger, Text
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.types import DateTime

from shared.database import service_metadata

CodePointText = Text(collation="C")
"""Text in code point order, in which a prefix is a range and an index finds it."""


class Base(DeclarativeBase):
    metadata = service_metadata()
    type_annotation_map = {int: BigInteger, str: Text, datetime: DateTime(timezone=True)}  # noqa: RUF012 - SQLAlchemy's
