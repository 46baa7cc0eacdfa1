"""Versions and promotions: where `current` points, how it got there, and what a withdrawal does to it."""

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from db import annotators, audit, judgments, runs, snapshots, versions
from db.comparisons import next_assignment
from db.engine import reading, writing
from db.errors import StoreError
from db.tables import Version

Ask = Callable[..., list[int]]
BASE = "b" * 64


def train(
    session: Session,
    parent: Version,
    snapshot_id: int | None = None,
    run_id: int | None = None,
    kind: versions.VersionKind = "policy",
) -> Version:
    name = versions.next_name(session, kind)
    return versions.create(
        session, kind, name, "tiny", BASE, f"versions/{name}", name.rjust(64, "0"), parent.id, run_id, snapshot_id
    )


def judge(session: Session, name: str) -> int:
    annotator_id = annotators.ensure(session, name, "human").id
    task = next_assignment(session, annotator_id)
    assert task is not None
    return judgments.submit(session, task.assignment_id, annotator_id, judgments.Said("left")).judgment_id


def test_the_base_of_the_same_weights_is_one_version(engine: Engine) -> None:
    with writing(engine) as session:
        first = versions.ensure_base(session, "tiny", BASE)
        assert versions.ensure_base(session, "tiny under another name", BASE).id == first.id
        other = versions.ensure_base(session, "other", "c" * 64)
        assert versions.ensure_base(session, "other", "c" * 64).id == other.id
        assert (first.name, other.name) == ("v0", "v0-cccccccc")
        assert (first.kind, first.adapter_path, first.adapter_sha256) == ("policy", None, None)


def test_names_count_up_by_kind(engine: Engine) -> None:
    with writing(engine) as session:
        base = versions.ensure_base(session, "tiny", BASE)
        versions.ensure_base(session, "other", "c" * 64)
        assert [train(session, base).name for _ in range(11)][-1] == "v11"
        assert versions.next_name(session, "policy") == "v12"
        assert train(session, base, kind="reward").name == "r1"
        assert [version.name for version in versions.list_versions(session, "reward")] == ["r1"]
        assert len(versions.list_versions(session)) == 14
        with pytest.raises(StoreError, match="version v3 exists already; the next free name is v12"):
            versions.create(session, "policy", "v3", "tiny", BASE, "x", "0" * 64, base.id, None, None)


def test_an_unknown_version_is_answered_with_the_known_ones(engine: Engine) -> None:
    with reading(engine) as session:
        with pytest.raises(StoreError, match="known: none yet"):
            versions.by_name(session, "v1")
        train(session, versions.ensure_base(session, "tiny", BASE))
        with pytest.raises(StoreError, match="there is no version v9; known: v0, v1"):
            versions.by_name(session, "v9")


def test_a_run_makes_one_version_and_half_an_adapter_is_none(engine: Engine) -> None:
    with writing(engine) as session:
        base = versions.ensure_base(session, "tiny", BASE)
        run = runs.start(session, "dpo", {}, 0, "test", "f" * 64, version_id=base.id)
        train(session, base, run_id=run.id)
    with pytest.raises(IntegrityError), writing(engine) as session:
        train(session, base, run_id=run.id)
    with pytest.raises(IntegrityError), writing(engine) as session:
        train(session, base).adapter_sha256 = None


def test_promote_and_rollback_leave_a_complete_history(engine: Engine) -> None:
    with writing(engine) as session:
        assert versions.current(session) is None
        v0 = versions.ensure_base(session, "tiny", BASE)
        v1, v2 = train(session, v0), train(session, v0)
        compare = runs.start(session, "compare", {}, 0, "test", "e" * 64)
        versions.promote(session, v0.id, None, {}, "ann")
        versions.promote(session, v1.id, compare.id, {"win_rate": 0.6}, "ann")
        versions.rollback(session, "bob", "it rambles")
        assert versions.current(session) == v0
        versions.promote(session, v2.id, compare.id, {"win_rate": 0.5}, "ann", forced=True, reason="demo")
    with reading(engine) as session:
        current = versions.current(session)
        assert current is not None
        assert current.name == "v2"
        moves = [(move.kind, move.version_id, move.previous_id, move.actor) for move in versions.history(session)]
        assert moves == [
            ("promote", v0.id, None, "ann"),
            ("promote", v1.id, v0.id, "ann"),
            ("rollback", v0.id, v1.id, "bob"),
            ("promote", v2.id, v0.id, "ann"),
        ]
        newest = versions.history(session)[-1]
        assert (newest.run_id, newest.evidence, newest.forced, newest.reason) == (
            compare.id,
            {"win_rate": 0.5},
            True,
            "demo",
        )
        actions = [event.action for event in audit.events(session, "promotion")]
        assert actions == ["promote", "rollback", "promote", "promote"]


def test_what_cannot_be_promoted(engine: Engine) -> None:
    with writing(engine) as session:
        v0 = versions.ensure_base(session, "tiny", BASE)
        with pytest.raises(StoreError, match="no version to roll back to"):
            versions.rollback(session, "ann")
        versions.promote(session, v0.id, None, {}, "ann")
        with pytest.raises(StoreError, match="no version to roll back to"):
            versions.rollback(session, "ann")
        with pytest.raises(StoreError, match="v0 is current already"):
            versions.promote(session, v0.id, None, {}, "ann")
        with pytest.raises(StoreError, match="only a policy is promoted"):
            versions.promote(session, train(session, v0, kind="reward").id, None, {}, "ann")
        stale = train(session, v0)
        stale.stale_reason = "somebody withdrew"
        with pytest.raises(StoreError, match="v1 is stale"):
            versions.promote(session, stale.id, None, {}, "ann", forced=True)


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(moves=st.lists(st.integers(-1, 3), max_size=20))
def test_current_moves_like_a_stack(engine: Engine, moves: list[int]) -> None:
    with reading(engine) as session:  # undone after each example
        base = versions.ensure_base(session, "tiny", BASE)
        crew = [base, *(train(session, base) for _ in range(3))]
        stack: list[int] = []
        for move in moves:
            if move == -1:
                if len(stack) > 1:
                    stack.pop()
                    assert versions.rollback(session, "ann").version_id == stack[-1]
                else:
                    with pytest.raises(StoreError, match="no version to roll back to"):
                        versions.rollback(session, "ann")
            elif stack and stack[-1] == crew[move].id:
                with pytest.raises(StoreError, match="is current already"):
                    versions.promote(session, crew[move].id, None, {}, "ann")
            else:
                versions.promote(session, crew[move].id, None, {}, "ann")
                stack.append(crew[move].id)
            current = versions.current(session)
            assert (current.id if current else None) == (stack[-1] if stack else None)


def test_a_withdrawal_makes_all_that_came_of_it_stale(engine: Engine, ask: Ask) -> None:
    with writing(engine) as session:
        ask(session, 2, overlap=2)
        anns, bobs = judge(session, "ann"), judge(session, "bob")
        of_both = snapshots.store(session, "1" * 64, [anns, bobs], {}, {}, 2).id
        of_bob = snapshots.store(session, "2" * 64, [bobs], {}, {}, 1).id
        base = versions.ensure_base(session, "tiny", BASE)
        tainted = train(session, base, of_both)
        child = train(session, tainted, of_bob)
        grandchild = train(session, child)
        clean = train(session, base, of_bob)
        ann = annotators.by_name(session, "ann")
        withdrawal = annotators.withdraw(session, ann.id, actor="ann")
        assert withdrawal.snapshot_ids == [of_both]
        assert withdrawal.version_ids == [tainted.id, child.id, grandchild.id]
    with reading(engine) as session:
        for version_id in withdrawal.version_ids:
            assert "annotator ann withdrew on 20" in str(versions.get(session, version_id).stale_reason)
        assert "ann withdrew" in str(snapshots.get(session, of_both).stale_reason)
        assert snapshots.get(session, of_bob).stale_reason is None
        assert versions.get(session, clean.id).stale_reason is None
        (event,) = audit.events(session, "annotator")
        assert event.details == {"stale_snapshots": [of_both], "stale_versions": withdrawal.version_ids}
    with writing(engine) as session:  # what was under way is born stale
        assert "ann withdrew" in str(train(session, versions.get(session, child.id)).stale_reason)
        assert "ann withdrew" in str(train(session, base, of_both).stale_reason)
        with pytest.raises(StoreError, match="ann has withdrawn since"):
            snapshots.store(session, "3" * 64, [anns], {}, {}, 1)


def test_a_rollback_leads_past_a_stale_version(engine: Engine) -> None:
    with writing(engine) as session:
        v0 = versions.ensure_base(session, "tiny", BASE)
        v1 = train(session, v0)
        v2 = train(session, v1)
        for version in (v0, v1, v2):
            versions.promote(session, version.id, None, {}, "ann")
        v1.stale_reason = v2.stale_reason = "somebody withdrew"
        versions.rollback(session, "ann")
        assert versions.rollback(session, "ann").version_id == v0.id
