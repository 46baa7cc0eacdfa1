"""Whatever a worker is at: told to end it hands its run back, and what is cancelled is over within five seconds."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from forked import once_they_are_gone, stages_alive, start_worker
from sqlalchemy import func, select
from test_loop import context
from trickle import label, make, stages

from db import run_queue, runs
from db.engine import reading, writing
from db.tables import Candidate, Metric, Run
from pipeline.context import Context
from pipeline.orders import order
from pipeline.recipe import Recipe, StageName
from pipeline.recipe_stages import carry_out
from pipeline.run_log import new_text
from pipeline.verify import verify

ENDLESS = {"epochs": 100_000, "batch_size": 4, "max_length": 96}
LONG: dict[str, dict[str, Any]] = {
    "reward": {"reward": ENDLESS},
    "sft": {"sft": ENDLESS},
    "kto": {"kto": ENDLESS},
    "dpo": {"dpo": ENDLESS},
    "ppo": {"ppo": {"steps": 10_000, "rollout_size": 4, "epochs": 1, "batch_size": 4, "micro_batch_size": 4}},
    "rloo": {"rloo": {"steps": 10_000, "max_new_tokens": 4, "prompts_per_step": 2}},
    "grpo": {"grpo": {"steps": 10_000, "max_new_tokens": 4, "prompts_per_step": 2}},
    "compare": {"compare": {"samples_per_prompt": 4_000}, "generate": {"token_budget": 2_000}},
}
BEFORE: dict[str, tuple[str, ...]] = {
    "snapshot": (),
    "exam": ("snapshot", "reward"),
    "ppo": ("snapshot", "reward", "exam"),
    "rloo": ("snapshot", "reward", "exam"),
    "grpo": ("snapshot", "reward", "exam"),
    "compare": ("snapshot", "dpo"),
    "promote": ("snapshot", "dpo", "compare"),
}
AFTER = {"snapshot": ("dpo",), "exam": ("dpo",), "compare": ("promote",)}


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> Iterator[tuple[Context, Run]]:
    """A workspace, and a run of it that has done what the stages need."""
    ctx, engine = context(make(tmp_path_factory.mktemp("any-stage") / "ws", tiny_base))
    for kind in ("pair", "thumbs", "demonstration"):
        label(ctx, kind, 12)  # type: ignore[arg-type]
    names = ("snapshot", "reward", "exam", "sft", "kto", "dpo", "compare")
    recipe = Recipe(judges=("taste:concise",), stages=stages(*names))  # type: ignore[arg-type]
    run_id = order(ctx, {"recipe": recipe.as_dict()}).id
    for name in ("snapshot", "reward", "exam", "dpo", "compare"):
        carry_out(ctx, run_id, name)
    with writing(engine) as session:
        run_queue.cancel(session, run_id, "test")
    with reading(engine) as session:
        run = runs.get(session, run_id)
    yield ctx, run
    engine.dispose()


def until(holds: Callable[[], object], seconds: float = 120) -> None:
    began = time.monotonic()
    while not holds():
        assert time.monotonic() - began < seconds, "it took too long"
        time.sleep(0.02)


@pytest.mark.parametrize("kind", get_args(StageName))
def test_a_run_is_handed_back_and_cancelled_at_any_stage(taught: tuple[Context, Run], kind: str) -> None:
    ctx, done = taught
    before = BEFORE.get(kind, ("snapshot",))
    of_recipe = [
        {"stage": name, "settings": {**LONG.get(name, {}), "training": {"checkpoint_steps": 0}}}
        for name in (*before, kind, *AFTER.get(kind, ()))
    ]
    recipe = Recipe(judges=("taste:concise",), stages=of_recipe)  # type: ignore[arg-type]
    resolved = done.config["resolved"] if before else {**done.config["resolved"], "snapshots": {}}
    run_id = order(ctx, {"recipe": recipe.as_dict(), "resolved": resolved}).id
    for name in before:
        assert done.summary is not None
        with writing(ctx.engine) as session:
            run_queue.record_stage(session, run_id, name, done.summary[name])

    def run() -> Run:
        with reading(ctx.engine) as session:
            return runs.get(session, run_id)

    def at_work() -> bool:
        """A stage that is long has shown results; of another the process has begun."""
        with reading(ctx.engine) as session:
            mine = Run.recipe_run_id == run_id, Run.stage == kind, Run.state == "running"
            stage = session.scalars(select(Run).where(*mine)).one_or_none()
            if kind not in LONG:
                return bool(stages_alive(ctx.workspace.root))
            if stage is None:
                return False
            counted = select(func.count()).select_from(Metric).where(Metric.run_id == stage.id)
            if kind == "compare":
                counted = select(func.count()).select_from(Candidate).where(Candidate.created_at > stage.started_at)
            return bool(session.scalar(counted))

    if kind != "promote":  # which is over before its worker can be told
        one = start_worker(ctx.workspace.root)
        until(at_work)
        os.kill(one.pid or 0, signal.SIGTERM)
        one.join()
        assert (one.exitcode, stages_alive(ctx.workspace.root)) == (0, [])
        handed_back = run()
        assert (handed_back.state, handed_back.attempt, handed_back.lease_owner) == ("queued", 1, None)
        with reading(ctx.engine) as session:
            assert not runs.list_runs(session, state="running")

    other = start_worker(ctx.workspace.root)
    until(at_work)
    asked = time.monotonic()
    with writing(ctx.engine) as session:
        run_queue.cancel(session, run_id, "ann")
    until(lambda: run().state != "running")
    once_they_are_gone(ctx.workspace.root)
    took = time.monotonic() - asked
    other.join()
    assert run().state in (("cancelled", "finished") if kind == "promote" else ("cancelled",))
    assert took < 5
    if kind in LONG and kind != "compare":
        assert "goes on from step" in "".join(new_text(ctx, run_id, follow=False))
    with reading(ctx.engine) as session:
        assert not runs.list_runs(session, state="running")
    assert verify(ctx) == []
