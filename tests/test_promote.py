"""Promoting on evidence: what the gate says is recorded, force has a reason, and every step can be taken back."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine
from two_versions import two_versions
from typer.testing import CliRunner, Result

from db import promotions, prompts, runs, versions
from db.engine import reading, writing
from db.errors import StoreError
from db.tables import Version
from pipeline import workspace
from pipeline.cli import app
from pipeline.compare import compare
from pipeline.context import Context
from pipeline.promote import ensure_current, promote_if_better

BASE = "b" * 64


def trained(session: Any, parent: Version, name: str) -> Version:
    return versions.create(
        session, "policy", name, "tiny", BASE, f"runs/{name}", name.rjust(64, "0"), parent.id, None, None
    )


def comparison(session: Any, a: Version, b: Version, passed: bool, mark: str = "c") -> int:
    """A finished comparison of `a` with `b` whose gate has one rule."""
    rule = {"rule": "better by reward:r1", "passed": passed, "found": 0.6, "limit": 0.5, "words": f"{a.name} wins 70 %"}
    run = runs.start(session, "compare", {}, 0, "test", mark * 64, version_id=a.id)
    runs.finish(session, run.id, {"a": a.name, "b": b.name, "gate": {"passed": passed, "rules": [rule]}})
    return run.id


@pytest.fixture
def chain(engine: Engine) -> tuple[Version, Version, Version]:
    """v0, current, and v1 and v2 of it."""
    with writing(engine) as session:
        v0 = versions.ensure_base(session, "tiny", BASE)
        v1, v2 = (trained(session, v0, name) for name in ("v1", "v2"))
        versions.promote(session, v0.id, None, {}, "ann")
    return v0, v1, v2


def test_promote_rollback_and_promote_leave_a_complete_history(engine: Engine, chain: tuple[Version, ...]) -> None:
    v0, v1, v2 = chain
    with writing(engine) as session:
        first, second = comparison(session, v1, v0, True, "1"), comparison(session, v2, v1, True, "2")
        promotions.promote_compared(session, first, "ann")
        promotions.promote_compared(session, second, "ann")
        assert [versions.rollback(session, "bob", "it rambles").version_id for _ in range(2)] == [v1.id, v0.id]
        again = promotions.promote_compared(session, first, "bob")
    with reading(engine) as session:
        moves = promotions.list_moves(session)
    assert [(move.kind, move.version, move.previous, move.actor) for move in moves] == [
        ("promote", "v0", None, "ann"),
        ("promote", "v1", "v0", "ann"),
        ("promote", "v2", "v1", "ann"),
        ("rollback", "v1", "v2", "bob"),
        ("rollback", "v0", "v1", "bob"),
        ("promote", "v1", "v0", "bob"),
    ]
    assert [move.run_id for move in moves] == [None, first, second, None, None, first]
    assert [move.evidence.get("undoes") for move in moves[3:5]] == [moves[2].id, moves[1].id]
    assert moves[-1].evidence["report"]["gate"]["passed"] is True
    assert (moves[-1].reason, again.forced) == ("v1 wins 70 %", False)


def test_a_refused_version_needs_force_with_a_reason_and_that_is_recorded(
    engine: Engine, chain: tuple[Version, ...]
) -> None:
    v0, v1, _ = chain
    with writing(engine) as session:
        run_id = comparison(session, v1, v0, False)
        for nothing in (None, "", "  "):
            with pytest.raises(StoreError, match="the gate refuses v1: v1 wins 70 %; or force it, and say why"):
                promotions.promote_compared(session, run_id, "ann", nothing)
        promotions.promote_compared(session, run_id, "ann", "a demo on Friday")
        move = promotions.list_moves(session)[-1]
    assert (move.version, move.forced, move.reason) == ("v1", True, "a demo on Friday")
    assert move.evidence["report"]["gate"]["passed"] is False


def test_force_where_the_gate_passed_is_not_recorded_as_forced(engine: Engine, chain: tuple[Version, ...]) -> None:
    with writing(engine) as session:
        move = promotions.promote_compared(session, comparison(session, chain[1], chain[0], True), "ann", "to be sure")
    assert (move.forced, move.reason) == (False, "to be sure")


def test_evidence_against_another_version_than_the_current_one_is_none(
    engine: Engine, chain: tuple[Version, ...]
) -> None:
    v0, v1, v2 = chain
    with writing(engine) as session:
        over_base = [comparison(session, version, v0, True, version.name[1]) for version in (v1, v2)]
        exam = runs.start(session, "exam", {}, 0, "test", "e" * 64)
        promotions.promote_compared(session, over_base[0], "ann")
        with pytest.raises(StoreError, match="compared v2 with v0, and v1 is current; compare v2 with the current"):
            promotions.promote_compared(session, over_base[1], "ann", "whatever")
        with pytest.raises(StoreError, match="v1 is current already"):
            promotions.promote_compared(session, over_base[0], "ann")
        with pytest.raises(StoreError, match=f"run {exam.id} is no finished comparison"):
            promotions.promote_compared(session, exam.id, "ann", "whatever")
        assert [move.version for move in promotions.list_moves(session)] == ["v0", "v1"]


def test_a_stale_version_is_not_promoted_even_by_force(engine: Engine, chain: tuple[Version, ...]) -> None:
    v0, v1, _ = chain
    with writing(engine) as session:
        run_id = comparison(session, v1, v0, True)
        versions.get(session, v1.id).stale_reason = "ann withdrew"
        with pytest.raises(StoreError, match="v1 is stale .ann withdrew"):
            promotions.promote_compared(session, run_id, "ann", "whatever")


@pytest.fixture
def ctx(tmp_path: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Context]:
    """A workspace with v0, which is current, and v1."""
    opened = two_versions(tmp_path / "ws", tiny_base)
    monkeypatch.setenv("PREFLOOP_HOME", str(opened.workspace.root))
    yield opened
    opened.engine.dispose()


def heldout_categories(ctx: Context) -> set[str]:
    with reading(ctx.engine) as session:
        return {prompt.category for prompt in prompts.list_prompts(session, split="heldout")}


def prefloop(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments, env={"COLUMNS": "200"})


def test_the_command_prints_every_rule_and_refuses_by_status(ctx: Context) -> None:
    refused = prefloop("promote", "v1", "--judge", "rule:json")  # neither ever writes JSON: a tie everywhere
    assert refused.exit_code == 1
    assert "v1 wins 50.0%" in refused.stdout
    assert "not shown to be better" in refused.stdout
    assert "not promoted: v1, against v0" in refused.stdout
    said = json.loads(prefloop("promote", "v1", "--judge", "rule:json", "--json").stdout)
    assert (said["promoted"], said["gate"]["passed"]) == (False, False)
    assert [rule["rule"] for rule in said["gate"]["rules"]] == [
        "better by rule:json",
        "no category worse",
        "repetition",
        "refusal",
    ]
    assert {each["category"] for each in said["slices"]} == heldout_categories(ctx)
    compared = prefloop("compare", "v1", "v0", "--judge", "rule:json").stdout
    assert "rule:json was not compared with people yet" in compared
    assert "the gate, for v1 in place of v0: refused" in compared
    assert prefloop("promote", "v1", "--judge", "rule:json", "--force").exit_code == 1  # no reason
    assert ensure_current(ctx).name == "v0"

    forced = prefloop("promote", "v1", "--judge", "rule:json", "--force", "--reason", "to see it", "--json")
    assert json.loads(forced.stdout)["forced"] is True
    assert prefloop("rollback", "--reason", "seen").exit_code == 0
    history = json.loads(prefloop("promotions", "list", "--json").stdout)
    assert [(move["kind"], move["version"], move["forced"], move["reason"]) for move in history[1:]] == [
        ("promote", "v1", True, "to see it"),
        ("rollback", "v0", False, "seen"),
    ]
    by_json = history[1]["evidence"]["report"]["judges"]["rule:json"]
    assert by_json["ties"] == by_json["comparisons"] == 2 * said["prompts"]
    shown = prefloop("promotions", "list").stdout
    assert "promote, forced" in shown
    assert "to see it" in shown


def test_the_loop_promotes_on_a_gate_that_passed_and_only_past_the_version_that_it_beat(ctx: Context) -> None:
    with reading(ctx.engine) as session:
        v1, v0 = versions.by_name(session, "v1"), versions.by_name(session, "v0")
    run_id, report = compare(ctx, v1, v0, ["rule:json"])
    assert promote_if_better(ctx, v1, run_id, report).promote is False
    assert ensure_current(ctx).name == "v0"
    report = {**report, "gate": {"passed": True, "rules": report["gate"]["rules"]}}
    with writing(ctx.engine) as session:
        runs.get(session, run_id).summary = report
    assert promote_if_better(ctx, v1, run_id, report).promote is True
    assert promote_if_better(ctx, v1, run_id, report).promote is True  # a loop that was interrupted comes here again
    with writing(ctx.engine) as session:
        assert len(promotions.list_moves(session)) == 2
        v2 = trained(session, v0, "v2")
    elsewhere = promote_if_better(ctx, v2, run_id, {**report, "a": "v2"})
    assert (elsewhere.promote, elsewhere.reason.endswith("but v1 is current by now, not v0")) == (False, True)


def test_another_gate_judges_the_same_completions_again(ctx: Context) -> None:
    with reading(ctx.engine) as session:
        v1, v0 = versions.by_name(session, "v1"), versions.by_name(session, "v0")
    first, report = compare(ctx, v1, v0, ["rule:json"])
    assert compare(ctx, v1, v0, ["rule:json"])[0] == first
    (ctx.workspace.root / "prefloop.toml").write_text(
        (ctx.workspace.root / "prefloop.toml").read_text() + "[gate]\nmax_kl = 0.001\n"
    )
    stricter = Context(workspace.find(ctx.workspace.root), ctx.engine, ctx.console)
    second, strict = compare(stricter, v1, v0, ["rule:json"])
    assert second != first
    assert strict["versions"] == report["versions"]
    assert [rule["rule"] for rule in strict["gate"]["rules"]][-1] == "KL to base"
    assert strict["gate"]["rules"][-1]["passed"] is False
