"""Lineage: from one judgment back to its prompt, and forward to every version that stands on it."""

from collections.abc import Callable

import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from db import annotators, comparisons, judgments, lineage, runs, snapshots, versions
from db.engine import reading, writing
from db.errors import StoreError
from db.judgments import Said
from db.tables import Version


def judge(session: Session, name: str, said: Said | None = None) -> int:
    annotator = annotators.ensure(session, name, "human")
    task = comparisons.next_assignment(session, annotator.id, rng_seed=0)
    assert task is not None
    return judgments.submit(session, task.assignment_id, annotator.id, said or Said("left")).judgment_id


def train(session: Session, name: str, snapshot_id: int | None, parent: Version) -> Version:
    run = runs.start(session, "dpo", {}, 0, "code", name.ljust(64, "0"), snapshot_id=snapshot_id, version_id=parent.id)
    return versions.create(
        session,
        "policy",
        name,
        "tiny",
        "0" * 64,
        f"{name}/adapter",
        name.ljust(64, "1"),
        parent.id,
        run.id,
        snapshot_id,
    )


@pytest.fixture
def learned(engine: Engine, ask: Callable[..., list[int]]) -> int:
    """Ann's judgment is in the snapshot of v1, of which v2 descends; v3 learned from Bob's alone. v2 is current."""
    with writing(engine) as session:
        ask(session, 2)
        anns, bobs = judge(session, "ann", Said("left", rationale="kinder")), judge(session, "bob")
        base = versions.list_versions(session)[0]
        both = snapshots.store(session, "a" * 64, [anns, bobs], {}, {}, 2).id
        other = snapshots.store(session, "b" * 64, [bobs], {}, {}, 1).id
        v1 = train(session, "v1", both, base)
        v2 = train(session, "v2", None, v1)
        train(session, "v3", other, base)
        for version in (v1, v2):
            versions.promote(session, version.id, None, {}, "dora")
        runs.start(session, "reward", {}, 0, "code", "c" * 64, snapshot_id=both)
    return anns


def test_a_judgment_leads_back_to_its_prompt_and_on_to_what_learned_from_it(engine: Engine, learned: int) -> None:
    with reading(engine) as session:
        found = lineage.of_judgment(session, learned)
    assert found.messages == [{"role": "user", "content": "question 0"}]
    assert (found.annotator, found.queue, found.purpose, found.round) == ("ann", "a pair queue", "train", None)
    assert {candidate.text for candidate in found.candidates} == {"answer 0 to 0", "answer 1 to 0"}
    assert [candidate.preferred for candidate in found.candidates] == [True, False]  # the left one, as displayed
    assert {candidate.version for candidate in found.candidates} == {"v0"}
    assert [(said.choice, said.rationale) for said in found.said] == [("left", "kinder")]
    assert [snapshot.sha256[0] for snapshot in found.snapshots] == ["a"]
    assert [run.stage for run in found.runs] == ["dpo", "reward"]
    known = [(version.name, version.parent, version.direct, version.is_current) for version in found.versions]
    assert known == [("v1", "v0", True, False), ("v2", "v1", False, True)]
    assert [(promotion.version, promotion.actor) for promotion in found.promotions] == [("v1", "dora"), ("v2", "dora")]


def test_a_correction_belongs_to_the_same_lineage_and_the_old_saying_stays_in_its_snapshot(
    engine: Engine, learned: int
) -> None:
    with writing(engine) as session:
        ann = annotators.by_name(session, "ann").id
        corrected = judgments.correct(session, learned, ann, Said("right")).judgment_id
    with reading(engine) as session:
        found = lineage.of_judgment(session, corrected)
        assert found == lineage.of_judgment(session, learned)
    assert [(said.judgment_id, said.choice) for said in found.said] == [(learned, "left"), (corrected, "right")]
    assert [candidate.preferred for candidate in found.candidates] == [False, True]
    assert len(found.snapshots) == 1


def test_after_a_withdrawal_the_lineage_says_what_is_stale(engine: Engine, learned: int) -> None:
    with reading(engine) as session:
        ann = annotators.by_name(session, "ann").id
        announced = lineage.of_annotator(session, ann)
        assert announced.judgments == 1
    with writing(engine) as session:
        withdrawn = annotators.withdraw(session, ann)
    assert [snapshot.id for snapshot in announced.snapshots] == withdrawn.snapshot_ids
    assert [version.id for version in announced.versions] == withdrawn.version_ids
    with reading(engine) as session:
        found = lineage.of_judgment(session, learned)
    assert found.withdrawn_at is not None
    stale = [row.stale_reason for row in (*found.snapshots, *found.versions)]
    assert all(reason and reason.startswith("annotator ann withdrew") for reason in stale)


def test_what_nobody_learned_from_ends_with_what_was_said(engine: Engine, ask: Callable[..., list[int]]) -> None:
    with writing(engine) as session:
        ask(session, kind="demonstration", each=0)
        said = judge(session, "ann", Said("written", written="a better world"))
        found = lineage.of_judgment(session, said)
    assert (found.candidates, found.snapshots, found.runs, found.versions, found.promotions) == ([], [], [], [], [])
    assert found.said[0].written == "a better world"


def test_an_unknown_judgment_is_refused(engine: Engine) -> None:
    with reading(engine) as session, pytest.raises(StoreError, match="there is no judgment 7"):
        lineage.of_judgment(session, 7)
