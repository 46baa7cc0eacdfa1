"""The kinds of column the tables are made of, and the declarative base that maps Python types to them."""

import math
from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar, get_args

from sqlalchemy import JSON, BigInteger, DateTime, Dialect, Double, Enum, MetaData, String, Text, TypeDecorator
from sqlalchemy.orm import DeclarativeBase, mapped_column

from . import clock, words


class UtcDateTime(TypeDecorator[datetime]):
    """A moment, timezone-aware in Python and UTC in the store, on both engines.

    A naive datetime is refused with ValueError: guessing its zone would move the moment.
    """

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"naive datetime {value!r}: give it a timezone")
        utc = value.astimezone(UTC)
        # SQLite keeps text: without the offset it sorts as the moments do.
        return utc.replace(tzinfo=None) if dialect.name == "sqlite" else utc

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class FreeText(TypeDecorator[str]):
    """Text from people and models, which may hold anything.

    PostgreSQL cannot keep NUL and neither engine keeps a lone surrogate: both become U+FFFD, on both engines.
    """

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        if value is None:
            return None
        return value.replace("\x00", "\ufffd").encode("utf-16", "surrogatepass").decode("utf-16", "replace")


class Measured(TypeDecorator[float]):
    """A measured number. NaN is kept as NULL on both engines (SQLite has no NaN) and read back as NaN."""

    impl = Double
    cache_ok = True

    def process_bind_param(self, value: float | None, dialect: Dialect) -> float | None:
        return None if value is None or math.isnan(value) else float(value)

    def process_result_value(self, value: float | None, dialect: Dialect) -> float:
        return math.nan if value is None else value


def _word(name: str, literal: Any) -> Enum:
    """The closed vocabulary `literal` as a string column with a CHECK named after `name`."""
    return Enum(*get_args(literal), name=name, native_enum=False, create_constraint=True, length=16)


# None is SQL NULL, never the JSON text "null": CHECKs on "is it set" depend on it.
_JSON = JSON(none_as_null=True)

Id = Annotated[int, mapped_column(primary_key=True)]
Sha256 = Annotated[str, mapped_column(String(64))]
BigInt = Annotated[int, mapped_column(BigInteger)]
Free = Annotated[str, mapped_column(FreeText)]
CreatedAt = Annotated[datetime, mapped_column(default=lambda: clock.now())]
JsonObject = dict[str, Any]
Message = dict[str, str]  # {"role": …, "content": …}


class Base(DeclarativeBase):
    """The declarative base: names every constraint, and maps Python types to column types."""

    metadata = MetaData(
        naming_convention={
            "pk": "pk_%(table_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        }
    )
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        datetime: UtcDateTime,
        JsonObject: _JSON,
        list[int]: _JSON,
        list[list[int]]: _JSON,
        list[str]: _JSON,
        dict[str, int]: _JSON,
        list[Message]: _JSON,
        words.Split: _word("split", words.Split),
        words.FinishReason: _word("finish_reason", words.FinishReason),
        words.VersionKind: _word("kind", words.VersionKind),
        words.QueueKind: _word("kind", words.QueueKind),
        words.GoalKind: _word("goal_kind", words.GoalKind),
        words.Purpose: _word("purpose", words.Purpose),
        words.AnnotatorKind: _word("kind", words.AnnotatorKind),
        words.AnnotatorRole: _word("role", words.AnnotatorRole),
        words.AssignmentState: _word("state", words.AssignmentState),
        words.Choice: _word("choice", words.Choice),
        words.RunState: _word("state", words.RunState),
        words.PromotionKind: _word("kind", words.PromotionKind),
        words.Preferred: _word("preferred", words.Preferred),
        words.NotificationEvent: _word("event", words.NotificationEvent),
        words.Receiver: _word("receiver", words.Receiver),
        words.DeliveryState: _word("state", words.DeliveryState),
    }
