"""Reinforcement learning against a reward model asks for its exam first; what was let through is on record."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from db import runs, versions
from db.engine import reading, writing
from db.tables import Version
from pipeline import workspace
from pipeline.context import Context
from pipeline.errors import PrefloopError
from pipeline.exam_gate import require_passed_exam


@pytest.fixture
def ctx(tmp_path: Path) -> Iterator[Context]:
    made = workspace.init(tmp_path / "ws")
    engine = made.open_store()
    yield Context(made, engine, Console(quiet=True), actor="test")
    engine.dispose()


def reward_model(ctx: Context, name: str = "r1") -> Version:
    with writing(ctx.engine) as session:
        base = versions.ensure_base(session, "tiny", "b" * 64)
        return versions.create(
            session, "reward", name, "tiny", "b" * 64, f"runs/{name}", "a" * 64, base.id, run_id=None, snapshot_id=None
        )


def exam(ctx: Context, version: Version, passed: bool, mark: str, finished: bool = True) -> int:
    with writing(ctx.engine) as session:
        run = runs.start(session, "exam", {}, 0, "abc", mark * 64, version_id=version.id)
        if finished:
            runs.finish(session, run.id, {"passed": passed})
        else:
            runs.fail(session, run.id, "killed")
        return run.id


def test_a_passed_exam_opens_the_gate_and_is_recorded(ctx: Context) -> None:
    reward = reward_model(ctx)
    run_id = exam(ctx, reward, True, "1")
    for accept in (False, True):  # there is nothing to accept
        assert require_passed_exam(ctx, reward, accept) == {
            "reward_model": "r1",
            "exam_run": run_id,
            "passed": True,
            "accepted_failed_exam": False,
        }


def test_a_failed_exam_closes_it_and_what_was_accepted_is_recorded(ctx: Context) -> None:
    reward = reward_model(ctx)
    run_id = exam(ctx, reward, False, "1")
    with pytest.raises(PrefloopError, match=rf"r1 failed its exam \(run {run_id}\).*--accept-failed-exam"):
        require_passed_exam(ctx, reward, accept=False)
    recorded = require_passed_exam(ctx, reward, accept=True)
    assert (recorded["exam_run"], recorded["passed"], recorded["accepted_failed_exam"]) == (run_id, False, True)


def test_no_exam_is_no_passed_exam(ctx: Context) -> None:
    reward, other = reward_model(ctx), reward_model(ctx, "r2")
    exam(ctx, other, True, "1")  # of another model
    exam(ctx, reward, True, "2", finished=False)
    with pytest.raises(PrefloopError, match="r1 has not sat its exam; run `prefloop exam r1`"):
        require_passed_exam(ctx, reward, accept=False)
    recorded = require_passed_exam(ctx, reward, accept=True)
    assert (recorded["exam_run"], recorded["passed"], recorded["accepted_failed_exam"]) == (None, None, True)


def test_the_newest_exam_counts(ctx: Context) -> None:
    reward = reward_model(ctx)
    exam(ctx, reward, True, "1")
    newest = exam(ctx, reward, False, "2")
    with pytest.raises(PrefloopError, match=rf"failed its exam \(run {newest}\)"):
        require_passed_exam(ctx, reward, accept=False)


def test_a_policy_is_no_reward_model(ctx: Context) -> None:
    with reading(ctx.engine) as session:
        reward = reward_model(ctx)
        base = versions.get(session, reward.parent_id or 0)
    with pytest.raises(PrefloopError, match="v0 is a policy, not a reward model"):
        require_passed_exam(ctx, base, accept=True)
