"""What is told of a run, on both stores: how far, how long still, what it cost; and runs that are asked for by hand."""

from collections.abc import Callable

import pytest
import runs_store
from runs_store import RECIPE, RESULTS, TERMS
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from db import audit, orders, run_facts, run_queue, runs, schedules
from db.engine import reading, writing
from db.errors import StoreError
from db.run_facts import RunFacts
from db.runs import Progress
from db.schedules import When

Wait = Callable[[float], None]


def begun(session: Session) -> int:
    run_id = orders.order(session, {"recipe": RECIPE}, "ann").id
    assert run_queue.lease(session, TERMS, run_id) is not None
    return run_id


def record(session: Session, run_id: int, stage: str) -> int:
    return runs.start(session, stage, {}, 0, "abc", f"{run_id}{stage}".ljust(64, "0"), recipe_run_id=run_id).id


def facts(engine: Engine, run_id: int) -> RunFacts:
    with reading(engine) as session:
        return run_facts.of_run(session, run_id)


def test_a_stage_is_charged_with_what_passes_between_its_heartbeats(engine: Engine, wait: Wait) -> None:
    with writing(engine) as session:
        run_id = begun(session)
    for stage, seconds in (("snapshot", 5), (None, 2), ("reward", 30), ("reward", 10)):
        wait(seconds)
        with writing(engine) as session:
            run_queue.heartbeat(session, run_id, TERMS.owner, 600, stage, "said")
    found = facts(engine, run_id)
    assert [each.seconds for each in found.stages[:3]] == [5, 40, None]
    assert (found.seconds, found.watt_hours, found.log_tail) == (45, 300 * 45 / 3600, "said")
    with writing(engine) as session:
        assert run_queue.heartbeat(session, run_id, "another", 600, "reward") == "lost"
    assert facts(engine, run_id).seconds == 45


def test_the_time_left_is_the_stages_own_and_that_of_earlier_runs_or_unknown(engine: Engine, wait: Wait) -> None:
    with writing(engine) as session:
        run_id = begun(session)
        run_queue.record_stage(session, run_id, "snapshot", RESULTS["snapshot"])
        record_id = record(session, run_id, "reward")
        progress = Progress("train reward (130 pairs)", 10, 40, "steps", 60.0, "loss 0.6")
        runs.record_progress(session, record_id, progress)
    wait(20)
    alone = facts(engine, run_id)
    assert alone.under_way is not None
    assert (alone.under_way.stage, alone.under_way.seconds_left, alone.seconds_left) == ("reward", 40, None)

    with writing(engine) as session:
        run_queue.cancelled(session, run_id, TERMS.owner)
    runs_store.add(engine)
    with writing(engine) as session:
        usual = run_facts.usual_seconds(session)
        again = orders.retry(session, run_id, same=False, actor="ann").id
    assert usual == runs_store.SECONDS
    assert facts(engine, again).seconds_left == sum(usual.values())


def test_a_stage_whose_result_was_found_again_tells_nobody_how_long_it_takes(engine: Engine) -> None:
    found = runs_store.add(engine)
    with writing(engine) as session:
        run_queue.cancel(session, found["running"], "ann")
        run_queue.cancelled(session, found["running"], TERMS.owner)
        run_id = begun(session)
        for stage in runs_store.STAGES:
            run_queue.record_stage(session, run_id, stage, RESULTS[stage])
            run_queue.heartbeat(session, run_id, TERMS.owner, 600, stage)
        run_queue.finish(session, run_id, TERMS.owner)
    with reading(engine) as session:
        assert run_facts.usual_seconds(session)["dpo"] == runs_store.SECONDS["dpo"]
    stage = next(each for each in facts(engine, run_id).stages if each.stage == "dpo")
    assert (stage.version, stage.came_of_it, stage.tokens) == ("v2", "v2, found again", None)


def test_runs_are_paged_newest_first_with_their_stages_beneath(engine: Engine) -> None:
    found = runs_store.add(engine)
    with writing(engine) as session:
        by_hand = runs.start(session, "dpo", {}, 0, "abc", "f" * 64).id
    with reading(engine) as session:
        pages = [run_facts.page(session, offset=offset, limit=4) for offset in (0, 4)]
        failed = run_facts.page(session, "failed")
    assert [row.id for page in pages for row in page.rows] == [by_hand, *sorted(found.values(), reverse=True)]
    assert [page.total for page in pages] == [6, 6]
    (row,) = failed.rows
    assert [each.state for each in row.stages] == ["done", "done", "failed", "to come", "to come", "to come"]
    assert row.under_way is not None
    assert row.under_way.progress == Progress("train exam (130 pairs)", 12, 40, "steps", None, "loss 0.570")


def test_a_schedule_started_by_hand_has_run_and_does_not_run_twice(engine: Engine) -> None:
    with writing(engine) as session:
        schedules.add(session, "nightly", When("0 3 * * *"), RECIPE, "ann")
        schedules.pause(session, "nightly", "ann")
        run = orders.start_schedule(session, "nightly", "ann")
        assert (run.state, run.config["reason"]) == ("queued", "asked for by ann")
        assert schedules.newest_run(session, schedules.by_name(session, "nightly").id) is run
        assert audit.events(session, "run", run.id)[0].actor == "ann"
        with pytest.raises(StoreError, match=f"run {run.id} of nightly is queued still"):
            orders.start_schedule(session, "nightly", "ann")
        run_queue.cancel(session, run.id, "ann")
        assert orders.start_schedule(session, "nightly", "ann").id > run.id
