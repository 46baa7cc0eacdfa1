"""Runs of recipes as workers take them: queued, leased one at a time a device, and handed on when a worker dies.

A lease lasts until `lease_expires_at`, which the worker's heartbeat moves on. Whoever finds it expired takes the run
over; its former owner, should it come back, finds another name in `lease_owner` and lets go. Moments are those of the
machine that asks: clocks of workers may differ by less than a lease.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from sqlalchemy import or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from . import audit, clock, notifications
from .columns import JsonObject
from .errors import StoreError
from .hashing import canonical_json, sha256_text
from .tables import Run
from .upsert import upsert

STAGE = "recipe"
Heartbeat = Literal["go on", "cancel", "lost"]


@dataclass(frozen=True, slots=True)
class Terms:
    """On which a worker takes runs."""

    owner: str  # unique among all workers that ever ran
    device: str
    seconds: float  # that a lease lasts without a heartbeat
    attempts: int  # after which a run is given up
    code_version: str
    watts: float | None = None  # that the device draws at work; None: not known


def enqueue(
    session: Session,
    config: JsonObject,
    actor: str,
    schedule_id: int | None = None,
    due_slot: datetime | None = None,
) -> Run | None:
    """A queued run of a recipe; None when the schedule has one for that slot already.

    `config` has the recipe whole, as `recipe`. Two orders of one recipe are two runs: what is finished is found again
    stage by stage, so the fingerprint of the order itself is unique.
    """
    mark = sha256_text(canonical_json([STAGE, config, uuid.uuid4().hex]))
    statement = upsert(session, Run).on_conflict_do_nothing(index_elements=["schedule_id", "due_slot"])
    values = {
        "stage": STAGE,
        "state": "queued",
        "fingerprint": mark,
        "config": config,
        "seed": 0,
        "code_version": "",  # the worker's, once it is taken
        "schedule_id": schedule_id,
        "due_slot": due_slot,
    }
    run_id = session.scalar(statement.values(values).returning(Run.id))
    if run_id is None:
        return None
    run = session.get_one(Run, run_id)
    run.folder = f"runs/{run_id}"
    audit.record(session, actor, "queue", "run", run_id, {"schedule_id": schedule_id})
    return run


def lease(session: Session, terms: Terms, only: int | None = None) -> Run | None:
    """The next run for the device, leased: one whose lease ran out before the oldest that is queued; None for none.

    Nothing is leased while another run's lease on the device lasts. A run that was attempted too often is marked as
    failed on the way. `only` takes no other run than that.
    """
    now = clock.now()
    on_device = session.scalars(_locked().where(Run.state == "running", Run.device == terms.device)).one_or_none()
    if on_device is not None:
        if not _expired(on_device, now) or only not in (None, on_device.id):
            return None
        candidates: Sequence[Run] = [on_device]  # the device is free when this one is seen to
    else:
        due = [Run.state == "queued", or_(Run.not_before.is_(None), Run.not_before <= now)]
        dead = [Run.state == "running", Run.lease_expires_at <= now]
        wanted = [Run.stage == STAGE, *([] if only is None else [Run.id == only])]
        found = [session.scalars(_locked().where(*wanted, *which).limit(1)).one_or_none() for which in (dead, due)]
        candidates = [run for run in found if run is not None]
    for run in candidates:
        if _given_up(session, run, terms, now):
            continue
        return run if _take(session, run, terms, now) else None
    return None


def heartbeat(
    session: Session, run_id: int, owner: str, seconds: float, stage: str | None = None, log_tail: str | None = None
) -> Heartbeat:
    """Move the lease on; "lost" when it is another's by now, "cancel" when somebody asked for that.

    The time since the last heartbeat is counted as spent on `stage`; `log_tail` is kept if it is given.
    """
    run = session.scalars(_locked(skip=False).where(Run.id == run_id)).one()
    if run.state != "running" or run.lease_owner != owner:
        return "lost"
    now = clock.now()
    if stage is not None:
        assert run.heartbeat_at is not None, "a leased run was heard of when it was leased"
        spent = run.stage_seconds or {}
        more = (now - run.heartbeat_at).total_seconds()
        run.stage_seconds = {**spent, stage: round(spent.get(stage, 0.0) + more, 3)}
    if log_tail is not None:
        run.log_tail = log_tail
    run.heartbeat_at = now
    run.lease_expires_at = now + timedelta(seconds=seconds)
    return "go on" if run.cancel_requested_at is None else "cancel"


def standing(session: Session, run_id: int, owner: str) -> Heartbeat:
    """What `heartbeat` would say, without writing."""
    query = select(Run.state, Run.lease_owner, Run.cancel_requested_at).where(Run.id == run_id)
    state, held_by, cancel = session.execute(query).one()
    if state != "running" or held_by != owner:
        return "lost"
    return "go on" if cancel is None else "cancel"


def finish(session: Session, run_id: int, owner: str) -> bool:
    """All stages are done. This and what follows: False, and nothing changed, when the lease is another's by now."""
    return _end(session, run_id, owner, state="finished")


def fail(session: Session, run_id: int, owner: str, error: str) -> bool:
    return _end(session, run_id, owner, state="failed", error=error)


def cancelled(session: Session, run_id: int, owner: str) -> bool:
    return _end(session, run_id, owner, state="cancelled")


def hand_back(session: Session, run_id: int, owner: str) -> bool:
    """Queued again as if it had not been attempted: the worker was told to end."""
    run = _owned(session, run_id, owner)
    if run is not None:
        _free(run, attempt=run.attempt)
    return run is not None


def try_again(session: Session, run_id: int, owner: str, wait_seconds: float) -> bool:
    """Queued for another attempt, not before that many seconds have passed."""
    run = _owned(session, run_id, owner)
    if run is not None:
        _free(run, attempt=run.attempt + 1)
        run.not_before = clock.now() + timedelta(seconds=wait_seconds)
    return run is not None


def cancel(session: Session, run_id: int, actor: str) -> Run:
    """Cancel a run of a recipe: at once if it is queued, by its worker if it is leased. StoreError if it is over."""
    run = session.get(Run, run_id, with_for_update={"key_share": True}, populate_existing=True)
    if run is None:
        raise StoreError(f"there is no run {run_id}; see the list of runs")
    if run.stage != STAGE:
        whole = "end its process" if run.recipe_run_id is None else f"cancel run {run.recipe_run_id}, which it is of"
        raise StoreError(f"run {run_id} is one stage ({run.stage}); {whole}")
    if run.state not in ("queued", "running"):
        raise StoreError(f"run {run_id} is {run.state} already; there is nothing to cancel")
    now = clock.now()
    run.cancel_requested_at = now
    if run.state == "queued" or _expired(run, now):
        end_stages(session, run_id, f"run {run_id}, which it is of, was cancelled after its worker was gone")
        _over(session, run, "cancelled", None, now)
    audit.record(session, actor, "cancel", "run", run_id)
    return run


def record_stage(session: Session, run_id: int, stage: str, result: JsonObject) -> None:
    """Keep what came of one stage, in the run's summary."""
    run = session.get_one(Run, run_id, with_for_update={"key_share": True}, populate_existing=True)
    run.summary = {**(run.summary or {}), stage: result}


def record_config(session: Session, run_id: int, **changes: Any) -> Run:
    """Keep what the run was resolved to, in its config."""
    run = session.get_one(Run, run_id, with_for_update={"key_share": True}, populate_existing=True)
    run.config = {**run.config, **changes}
    return run


def end_stages(session: Session, run_id: int, error: str) -> None:
    """Mark the stages of a recipe as failed that its worker left running: killed, they could not say so."""
    left = update(Run).where(Run.recipe_run_id == run_id, Run.state == "running")
    session.execute(left.values(state="failed", error=error, finished_at=clock.now()))


def _locked(skip: bool = True) -> Any:
    """Runs, oldest first, locked: on PostgreSQL one that another is just taking is passed over."""
    return (
        select(Run)
        .order_by(Run.id)
        .with_for_update(key_share=True, skip_locked=skip)
        .execution_options(populate_existing=True)
    )


def _expired(run: Run, now: datetime) -> bool:
    return run.lease_expires_at is not None and run.lease_expires_at <= now


def _given_up(session: Session, run: Run, terms: Terms, now: datetime) -> bool:
    """End a run whose worker died, if it was cancelled meanwhile or has been attempted often enough."""
    if run.state != "running":
        return False
    gone = f"its worker {run.lease_owner} has not been heard of since {run.heartbeat_at:%Y-%m-%d %H:%M:%S} UTC"
    end_stages(session, run.id, gone)
    if run.cancel_requested_at is not None:
        _over(session, run, "cancelled", None, now)
    elif run.attempt >= terms.attempts:
        _over(session, run, "failed", f"{gone}, at attempt {run.attempt} of {terms.attempts}", now)
    else:
        run.attempt += 1
        return False
    return True


def _take(session: Session, run: Run, terms: Terms, now: datetime) -> bool:
    """False when another worker of the device was first: the unique index lets one run a device be running."""
    try:
        with session.begin_nested():
            run.state = "running"
            run.device = terms.device
            run.lease_owner = terms.owner
            run.lease_expires_at = now + timedelta(seconds=terms.seconds)
            run.heartbeat_at = now
            run.started_at = run.started_at or now
            run.code_version = terms.code_version
            run.watts = terms.watts
            session.flush()
    except IntegrityError:
        return False
    return True


def _owned(session: Session, run_id: int, owner: str) -> Run | None:
    run = session.get_one(Run, run_id, with_for_update={"key_share": True}, populate_existing=True)
    return run if run.state == "running" and run.lease_owner == owner else None


def _end(
    session: Session,
    run_id: int,
    owner: str,
    state: Literal["finished", "failed", "cancelled"],
    error: str | None = None,
) -> bool:
    run = _owned(session, run_id, owner)
    if run is not None:
        _over(session, run, state, error, clock.now())
    return run is not None


def _over(
    session: Session, run: Run, state: Literal["finished", "failed", "cancelled"], error: str | None, now: datetime
) -> None:
    run.state = state
    run.error = error
    run.finished_at = now
    run.lease_expires_at = None
    session.flush()
    notifications.run_is_over(session, run)


def _free(run: Run, attempt: int) -> None:
    run.state = "queued"
    run.attempt = attempt
    run.device = run.lease_owner = run.lease_expires_at = None
