"""Schedules and the queue of runs, on both stores: one run a slot, one run a device, nothing left running."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from rich.console import Console
from sqlalchemy import Engine
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from db import annotators, judgments, notifications, run_queue, runs, schedules, versions
from db.comparisons import next_assignment
from db.engine import reading, writing
from db.errors import StoreError
from db.notifications import Wanted
from db.run_queue import Terms
from db.schedules import When
from db.tables import Run, Schedule
from pipeline.config import Settings
from pipeline.context import Context
from pipeline.recipe import DEFAULT, read
from pipeline.scheduler import Ticked, tick
from pipeline.workspace import Workspace

Ask = Callable[..., list[int]]
Wait = Callable[[float], None]
RECIPE = read(DEFAULT, Settings()).as_dict()
NIGHT = When("0 3 * * *", "Europe/Berlin")


@pytest.fixture
def ctx(engine: Engine, tmp_path: Path) -> Context:
    return Context(Workspace(tmp_path, Settings()), engine, Console(quiet=True))


@pytest.fixture
def monday(monkeypatch: pytest.MonkeyPatch) -> datetime:
    """Noon of a Monday, by the store's clock."""
    moment = datetime(2026, 11, 23, 12, tzinfo=UTC)
    monkeypatch.setattr("db.clock.now", lambda: moment)
    return moment


def add(engine: Engine, when: When, name: str = "nightly") -> int:
    with writing(engine) as session:
        return schedules.add(session, name, when, RECIPE).id


def end(engine: Engine, run_id: int) -> None:
    with writing(engine) as session:
        runs.fail(session, run_id, "for the test")


def reasons(engine: Engine, schedule_id: int) -> list[tuple[str, int]]:
    with reading(engine) as session:
        return [(row.reason, row.ticks) for row in schedules.waits(session, schedule_id)]


def terms(owner: str = "one", device: str = "host:cpu", attempts: int = 3) -> Terms:
    return Terms(owner, device, seconds=60, attempts=attempts, code_version="abc")


def queued(session: Session) -> int:
    run = run_queue.enqueue(session, {"recipe": RECIPE, "judgments_up_to": 0}, "test")
    assert run is not None
    return run.id


def test_a_due_time_starts_one_run_and_ticks_in_between_say_why_not(ctx: Context, monday: datetime) -> None:
    nightly = add(ctx.engine, NIGHT)
    not_yet = "not due before 2026-11-24 03:00 CET"
    assert tick(ctx, monday) == tick(ctx, monday + timedelta(minutes=1)) == [Ticked("nightly", None, not_yet)]
    assert reasons(ctx.engine, nightly) == [(not_yet, 2)]
    night = monday + timedelta(hours=14, seconds=20)
    assert tick(ctx, night) == [Ticked("nightly", 1, "due at 2026-11-24 03:00 CET")]
    (later,) = tick(ctx, night + timedelta(minutes=1))
    assert (later.run_id, later.reason) == (None, "not due before 2026-11-25 03:00 CET")
    with reading(ctx.engine) as session:
        (run,) = runs.list_runs(session)
        assert (run.stage, run.state, run.due_slot) == ("recipe", "queued", datetime(2026, 11, 24, 2, tzinfo=UTC))
        assert run.config["recipe"] == RECIPE


def test_due_times_that_were_missed_are_made_up_for_once(ctx: Context, monday: datetime) -> None:
    add(ctx.engine, NIGHT)
    (made_up,) = tick(ctx, monday + timedelta(days=5))
    assert (made_up.run_id, made_up.reason) == (1, "due at 2026-11-28 03:00 CET")
    assert tick(ctx, monday + timedelta(days=5))[0].run_id is None


def test_a_due_time_waits_for_the_last_run_and_is_not_lost(ctx: Context, monday: datetime) -> None:
    nightly = add(ctx.engine, NIGHT)
    tick(ctx, monday + timedelta(days=1))
    (waiting,) = tick(ctx, monday + timedelta(days=2))
    assert waiting.reason == "due at 2026-11-25 03:00 CET; run 1 of it is queued still"
    end(ctx.engine, 1)
    assert tick(ctx, monday + timedelta(days=2, hours=1))[0].run_id == 2
    assert len(reasons(ctx.engine, nightly)) == 1


def test_a_paused_schedule_starts_nothing_and_what_was_due_meanwhile_is_over(
    ctx: Context, monday: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(ctx.engine, NIGHT)
    with writing(ctx.engine) as session:
        schedules.pause(session, "nightly")
    assert tick(ctx, monday + timedelta(days=1))[0].reason == "paused since 2026-11-23 12:00 UTC"
    monkeypatch.setattr("db.clock.now", lambda: monday + timedelta(days=3))
    with writing(ctx.engine) as session:
        schedules.resume(session, "nightly")
    assert tick(ctx, monday + timedelta(days=3))[0].reason == "not due before 2026-11-27 03:00 CET"
    assert tick(ctx, monday + timedelta(days=4))[0].run_id == 1


def test_a_tick_that_comes_second_does_not_say_that_the_due_time_waits_for_its_own_run(
    ctx: Context, monday: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    nightly, night = add(ctx.engine, NIGHT), monday + timedelta(hours=14)
    newest_run, first = schedules.newest_run, iter([True])

    def after_another_tick(session: Session, schedule_id: int) -> Run | None:
        if next(first, False):
            tick(ctx, night)
        return newest_run(session, schedule_id)

    known = schedules.list_schedules

    def before_another_tick(session: Session) -> list[Schedule]:
        found = known(session)
        monkeypatch.setattr(schedules, "newest_run", after_another_tick)
        monkeypatch.setattr(schedules, "list_schedules", known)
        return found

    monkeypatch.setattr(schedules, "list_schedules", before_another_tick)
    (second,) = tick(ctx, night)
    assert (second.run_id, reasons(ctx.engine, nightly)) == (None, [("not due before 2026-11-25 03:00 CET", 1)])


def test_tickers_that_race_start_one_run(ctx: Context, monday: datetime) -> None:
    add(ctx.engine, NIGHT)
    add(ctx.engine, When(stale=True), name="mender")
    with writing(ctx.engine) as session:
        base = versions.ensure_base(session, "tiny", "0" * 64)
        versions.promote(session, base.id, None, {}, actor="test")
        base.stale_reason = "ann withdrew"
    gate, found = threading.Barrier(4), list[Ticked]()

    def race() -> None:
        gate.wait()
        found.extend(tick(ctx, monday + timedelta(days=1)))

    threads = [threading.Thread(target=race) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    with reading(ctx.engine) as session:
        started = runs.list_runs(session)
        why = sorted(run.config["reason"] for run in started)
    assert why == ["due at 2026-11-24 03:00 CET", "v0 is stale (ann withdrew)"]
    assert sorted(one.run_id for one in found if one.run_id) == sorted(run.id for run in started)


def judge(session: Session, name: str, choices: str) -> None:
    """The annotator prefers the first ("l") or the second candidate of one comparison after the other."""
    who = annotators.ensure(session, name, "human").id
    for choice in choices:
        task = next_assignment(session, who)
        assert task is not None
        flipped = task.candidate_ids[0] != min(task.candidate_ids)
        left = (choice == "l") is not flipped
        judgments.submit(session, task.assignment_id, who, judgments.Said("left" if left else "right"))


def test_a_trigger_counts_new_agreed_pairs_and_says_what_is_missing(ctx: Context, ask: Ask, monday: datetime) -> None:
    eager = add(ctx.engine, When(new_pairs=3))

    def say_until(wanted: str, start: str = "l") -> int:
        """Ann goes on judging until a tick says that: a held-out prompt gives no pair. How often she did."""
        for said in range(20):
            ticked = tick(ctx, monday)[0]
            if ticked.reason == wanted:
                return said
            with writing(ctx.engine) as session:
                judge(session, "ann", start)
        raise AssertionError(f"it says {ticked.reason}")

    with writing(ctx.engine) as session:
        ask(session, 20, overlap=2)
    assert say_until("0 of 3 new agreed pairs") == 0
    said = say_until("2 of 3 new agreed pairs")
    with writing(ctx.engine) as session:
        judge(session, "bob", "r" * said)  # the same comparisons, the other way round
    assert say_until("0 of 3 new agreed pairs; 2 conflicted") == 0
    say_until("3 of 3 new agreed pairs; 2 conflicted")
    end(ctx.engine, 1)
    assert tick(ctx, monday + timedelta(minutes=1))[0] == Ticked("nightly", None, "0 of 3 new agreed pairs")
    assert reasons(ctx.engine, eager)[:2] == [
        ("0 of 3 new agreed pairs", 1),
        ("2 of 3 new agreed pairs; 2 conflicted", 1),
    ]


def test_people_are_told_once_that_nothing_is_left_to_label(ctx: Context, ask: Ask, monday: datetime) -> None:
    add(ctx.engine, When(new_pairs=50))

    def told() -> list[str]:
        for minute in range(2):
            tick(ctx, monday + timedelta(minutes=minute))
        with reading(ctx.engine) as session:
            found = notifications.newest(session, Wanted(("webhook",), ("needs-labels",)))
        return [row.payload["data"]["waits"] for row in found[::-1]]

    with writing(ctx.engine) as session:
        ask(session, 2)
    assert told() == [], "they can go on"
    with writing(ctx.engine) as session:
        judge(session, "ann", "ll")
    (first,) = told()
    assert first.endswith("of 50 new agreed pairs")
    with writing(ctx.engine) as session:
        ask(session, 4)
        judge(session, "ann", "l")
    assert told() == [first]
    with writing(ctx.engine) as session:
        judge(session, "ann", "l")
    assert len(told()) == 2


def test_a_reward_model_is_wanted_where_there_is_none(ctx: Context, ask: Ask, monday: datetime) -> None:
    add(ctx.engine, When(reward_older=True))
    assert tick(ctx, monday)[0].reason == "no reward model yet; judgments: 0"
    with writing(ctx.engine) as session:
        ask(session, 1)
        judge(session, "ann", "l")
    assert tick(ctx, monday)[0] == Ticked("nightly", 1, "no reward model yet; judgments: 1")


def test_a_schedule_that_could_never_start_is_refused_and_a_removed_one_frees_its_name(engine: Engine) -> None:
    with writing(engine) as session:
        with pytest.raises(StoreError, match="nothing would ever start schedule idle"):
            schedules.add(session, "idle", When(), RECIPE)
        schedules.add(session, "nightly", NIGHT, RECIPE)
        with pytest.raises(StoreError, match="there is a schedule nightly already"):
            schedules.add(session, "nightly", NIGHT, RECIPE)
        schedules.remove(session, "nightly")
        with pytest.raises(StoreError, match="no schedule nightly; known: none yet"):
            schedules.pause(session, "nightly")
        schedules.add(session, "nightly", NIGHT, RECIPE)
        assert [schedule.name for schedule in schedules.list_schedules(session)] == ["nightly"]


def test_reasons_do_not_grow_for_ever(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedules, "KEPT", 3)
    nightly = add(engine, NIGHT)
    with writing(engine) as session:
        for number in range(10):
            schedules.wait(session, nightly, None, f"{number} of 100", datetime.now(UTC))
    assert [reason for reason, _ in reasons(engine, nightly)] == ["9 of 100", "8 of 100", "7 of 100"]


def test_a_device_is_leased_to_one_run_and_two_devices_to_two(engine: Engine, wait: Wait) -> None:
    with writing(engine) as session:
        first, second = queued(session), queued(session)
    with writing(engine) as session:
        taken = run_queue.lease(session, terms("one"))
        assert taken is not None
        assert (taken.id, taken.state, taken.lease_owner, taken.code_version) == (first, "running", "one", "abc")
    with writing(engine) as session:
        assert run_queue.lease(session, terms("two")) is None
        other = run_queue.lease(session, terms("two", "host:cuda:1"))
        assert other is not None
        assert other.id == second
    with pytest.raises(IntegrityError, match=r"device"), writing(engine) as session:
        third = session.get_one(Run, queued(session))
        third.state, third.device = "running", "host:cpu"


def test_workers_that_race_for_a_device_train_one_run(engine: Engine) -> None:
    with writing(engine) as session:
        for _ in range(4):
            queued(session)
    gate, found = threading.Barrier(4), list[Run | None]()

    def race(name: int) -> None:
        gate.wait()
        with writing(engine) as session:
            found.append(run_queue.lease(session, terms(f"worker {name}")))

    threads = [threading.Thread(target=race, args=[name]) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(run is not None for run in found) == 1
    with reading(engine) as session:
        assert len(runs.list_runs(session, state="running")) == 1


def test_a_lease_lasts_as_long_as_its_heartbeat_and_is_taken_over_after_that(engine: Engine, wait: Wait) -> None:
    with writing(engine) as session:
        run_id = queued(session)
        run_queue.lease(session, terms("one"))
        stage = runs.start(session, "dpo", {}, 0, "abc", "e" * 64, recipe_run_id=run_id)
    wait(50)
    with writing(engine) as session:
        assert run_queue.heartbeat(session, run_id, "one", 60) == "go on"
    wait(50)
    with writing(engine) as session:
        assert run_queue.lease(session, terms("two", "other:cpu")) is None
    wait(11)
    with writing(engine) as session:
        taken = run_queue.lease(session, terms("two", "other:cpu"))
        assert taken is not None
        assert (taken.id, taken.attempt, taken.device) == (run_id, 2, "other:cpu")
        assert runs.get(session, stage.id).state == "failed"
    with writing(engine) as session:
        assert run_queue.heartbeat(session, run_id, "one", 60) == "lost"
        assert run_queue.standing(session, run_id, "one") == "lost"
        assert not run_queue.finish(session, run_id, "one")
        assert run_queue.finish(session, run_id, "two")
    with reading(engine) as session:
        assert runs.get(session, run_id).state == "finished"


def test_a_run_whose_workers_keep_dying_is_given_up(engine: Engine, wait: Wait) -> None:
    with writing(engine) as session:
        run_id = queued(session)
    for attempt in (1, 2):
        with writing(engine) as session:
            taken = run_queue.lease(session, terms(f"worker {attempt}", attempts=2))
            assert taken is not None
            assert taken.attempt == attempt
        wait(61)
    with writing(engine) as session:
        assert run_queue.lease(session, terms("worker 3", attempts=2)) is None
        run = runs.get(session, run_id)
        assert run.state == "failed"
        assert "worker 2 has not been heard of since" in str(run.error)
        assert "at attempt 2 of 2" in str(run.error)


def test_a_run_is_handed_back_at_once_and_tried_again_after_a_pause(engine: Engine, wait: Wait) -> None:
    with writing(engine) as session:
        run_id = queued(session)
        run_queue.lease(session, terms())
        assert run_queue.hand_back(session, run_id, "one")
        again = run_queue.lease(session, terms("two"))
        assert again is not None
        assert (again.id, again.attempt) == (run_id, 1)
        assert not run_queue.try_again(session, run_id, "one", 30)
        assert run_queue.try_again(session, run_id, "two", 30)
        assert run_queue.lease(session, terms("three")) is None
    wait(31)
    with writing(engine) as session:
        later = run_queue.lease(session, terms("three"))
        assert later is not None
        assert later.attempt == 2


def test_a_run_that_is_asked_for_by_its_number_is_the_only_one_that_is_taken(engine: Engine, wait: Wait) -> None:
    with writing(engine) as session:
        first, second = queued(session), queued(session)
        taken = run_queue.lease(session, terms("one", "other:cpu"), only=second)
        assert taken is not None
        assert taken.id == second
    wait(61)
    with writing(engine) as session:  # not even what died on the device
        assert run_queue.lease(session, terms("two", "other:cpu"), only=first) is None


def test_cancelling_ends_a_queued_run_and_tells_the_worker_of_a_running_one(engine: Engine, wait: Wait) -> None:
    with writing(engine) as session:
        first, second = queued(session), queued(session)
        assert run_queue.cancel(session, first, "ann").state == "cancelled"
        with pytest.raises(StoreError, match=f"run {first} is cancelled already"):
            run_queue.cancel(session, first, "ann")
        run_queue.lease(session, terms())
        stage = runs.start(session, "dpo", {}, 0, "abc", "e" * 64, recipe_run_id=second)
        with pytest.raises(StoreError, match=rf"one stage \(dpo\); cancel run {second}"):
            run_queue.cancel(session, stage.id, "ann")
        assert run_queue.cancel(session, second, "ann").state == "running"
        assert run_queue.heartbeat(session, second, "one", 60) == "cancel"
        assert run_queue.cancelled(session, second, "one")
        third = queued(session)
        run_queue.lease(session, terms())
        left = runs.start(session, "dpo", {}, 0, "abc", "f" * 64, recipe_run_id=third)
    wait(61)
    with writing(engine) as session:  # its worker is dead: nobody is left to wait for
        assert run_queue.cancel(session, third, "ann").state == "cancelled"
        assert runs.get(session, left.id).state == "failed"


def test_a_fortnight_has_each_due_time_once(ctx: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two tickers every two hours, two nights without power, a run that fails, the change to winter time."""
    now = datetime(2026, 10, 19, 10, tzinfo=UTC)
    monkeypatch.setattr("db.clock.now", lambda: now)
    add(ctx.engine, When("30 2 * * *", "Europe/Berlin"))
    without_power = datetime(2026, 10, 21, 20, tzinfo=UTC), datetime(2026, 10, 23, 20, tzinfo=UTC)
    while now < datetime(2026, 11, 2, 10, tzinfo=UTC):
        now += timedelta(hours=2)
        if without_power[0] < now < without_power[1]:
            continue
        tick(ctx, now)
        tick(ctx, now + timedelta(seconds=1))
        with writing(ctx.engine) as session:
            run = run_queue.lease(session, terms())
            if run is not None and run.id == 2:
                run_queue.fail(session, run.id, "one", "dpo: no room on the disk")
            elif run is not None:
                run_queue.finish(session, run.id, "one")
    with reading(ctx.engine) as session:
        found = sorted(runs.list_runs(session, limit=100), key=lambda run: run.id)
    summer = [datetime(2026, 10, day, 0, 30, tzinfo=UTC) for day in (20, 21, 23, 24, 25)]  # 22 and 23 are one
    winter = [datetime(2026, 10, day, 1, 30, tzinfo=UTC) for day in range(26, 32)]
    winter += [datetime(2026, 11, day, 1, 30, tzinfo=UTC) for day in (1, 2)]
    assert [run.due_slot for run in found] == summer + winter
    assert [run.state for run in found] == ["finished", "failed", *["finished"] * 11]
