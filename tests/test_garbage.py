"""`prefloop gc`: what goes, what stays, and that nobody is harmed by it, whenever it is run or killed."""

import json
import os
import shutil
import signal
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from db import clock, run_queue, runs, versions
from db.engine import reading, writing
from db.errors import StoreError
from db.tables import Version
from pipeline import checkpoints, garbage, workspace
from pipeline.cli import app
from pipeline.context import Context
from pipeline.errors import PrefloopError
from pipeline.garbage import collect, survey
from pipeline.recorded_run import recorded
from pipeline.run_log import new_text
from pipeline.verify import verify
from pipeline.worker import Worker

SECTION = "[retention]\nadapters = 1\nlog_days = 7\n"


def opened(root: Path) -> Context:
    found = workspace.find(root)
    return Context(found, found.open_store(), Console(quiet=True), actor="test")


@pytest.fixture
def ctx(tmp_path: Path) -> Iterator[Context]:
    folder = tmp_path / "ws"
    folder.mkdir()
    (folder / "prefloop.toml").write_text(SECTION)
    workspace.init(folder)
    made = opened(folder)
    yield made
    made.engine.dispose()


def over(ctx: Context, state: str, mark: str = "a", recipe_run_id: int | None = None) -> int:
    """A training run that has ended so, with its folder."""
    with writing(ctx.engine) as session:
        run = runs.start(session, "dpo", {}, 0, "abc", mark * 64, recipe_run_id=recipe_run_id)
        runs.set_folder(session, run.id, f"runs/{run.id}")
        if state == "finished":
            runs.finish(session, run.id, {})
        elif state == "failed":
            runs.fail(session, run.id, "killed")
    (ctx.workspace.artifacts / f"runs/{run.id}").mkdir(parents=True)
    return run.id


def checkpoint(ctx: Context, run_id: int, step: int, sealed: bool = True) -> Path:
    folder = ctx.workspace.artifacts / f"runs/{run_id}/adapter.checkpoints/checkpoint-{step}"
    folder.mkdir(parents=True)
    (folder / "optimizer.pt").write_bytes(b"0" * 1000)
    if sealed:
        checkpoints.seal(folder)
    return folder


def version(ctx: Context, name: str) -> Path:
    """The adapter of a new version over the base."""
    run_id = over(ctx, "finished", str(len(name)) + name)
    folder = ctx.workspace.artifacts / f"runs/{run_id}/adapter"
    folder.mkdir()
    (folder / checkpoints.ADAPTER_FILE).write_bytes(name.encode() * 100)
    sha256 = checkpoints.file_sha256(folder / checkpoints.ADAPTER_FILE)
    with writing(ctx.engine) as session:
        base = versions.ensure_base(session, "tiny", "0" * 64)
        if versions.current(session) is None:
            versions.promote(session, base.id, None, {}, "test")
        kind = "reward" if name[0] == "r" else "policy"
        made = kind, name, "tiny", "0" * 64, f"runs/{run_id}/adapter", sha256
        versions.create(session, *made, base.id, run_id, None)  # type: ignore[arg-type]
    return folder


def named(ctx: Context, name: str) -> Version:
    with reading(ctx.engine) as session:
        return versions.by_name(session, name)


def everything(root: Path) -> dict[str, bytes]:
    files = [path for path in root.rglob("*") if path.is_file() and not path.name.startswith("prefloop.db")]
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}


def test_what_nothing_needs_goes_and_the_rest_stays(ctx: Context) -> None:
    kept_checkpoints = [
        checkpoint(ctx, failed := over(ctx, "failed"), 6),
        checkpoint(ctx, running := over(ctx, "-"), 2),
    ]
    gone = [
        checkpoint(ctx, failed, 4),
        checkpoint(ctx, failed, 8, sealed=False),  # torn: the one before it is what can be trusted
        checkpoint(ctx, over(ctx, "failed", "b"), 2).parent,  # another run has done the work
        checkpoint(ctx, over(ctx, "finished", "b"), 2).parent,
        ctx.workspace.artifacts / "runs/999",
        ctx.workspace.artifacts / f"runs/{failed}/adapter.partial",
        ctx.workspace.cache / "fetching-abc",
        version(ctx, "v1"),
        version(ctx, "r1"),
    ]
    for folder in gone[4:7]:
        folder.mkdir()
        (folder / "half").write_text("half")
    kept_adapters = [version(ctx, "v2"), version(ctx, "r2")]
    (half_made := ctx.workspace.artifacts / f"runs/{running}/adapter").mkdir()  # its version is about to be stored

    before = everything(ctx.workspace.root)
    found = survey(ctx)
    after = everything(ctx.workspace.root)
    assert {name: after[name] for name in after if not name.endswith(".lock")} == before
    assert {ctx.workspace.root / each.path for each in found} == set(gone)
    assert {damage.kind for damage in verify(ctx)} == {"orphan"}
    sizes = {ctx.workspace.root / each.path: each.bytes for each in found}
    assert sizes[gone[7]] == 200 and sizes[gone[0]] > 1000

    assert len(collect(ctx, found)) == len(found)
    assert not any(path.exists() for path in gone)
    assert all(path.exists() for path in (*kept_checkpoints, *kept_adapters, half_made))
    assert not list((ctx.workspace.artifacts / "trash").iterdir())
    assert (survey(ctx), verify(ctx)) == ([], [])
    assert named(ctx, "v1").adapter_removed_at is not None
    assert named(ctx, "v2").adapter_removed_at is None


def test_a_run_that_is_about_to_go_on_keeps_a_checkpoint_even_where_none_is_kept(ctx: Context) -> None:
    (ctx.workspace.root / "prefloop.toml").write_text("[retention]\ncheckpoints = 0\n")
    none_kept = opened(ctx.workspace.root)
    with writing(ctx.engine) as session:
        queued = run_queue.enqueue(session, {"recipe": {}}, "ann")
        assert queued is not None
    wanted = checkpoint(ctx, over(ctx, "failed", "a", queued.id), 4)
    unwanted = checkpoint(ctx, over(ctx, "failed", "b"), 4)
    assert [none_kept.workspace.root / each.path for each in survey(none_kept)] == [unwanted]
    with writing(ctx.engine) as session:
        run_queue.cancel(session, queued.id, "ann")
    assert wanted in [none_kept.workspace.root / each.path for each in survey(none_kept)]
    none_kept.engine.dispose()


def test_logs_of_scheduled_runs_go_in_time_and_say_so(ctx: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    with writing(ctx.engine) as session:
        order = run_queue.enqueue(session, {"recipe": {}}, "ann")
        assert order is not None
        run_queue.cancel(session, order.id, "ann")
    log = ctx.workspace.artifacts / f"runs/{order.id}/01-dpo.log"
    log.parent.mkdir(parents=True)
    log.write_text("it works\n")
    assert "it works" in "".join(new_text(ctx, order.id, follow=False))
    assert survey(ctx) == []
    later = clock.now() + timedelta(days=8)
    monkeypatch.setattr(clock, "now", lambda: later)
    (found,) = survey(ctx)
    assert (found.kind, found.path) == ("log", f"artifacts/runs/{order.id}/01-dpo.log")
    collect(ctx, [found])
    with pytest.raises(PrefloopError, match="retention.log_days"):
        list(new_text(ctx, order.id, follow=False))


def test_an_adapter_that_somebody_works_with_stays(ctx: Context) -> None:
    """A server that has it loaded, a comparison, a training that starts from it: each holds it until it ends."""
    folder = version(ctx, "v1")
    version(ctx, "v2")
    found = survey(ctx)
    server = opened(ctx.workspace.root)
    assert server.adapter(named(ctx, "v1")) == folder
    assert collect(ctx, found) == []
    assert folder.exists() and named(ctx, "v1").adapter_removed_at is None
    server._in_use.clear()  # the process ends
    old_row = named(ctx, "v1")
    assert collect(ctx, found) == found
    for row in (named(ctx, "v1"), old_row):  # also to somebody who read the row before
        with pytest.raises(PrefloopError, match=r"adapter of v1 was removed on .*; use another version, or train one"):
            server.adapter(row)
    server.engine.dispose()


def test_what_became_needed_after_the_survey_stays(ctx: Context) -> None:
    folder = version(ctx, "v1")
    version(ctx, "v2")
    found = survey(ctx)
    with writing(ctx.engine) as session:
        versions.promote(session, versions.by_name(session, "v1").id, None, {}, "ann")
    assert collect(ctx, found) == []
    assert folder.exists()


def test_a_crash_in_the_middle_is_completed_by_the_next(ctx: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    version(ctx, "v1")
    version(ctx, "v2")
    checkpoint(ctx, over(ctx, "failed", "b"), 2)
    torn = checkpoint(ctx, over(ctx, "failed", "b"), 4, sealed=False)

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    # Marked, and still there: nothing may answer with it, and it goes the next time.
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(garbage, "_throw_away", killed)
        collect(ctx, survey(ctx))
    (damage,) = verify(ctx)
    assert (damage.kind, damage.problem) == ("orphan", "is marked as removed; `prefloop gc` removes it")
    # Renamed, and not deleted.
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(shutil, "rmtree", killed)
        collect(ctx, survey(ctx))
    assert verify(ctx) == []
    assert [each.why for each in survey(ctx) if "trash" in each.path] == ["thrown away, and not deleted yet"]
    collect(ctx, survey(ctx))
    assert (survey(ctx), verify(ctx), torn.exists()) == ([], [], False)


def test_two_at_once_do_each_thing_once(ctx: Context) -> None:
    for number in range(1, 9):
        version(ctx, f"v{number}")
        checkpoint(ctx, over(ctx, "failed", str(number)), 2, sealed=False)
    other = opened(ctx.workspace.root)
    gone: list[str] = []
    start = threading.Barrier(2)

    def tidy(of: Context) -> None:
        found = survey(of)
        start.wait()
        gone.extend(each.path for each in collect(of, found))

    threads = [threading.Thread(target=tidy, args=(of,)) for of in (ctx, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(gone) == len(set(gone)) == 7 + 8
    assert (survey(ctx), verify(ctx)) == ([], [])
    other.engine.dispose()


def test_who_would_take_over_checkpoints_that_are_just_gone_begins_anew(
    ctx: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline import recorded_run

    monkeypatch.setattr(recorded_run, "code_version", lambda: "abc")
    root = checkpoint(ctx, over(ctx, "failed"), 2).parent
    newest_verified = checkpoints.newest_verified

    def and_gone(where: Path) -> Path | None:
        found = newest_verified(where)
        shutil.rmtree(root)
        return found

    monkeypatch.setattr(checkpoints, "newest_verified", and_gone)
    with recorded(ctx, "dpo", {}, 0, "a" * 64) as run, writing(ctx.engine) as session:
        run.finish(session, {})
    assert not list(run.folder.glob("*.checkpoints"))


def test_the_command_shows_asks_and_says_what_is_gone(ctx: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFLOOP_HOME", str(ctx.workspace.root))
    cli = CliRunner()
    assert "nothing to remove" in cli.invoke(app, ["gc", "--yes"]).stdout
    folder = version(ctx, "v1")
    version(ctx, "v2")
    shown = json.loads(cli.invoke(app, ["gc", "--dry-run", "--json"]).stdout)
    assert (shown["removed"], shown["bytes"], [each["kind"] for each in shown["found"]]) == (False, 200, ["adapter"])
    assert "v1 was never promoted" in shown["found"][0]["why"]
    refused = cli.invoke(app, ["gc"], input="n\n")
    assert refused.exit_code == 1 and "to be removed" in refused.stdout and folder.exists()
    assert "--dry-run, or --yes" in str(cli.invoke(app, ["gc", "--json"]).exception)
    assert "removed" in cli.invoke(app, ["gc", "--yes"]).stdout and not folder.exists()
    listed = {row["name"]: row["adapter"] for row in json.loads(cli.invoke(app, ["versions", "list", "--json"]).stdout)}
    assert listed == {"v0": None, "v1": "removed", "v2": "there"}
    assert "was removed on" in cli.invoke(app, ["versions", "show", "v1"]).stdout


def test_a_full_disk_says_what_could_be_removed_and_a_worker_makes_room(ctx: Context) -> None:
    checkpoint(ctx, over(ctx, "failed", "a"), 2, sealed=False)
    (ctx.workspace.root / "prefloop.toml").write_text("[retention]\nafter_run = true\n[worker]\nmin_free_gb = 0\n")
    mine = opened(ctx.workspace.root)
    one = Worker(mine, "cpu")
    one.min_free_gb = 1e9
    assert "`prefloop gc` would free 0.0 GB" in one.too_full()
    one.surveyed, one.removable = one.surveyed, 3.14  # known for a while: it is not looked for every second
    assert "`prefloop gc` would free 3.1 GB" in one.too_full()
    one.min_free_gb = 0
    with writing(mine.engine) as session:
        run_queue.enqueue(session, {"recipe": {"stages": []}}, "ann")  # which is refused; that is enough of a run
    assert one.work(once=True) == 1
    assert survey(mine) == []
    mine.engine.dispose()


def test_a_version_without_its_adapter_says_so_wherever_it_is_used(tmp_path: Path, tiny_base: Path) -> None:
    from two_versions import two_versions

    from db.prompts import list_prompts
    from pipeline.compare import compare
    from pipeline.draw import draw
    from pipeline.export_version import export
    from pipeline.served_models import ServedModels

    ctx = two_versions(tmp_path / "ws", tiny_base)
    with writing(ctx.engine) as session:
        session.get_one(Version, versions.by_name(session, "v1").id).adapter_removed_at = clock.now()
        prompts = list_prompts(session, split="train")[:1]
    shutil.rmtree(ctx.workspace.artifacts / "runs/noise")
    v0, v1 = named(ctx, "v0"), named(ctx, "v1")
    served = ServedModels(ctx)
    assert "v1" not in [name for name, _ in served.listed()]
    for use in (
        lambda: draw(ctx, v1, prompts, 2, ctx.workspace.settings.sampling, 0),
        lambda: compare(ctx, v1, v0, ["taste:concise"]),
        lambda: export(ctx, v1, tmp_path / "out", merged=True),
        lambda: served.find("v1"),
        lambda: versions.promotable(session, "v1"),
    ):
        with pytest.raises((PrefloopError, StoreError), match="v1 was removed on"), reading(ctx.engine) as session:
            use()
    assert verify(ctx) == []
    ctx.engine.dispose()


def test_training_beside_gc_goes_on_from_its_checkpoint_to_the_same_weights(tmp_path: Path, tiny_base: Path) -> None:
    """Real training, told to stop in the middle and taken up again, while the workspace is cleared up over and over."""
    from test_loop import SETTINGS, judge_by_length

    from db import prompts
    from pipeline import import_prompts
    from pipeline.pairs import RowPolicy
    from pipeline.promote import ensure_current
    from pipeline.recorded_run import RecordedRun
    from pipeline.snapshot import freeze
    from pipeline.stopping import Stopped
    from pipeline.train import train_dpo_version

    root = tmp_path / "ws"
    root.mkdir()
    limits = "[training]\ncheckpoint_steps = 2\n[retention]\nadapters = 1\n"
    (root / "prefloop.toml").write_text(SETTINGS.format(base=tiny_base) + limits)
    workspace.init(root)
    ctx, other = opened(root), opened(root)
    with writing(ctx.engine) as session:
        prompts.add_many(session, import_prompts.builtin().items[:60])
    judge_by_length(ctx, rows=30)
    frozen, start = freeze(ctx, RowPolicy()), ensure_current(ctx)
    ctx.engine.dispose()
    shutil.copytree(root, tmp_path / "undisturbed")

    done, tidied = threading.Event(), []

    def tidy() -> None:
        while not done.wait(0.1):
            tidied.append(collect(other, survey(other)))

    thread = threading.Thread(target=tidy)
    thread.start()
    try:
        with pytest.MonkeyPatch.context() as patch, pytest.raises(Stopped):
            kept = RecordedRun.add_metrics

            def stop_at_four(self: RecordedRun, rows: list[tuple[str, int, float]]) -> None:
                kept(self, rows)
                if any(step == 4 for _, step, _ in rows):
                    os.kill(os.getpid(), signal.SIGTERM)

            patch.setattr(RecordedRun, "add_metrics", stop_at_four)
            train_dpo_version(ctx, frozen, start)
        assert list(root.glob("artifacts/runs/*/adapter.checkpoints/checkpoint-*"))
        made = train_dpo_version(ctx, frozen, start)
    finally:
        done.set()
        thread.join()
    assert len(tidied) > 2
    assert verify(ctx) == []
    assert survey(ctx) == []
    alone = opened(tmp_path / "undisturbed")
    assert train_dpo_version(alone, frozen, start).adapter_sha256 == made.adapter_sha256
    for each in (ctx, other, alone):
        each.engine.dispose()
