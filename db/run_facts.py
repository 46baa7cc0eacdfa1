"""Runs as they are shown: how far each stage is and how long it will take, what the run costs, and what it has made.

A run of a recipe has its stages beneath it; one that somebody started by hand is one stage. What is not known is None:
nothing here is guessed but the time that is left, and that from a stage's own pace or from runs that have finished.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import median
from typing import Any, Literal

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from . import clock, runs
from .columns import JsonObject
from .run_queue import STAGE
from .runs import Progress
from .tables import Run, Schedule, Version
from .words import RunState

StageState = Literal["done", "under way", "to come", "failed", "cancelled"]

_REMEMBERED = 10  # finished runs, the newest, that tell how long a stage takes
_WITHOUT_RECORD = ("snapshot", "promote")  # stages that leave no run of their own


@dataclass(frozen=True, slots=True)
class StageFacts:
    stage: str
    state: StageState
    run_id: int | None  # of its own record: the newest of this run, or the earlier one whose result was found again
    progress: Progress | None  # while it is under way, and where it failed
    seconds: float | None  # of the device, all attempts so far
    seconds_left: float | None  # while it is under way or to come; None: not known
    tokens: int | None
    peak_memory_bytes: int | None
    version: str | None  # that it made
    came_of_it: str  # in words


@dataclass(frozen=True, slots=True)
class RunFacts:
    id: int
    what: str  # the recipe's name, or the stage
    is_recipe: bool
    state: RunState
    why: str  # it was started
    schedule: str | None
    error: str | None
    stages: tuple[StageFacts, ...]
    attempt: int
    device: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    heard_at: datetime | None  # of whoever works on it
    is_silent: bool  # its lease ran out: its worker is gone, and another takes it over
    cancel_requested: bool
    not_before: datetime | None  # of a queued run that is tried again
    seconds: float | None  # of the device, in all
    seconds_left: float | None  # until the last stage ends; None: not known
    tokens: int | None
    peak_memory_bytes: int | None
    watt_hours: float | None  # estimated: those seconds times the watts that its worker was told
    log_tail: str
    can_be_replayed: bool  # with `retry --same`

    @property
    def is_over(self) -> bool:
        return self.state not in ("queued", "running")

    @property
    def under_way(self) -> StageFacts | None:
        """The stage at work; of a run that is over, the one at which it ended."""
        return next((each for each in self.stages if each.state in ("under way", "failed", "cancelled")), None)

    @property
    def version(self) -> str | None:
        """The last version that it made."""
        return next((each.version for each in reversed(self.stages) if each.version), None)


@dataclass(frozen=True, slots=True)
class RunPage:
    """A page of the `total` runs that fit."""

    rows: list[RunFacts]
    total: int


def page(session: Session, state: RunState | None = None, offset: int = 0, limit: int = 20) -> RunPage:
    """Runs of recipes and stages run by hand, newest first."""
    wanted = [Run.recipe_run_id.is_(None), *([] if state is None else [Run.state == state])]
    query = select(Run).where(*wanted).order_by(Run.id.desc()).offset(offset).limit(limit)
    total = session.scalar(select(func.count()).select_from(Run).where(*wanted))
    return RunPage(_facts(session, session.scalars(query).all()), total or 0)


def of_run(session: Session, run_id: int) -> RunFacts:
    """The facts of one run, a recipe's or a stage's; StoreError when there is none."""
    return _facts(session, [runs.get(session, run_id)])[0]


def some_under_way(session: Session) -> bool:
    """Whether any run is queued or running."""
    return session.scalar(select(Run.id).where(Run.state.in_(("queued", "running"))).limit(1)) is not None


def usual_seconds(session: Session) -> dict[str, float]:
    """How long stages took: the median of the newest finished runs of recipes in which a stage was really done."""
    query = select(Run.id, Run.stage_seconds).where(
        Run.stage == STAGE, Run.state == "finished", Run.stage_seconds.is_not(None)
    )
    finished = session.execute(query.order_by(Run.id.desc()).limit(_REMEMBERED)).all()
    records = select(Run.recipe_run_id, Run.stage).where(
        Run.recipe_run_id.in_([run_id for run_id, _ in finished]), Run.state == "finished"
    )
    done = set(session.execute(records).tuples())
    took: dict[str, list[float]] = defaultdict(list)
    for run_id, spent in finished:
        for stage, seconds in (spent or {}).items():
            if stage in _WITHOUT_RECORD or (run_id, stage) in done:
                took[stage].append(seconds)
    return {stage: median(seconds) for stage, seconds in took.items()}


@dataclass(frozen=True, slots=True)
class _Beside:
    """What is read beside the runs themselves, for all of them at once."""

    records: dict[int, dict[str, list[Run]]]  # of a recipe's stages, oldest first
    versions: dict[int, str]  # by the run that made them
    schedules: dict[int, str]
    usual: dict[str, float]
    now: datetime


def _facts(session: Session, rows: Sequence[Run]) -> list[RunFacts]:
    ids = [row.id for row in rows]
    records: dict[int, dict[str, list[Run]]] = defaultdict(lambda: defaultdict(list))
    for record in session.scalars(select(Run).where(Run.recipe_run_id.in_(ids)).order_by(Run.id)):
        assert record.recipe_run_id is not None, "it was asked for by that"
        records[record.recipe_run_id][record.stage].append(record)
    named = select(Version.run_id, Version.name).where(Version.run_id.in_(ids))
    of_schedules = select(Schedule.id, Schedule.name).where(Schedule.id.in_({row.schedule_id for row in rows}))
    beside = _Beside(
        records,
        {run_id: name for run_id, name in session.execute(named) if run_id is not None},
        dict(session.execute(of_schedules).tuples().all()),
        usual_seconds(session) if any(row.state in ("queued", "running") for row in rows) else {},
        clock.now(),
    )
    return [_run(row, beside) for row in rows]


def _run(row: Run, beside: _Beside) -> RunFacts:
    is_recipe = row.stage == STAGE
    stages = tuple(_stages(row, beside)) if is_recipe else (_by_itself(row, beside),)
    seconds = _sum(each.seconds for each in stages)
    at_work = row.state in ("queued", "running")
    return RunFacts(
        id=row.id,
        what=row.config["recipe"]["name"] or STAGE if is_recipe else row.stage,
        is_recipe=is_recipe,
        state=row.state,
        why=_why(row),
        schedule=beside.schedules.get(row.schedule_id or 0),
        error=row.error,
        stages=stages,
        attempt=row.attempt,
        device=row.device,
        created_at=row.created_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
        heard_at=row.heartbeat_at,
        is_silent=row.state == "running" and row.lease_expires_at is not None and row.lease_expires_at < beside.now,
        cancel_requested=row.cancel_requested_at is not None,
        not_before=row.not_before if row.state == "queued" else None,
        seconds=seconds,
        seconds_left=_whole(each.seconds_left for each in stages if _is_ahead(each)) if at_work else None,
        tokens=_sum(each.tokens for each in stages),
        peak_memory_bytes=max((each.peak_memory_bytes for each in stages if each.peak_memory_bytes), default=None),
        watt_hours=None if row.watts is None or seconds is None else row.watts * seconds / 3600,
        log_tail=row.log_tail or "",
        can_be_replayed="resolved" in row.config,
    )


def _why(row: Run) -> str:
    if row.stage == STAGE:
        return str(row.config.get("reason", ""))
    if row.recipe_run_id is not None:
        return f"a stage of run {row.recipe_run_id}"
    return "a round of the loop" if row.round_id is not None else "run by hand"


def _is_ahead(stage: StageFacts) -> bool:
    return stage.state in ("under way", "to come")


def _stages(row: Run, beside: _Beside) -> Iterable[StageFacts]:
    results: JsonObject = row.summary or {}
    at: StageState | None = {  # of the first stage that is not done
        "queued": "to come", "running": "under way", "failed": "failed", "cancelled": "cancelled"
    }.get(row.state)  # type: ignore[assignment]  # fmt: skip
    for stage in (each["stage"] for each in row.config["recipe"]["stages"]):
        result: JsonObject | None = results.get(stage)
        state: StageState = "done" if result is not None else at or "to come"
        if result is None:
            at = "to come"
        of_stage = beside.records[row.id][stage]
        newest = of_stage[-1] if of_stage else None
        spent = (row.stage_seconds or {}).get(stage)
        found = (result or {}).get("run")
        yield StageFacts(
            stage=stage,
            state=state,
            run_id=newest.id if newest is not None and found in (None, newest.id) else found,
            progress=_progress(newest, beside.now) if newest is not None and _tells(state, newest) else None,
            seconds=spent,
            seconds_left=_left(stage, state, row, newest, beside),
            tokens=_sum(record.tokens for record in of_stage),
            peak_memory_bytes=max((r.peak_memory_bytes for r in of_stage if r.peak_memory_bytes), default=None),
            version=(result or {}).get("version") if stage not in ("compare", "promote") else None,
            came_of_it=_in_words(stage, result, newest is None) if result is not None else "",
        )


def _tells(state: StageState, newest: Run) -> bool:
    """Whether the record of the stage says how far it is; one of an attempt before this one does not."""
    return newest.state == "running" if state == "under way" else state in ("failed", "cancelled")


def _by_itself(row: Run, beside: _Beside) -> StageFacts:
    states: dict[RunState, StageState] = {
        "finished": "done", "failed": "failed", "cancelled": "cancelled", "running": "under way", "queued": "to come"
    }  # fmt: skip
    progress = _progress(row, beside.now)
    until = row.finished_at or beside.now
    version = beside.versions.get(row.id)
    return StageFacts(
        stage=row.stage,
        state=states[row.state],
        run_id=row.id,
        progress=progress if row.state != "finished" else None,
        seconds=None if row.started_at is None else (until - row.started_at).total_seconds(),
        seconds_left=None if progress is None else progress.seconds_left,
        tokens=row.tokens,
        peak_memory_bytes=row.peak_memory_bytes,
        version=version,
        came_of_it=version or "",
    )


def _progress(row: Run, now: datetime) -> Progress | None:
    """What the stage said, the time left counted from now; none is left of one that ended."""
    if row.progress is None:
        return None
    left = row.progress["seconds_left"] if row.state == "running" else None
    if left is not None and row.heartbeat_at is not None:
        left = max(0.0, left - (now - row.heartbeat_at).total_seconds())
    return Progress(**{**row.progress, "seconds_left": left})


def _left(stage: str, state: StageState, row: Run, newest: Run | None, beside: _Beside) -> float | None:
    """By its own pace; otherwise by what it took in earlier runs."""
    usual = beside.usual.get(stage)
    if state == "to come":
        return usual
    if state != "under way":
        return None
    own = None if newest is None or newest.state != "running" else _progress(newest, beside.now)
    if own is not None and own.seconds_left is not None:
        return own.seconds_left
    if usual is None:
        return None
    since = 0.0 if row.heartbeat_at is None else (beside.now - row.heartbeat_at).total_seconds()
    spent: float = (row.stage_seconds or {}).get(stage, 0.0)
    return max(0.0, usual - spent - since)


def _in_words(stage: str, result: JsonObject, found_again: bool) -> str:
    match stage:
        case "snapshot":
            return ", ".join(f"{each['rows']:,} {shape}" for shape, each in result.items())
        case "exam":
            return "passed" if result["passed"] else f"failed: {'; '.join(result['reasons'])}"
        case "compare":
            return result.get("skipped") or _win_rate(result)
        case "promote":
            return "promoted" if result["promoted"] else f"not promoted: {result['reason']}"
    return f"{result['version']}, found again" if found_again else str(result["version"])


def _win_rate(result: JsonObject) -> str:
    rate = result["win_rate"]
    interval = f"{100 * rate['low']:.0f}–{rate['high']:.0%}"
    return f"{result['version']} wins {rate['rate']:.0%} ({interval}) over {result['against']} by {result['judge']}"


def _sum(values: Iterable[Any]) -> Any:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _whole(values: Iterable[float | None]) -> float | None:
    """The sum, if all of it is known."""
    total = 0.0
    for value in values:
        if value is None:
            return None
        total += value
    return total
