"""Runs, snapshots, rounds, annotators: what went in, what came out, and once each."""

import math
from collections.abc import Callable

import pytest
from sqlalchemy import Engine
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from db import annotators, audit, clock, judgments, rounds, runs, snapshots, versions
from db.comparisons import next_assignment
from db.engine import reading, writing
from db.errors import StoreError
from db.tables import Run, Schedule

Ask = Callable[..., list[int]]


def begin(session: Session, fingerprint: str = "f" * 64, stage: str = "dpo") -> Run:
    return runs.start(session, stage, {"beta": 0.1}, 7, "abc123", fingerprint)


def test_a_run_keeps_what_went_in_and_what_came_out(engine: Engine) -> None:
    with writing(engine) as session:
        run = begin(session)
        assert (run.state, run.attempt, run.seed, run.config) == ("running", 1, 7, {"beta": 0.1})
        assert runs.finished_with(session, run.fingerprint) is None
        runs.set_folder(session, run.id, "runs/1")
        runs.finish(session, run.id, {"loss": 0.5}, tokens=2**40, peak_memory_bytes=2**35)
    with reading(engine) as session:
        kept = runs.finished_with(session, "f" * 64)
        assert kept is not None
        assert (kept.id, kept.summary, kept.folder) == (run.id, {"loss": 0.5}, "runs/1")
        assert (kept.tokens, kept.peak_memory_bytes) == (2**40, 2**35)
        assert kept.started_at is not None
        assert kept.finished_at is not None
        assert kept.started_at <= kept.finished_at


def test_finished_work_is_not_finished_twice(engine: Engine) -> None:
    with writing(engine) as session:
        first, second = begin(session), begin(session)
        runs.finish(session, first.id, {})
        with pytest.raises(StoreError, match=f"run {second.id} repeats run {first.id}"):
            runs.finish(session, second.id, {})
        runs.fail(session, second.id, "it was done already")
    with pytest.raises(IntegrityError), writing(engine) as session:
        third = begin(session)
        third.state = "finished"


def test_a_run_that_is_over_stays_so(engine: Engine) -> None:
    with writing(engine) as session:
        run = begin(session)
        assert runs.fail(session, run.id, "out of memory").state == "failed"
        with pytest.raises(StoreError, match=f"run {run.id} is failed already"):
            runs.finish(session, run.id, {})
        with pytest.raises(StoreError, match="there is no run 999"):
            runs.fail(session, 999, "x")
    for state, error in (("failed", None), ("finished", "but why")):
        with pytest.raises(IntegrityError, match="failed_has_error"), writing(engine) as session:
            other = begin(session, "e" * 64)
            other.state, other.error = state, error  # type: ignore[assignment]


def test_metrics_may_be_sent_again_and_may_be_nan(engine: Engine) -> None:
    with writing(engine) as session:
        run = begin(session)
        runs.add_metrics(session, run.id, [("loss", 2, 0.4), ("loss", 1, 0.9), ("kl", 1, math.inf)])
        runs.add_metrics(session, run.id, [("loss", 2, 9.0), ("loss", 2, 0.3), ("loss", 3, math.nan)])
        runs.add_metrics(session, run.id, [])
    with reading(engine) as session:
        *finite, last = runs.metrics(session, run.id)
    assert finite == [("kl", 1, math.inf), ("loss", 1, 0.9), ("loss", 2, 0.3)]
    assert last[:2] == ("loss", 3)
    assert math.isnan(last[2])


def test_runs_are_listed_newest_first(engine: Engine) -> None:
    with writing(engine) as session:
        ids = [begin(session, str(n) * 64, stage).id for n, stage in enumerate(("dpo", "generate", "dpo"))]
        runs.fail(session, ids[0], "x")
        assert [run.id for run in runs.list_runs(session)] == ids[::-1]
        assert [run.id for run in runs.list_runs(session, limit=1)] == ids[-1:]
        assert [run.id for run in runs.list_runs(session, stage="dpo")] == [ids[2], ids[0]]
        assert [run.id for run in runs.list_runs(session, stage="dpo", state="failed")] == [ids[0]]


def test_a_schedule_has_one_run_a_slot(engine: Engine) -> None:
    slot = clock.now()
    with writing(engine) as session:
        schedule = Schedule(name="nightly", cron="0 3 * * *", timezone="UTC", recipe={})
        session.add(schedule)
        session.flush()
        run = begin(session)
        run.schedule_id, run.due_slot = schedule.id, slot
    with pytest.raises(IntegrityError), writing(engine) as session:
        again = begin(session)
        again.schedule_id, again.due_slot = schedule.id, slot
    with pytest.raises(IntegrityError, match="scheduled_has_slot"), writing(engine) as session:
        begin(session).due_slot = slot


def test_a_snapshot_of_the_same_rows_is_one(engine: Engine, ask: Ask) -> None:
    with writing(engine) as session:
        ask(session, 3)
        ann = annotators.ensure(session, "ann", "human").id
        said = []
        while (task := next_assignment(session, ann)) is not None:
            said.append(judgments.submit(session, task.assignment_id, ann, judgments.Said("left")).judgment_id)
        first = snapshots.store(session, "ab" * 32, said[::-1], {"ties": "drop"}, {"left": 3}, 3)
        again = snapshots.store(session, "ab" * 32, said[:1], {}, {}, 1)
        assert first.created
        assert again == snapshots.Stored(first.id, created=False)
        assert snapshots.judgment_ids(session, first.id) == said
        assert len(audit.events(session, "snapshot")) == 1
    with pytest.raises(IntegrityError), writing(engine) as session:
        snapshots.store(session, "cd" * 32, [999], {}, {}, 1)


def test_a_snapshot_is_found_by_id_and_by_digits(engine: Engine) -> None:
    with writing(engine) as session:
        one = snapshots.store(session, "abcdef" + "0" * 58, [], {}, {}, 0).id
        two = snapshots.store(session, "abcdef" + "1" * 58, [], {}, {}, 0).id
        assert snapshots.get(session, one).id == one
        assert snapshots.get(session, str(two)).id == two
        assert snapshots.get(session, "ABCDEF1").id == two
        assert [snapshot.id for snapshot in snapshots.list_snapshots(session)] == [two, one]
        with pytest.raises(StoreError, match="several snapshots begin with abcdef"):
            snapshots.get(session, "abcdef")
        with pytest.raises(StoreError, match="there is no snapshot fedcba"):
            snapshots.get(session, "fedcba")
        with pytest.raises(StoreError, match="there is no snapshot 99"):
            snapshots.get(session, 99)
        with pytest.raises(StoreError, match="%%%%%% is no snapshot"):
            snapshots.get(session, "%%%%%%")


def test_a_round_is_begun_once_and_finished(engine: Engine) -> None:
    with writing(engine) as session:
        base = versions.ensure_base(session, "tiny", "0" * 64)
        first = rounds.ensure(session, "demo", 1, base.id, {"pairs": 120})
        assert rounds.ensure(session, "demo", 1, base.id, {"pairs": 5}).settings == {"pairs": 120}
        second = rounds.ensure(session, "demo", 2, base.id, {})
        rounds.ensure(session, "other", 1, base.id, {})
        rounds.finish(session, first.id, {"win_rate": 0.7})
        assert [turn.id for turn in rounds.list_rounds(session, "demo")] == [first.id, second.id]
        assert (first.summary, first.finished_at is None) == ({"win_rate": 0.7}, False)
        with pytest.raises(StoreError, match="no round 99"):
            rounds.finish(session, 99, {})


def test_an_annotator_is_one_and_stays_what_they_are(engine: Engine) -> None:
    with writing(engine) as session:
        ann = annotators.ensure(session, "ann", "human", role="admin")
        assert annotators.ensure(session, "ann", "human").role == "admin"
        taste = {"likes": "short", "flip": 0.15}
        robot = annotators.ensure(session, "r2", "simulated", taste=taste)
        assert annotators.ensure(session, "r2", "simulated", taste=dict(taste)).id == robot.id
        with pytest.raises(StoreError, match="annotator r2 is simulated with taste"):
            annotators.ensure(session, "r2", "simulated", taste={"likes": "long"})
        with pytest.raises(StoreError, match="annotator ann is human"):
            annotators.ensure(session, "ann", "simulated", taste=taste)
        with pytest.raises(StoreError, match="a simulated annotator has one"):
            annotators.ensure(session, "c3", "simulated")
        with pytest.raises(StoreError, match="there is no annotator bob; known: ann, r2"):
            annotators.by_name(session, "bob")
        annotators.ensure(session, "an admin who stays", "human", role="admin")
        annotators.disable(session, ann.id, actor="root")
        annotators.disable(session, ann.id, actor="root")
        assert [event.actor for event in audit.events(session, "annotator", ann.id)] == ["root"]
    with pytest.raises(IntegrityError, match="simulated_has_taste"), writing(engine) as session:
        annotators.by_name(session, "r2").taste = None


def test_events_are_newest_first_and_chosen_by_noun(engine: Engine) -> None:
    with writing(engine) as session:
        for number in range(5):
            audit.record(session, "ann", "touch", "run", number, {"n": number})
        audit.record(session, "ann", "touch", "version", 3)
    with reading(engine) as session:
        assert [event.noun_id for event in audit.events(session, "run", limit=2)] == [4, 3]
        assert [event.noun for event in audit.events(session, noun_id=3)] == ["version", "run"]
        assert audit.events(session)[0].details == {}
