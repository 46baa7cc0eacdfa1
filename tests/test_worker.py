"""A worker and the runs that it takes: killed, cancelled, told to end, refused; on stand-ins for stages where what they
do does not matter, and on real training of the tiny model where it does."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import text
from test_loop import SETTINGS, context, judge_by_length
from typer.testing import CliRunner

from db import prompts, run_queue, runs, versions
from db.engine import reading, writing
from db.errors import StoreError
from db.tables import Run
from pipeline import cli_schedule, import_prompts, worker, workspace
from pipeline.cli import app
from pipeline.context import Context
from pipeline.orders import order, retry
from pipeline.recipe import DEFAULT, Recipe, Stage
from pipeline.recipe_stages import carry_out
from pipeline.run_log import new_text
from pipeline.verify import verify
from pipeline.worker import Worker

TEACH = Recipe(name="teach", stages=[{"stage": "snapshot"}, {"stage": "dpo", "settings": {"dpo": {"beta": 0.2}}}])  # type: ignore[list-item]


@pytest.fixture
def ctx(tmp_path: Path) -> Iterator[Context]:
    """A workspace without a model, for stages that are stand-ins."""
    folder = tmp_path / "ws"
    folder.mkdir()
    (folder / "prefloop.toml").write_text("[worker]\nlease_seconds = 1.5\nbackoff_seconds = 0\nattempts = 2\n")
    workspace.init(folder)
    made, engine = context(folder)
    yield made
    engine.dispose()


def stages_are(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Stands in for every stage: a program that has `stage`, its name."""
    monkeypatch.setattr(worker, "POLL", 0.05)
    monkeypatch.setattr(
        worker, "stage_command", lambda ctx, run_id, stage: [sys.executable, "-c", f"stage = {stage!r}\n{code}"]
    )


def ordered(ctx: Context) -> int:
    return order(ctx, {"recipe": TEACH.as_dict()}).id


def run_of(ctx: Context, run_id: int) -> Run:
    with reading(ctx.engine) as session:
        return runs.get(session, run_id)


def once_its_log_has(ctx: Context, run_id: int, wanted: str, act: Callable[[], object]) -> threading.Thread:
    """Acts, in a thread, as soon as a stage of the run has written that."""

    def watch() -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if any(wanted in path.read_text() for path in ctx.workspace.artifacts.glob(f"runs/{run_id}/*.log")):
                act()
                return
            time.sleep(0.05)

    thread = threading.Thread(target=watch)
    thread.start()
    return thread


def test_stages_are_done_in_order_and_what_they_wrote_can_be_read(
    ctx: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    stages_are(monkeypatch, "print('this is', stage)")
    run_id = ordered(ctx)
    assert Worker(ctx, "cpu").work(once=True) == 1
    run = run_of(ctx, run_id)
    assert (run.state, run.attempt, run.error) == ("finished", 1, None)
    assert run.heartbeat_at > run.started_at  # type: ignore[operator]  # between stages, however short they are
    logs = "".join(new_text(ctx, run_id, follow=True))
    assert logs.index("this is snapshot") < logs.index("=== 02-dpo") < logs.index("this is dpo")
    assert Worker(ctx, "cpu").work(once=True) == 0


@pytest.mark.parametrize(
    ("code", "attempts", "error"),
    [
        ("import sys; print('Error: no human judgment; label more'); sys.exit(3)", 1, "snapshot: no human judgment"),
        ("raise MemoryError('no memory')", 2, "snapshot: no memory"),
        ("import os; os.kill(os.getpid(), 9)", 2, "snapshot: killed by SIGKILL"),
    ],
)
def test_what_a_person_must_mend_fails_at_once_and_a_crash_is_tried_again(
    ctx: Context, monkeypatch: pytest.MonkeyPatch, code: str, attempts: int, error: str
) -> None:
    stages_are(monkeypatch, code)
    run_id = ordered(ctx)
    one = Worker(ctx, "cpu")
    assert [one.work(once=True) for _ in range(3)] == [1] * attempts + [0] * (3 - attempts)
    run = run_of(ctx, run_id)
    assert (run.state, run.attempt) == ("failed", attempts)
    assert error in str(run.error)


def test_no_run_is_begun_on_a_disk_that_is_almost_full(ctx: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    stages_are(monkeypatch, "pass")
    run_id = ordered(ctx)
    one = Worker(ctx, "cpu")
    one.min_free_gb = shutil.disk_usage(ctx.workspace.artifacts).free / 1e9 + 10
    assert one.work(once=True) == 0
    assert run_of(ctx, run_id).state == "queued"
    assert "make room" in one.too_full()
    one.min_free_gb = 0
    assert one.work(once=True) == 1


def test_a_stage_that_hangs_ends_at_its_timeout(ctx: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    stages_are(monkeypatch, "import time; time.sleep(60)")
    monkeypatch.setattr(worker, "STOP", 0.1)
    hasty = Recipe(name="hasty", stages=[{"stage": "snapshot", "timeout_minutes": 0.5 / 60}])  # type: ignore[list-item]
    run_id = order(ctx, {"recipe": hasty.as_dict()}).id
    one = Worker(ctx, "cpu")
    assert [one.work(once=True) for _ in range(3)] == [1, 1, 0]
    assert "its timeout" in str(run_of(ctx, run_id).error)


def test_a_cancelled_run_ends_within_five_seconds_even_if_its_stage_does_not_listen(
    ctx: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    stages_are(
        monkeypatch,
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)",
    )
    run_id = ordered(ctx)
    asked: list[float] = []

    def cancel() -> None:
        asked.append(time.monotonic())
        with writing(ctx.engine) as session:
            run_queue.cancel(session, run_id, "ann")

    thread = once_its_log_has(ctx, run_id, "deaf", cancel)
    assert Worker(ctx, "cpu").work(once=True) == 1
    assert time.monotonic() - asked[0] < 5
    thread.join()
    assert run_of(ctx, run_id).state == "cancelled"


@pytest.mark.parametrize(("told", "state"), [("cancel", "cancelled"), ("end", "queued")])
def test_between_two_stages_a_run_ends_as_well(
    ctx: Context, monkeypatch: pytest.MonkeyPatch, told: str, state: str
) -> None:
    begun: list[str] = []

    def do_stage(self: Worker, run: Run, stage: Stage, log: Path) -> tuple[str, str]:
        begun.append(stage.stage)
        if told == "cancel":
            with writing(ctx.engine) as session:
                run_queue.cancel(session, run.id, "ann")
        else:
            os.kill(os.getpid(), signal.SIGTERM)
        return "done", ""

    monkeypatch.setattr(Worker, "do_stage", do_stage)
    run_id = ordered(ctx)
    assert Worker(ctx, "cpu").work(once=True) == 1
    assert (run_of(ctx, run_id).state, begun) == (state, ["snapshot"])


@pytest.mark.skipif(sys.platform != "linux", reason="idle scheduling is Linux's")
def test_a_process_that_gives_way_takes_only_the_processor_time_that_others_leave() -> None:
    code = (
        "import os; from pathlib import Path; from pipeline.environment import give_way; give_way()\n"
        "groups = Path('/proc/self/autogroup')\n"
        "print(os.sched_getscheduler(0) == os.SCHED_IDLE, groups.read_text().split()[-1] if groups.exists() else 19)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, start_new_session=True)
    assert done.stdout.split() == ["True", "19"], done.stderr
    assert os.sched_getscheduler(0) == os.SCHED_OTHER, "the test's own session"


@pytest.mark.parametrize("wanted", [True, False])
def test_stages_give_way_to_the_labeling_ui_unless_the_workspace_says_not_to(
    ctx: Context, monkeypatch: pytest.MonkeyPatch, wanted: bool
) -> None:
    done: list[str] = []
    monkeypatch.setattr("pipeline.cli_schedule.give_way", lambda: done.append("gave way"))
    monkeypatch.setattr("pipeline.recipe_stages.carry_out", lambda ctx, run, name: done.append(name))
    monkeypatch.setattr("pipeline.stopping.end_with", lambda leash: None)
    monkeypatch.setenv("PREFLOOP_WORKER__GIVES_WAY", str(wanted))
    monkeypatch.setenv("PREFLOOP_HOME", str(ctx.workspace.root))
    with Path(os.devnull).open() as held:
        monkeypatch.setattr("sys.stdin", held)
        cli_schedule.stage(ordered(ctx), "dpo")
    assert done == (["gave way"] if wanted else []) + ["dpo"]


def test_a_worker_that_is_told_to_end_hands_its_run_back(ctx: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    stages_are(monkeypatch, "import time; print('at work', flush=True); time.sleep(60)")
    run_id = ordered(ctx)
    thread = once_its_log_has(ctx, run_id, "at work", lambda: os.kill(os.getpid(), signal.SIGTERM))
    handler = signal.getsignal(signal.SIGTERM)
    assert Worker(ctx, "cpu").work() == 1
    thread.join()
    assert signal.getsignal(signal.SIGTERM) == handler
    run = run_of(ctx, run_id)
    assert (run.state, run.attempt, run.device) == ("queued", 1, None)


def test_a_worker_that_was_away_too_long_lets_go_of_what_another_took_over(
    ctx: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    stages_are(monkeypatch, "import time; print('at work', flush=True); time.sleep(60)")
    run_id = ordered(ctx)

    def take_over() -> None:
        with ctx.engine.begin() as connection:
            connection.execute(text("UPDATE run SET lease_owner = 'another'"))

    thread = once_its_log_has(ctx, run_id, "at work", take_over)
    Worker(ctx, "cpu").work(once=True)
    thread.join()
    run = run_of(ctx, run_id)
    assert (run.state, run.lease_owner) == ("running", "another")


def test_a_lease_outlives_a_long_stage_by_its_heartbeat(ctx: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    stages_are(monkeypatch, "import time; time.sleep(2 if stage == 'dpo' else 0)")
    run_id = ordered(ctx)
    others: list[int] = []
    stop = threading.Event()

    def hover() -> None:
        other = Worker(ctx, "cuda:7")
        while not stop.wait(0.1):
            if (taken := other.lease()) is not None:
                others.append(taken.id)

    thread = threading.Thread(target=hover)
    one = Worker(ctx, "cpu")
    leased = one.lease()
    assert leased is not None
    thread.start()
    assert one.carry_out(leased) == "done"
    stop.set()
    thread.join()
    assert (others, run_of(ctx, run_id).state) == ([], "finished")


@pytest.fixture
def root(tmp_path: Path, tiny_base: Path) -> Path:
    """A workspace with judgments to learn from."""
    folder = tmp_path / "real"
    folder.mkdir()
    limits = "[training]\ncheckpoint_steps = 2\n[worker]\nlease_seconds = 8\nbackoff_seconds = 0\n"
    (folder / "prefloop.toml").write_text(SETTINGS.format(base=tiny_base).replace("[dpo]\nepochs = 1", "") + limits)
    workspace.init(folder)
    made, engine = context(folder)
    with writing(engine) as session:
        prompts.add_many(session, import_prompts.builtin().items[:120])
    judge_by_length(made)
    engine.dispose()
    return folder


def copied(ctx: Context, to: Path) -> None:
    """The workspace as it stands. No connection may be open: closing the copied file would drop its locks (SQLite)."""
    ctx.engine.dispose()
    shutil.copytree(ctx.workspace.root, to)


def test_a_killed_workers_run_is_taken_over_and_ends_with_the_same_adapter(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """kill -9 of the worker while its stage trains; the stage does not outlive it, and the other goes on from there."""
    ctx, engine = context(root)
    run_id = ordered(ctx)
    carry_out(ctx, run_id, "snapshot")
    copied(ctx, tmp_path / "undisturbed")
    command = [sys.executable, "-m", "pipeline", "-w", str(root), "worker", "--once", "--device", "cpu"]
    killed = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 240
    while not list(root.glob("artifacts/runs/*/adapter.checkpoints/checkpoint-4")) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    left = run_of(ctx, run_id)
    assert (left.state, list(left.summary or {})) == ("running", ["snapshot"])
    other_worker = Worker(ctx, "cpu")
    stages_in_process(monkeypatch)
    while other_worker.work(once=True) == 0 and time.monotonic() < deadline:
        time.sleep(0.5)
    ended = run_of(ctx, run_id)
    assert (ended.state, ended.attempt) == ("finished", 2)
    assert "stopped by SIGTERM at step" in "".join(new_text(ctx, run_id, follow=False))  # the stage noticed
    assert not list(root.rglob("*.checkpoints"))  # they went over to the run that finished
    with reading(engine) as session:
        assert not runs.list_runs(session, state="running")
        assert {run.state for run in runs.list_runs(session, stage="dpo")} == {"failed", "finished"}
        assert {run.recipe_run_id for run in runs.list_runs(session, stage="dpo")} == {run_id}
    assert verify(ctx) == []

    # The same order in a copy of the store, by nobody's worker: the weights are those of an undisturbed run.
    whole, other = context(tmp_path / "undisturbed")
    undisturbed = carry_out(whole, run_id, "dpo")
    assert undisturbed["adapter_sha256"] == ended.summary["dpo"]["adapter_sha256"]  # type: ignore[index]
    assert run_of(whole, undisturbed["run"]).config["beta"] == 0.2
    for opened in (engine, other):
        opened.dispose()


def test_a_replay_goes_by_what_the_first_run_was_resolved_to(root: Path, tmp_path: Path) -> None:
    """Whatever is labeled, promoted or set since; shown in a copy of the store that has not trained yet."""
    ctx, engine = context(root)
    first = ordered(ctx)
    carry_out(ctx, first, "snapshot")
    with writing(engine) as session:
        run_queue.cancel(session, first, "ann")
    copied(ctx, tmp_path / "copy")
    before = carry_out(ctx, first, "dpo")
    engine.dispose()

    copy = tmp_path / "copy"
    config = (copy / "prefloop.toml").read_text()
    (copy / "prefloop.toml").write_text("seed = 9\n" + config.replace("rank = 4", "rank = 2"))
    changed, engine = context(copy)
    judge_by_length(changed, rows=60, names=("another",))
    again, anew = retry(changed, first, same=True), retry(changed, first, same=False)
    for run in (again, anew):
        carry_out(changed, run.id, "snapshot")
    after = carry_out(changed, again.id, "dpo")
    assert after["adapter_sha256"] == before["adapter_sha256"]
    resolved = run_of(changed, anew.id).config["resolved"]
    assert resolved["settings"]["seed"] == 9
    assert resolved["snapshots"] != run_of(changed, again.id).config["resolved"]["snapshots"]
    engine.dispose()


def test_the_whole_recipe_runs_from_the_command_line_and_a_second_time_learns_nothing_new(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFLOOP_HOME", str(root))
    cli = CliRunner()
    anew = root / "anew.toml"
    anew.write_text(DEFAULT.read_text().replace('start = "current"', 'start = "base"'))
    assert cli.invoke(app, ["schedule", "add", "eager", "--new-pairs", "5", "--recipe", str(anew)]).exit_code == 0
    ctx, engine = context(root)
    stages_in_process(monkeypatch)
    assert cli.invoke(app, ["worker", "--tick", "--once", "--device", "cpu"]).exit_code == 0
    with reading(engine) as session:
        (run,) = runs.list_runs(session, stage="recipe")
    assert run.state == "finished", run.error
    assert "new agreed pairs" in run.config["reason"]
    summary = run.summary
    assert summary is not None
    assert list(summary) == ["snapshot", "reward", "exam", "dpo", "compare", "promote"]
    assert summary["compare"]["judge"] == "reward:r1"
    assert "held-out prompts" in summary["promote"]["reason"]
    assert "0 of 5 new agreed pairs" in cli.invoke(app, ["tick"]).stdout
    (ticked,) = json.loads(cli.invoke(app, ["tick", "--json"]).stdout)
    assert (ticked["run_id"], ticked["reason"][:6]) == (None, "0 of 5")
    assert "0 of 5 new agreed pairs" in cli.invoke(app, ["schedule", "why", "eager"]).stdout
    (row,) = json.loads(cli.invoke(app, ["schedule", "list", "--json"]).stdout)
    assert (row["starts"], row["last_run"]) == ("on 5 new agreed pairs", f"{run.id} finished")

    with writing(engine) as session:
        if versions.current(session).name != "v1":  # type: ignore[union-attr]
            versions.promote(session, versions.by_name(session, "v1").id, None, {}, actor="test")
    assert cli.invoke(app, ["runs", "retry", str(run.id)]).exit_code == 0
    assert Worker(ctx, "cpu").work(once=True) == 1
    again = run_of(ctx, json.loads(cli.invoke(app, ["runs", "list", "--limit", "1", "--json"]).stdout)[0]["id"])
    assert again.summary["promote"]["reason"] == "v1 is current already: nothing new was learned"  # type: ignore[index]
    refused = cli.invoke(app, ["runs", "cancel", str(run.id)])
    assert "is finished already" in str(refused.exception)
    with pytest.raises(StoreError, match="one stage"):
        retry(ctx, run.id + 1, same=True)
    engine.dispose()


def stages_in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real stages, without six times the start of Python and torch."""

    def do_stage(self: Worker, run: Run, stage: object, log: Path) -> tuple[str, str]:
        carry_out(self.ctx, run.id, stage.stage)  # type: ignore[attr-defined]
        return "done", ""

    monkeypatch.setattr(Worker, "do_stage", do_stage)
