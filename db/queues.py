"""Queues: questions of one kind with their guidelines, handed out by the queues' priority."""

from collections.abc import Sequence
from typing import Any, get_args

from sqlalchemy import select
from sqlalchemy.orm import Session

from . import audit, clock, queue_filling
from .errors import StoreError
from .kinds import COMPARABLE
from .queue_progress import QueueProgress, progress
from .tables import Assignment, Comparison, Judgment, Queue
from .upsert import upsert
from .words import QueueKind, Split

__all__ = [
    "DEFAULT",
    "QueueProgress",
    "by_name",
    "create",
    "ensure",
    "fill",
    "get",
    "list_queues",
    "pause",
    "progress",
    "resume",
    "update",
]

DEFAULT = "pairs"  # of the loop, when no other is named
_MOST_SHARE = 0.5  # of tasks that are repeats, and of those that are gold


def create(
    session: Session,
    name: str,
    kind: QueueKind = "pair",
    *,
    guidelines: str = "",
    aspects: Sequence[str] | None = None,
    asks_strength: bool = False,
    overlap: int = 1,
    priority: int = 0,
    repeat_share: float = 0.0,
    gold_share: float = 0.0,
    actor: str = audit.SYSTEM,
) -> Queue:
    """A new queue. StoreError when the name is blank or taken, or a value does not fit the kind."""
    if not name.strip():
        raise StoreError("the name of the queue is blank; give it one")
    if kind not in get_args(QueueKind):
        raise StoreError(f"there is no kind of queue {kind!r}; choose one of {', '.join(get_args(QueueKind))}")
    values: dict[str, Any] = {
        "name": name.strip(),
        "kind": kind,
        "guidelines": guidelines,
        "aspects": _named(aspects),
        "asks_strength": asks_strength,
        "overlap": overlap,
        "priority": priority,
        "repeat_share": repeat_share,
        "gold_share": gold_share,
    }
    _check(**values)
    statement = upsert(session, Queue).on_conflict_do_nothing(index_elements=["name"]).returning(Queue.id)
    queue_id = session.scalar(statement.values(**values, created_at=clock.now()))
    if queue_id is None:
        raise StoreError(f"there is a queue {name.strip()} already; choose another name")
    audit.record(session, actor, "create", "queue", queue_id, values)
    return get(session, queue_id)


def ensure(session: Session, name: str, kind: QueueKind = "pair", **options: Any) -> Queue:
    """The queue of that name, made by `create` with the options if there is none; an existing one is left as it is.

    StoreError when the existing one is of another kind.
    """
    queue = session.scalars(select(Queue).where(Queue.name == name.strip())).one_or_none()
    if queue is None:
        return create(session, name, kind, **options)
    if queue.kind != kind:
        raise StoreError(f"queue {queue.name} is of kind {queue.kind} already, not {kind}; choose another name")
    return queue


def get(session: Session, queue_id: int) -> Queue:
    """The queue; StoreError when there is none."""
    queue = session.get(Queue, queue_id)
    if queue is None:
        raise StoreError(f"there is no queue {queue_id}; see the list of queues")
    return queue


def by_name(session: Session, name: str) -> Queue:
    """The queue of that name; StoreError with the known names when there is none."""
    queue = session.scalars(select(Queue).where(Queue.name == name.strip())).one_or_none()
    if queue is None:
        known = ", ".join(session.scalars(select(Queue.name).order_by(Queue.name))) or "none yet"
        raise StoreError(f"there is no queue {name}; known: {known}")
    return queue


def list_queues(session: Session) -> list[Queue]:
    """Every queue, paused ones too, in the order in which they are asked: by priority, then by name."""
    return list(session.scalars(select(Queue).order_by(Queue.priority.desc(), Queue.name)))


def update(
    session: Session,
    queue_id: int,
    *,
    guidelines: str | None = None,
    priority: int | None = None,
    overlap: int | None = None,
    aspects: Sequence[str] | None = None,
    asks_strength: bool | None = None,
    repeat_share: float | None = None,
    gold_share: float | None = None,
    actor: str = audit.SYSTEM,
) -> Queue:
    """Change what is not None. The overlap is that of new comparisons; aspects change only before the first judgment.

    StoreError when a value does not fit the kind of the queue, or the aspects are in use.
    """
    queue = get(session, queue_id)
    given: dict[str, Any] = {
        "guidelines": guidelines,
        "priority": priority,
        "overlap": overlap,
        "aspects": _named(aspects),
        "asks_strength": asks_strength,
        "repeat_share": repeat_share,
        "gold_share": gold_share,
    }
    changed = {field: value for field, value in given.items() if value is not None and value != getattr(queue, field)}
    if not changed:
        return queue
    _check(**{field: getattr(queue, field) for field in ("name", "kind", *given)} | changed)
    if "aspects" in changed and _has_judgments(session, queue_id):
        raise StoreError(
            f"queue {queue.name} was rated by {', '.join(queue.aspects or [])} already; make a new queue for others"
        )
    for field, value in changed.items():
        setattr(queue, field, value)
    audit.record(session, actor, "update", "queue", queue_id, changed)
    return queue


def pause(session: Session, queue_id: int, actor: str = audit.SYSTEM) -> Queue:
    """Hand out nothing new of the queue; what is under way may be finished. Pausing twice changes nothing."""
    queue = get(session, queue_id)
    if queue.paused_at is None:
        queue.paused_at = clock.now()
        audit.record(session, actor, "pause", "queue", queue_id)
    return queue


def resume(session: Session, queue_id: int, actor: str = audit.SYSTEM) -> Queue:
    """Hand out the queue again. Resuming twice changes nothing."""
    queue = get(session, queue_id)
    if queue.paused_at is not None:
        queue.paused_at = None
        audit.record(session, actor, "resume", "queue", queue_id)
    return queue


def fill(
    session: Session,
    queue_id: int,
    *,
    version_id: int | None = None,
    category: str | None = None,
    split: Split = "train",
    limit: int | None = None,
    actor: str = audit.SYSTEM,
) -> int:
    """Ask about what is in the store already, a comparison a prompt; how many are new, at most `limit`.

    Of each prompt that is in use, in the order of their ids, the first candidates with different texts, of any version
    unless one is named: two for a pair, up to four for a ranking, one otherwise, none for a demonstration. A prompt
    with fewer is left out, and so is what the queue asks already.
    """
    queue = get(session, queue_id)
    made = queue_filling.fill(session, queue, version_id, category, split, limit)
    details = {"made": made, "version": version_id, "category": category, "split": split}
    audit.record(session, actor, "fill", "queue", queue_id, details)
    return made


def _named(aspects: Sequence[str] | None) -> list[str] | None:
    return None if aspects is None else [aspect.strip() for aspect in aspects]


def _check(
    *,
    name: str,
    kind: QueueKind,
    aspects: list[str] | None,
    asks_strength: bool,
    overlap: int,
    repeat_share: float,
    gold_share: float,
    **_: object,
) -> None:
    """Say in words what the constraints would refuse, and what makes no sense beside."""
    which = f"queue {name} is of kind {kind}"
    if kind == "rating" and not (aspects and all(aspects) and len(set(aspects)) == len(aspects)):
        raise StoreError(f"{which}: name the aspects to rate, each once, not {aspects}")
    if kind != "rating" and aspects is not None:
        raise StoreError(f"{which}: the aspects {aspects} are for a queue of kind rating")
    if kind != "pair" and asks_strength:
        raise StoreError(f"{which}: the strength of a preference is asked of a pair; leave it out")
    if overlap < 1:
        raise StoreError(f"{which}: an overlap of {overlap}; at least one judgment is wanted of a comparison")
    for word, share in (("repeats", repeat_share), ("gold", gold_share)):
        if not 0 <= share <= _MOST_SHARE:
            raise StoreError(f"{which}: a share of {share} for {word}; choose one from 0 to {_MOST_SHARE}")
        if share and kind not in COMPARABLE:
            raise StoreError(f"{which}: {word} are asked in queues of kind {' and '.join(COMPARABLE)}; leave it 0")


def _has_judgments(session: Session, queue_id: int) -> bool:
    judged = (
        select(Judgment.id)
        .join(Assignment, Assignment.id == Judgment.assignment_id)
        .join(Comparison, Comparison.id == Assignment.comparison_id)
        .where(Comparison.queue_id == queue_id)
    )
    return session.scalar(judged.limit(1)) is not None
