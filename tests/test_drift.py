"""Drift on a frozen set of prompts: what is measured, against what, and that it is the same prompts every time."""

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from scipy import stats
from sqlalchemy import Engine, func, select
from two_versions import two_versions
from typer.testing import CliRunner

from db import anchors, annotators, comparisons, evaluations, judgments, prompts, queues, versions
from db.engine import reading, writing
from db.errors import StoreError
from db.tables import Candidate
from pipeline.cli import app
from pipeline.context import Context
from pipeline.draw import draw
from pipeline.drift import change, drift
from pipeline.errors import PrefloopError


def test_the_anchors_are_chosen_once_from_held_out_prompts_and_stay(engine: Engine) -> None:
    def add(numbers: range) -> None:
        for number in numbers:
            prompts.add(session, [{"role": "user", "content": f"question {number}"}], heldout_share=0.5)

    with writing(engine) as session:
        with pytest.raises(StoreError, match="no held-out prompts to anchor drift to"):
            anchors.ensure(session, 5)
        add(range(40))
        chosen = [prompt.id for prompt in anchors.ensure(session, 5)]
        assert len(chosen) == 5
        assert {prompts.get(session, i).split for i in chosen} == {"heldout"}
        add(range(40, 80))  # some of which stand before the chosen ones in the order of hashes
        before = [prompt.id for prompt in prompts.list_prompts(session, split="heldout")[:5]]
        assert before != chosen
        prompts.retire(session, chosen[2])
    with writing(engine) as session:
        assert [prompt.id for prompt in anchors.ensure(session, 50)] == chosen


def completions(lengths: list[list[int]]) -> Any:
    """Candidates of as many prompts, several samples each."""
    return [SimpleNamespace(prompt_id=n, token_count=count) for n, counts in enumerate(lengths) for count in counts]


def test_a_change_is_the_paired_difference_of_the_prompts_with_the_interval_of_student_s_t() -> None:
    ours, theirs = [[10, 14], [20, 20], [9, 11], [31, 29]], [[8, 8], [19, 17], [10, 10], [25, 25]]
    found = change(completions(ours), completions(theirs), lambda c: c.token_count, 0.9)
    means = [[sum(counts) / 2 for counts in side] for side in (ours, theirs)]
    oracle = stats.ttest_rel(*means).confidence_interval(0.9)
    assert found["mean"] == 2.75
    assert (found["low"], found["high"]) == pytest.approx((oracle.low, oracle.high))
    assert found["moved"] is bool(oracle.low > 0)
    still = change(completions(ours), completions(ours), lambda c: c.token_count, 0.9)
    assert (still["mean"], still["moved"]) == (0.0, False)
    assert change(completions([[5]]), completions([[4]]), lambda c: c.token_count, 0.9)["low"] is None


@pytest.fixture
def ctx(tmp_path: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Context]:
    opened = two_versions(tmp_path / "ws", tiny_base, "[drift]\nprompts = 10\n")
    monkeypatch.setenv("PREFLOOP_HOME", str(opened.workspace.root))
    yield opened
    opened.engine.dispose()


def test_drift_is_measured_for_every_version_and_category_from_what_is_stored(ctx: Context) -> None:
    with pytest.raises(PrefloopError, match="nothing can have drifted"):
        drift(ctx)
    with writing(ctx.engine) as session:
        v0, v1 = versions.by_name(session, "v0"), versions.by_name(session, "v1")
        versions.promote(session, v1.id, None, {}, "test", forced=True, reason="to drift")
        chosen = anchors.ensure(session, 10)
    run_id, report = drift(ctx)
    assert (report["versions"], report["anchors"]) == (["v0", "v1"], 10)
    assert report["votes"] == {"v0": None}
    for name in ("v0", "v1"):
        whole, *parts = [row for row in report["rows"] if row["version"] == name]
        assert (whole["category"], whole["prompts"]) == (None, 10)
        assert {row["category"] for row in parts} == {prompt.category for prompt in chosen}
        for measure in ("mean_tokens", "kl_to_base", "repetition"):
            weighted = sum(row[measure] * row["prompts"] for row in parts) / 10
            assert weighted == pytest.approx(whole[measure])
    assert next(row["kl_to_base"] for row in report["rows"] if row["version"] == "v0") == 0
    assert report["rows"][-1]["kl_to_base"] != 0
    assert [(each["since"], each["measure"]) for each in report["changes"]] == [
        ("v0", "mean_tokens"),
        ("v0", "repetition"),
        ("v0", "refusal"),
    ]

    with reading(ctx.engine) as session:
        drawn = session.scalar(select(func.count()).select_from(Candidate))
    assert drift(ctx) == (run_id, report)
    vote_for_all(ctx, v1, v0, chosen[:3])
    said = json.loads(CliRunner().invoke(app, ["drift", "--json"]).stdout)
    assert Path(said["picture"]).read_bytes().startswith(b"\x89PNG")
    assert said["votes"]["v0"]["comparisons"] == 3
    assert said["rows"] == report["rows"]
    with reading(ctx.engine) as session:  # nothing was generated for it again
        assert session.scalar(select(func.count()).select_from(Candidate)) == drawn
    shown = CliRunner().invoke(app, ["drift"], env={"COLUMNS": "200"}).stdout
    assert "v0 → v1 on 10 anchors" in shown
    assert "of 3 votes on anchors" in shown


def vote_for_all(ctx: Context, a: Any, b: Any, chosen: Any) -> None:
    """Ann votes on these prompts, always for what stands left."""
    settings = ctx.workspace.settings
    ours, theirs = (draw(ctx, v, chosen, 1, settings.sampling, settings.compare.seed).candidates for v in (a, b))
    with writing(ctx.engine) as session:
        queue = queues.ensure(session, "evaluation", "pair").id
        evaluations.ask(session, queue, ours, theirs)
        ann = annotators.ensure(session, "ann", "human").id
        while (task := comparisons.next_assignment(session, ann)) is not None:
            judgments.submit(session, task.assignment_id, ann, judgments.Said("left"))
