"""Runs: one execution of a stage each, with what went in, what came out and how it went."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from . import clock
from .columns import JsonObject
from .errors import StoreError
from .tables import Metric, Run
from .upsert import upsert
from .words import RunState


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a stage is, as it says itself."""

    what: str  # "train dpo (48 pairs)"
    done: int
    total: int
    unit: str  # "steps"
    seconds_left: float | None  # of the whole stage, by its pace so far; None: not known
    said: str = ""  # a figure to go with it: "loss 0.612"


def start(
    session: Session,
    stage: str,
    config: JsonObject,
    seed: int,
    code_version: str,
    fingerprint: str,
    snapshot_id: int | None = None,
    version_id: int | None = None,
    round_id: int | None = None,
    lease_owner: str | None = None,
    recipe_run_id: int | None = None,
) -> Run:
    """A new run, running from now. `fingerprint` is the sha256 of everything that decides its result."""
    run = Run(
        stage=stage,
        state="running",
        fingerprint=fingerprint,
        config=config,
        seed=seed,
        code_version=code_version,
        snapshot_id=snapshot_id,
        version_id=version_id,
        round_id=round_id,
        lease_owner=lease_owner,
        recipe_run_id=recipe_run_id,
        started_at=clock.now(),
    )
    session.add(run)
    session.flush()
    return run


def finished_with(session: Session, fingerprint: str) -> Run | None:
    """The finished run with this fingerprint, whose result need not be made again."""
    return session.scalars(select(Run).where(Run.fingerprint == fingerprint, Run.state == "finished")).one_or_none()


def given_up(session: Session, fingerprint: str, code_version: str) -> list[Run]:
    """Runs of the same work by the same code that ended without a result, newest first."""
    same = Run.fingerprint == fingerprint, Run.code_version == code_version
    query = select(Run).where(*same, Run.state.in_(("failed", "cancelled"))).order_by(Run.id.desc())
    return list(session.scalars(query))


def finish(
    session: Session,
    run_id: int,
    summary: JsonObject,
    tokens: int | None = None,
    peak_memory_bytes: int | None = None,
) -> Run:
    """The run is done. StoreError when it is not under way, or another finished the same work before it."""
    run = _under_way(session, run_id)
    earlier = finished_with(session, run.fingerprint)
    if earlier is not None:
        raise StoreError(f"run {run_id} repeats run {earlier.id}, which has finished; use the result of that one")
    run.state = "finished"
    run.summary = summary
    run.tokens = tokens
    run.peak_memory_bytes = peak_memory_bytes
    run.finished_at = clock.now()
    session.flush()
    return run


def fail(session: Session, run_id: int, error: str) -> Run:
    """The run is over without a result; `error` says why. StoreError when it is not under way."""
    run = _under_way(session, run_id)
    run.state = "failed"
    run.error = error
    run.finished_at = clock.now()
    session.flush()
    return run


def set_folder(session: Session, run_id: int, folder: str) -> None:
    """Where the run keeps its files, relative to the artifacts folder."""
    get(session, run_id).folder = folder


def add_metrics(session: Session, run_id: int, rows: Iterable[tuple[str, int, float]]) -> None:
    """Store (name, step, value) rows; of two for one name and step the later stands, so a resumed run repeats freely.

    A value may be NaN: a diverged loss is a finding.
    """
    # One INSERT may not touch a row twice on PostgreSQL.
    latest = {(name, step): value for name, step, value in rows}
    if not latest:
        return
    statement = upsert(session, Metric)
    session.execute(
        statement.on_conflict_do_update(
            index_elements=["run_id", "name", "step"], set_={"value": statement.excluded.value}
        ),
        [{"run_id": run_id, "name": name, "step": step, "value": value} for (name, step), value in latest.items()],
    )


def record_progress(session: Session, run_id: int, progress: Progress) -> None:
    """Keep how far the run is, while it is under way."""
    under_way = update(Run).where(Run.id == run_id, Run.state == "running")
    session.execute(under_way.values(progress=asdict(progress), heartbeat_at=clock.now()))


def metrics(session: Session, run_id: int) -> list[tuple[str, int, float]]:
    """(name, step, value) rows of the run, ordered by name and step."""
    query = select(Metric.name, Metric.step, Metric.value).where(Metric.run_id == run_id)
    return [(name, step, value) for name, step, value in session.execute(query.order_by(Metric.name, Metric.step))]


def list_runs(session: Session, stage: str | None = None, state: RunState | None = None, limit: int = 50) -> list[Run]:
    """The newest `limit` runs, newest first."""
    query = select(Run).order_by(Run.id.desc()).limit(limit)
    if stage is not None:
        query = query.where(Run.stage == stage)
    if state is not None:
        query = query.where(Run.state == state)
    return list(session.scalars(query))


def newest_finished(session: Session, stage: str, version_id: int) -> Run | None:
    """The newest finished run of the stage on this version; None when there is none."""
    query = select(Run).where(Run.stage == stage, Run.version_id == version_id, Run.state == "finished")
    return session.scalars(query.order_by(Run.id.desc()).limit(1)).one_or_none()


def get(session: Session, run_id: int) -> Run:
    """The run; StoreError when there is none."""
    return _found(session.get(Run, run_id), run_id)


def _under_way(session: Session, run_id: int) -> Run:
    run = _found(session.get(Run, run_id, with_for_update={"key_share": True}, populate_existing=True), run_id)
    if run.state not in ("queued", "running"):
        raise StoreError(f"run {run_id} is {run.state} already; start a new one")
    return run


def _found(run: Run | None, run_id: int) -> Run:
    if run is None:
        raise StoreError(f"there is no run {run_id}; see the list of runs")
    return run
