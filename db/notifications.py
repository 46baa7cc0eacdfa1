"""What people are to be told: an outbox. A row is written in the transaction of what happened, and delivered later.

Every event is written once for each kind of receiver, whether one is configured or not: the store does not know. What
nobody wants stays where it is, and is removed after `KEPT` like all else.

Whoever delivers claims one row at a time, until a moment at which another may take it over. So a row may be delivered
twice, by one who was thought dead; its `key` stays the same, and tells the receiver.
"""

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, get_args

from sqlalchemy import ColumnElement, Select, delete, func, select
from sqlalchemy.orm import Session

from . import clock
from .columns import JsonObject
from .tables import Notification, Promotion, Run, Schedule, Version
from .upsert import upsert
from .words import DeliveryState, NotificationEvent, Receiver

KEPT = timedelta(days=30)  # after which a row is removed, delivered or not
FORMAT = 1  # of the payload: raised when a key goes or changes its meaning
_LONGEST = 2000  # characters of an error that are told


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is delivered here."""

    receivers: tuple[Receiver, ...]
    events: tuple[NotificationEvent, ...]


def tell(session: Session, event: NotificationEvent, subject: str, text: str, data: JsonObject) -> None:
    """Owe this to every receiver. What has the subject of an earlier one was said already, and is not said again.

    What is older than `KEPT` is removed on the way, and may then be said again.
    """
    key, now = uuid.uuid4().hex, clock.now()
    payload = {
        "version": FORMAT,
        "id": key,
        "type": event,
        "timestamp": f"{now:%Y-%m-%dT%H:%M:%SZ}",
        "text": text,
        "data": data,
    }
    row = {"event": event, "subject": subject, "key": key, "payload": payload, "next_try_at": now, "created_at": now}
    statement = upsert(session, Notification).on_conflict_do_nothing(index_elements=["subject", "receiver"])
    session.execute(statement, [{**row, "receiver": receiver} for receiver in get_args(Receiver)])
    session.execute(delete(Notification).where(Notification.created_at < now - KEPT))


def run_is_over(session: Session, run: Run) -> None:
    """A run of a recipe has finished, failed or been cancelled."""
    assert run.state in ("finished", "failed", "cancelled"), "it is over"
    schedule = None if run.schedule_id is None else session.get_one(Schedule, run.schedule_id).name
    recipe, stages = run.config.get("recipe", {}).get("name"), run.summary or {}
    decided = stages.get("promote", {}).get("reason")
    error = None if run.error is None else run.error[:_LONGEST]
    data = {
        "run": run.id,
        "schedule": schedule,
        "recipe": recipe,
        "reason": run.config.get("reason"),
        "attempt": run.attempt,
        "started_at": _shown(run.started_at),
        "finished_at": _shown(run.finished_at),
        "error": error,
        "versions": [made["version"] for made in stages.values() if "adapter_sha256" in made],
        "promoted": stages.get("promote", {}).get("promoted"),
        "decided": decided,
    }
    why = error or decided
    words = f"run {run.id} of {schedule or recipe or 'a recipe'} {_been(run.state)}" + (f": {why}" if why else "")
    tell(session, run.state, f"run {run.id} {run.state}", words, data)


def current_moved(session: Session, promotion: Promotion) -> None:
    """The pointer `current` moved from one version to another."""
    assert promotion.previous_id is not None, "the first version that is current is no news"
    version = session.get_one(Version, promotion.version_id).name
    previous = session.get_one(Version, promotion.previous_id).name
    data = {
        "promotion": promotion.id,
        "version": version,
        "previous": previous,
        "run": promotion.run_id,
        "forced": promotion.forced,
        "reason": promotion.reason,
        "actor": promotion.actor,
    }
    how = "promoted by force" if promotion.forced else "promoted" if promotion.kind == "promote" else "rolled back to"
    text = f"{version} is current, {how}; before it was {previous}" + (
        f": {promotion.reason}" if promotion.reason else ""
    )
    event: NotificationEvent = "promoted" if promotion.kind == "promote" else "rolled-back"
    tell(session, event, f"promotion {promotion.id}", text, data)


def became_stale(session: Session, version_ids: Iterable[int]) -> None:
    """Versions learned from what somebody took back. Who that was is nobody's business out there."""
    ids = sorted(version_ids)
    names = list(session.scalars(select(Version.name).where(Version.id.in_(ids)).order_by(Version.id)))
    text = f"stale since an annotator withdrew: {', '.join(names)}"
    tell(session, "stale", f"versions {'-'.join(map(str, ids))} stale", text, {"versions": names})


def claim(session: Session, wanted: Wanted, seconds: float, limit: int) -> Notification | None:
    """The oldest that is due, for so many seconds nobody else's; None when nothing is. `limit` is of attempts.

    One whose last attempt was cut off, so that nobody could say how it went, is given up on the way.
    """
    while True:
        query = _due(wanted).order_by(Notification.id).limit(1).with_for_update(skip_locked=True)
        row = session.scalars(query, execution_options={"populate_existing": True}).one_or_none()
        if row is None:
            return None
        if row.attempts < limit:
            row.attempts += 1
            row.next_try_at = clock.now() + timedelta(seconds=seconds)
            return row
        _settle(row, "given_up", row.last_error or "every attempt was cut off")
        session.flush()


def delivered(session: Session, notification_id: int) -> None:
    row = _held(session, notification_id)
    if row.state != "delivered":
        _settle(row, "delivered", None)


def failed(session: Session, notification_id: int, attempt: int, error: str, wait_seconds: float | None) -> None:
    """This attempt came to nothing: another after so many seconds, or none any more.

    Nothing is changed when somebody else has taken it over meanwhile.
    """
    row = _held(session, notification_id)
    if row.state != "pending" or row.attempts != attempt:
        return
    if wait_seconds is None:
        _settle(row, "given_up", error)
    else:
        row.last_error = error
        row.next_try_at = clock.now() + timedelta(seconds=wait_seconds)


def is_due(session: Session, wanted: Wanted) -> bool:
    return session.scalars(_due(wanted).limit(1)).one_or_none() is not None


def counts(session: Session, wanted: Wanted) -> dict[DeliveryState, int]:
    """How many of what is wanted stand how; a state that none is in is left out."""
    query = select(Notification.state, func.count()).where(*_of(wanted)).group_by(Notification.state)
    return {state: count for state, count in session.execute(query)}


def newest(session: Session, wanted: Wanted, limit: int = 20) -> list[Notification]:
    """The newest of what is wanted, newest first."""
    query = select(Notification).where(*_of(wanted)).order_by(Notification.id.desc()).limit(limit)
    return list(session.scalars(query))


def _of(wanted: Wanted) -> list[ColumnElement[bool]]:
    return [Notification.receiver.in_(wanted.receivers), Notification.event.in_(wanted.events)]


def _due(wanted: Wanted) -> Select[Notification]:
    pending = Notification.state == "pending", Notification.next_try_at <= clock.now()
    return select(Notification).where(*pending, *_of(wanted))


def _held(session: Session, notification_id: int) -> Notification:
    return session.get_one(Notification, notification_id, with_for_update=True, populate_existing=True)


def _settle(row: Notification, state: DeliveryState, error: str | None) -> None:
    row.state = state
    row.last_error = error
    row.settled_at = clock.now()


def _been(state: str) -> str:
    return "was cancelled" if state == "cancelled" else state


def _shown(moment: Any) -> str | None:
    return None if moment is None else f"{moment:%Y-%m-%dT%H:%M:%SZ}"
