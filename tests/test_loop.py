"""The whole loop on a tiny model: every step real, finished work never done again."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from forked import prefloop, start_command
from rich.console import Console
from sqlalchemy import Engine, func, select, text
from typer.testing import CliRunner

from db import annotators, comparisons, judgments, notifications, prompts, queues, rounds, runs, snapshots, versions
from db.engine import reading, writing
from db.tables import Assignment, Candidate, Comparison, Judgment, Round, Run, Version
from db.words import QueueKind
from pipeline import import_prompts, leaderboard, loop, workspace
from pipeline.ask import ask, simulate
from pipeline.cli import app
from pipeline.compare import compare
from pipeline.context import Context
from pipeline.draw import draw
from pipeline.errors import PrefloopError
from pipeline.loop import LabelsOwed, run_round
from pipeline.pairs import RowPolicy
from pipeline.people_and_judges import agreement, decided_by_people
from pipeline.promote import ensure_current
from pipeline.recorded_run import RecordedRun
from pipeline.report import status
from pipeline.snapshot import freeze, rebuild, shared
from pipeline.stopping import Stopped
from pipeline.take_exam import take_exam
from pipeline.train import train_dpo_version, train_reward_version
from pipeline.train_dpo import DpoSettings, train_dpo
from pipeline.training import LoraSettings
from pipeline.verify import verify

SETTINGS = """
[model]
base = "{base}"
dtype = "float32"
[sampling]
temperature = 1.0
top_p = 1.0
top_k = 0
max_new_tokens = 12
[label]
prompts_per_round = 24
[simulate]
taste = "concise"
flip_share = 0.0
[lora]
rank = 4
[dpo]
epochs = 1
[reward]
epochs = 1
"""


def context(root: Path) -> tuple[Context, Engine]:
    found = workspace.find(root)
    engine = found.open_store()
    return Context(found, engine, Console(quiet=True), actor="test"), engine


@pytest.fixture
def root(tmp_path: Path, tiny_base: Path) -> Path:
    (tmp_path / "ws").mkdir()
    (tmp_path / "ws" / "prefloop.toml").write_text(SETTINGS.format(base=tiny_base))
    made = workspace.init(tmp_path / "ws")
    engine = made.open_store()
    with writing(engine) as session:
        prompts.add_many(session, import_prompts.builtin().items[:120])
    engine.dispose()
    return made.root


@pytest.fixture
def ctx(root: Path) -> Iterator[Context]:
    made, engine = context(root)
    yield made
    engine.dispose()


def count(ctx: Context, table: type) -> int:
    with reading(ctx.engine) as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


def judge_by_length(ctx: Context, rows: int = 40, names: tuple[str, ...] = ("me",)) -> None:
    """Judgments that a random model's noise cannot leave undecided: the longer text wins."""
    with reading(ctx.engine) as session:
        chosen = prompts.list_prompts(session, split="train")[:rows]
    settings = ctx.workspace.settings
    drawn = draw(ctx, ensure_current(ctx), chosen, 2, settings.sampling, 0)
    ask(ctx, drawn.candidates, None, len(names), 0)
    for name in names:
        with writing(ctx.engine) as session:
            annotator = annotators.ensure(session, name, "human").id
        while True:
            with writing(ctx.engine) as session:
                task = comparisons.next_assignment(session, annotator)
            if task is None:
                break
            with writing(ctx.engine) as session:
                left, right = task.texts
                first = len(left) > len(right) or (len(left) == len(right) and left > right)
                judgments.submit(session, task.assignment_id, annotator, judgments.Said("left" if first else "right"))


def test_two_rounds_close_the_loop_and_a_second_time_costs_nothing(ctx: Context) -> None:
    summaries = [run_round(ctx, "test", number, "simulated") for number in (1, 2)]
    before = {table: count(ctx, table) for table in (Candidate, Judgment, Run, Version)}
    for summary in summaries:
        assert summary["judgments"] == 24
        assert 0 <= summary["against_base"]["taste:concise"]["low"] <= 1
        assert set(summary["seconds"]) == {"generate", "label", "train reward", "exam", "train dpo", "compare"}
    with reading(ctx.engine) as session:
        assert [v.name for v in versions.list_versions(session)] == ["v0", "r1", "v1", "r2", "v2"]
        assert {a.kind for a in annotators.list_annotators(session)} == {"simulated"}
        assert all(run.state == "finished" for run in runs.list_runs(session))
        assert len(rounds.list_rounds(session, "test")) == 2
        newest = versions.by_name(session, "v2")
        run = runs.get(session, newest.run_id)
        assert {name for name, _, _ in runs.metrics(session, run.id)} >= {"loss", "rewards/margins"}
        assert (ctx.workspace.artifacts / run.folder / "loss.png").read_bytes().startswith(b"\x89PNG")
        assert run.tokens > 0
        assert run.code_version
        both = rounds.list_rounds(session, "test")
        assert newest.parent_id == both[1].parent_version_id
        assert snapshots.get(session, newest.snapshot_id).policy["rounds"] == [round_.id for round_ in both]
    again = [run_round(ctx, "test", number, "simulated") for number in (1, 2)]
    assert again == summaries
    assert {table: count(ctx, table) for table in before} == before
    assert verify(ctx) == []
    assert status(ctx)["judgments"] == {"human": 0, "simulated": 48}
    assert {row["judge"] for row in leaderboard.rows(leaderboard.board(ctx))} >= {"taste:concise", "reward:r1"}


def test_a_round_runs_on_either_store(root: Path, store_url: str) -> None:
    (root / "prefloop.toml").write_text(f'store_url = "{store_url}"\n' + (root / "prefloop.toml").read_text())
    made, engine = context(root)
    with writing(engine) as session:
        prompts.add_many(session, import_prompts.builtin().items[:60])
    assert run_round(made, "test", 1, "simulated")["version"] == "v1"
    assert verify(made) == []
    engine.dispose()


def test_simulated_judgments_stay_out_of_human_snapshots(ctx: Context) -> None:
    with reading(ctx.engine) as session:
        chosen = prompts.list_prompts(session, split="train")[:20]
    drawn = draw(ctx, ensure_current(ctx), chosen, 2, ctx.workspace.settings.sampling, 0)
    ask(ctx, drawn.candidates, None, 1, 0)
    simulate(ctx, ctx.workspace.settings.simulate, 0)
    with pytest.raises(PrefloopError, match="no human judgment"):
        freeze(ctx, RowPolicy(annotators="human"))
    with reading(ctx.engine) as session:  # and what simulated annotators did leaves the question open to people
        assert comparisons.open_count(session, kind="human") > 0
        assert comparisons.open_count(session, kind="simulated") == 0


def test_simulated_annotators_leave_the_queues_of_managers_to_people(ctx: Context) -> None:
    with reading(ctx.engine) as session:
        chosen = prompts.list_prompts(session, split="train")[:4]
    drawn = draw(ctx, ensure_current(ctx), chosen, 4, ctx.workspace.settings.sampling, 0)
    asked = ask(ctx, drawn.candidates, None, 1, 0)
    kinds: tuple[QueueKind, ...] = ("ranking", "edit", "pair")
    with writing(ctx.engine) as session:
        made = {kind: queues.create(session, f"a manager's {kind}", kind, priority=9).id for kind in kinds}
        assert all(queues.fill(session, queue_id) for queue_id in made.values())
    assert simulate(ctx, ctx.workspace.settings.simulate, 0).total() == asked > 0
    with reading(ctx.engine) as session:
        judged = judgments.counts(session)["simulated"]
        assert sum(judged.values()) == asked
        for queue_id in made.values():
            assert comparisons.open_count(session, kind="simulated", queue_id=queue_id) > 0
            assert not session.query(Assignment).join(Comparison).where(Comparison.queue_id == queue_id).count()


@pytest.mark.parametrize(
    ("right", "pairs", "chooses"),
    [(5, 5, False), (6, 6, True), (9, 11, False), (10, 11, True), (32, 50, False), (33, 50, True), (0, 9, False)],
)
def test_a_reward_model_chooses_comparisons_once_it_is_surely_better_than_chance(
    right: int, pairs: int, chooses: bool, ctx: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Surely: the interval of Clopper & Pearson (1934) for 6 of 6 begins at 0.541, for 9 of 11 at 0.482."""
    summary = {"reward_accuracy": right / pairs, "reward_heldout_pairs": pairs, "reward_model": "r1"}
    monkeypatch.setattr(loop.rounds, "list_rounds", lambda *_: [Round(number=1, summary=summary)])
    monkeypatch.setattr(loop, "judge_scores", lambda *_: {7: 0.5})
    assert loop._scores_of_last_reward_model(ctx, "people", 2, [], []) == ({7: 0.5} if chooses else None)


def test_people_s_judgments_train_by_one_flag_and_the_loop_waits_for_them(ctx: Context) -> None:
    with pytest.raises(LabelsOwed) as waiting:
        run_round(ctx, "people", 1, "human")
    assert waiting.value.owed > 0
    with pytest.raises(LabelsOwed):
        run_round(ctx, "people", 1, "human")
    with reading(ctx.engine) as session:  # people are told once
        (told,) = notifications.newest(session, notifications.Wanted(("webhook",), ("needs-labels",)))
    assert told.payload["text"] == f"round 1 of loop people waits for {waiting.value.owed} judgments"
    with writing(ctx.engine) as session:
        me = annotators.ensure(session, "me", "human").id
    for _ in range(waiting.value.owed):
        with writing(ctx.engine) as session:
            task = comparisons.next_assignment(session, me)
            assert task is not None
        with writing(ctx.engine) as session:
            judgments.submit(session, task.assignment_id, me, judgments.Said("left"))
    summary = run_round(ctx, "people", 1, "human")
    assert summary["annotators"] == "human"
    assert summary["judgments"] == waiting.value.owed
    assert summary["judge"].startswith("reward:")


def test_a_snapshot_rebuilds_to_the_same_bytes_and_freezing_twice_is_one(ctx: Context) -> None:
    judge_by_length(ctx)
    first, second = (freeze(ctx, RowPolicy()) for _ in range(2))
    assert (first.created, second.created) == (True, False)
    assert first.snapshot.id == second.snapshot.id
    assert rebuild(ctx, first.snapshot) == first.rows


def test_a_run_that_fails_leaves_its_error_and_no_version(ctx: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    judge_by_length(ctx)
    frozen = freeze(ctx, RowPolicy())
    monkeypatch.setattr("pipeline.train_dpo.run_trainer", lambda *a: (_ for _ in ()).throw(MemoryError("no memory")))
    with pytest.raises(MemoryError):
        train_dpo_version(ctx, frozen, ensure_current(ctx))
    with reading(ctx.engine) as session:
        (run,) = runs.list_runs(session, stage="dpo")
        assert (run.state, run.error) == ("failed", "MemoryError: no memory")
        assert [v.name for v in versions.list_versions(session)] == ["v0"]
    assert "MemoryError" in (ctx.workspace.artifacts / run.folder / "error.txt").read_text()
    monkeypatch.undo()
    assert train_dpo_version(ctx, frozen, ensure_current(ctx)).name == "v1"
    assert verify(ctx) == []


def test_a_version_generates_the_same_thing_only_once(ctx: Context) -> None:
    judge_by_length(ctx)
    frozen = freeze(ctx, RowPolicy())
    base = ensure_current(ctx)
    policy = train_dpo_version(ctx, frozen, base)
    run_id, first = compare(ctx, policy, base, ["taste:concise"])
    drawn = count(ctx, Candidate)
    again_id, again = compare(ctx, policy, base, ["taste:concise"])
    assert (again_id, again) == (run_id, first)
    compare(ctx, policy, base, ["taste:warm"])  # another judge reads the same completions
    assert count(ctx, Candidate) == drawn


def test_an_exam_is_on_record_taken_once_and_tells_scripts_whether_it_was_passed(
    root: Path, ctx: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge_by_length(ctx)
    base = ensure_current(ctx)
    reward = train_reward_version(ctx, freeze(ctx, RowPolicy()))
    run_id, exam = take_exam(ctx, reward)
    assert take_exam(ctx, reward) == (run_id, exam)
    with reading(ctx.engine) as session:
        run = runs.newest_finished(session, "exam", reward.id)
        assert run is not None
        assert (run.id, run.summary) == (run_id, exam)
        assert runs.newest_finished(session, "exam", base.id) is None
        trained = runs.get(session, reward.run_id)  # type: ignore[arg-type]
    assert exam["accuracy"]["rate"] == trained.summary["heldout_accuracy"]  # type: ignore[index]
    assert exam["pairs"] == trained.summary["heldout_pairs"] > 0  # type: ignore[index]
    assert exam["passed"] is not bool(exam["reasons"])
    assert exam["ceiling"] is None  # every pair was judged once
    assert (ctx.workspace.artifacts / run.folder / "reliability.png").read_bytes().startswith(b"\x89PNG")  # type: ignore[operator]
    with pytest.raises(PrefloopError, match="v0 is no reward model"):
        take_exam(ctx, base)
    with_people = agreement(ctx, "reward:r1", decided_by_people(ctx))
    assert with_people is not None
    assert with_people["votes"] == exam["pairs"]  # of what it learned from, nothing
    assert with_people["agreement"] == exam["accuracy"]["rate"]

    monkeypatch.setenv("PREFLOOP_HOME", str(root))
    for rule, passed in (("min_accuracy = 0.99", False), ("min_accuracy = 0.0\nmax_trick_share = 1.0", True)):
        (root / "prefloop.toml").write_text(f"{SETTINGS.format(base=ctx.base.folder)}\n[exam]\n{rule}\n")
        done = CliRunner().invoke(app, ["exam", "r1", "--json"])
        assert json.loads(done.stdout)["passed"] is passed
        assert done.exit_code == (not passed)
    shown = CliRunner().invoke(app, ["exam", "r1"]).stdout
    assert "not known: every pair was judged once" in shown
    assert max(map(len, shown.splitlines()[:12])) <= 80


def test_pairs_that_two_judged_are_shared_pairs_of_the_snapshot(ctx: Context) -> None:
    judge_by_length(ctx, rows=8, names=("me", "you"))
    frozen = freeze(ctx, RowPolicy())
    pairs = shared(ctx, frozen.snapshot)
    assert {pair.prompt_sha256 for pair in pairs} == {row.prompt_sha256 for row in frozen.rows}
    assert {pair.for_first for pair in pairs} <= {(True, True), (False, False)}
    assert len(pairs) == len(frozen.rows) > 0


def test_verify_finds_each_kind_of_planted_damage(ctx: Context) -> None:
    judge_by_length(ctx)
    frozen = freeze(ctx, RowPolicy())
    reward = train_reward_version(ctx, frozen)
    policy = train_dpo_version(ctx, frozen, ensure_current(ctx))
    assert verify(ctx) == []

    adapter = ctx.workspace.artifacts / str(policy.adapter_path) / "adapter_model.safetensors"
    content = adapter.read_bytes()
    adapter.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))  # one bit
    (ctx.workspace.artifacts / str(reward.adapter_path) / "adapter_model.safetensors").unlink()
    (ctx.workspace.artifacts / "runs" / "999").mkdir()
    (ctx.workspace.artifacts / "runs" / str(policy.run_id) / "adapter.checkpoints").mkdir()
    with ctx.engine.begin() as connection:
        connection.execute(text('UPDATE prompt SET messages = \'[{"role": "user", "content": "x"}]\' WHERE id = 1'))
        used = frozen.rows[0].prompt_sha256
        connection.execute(text("UPDATE prompt SET split = 'heldout' WHERE sha256 = :used"), {"used": used})
    with closing(sqlite3.connect(ctx.workspace.root / "prefloop.db")) as careless:  # foreign keys are off by default
        careless.execute("INSERT INTO snapshot_judgment VALUES (4242, 1)")
        careless.commit()
    found = {(damage.kind, damage.subject) for damage in verify(ctx)}
    assert ("adapter", "version v1") in found
    assert ("adapter", "version r1") in found
    assert ("orphan", "runs/999") in found
    assert ("orphan", f"runs/{policy.run_id}/adapter.checkpoints") in found
    assert ("prompt", "prompt 1") in found
    assert ("leakage", "snapshot 1") in found
    assert ("snapshot", "snapshot 1") in found
    assert any(kind == "store" for kind, _ in found)


def test_generation_killed_in_the_middle_loses_a_batch_at_most_and_is_completed(root: Path, ctx: Context) -> None:
    """kill -9 while it writes; the re-run has every candidate once, with the texts of an undisturbed run."""
    (root / "prefloop.toml").write_text((root / "prefloop.toml").read_text() + "[generate]\ntoken_budget = 256\n")
    process = start_command(root, "generate", "--samples", "4", "--no-ask")
    deadline = time.monotonic() + 60
    while count(ctx, Candidate) < 20 and time.monotonic() < deadline:
        time.sleep(0.02)
    process.kill()
    process.join()
    survived = count(ctx, Candidate)
    with reading(ctx.engine) as session:
        train = prompts.list_prompts(session, split="train")
    wanted = 4 * len(train)
    assert 20 <= survived < wanted
    assert prefloop(root, "generate", "--samples", "4", "--no-ask").returncode == 0
    assert count(ctx, Candidate) == wanted
    sampling = ctx.workspace.settings.sampling
    with reading(ctx.engine) as session:
        base = versions.by_name(session, "v0")
    interrupted = {(c.prompt_id, c.sample_index): c.text for c in draw(ctx, base, train, 4, sampling, 0).candidates}
    undisturbed = draw(ctx, base, train[:10], 4, sampling, seed=0).candidates
    assert all(interrupted[c.prompt_id, c.sample_index] == c.text for c in undisturbed)


def test_scripts_get_json_and_people_get_one_clean_line(root: Path) -> None:
    for command in (("status",), ("leaderboard",), ("versions", "list"), ("runs", "list"), ("prompts", "list")):
        done = prefloop(root, *command, "--json")
        assert done.returncode == 0, done.stderr
        json.loads(done.stdout)
    refused = prefloop(root, "compare", "v8", "v9")
    assert refused.returncode == 1
    assert refused.stderr.startswith("Error: there is no version v8")
    assert "Traceback" not in refused.stderr
    missing = prefloop(root / "nowhere", "status")
    assert missing.returncode == 1
    assert "prefloop init" in missing.stderr


def test_strict_import_is_all_or_nothing(root: Path, tmp_path: Path) -> None:
    file = tmp_path / "new.jsonl"
    file.write_text('{"prompt": "a new one"}\nbroken\n{"prompt": "a new one"}\n')
    before = json.loads(prefloop(root, "status", "--json").stdout)["prompts"]
    assert prefloop(root, "prompts", "import", str(file), "--strict").returncode == 1
    assert json.loads(prefloop(root, "status", "--json").stdout)["prompts"] == before
    done = prefloop(root, "prompts", "import", str(file))
    assert "line 2" in done.stdout
    assert "1 prompts added, 1 duplicates, 1 bad lines" in done.stdout


def test_a_killed_run_is_reported_as_failed_by_the_next_one(ctx: Context) -> None:
    judge_by_length(ctx)
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    import socket

    with writing(ctx.engine) as session:
        owner = f"{socket.gethostname()}:{gone.pid}"
        dead = runs.start(session, "dpo", {}, 0, "abc", "f" * 64, lease_owner=owner)
    train_reward_version(ctx, freeze(ctx, RowPolicy()))
    with reading(ctx.engine) as session:
        assert runs.get(session, dead.id).state == "failed"
        assert "without a word" in str(runs.get(session, dead.id).error)
        assert len(snapshots.list_snapshots(session)) == 1


def test_a_killed_training_goes_on_in_the_next_run_and_makes_the_same_version(root: Path, tmp_path: Path) -> None:
    (root / "prefloop.toml").write_text((root / "prefloop.toml").read_text() + "[training]\ncheckpoint_steps = 2\n")
    ctx, engine = context(root)
    judge_by_length(ctx)
    frozen, base = freeze(ctx, RowPolicy()), ensure_current(ctx)
    child = os.fork()
    if child == 0:
        RecordedRun.add_metrics = lambda run, rows: rows[0][1] < 5 or os.kill(os.getpid(), signal.SIGKILL)  # type: ignore
        train_dpo_version(context(root)[0], frozen, base)
        os._exit(0)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    assert (ctx.workspace.artifacts / "runs/1/adapter.checkpoints/checkpoint-4").is_dir()

    version = train_dpo_version(ctx, frozen, base)
    with reading(engine) as session:
        assert [run.state for run in runs.list_runs(session, stage="dpo")] == ["finished", "failed"]
        steps = [step for name, step, _ in runs.metrics(session, 2) if name == "loss"]
        summary = runs.get(session, 2).summary
    assert steps == list(range(1, summary["steps"] + 1))
    assert not list(ctx.workspace.artifacts.rglob("*.checkpoints"))
    assert verify(ctx) == []
    config = ctx.workspace.settings
    lora = LoraSettings(**config.lora.model_dump())
    settings = DpoSettings(**config.dpo.model_dump(), lora=lora, dtype="float32", checkpoint_steps=0)
    undisturbed = train_dpo(frozen.rows, settings, ctx.base.folder, None, tmp_path / "undisturbed", seed=0)
    assert version.adapter_sha256 == undisturbed.adapter_sha256
    engine.dispose()


def test_a_training_that_is_told_to_stop_says_so_in_its_run_and_goes_on(
    ctx: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge_by_length(ctx)
    frozen, base = freeze(ctx, RowPolicy()), ensure_current(ctx)
    monkeypatch.setattr(RecordedRun, "add_metrics", lambda run, rows: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(Stopped):
        train_dpo_version(ctx, frozen, base)
    monkeypatch.undo()
    with reading(ctx.engine) as session:
        (stopped,) = runs.list_runs(session)
    assert stopped.state == "failed"
    assert "SIGTERM at step 2 of" in str(stopped.error)
    assert train_dpo_version(ctx, frozen, base).name == "v1"
    with reading(ctx.engine) as session:
        steps = [step for name, step, _ in runs.metrics(session, 2) if name == "loss"]
    assert steps == list(range(1, len(steps) + 1))
