"""The step: `prefloop train ppo` from a reward model to a version, and a loop whose rounds train by it."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest
from rich.console import Console
from test_loop import judge_by_length

from db import prompts, runs, versions
from db.engine import reading, writing
from db.tables import Run, Version
from pipeline import checkpoints, cli, import_prompts, train_ppo, workspace
from pipeline.context import Context
from pipeline.errors import PrefloopError
from pipeline.loop import run_round
from pipeline.pairs import RowPolicy
from pipeline.ppo_settings import PpoSettings
from pipeline.promote import ensure_current
from pipeline.sections import PpoSection
from pipeline.snapshot import freeze
from pipeline.train import train_reward_version
from pipeline.train_by_reward import train_ppo_version
from pipeline.verify import verify

SHARED = ("lora", "dtype", "load_in_4bit")  # by all stages: keys of other sections
SETTINGS = """
[model]
base = "{base}"
dtype = "float32"
[sampling]
max_new_tokens = 12
[label]
prompts_per_round = 12
[simulate]
taste = "concise"
[lora]
rank = 4
[reward]
epochs = 1
[ppo]
steps = 3
rollout_size = 4
batch_size = 4
micro_batch_size = 4
max_new_tokens = 6
checkpoint_steps = 1
[loop]
trainer = "ppo"
accept_failed_exam = true
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


def reward_model(ctx: Context) -> Version:
    judge_by_length(ctx, rows=16)
    return train_reward_version(ctx, freeze(ctx, RowPolicy()))


def run_of(ctx: Context, version: Version) -> Run:
    assert version.run_id is not None
    with reading(ctx.engine) as session:
        return runs.get(session, version.run_id)


def test_the_config_has_every_setting_of_the_stage_with_the_same_default() -> None:
    stage = asdict(PpoSettings())
    assert PpoSection().model_dump() == {name: stage[name] for name in stage if name not in SHARED}


def test_a_version_is_stored_with_its_lineage_and_equal_work_is_not_done_again(ctx: Context) -> None:
    reward, parent = reward_model(ctx), ensure_current(ctx)
    with pytest.raises(PrefloopError, match="r1 has not sat its exam"):
        train_ppo_version(ctx, parent, reward)
    policy = train_ppo_version(ctx, parent, reward, "taste:concise", accept_failed_exam=True)
    run = run_of(ctx, policy)
    assert (policy.kind, policy.parent_id, policy.snapshot_id) == ("policy", parent.id, reward.snapshot_id)
    assert (run.stage, run.state, run.config["reward"]) == ("ppo", "finished", "reward:r1")
    assert run.config["exam"]["accepted_failed_exam"] is True
    assert run.summary is not None
    assert (run.summary["episodes"], run.summary["stopped"], run.summary["parted_at"]) == (12, None, None)
    with reading(ctx.engine) as session:
        metrics = {(name, step): value for name, step, value in runs.metrics(session, run.id)}
    assert metrics["kl", 1] == 0.0
    assert 0 <= metrics["second_reward", 3] <= 1
    folder = ctx.workspace.artifacts / str(run.folder)
    assert {path.name for path in folder.iterdir()} == {
        "adapter", "config.json", "judges.png", "loss.png", "ppo.png", "samples.jsonl",
    }  # fmt: skip
    assert train_ppo_version(ctx, parent, reward, "taste:concise", accept_failed_exam=True).id == policy.id
    child = train_ppo_version(ctx, policy, reward, "none", accept_failed_exam=True)
    assert child.parent_id == policy.id
    assert verify(ctx) == []


def test_a_run_that_broke_off_is_gone_on_from_by_the_next(ctx: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    reward, parent = reward_model(ctx), ensure_current(ctx)
    plain, steps = train_ppo.roll_out, []

    def breaks_in_step_3(*arguments: object) -> object:
        steps.append(1)
        if len(steps) == 3:
            raise MemoryError("no memory")
        return plain(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(train_ppo, "roll_out", breaks_in_step_3)
    with pytest.raises(MemoryError):
        train_ppo_version(ctx, parent, reward, "none", accept_failed_exam=True)
    policy = train_ppo_version(ctx, parent, reward, "none", accept_failed_exam=True)
    assert len(steps) == 4  # the third once more, and no other
    run = run_of(ctx, policy)
    with reading(ctx.engine) as session:
        assert {step for name, step, _ in runs.metrics(session, run.id) if name == "reward"} == {1, 2, 3}
    folder = ctx.workspace.artifacts / str(run.folder)
    assert len((folder / "samples.jsonl").read_text().splitlines()) == 3 * 4
    assert not list(ctx.workspace.artifacts.rglob("*" + checkpoints.SUFFIX))


def test_a_loop_trains_its_rounds_by_ppo_watched_by_the_clean_taste(ctx: Context) -> None:
    summary = run_round(ctx, "test", 1, "simulated")
    assert "train ppo" in summary["seconds"]
    with reading(ctx.engine) as session:
        policy = versions.by_name(session, summary["version"])
    run = run_of(ctx, policy)
    assert (run.stage, run.config["second_judge"]) == ("ppo", "taste:concise")
    assert run.config["exam"]["accepted_failed_exam"] is True


def test_the_command_line_trains_and_refuses(
    ctx: Context, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    reward_model(ctx)
    command = ["prefloop", "--workspace", str(ctx.workspace.root), "train", "ppo", "--reward", "r1"]
    monkeypatch.setenv("PREFLOOP_HOME", str(ctx.workspace.root))  # given back at the end

    def prefloop(*arguments: str) -> int:
        monkeypatch.setattr("sys.argv", [*command, *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return int(ended.value.code or 0)

    assert prefloop("--second-judge", "none") == 1
    assert "--accept-failed-exam" in capsys.readouterr().err
    assert prefloop("--second-judge", "none", "--parent", "v0", "--accept-failed-exam") == 0
    with reading(ctx.engine) as session:
        run = runs.get(session, versions.by_name(session, "v1").run_id or 0)
    assert json.loads((ctx.workspace.artifacts / str(run.folder) / "config.json").read_text())["exam"] == {
        "reward_model": "r1",
        "exam_run": None,
        "passed": None,
        "accepted_failed_exam": True,
    }
