"""Runs in every state and two schedules, in a store that is there: as ticks, workers and their stages leave them."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from unittest import mock

from office_store import EVIL
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from db import clock, orders, run_queue, runs, schedules
from db.engine import writing
from db.run_queue import Terms
from db.runs import Progress
from db.schedules import When

STAGES = ("snapshot", "reward", "exam", "dpo", "compare", "promote")
RECIPE = {
    "name": "recipe", "annotators": "human", "start": "current", "judges": [],
    "stages": [{"stage": name, "settings": {}, "seed": None, "timeout_minutes": 1440} for name in STAGES],
}  # fmt: skip
TERMS = Terms("a worker", "attic:cuda:0", seconds=600, attempts=3, code_version="abc", watts=300)
SECONDS = {"snapshot": 4.0, "reward": 410.0, "exam": 31.0, "dpo": 760.0, "compare": 205.0, "promote": 3.0}
RESULTS = {
    "snapshot": {"pairs": {"snapshot": 1, "rows": 130, "counts": {}}},
    "reward": {"version": "r1", "run": 2},
    "exam": {"run": 3, "passed": True, "reasons": []},
    "dpo": {"version": "v2", "run": 4},
    "compare": {
        "run": 5, "version": "v2", "against": "v1", "judge": "reward:r1",
        "win_rate": {"rate": 0.61, "low": 0.52, "high": 0.69},
    },
    "promote": {"promoted": True, "version": "v2", "reason": "it passed"},
}  # fmt: skip
SHORT = EVIL[:60]  # of the log


class Clock:
    def __init__(self, hours_ago: float) -> None:
        self.now = clock.now() - timedelta(hours=hours_ago)

    def __call__(self) -> object:
        return self.now

    def move(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@contextmanager
def at(hours_ago: float) -> Iterator[Clock]:
    moved = Clock(hours_ago)
    with mock.patch("db.clock.now", moved):
        yield moved


def add(engine: Engine) -> dict[str, int]:
    """The ids of runs by state; the newest is under way, in its stage dpo."""
    with at(26) as now:
        with writing(engine) as session:
            schedules.add(session, "nightly", When("0 3 * * *", "Europe/Berlin", new_pairs=100), RECIPE, "ada")
            schedules.add(session, "mender", When(stale=True), RECIPE, "ada")
            schedules.wait(session, 1, None, "not due before 2026-11-24 03:00 CET", now.now)
            wanted = "due at 2026-11-24 03:00 CET; 41 of 100 new agreed pairs; 12 conflicted"
            schedules.wait(session, 1, None, wanted, now.now, now.now)
            schedules.wait(session, 2, None, "v1 and r1: not stale", now.now)
        found = {"finished": _worked(engine, now, list(STAGES), "finished")}
    with at(9) as now:
        found["failed"] = _worked(engine, now, ["snapshot", "reward"], "failed")
        found["cancelled"] = _worked(engine, now, ["snapshot"], "cancelled")
    with at(1 / 3) as now:
        found["running"] = _worked(engine, now, ["snapshot", "reward", "exam"], "running")
    with writing(engine) as session:
        found["queued"] = orders.order(session, {"recipe": RECIPE}, "dora").id
    return found


def _worked(engine: Engine, now: Clock, done: list[str], ended: str) -> int:
    """A run of the recipe that got so far."""
    with writing(engine) as session:
        run_id = orders.order(session, {"recipe": RECIPE}, "ada").id
        run_queue.lease(session, TERMS, run_id)
        run_queue.record_config(session, run_id, resolved={"settings": {}})
    for stage in done:
        with writing(engine) as session:
            record = _begun(session, run_id, stage)
            now.move(SECONDS[stage])
            if record is not None:
                runs.finish(session, record, {}, tokens=48_000 if stage in ("reward", "dpo") else None,
                            peak_memory_bytes=5_600_000_000)  # fmt: skip
            run_queue.record_stage(session, run_id, stage, {**RESULTS[stage], **({"run": record} if record else {})})
            run_queue.heartbeat(session, run_id, TERMS.owner, 600, stage, f"{stage}: done\n{SHORT}\n")
    with writing(engine) as session:
        if ended == "finished":
            run_queue.finish(session, run_id, TERMS.owner)
            return run_id
        stage = STAGES[len(done)]
        record = _begun(session, run_id, stage)
        assert record is not None, "this stage has a record"
        now.move(300)
        runs.add_metrics(session, record, [("loss", step, 0.69 - 0.01 * step) for step in range(1, 13)])
        runs.add_metrics(session, record, [("rewards/accuracies", step, 0.5 + 0.02 * step) for step in range(1, 13)])
        runs.record_progress(
            session, record, Progress(f"train {stage} (130 pairs)", 12, 40, "steps", 460.0, "loss 0.570")
        )
        lines = "".join(f"train {stage} (130 pairs): {step} of 40 steps, loss 0.6\n" for step in range(12))
        run_queue.heartbeat(session, run_id, TERMS.owner, 600, stage, lines)
        if ended == "failed":
            run_queue.fail(session, run_id, TERMS.owner, f"{stage}: the loss became non-finite at step 13; {EVIL}")
        elif ended == "cancelled":
            run_queue.cancelled(session, run_id, TERMS.owner)
        if ended != "running":
            run_queue.end_stages(session, run_id, "it did not get further")
    return run_id


def _begun(session: Session, run_id: int, stage: str) -> int | None:
    if stage in ("snapshot", "promote"):
        return None
    mark = f"{run_id}{stage}".ljust(64, "0")
    return runs.start(session, stage, {}, 0, "abc", mark, recipe_run_id=run_id).id
