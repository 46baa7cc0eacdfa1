"""The step: `prefloop train rloo|grpo` from a reward model to a version, with the exam's gate and the second judge."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console
from test_loop import judge_by_length

from db import prompts, runs, snapshots, versions
from db.engine import reading, writing
from db.tables import Run, Version
from pipeline import cli, import_prompts, workspace
from pipeline.context import Context
from pipeline.errors import PrefloopError
from pipeline.pairs import RowPolicy
from pipeline.promote import ensure_current
from pipeline.second_judge import resolve
from pipeline.snapshot import freeze, rebuild
from pipeline.train import train_reward_version
from pipeline.train_by_reward import train_online_version, train_ppo_version

SETTINGS = """
[model]
base = "{base}"
dtype = "float32"
[sampling]
max_new_tokens = 12
[lora]
rank = 4
[reward]
epochs = 1
[rl]
reward_weight = 2.0
rules = ["ended=0.5"]
[rloo]
steps = 3
prompts_per_step = 2
generations = 2
max_new_tokens = 6
[grpo]
steps = 3
prompts_per_step = 2
generations = 2
max_new_tokens = 6
"""


@pytest.fixture
def ctx(tmp_path: Path, tiny_base: Path) -> Iterator[Context]:
    (tmp_path / "ws").mkdir()
    (tmp_path / "ws" / "prefloop.toml").write_text(SETTINGS.format(base=tiny_base))
    made = workspace.init(tmp_path / "ws")
    engine = made.open_store()
    with writing(engine) as session:
        prompts.add_many(session, import_prompts.builtin().items[:40])
    yield Context(made, engine, Console(quiet=True), actor="test")
    engine.dispose()


def reward_model(ctx: Context, **options: str) -> Version:
    judge_by_length(ctx, rows=16)
    return train_reward_version(ctx, freeze(ctx, RowPolicy()), **options)  # type: ignore[arg-type]


def exam(ctx: Context, version: Version, passed: bool) -> None:
    with writing(ctx.engine) as session:
        run = runs.start(session, "exam", {}, 0, "abc", f"{version.id}{passed}", version_id=version.id)
        runs.finish(session, run.id, {"passed": passed})


def run_of(ctx: Context, version: Version) -> Run:
    assert version.run_id is not None
    with reading(ctx.engine) as session:
        return runs.get(session, version.run_id)


def test_a_version_of_each_kind_is_stored_with_its_lineage(ctx: Context) -> None:
    reward = reward_model(ctx)
    exam(ctx, reward, passed=True)
    parent = ensure_current(ctx)
    for algorithm in ("rloo", "grpo"):
        policy = train_online_version(ctx, algorithm, parent, reward, second_judge="taste:concise")
        run = run_of(ctx, policy)
        assert (policy.kind, policy.parent_id, policy.snapshot_id) == ("policy", parent.id, reward.snapshot_id)
        assert (run.stage, run.state, run.version_id) == (algorithm, "finished", parent.id)
        assert run.config["rewards"] == {"rule:ended": 0.5, "reward:r1": 2.0}
        assert run.config["exam"]["passed"] is True
        assert run.config["exam"]["accepted_failed_exam"] is False
        assert (run.config["second_judge"], run.config["second_judge_disjoint"]) == ("taste:concise", True)
        assert run.config["reference"] == "parent"
        assert run.summary is not None
        assert run.summary["parted_at"] is None  # three steps say nothing
        with reading(ctx.engine) as session:
            metrics = {(name, step): value for name, step, value in runs.metrics(session, run.id)}
        for step in (1, 2, 3):
            terms = 0.5 * metrics["term/rule:ended", step] + 2.0 * metrics["term/reward:r1", step]
            assert metrics["reward", step] == pytest.approx(terms, abs=1e-5)
            assert 0 <= metrics["second_reward", step] <= 1
        folder = ctx.workspace.artifacts / str(run.folder)
        assert (folder / "judges.png").read_bytes().startswith(b"\x89PNG")
        assert len((folder / "samples.jsonl").read_text().splitlines()) == 3 * 4
        assert {path.name for path in folder.iterdir()} == {
            "adapter", "config.json", "judges.png", "loss.png", "samples.jsonl",
        }  # fmt: skip
        again = train_online_version(ctx, algorithm, parent, reward, second_judge="taste:concise")
        assert again.id == policy.id  # finished work is not done again
    with reading(ctx.engine) as session:
        assert [v.name for v in versions.list_versions(session)] == ["v0", "r1", "v1", "v2"]


def test_the_gate_stands_before_the_run_and_what_was_accepted_is_in_its_config(ctx: Context) -> None:
    reward = reward_model(ctx)
    base = ensure_current(ctx)
    with pytest.raises(PrefloopError, match="r1 has not sat its exam"):
        train_online_version(ctx, "grpo", base, reward, second_judge="none")
    exam(ctx, reward, passed=False)
    with pytest.raises(PrefloopError, match="r1 failed its exam"):
        train_online_version(ctx, "grpo", base, reward, second_judge="none")
    with reading(ctx.engine) as session:
        assert not runs.list_runs(session, stage="grpo")
    policy = train_online_version(ctx, "grpo", base, reward, second_judge="none", accept_failed_exam=True)
    assert run_of(ctx, policy).config["exam"]["accepted_failed_exam"] is True
    written = json.loads((ctx.workspace.artifacts / str(run_of(ctx, policy).folder) / "config.json").read_text())
    assert written["exam"]["accepted_failed_exam"] is True


def test_the_second_judge_learns_from_the_half_that_the_first_did_not_see(ctx: Context) -> None:
    first = reward_model(ctx, half="a")
    judge = resolve(ctx, "auto", first)
    assert judge is not None
    assert judge.version is not None
    assert (judge.name, judge.disjoint) == ("reward:r2", True)
    assert judge.version.snapshot_id == first.snapshot_id
    with reading(ctx.engine) as session:
        pairs = len(rebuild(ctx, snapshots.get(session, first.snapshot_id or 0)))
    summaries = [run_of(ctx, version).summary or {} for version in (first, judge.version)]
    assert sum(summary["pairs"] for summary in summaries) == pairs
    assert all(0 < summary["pairs"] < pairs for summary in summaries)
    assert run_of(ctx, judge.version).config["half"] == "b"
    found = resolve(ctx, "auto", first)
    assert found is not None
    assert found.version is not None
    assert found.version.id == judge.version.id  # trained once
    whole = train_reward_version(ctx, freeze(ctx, RowPolicy()))
    overlapping = resolve(ctx, "auto", whole)
    assert overlapping is not None
    assert not overlapping.disjoint


def test_a_judge_cannot_watch_itself_and_an_unknown_one_is_refused(ctx: Context) -> None:
    reward = reward_model(ctx)
    with pytest.raises(PrefloopError, match="r1 cannot watch"):
        resolve(ctx, "reward:r1", reward)
    with pytest.raises(PrefloopError, match="v0 cannot watch"):
        resolve(ctx, "reward:v0", reward)
    with pytest.raises(PrefloopError, match="unknown second judge 'nobody'; use auto, none"):
        resolve(ctx, "nobody", reward)
    with pytest.raises(PrefloopError, match="unknown taste 'sour'"):
        resolve(ctx, "taste:sour", reward)
    assert resolve(ctx, "none", reward) is None
    assert resolve(ctx, "auto", None) is None


def test_rules_alone_need_no_reward_model_and_no_exam(
    ctx: Context, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PREFLOOP_HOME", str(ctx.workspace.root))

    def prefloop(*arguments: str) -> None:
        monkeypatch.setattr("sys.argv", ["prefloop", *arguments])
        cli.main()

    with pytest.raises(SystemExit, match="0"):
        prefloop("train", "rloo", "--rule", "no_repetition=1", "--rule", "within_words:5=0.5")
    with reading(ctx.engine) as session:
        policy = versions.by_name(session, "v1")
    config = run_of(ctx, policy).config
    assert config["rewards"] == {"rule:no_repetition": 1.0, "rule:within_words:5": 0.5}
    assert (policy.snapshot_id, config["second_judge"]) == (None, None)
    assert "exam" not in config
    with pytest.raises(SystemExit, match="1"):
        prefloop("train", "grpo", "--rule", "polite=1")
    assert capsys.readouterr().err.startswith("Error: unknown rule 'polite'")


def test_a_reward_model_that_was_trained_to_be_read_otherwise_is_refused(
    ctx: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge = reward_model(ctx)
    assert ctx.reward_model(judge).score([([{"role": "user", "content": "hello"}], "yes", True)])
    monkeypatch.setattr("pipeline.reward_model.READS", "last token")
    with pytest.raises(
        PrefloopError, match=f"{judge.name} was trained by .* upper half .* are the last token: train it"
    ):
        ctx.reward_model(judge)
    with pytest.raises(PrefloopError, match="train it anew"):
        train_ppo_version(ctx, ensure_current(ctx), judge, accept_failed_exam=True)
    with pytest.raises(PrefloopError, match="train it anew"):
        train_online_version(ctx, "rloo", ensure_current(ctx), judge, accept_failed_exam=True)
    with reading(ctx.engine) as session:
        assert {run.stage for run in runs.list_runs(session)} == {"reward"}  # before there is a run that fails
