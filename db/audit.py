"""The audit trail: who did what to which row, and when."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from .tables import Event

# The actor of an act that no person asked for by name.
SYSTEM = "prefloop"


def record(
    session: Session,
    actor: str,
    action: str,
    noun: str,
    noun_id: int | None,
    details: Mapping[str, Any] | None = None,
) -> None:
    """Append one event, in the transaction of the act itself: neither is kept without the other."""
    session.add(Event(actor=actor, action=action, noun=noun, noun_id=noun_id, details=dict(details or {})))


def events(session: Session, noun: str | None = None, noun_id: int | None = None, limit: int = 100) -> list[Event]:
    """The newest `limit` events, newest first, of one noun or one row where that is asked."""
    query = select(Event).order_by(Event.id.desc()).limit(limit)
    if noun is not None:
        query = query.where(Event.noun == noun)
    if noun_id is not None:
        query = query.where(Event.noun_id == noun_id)
    return list(session.scalars(query))
