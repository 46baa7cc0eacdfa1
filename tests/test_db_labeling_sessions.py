"""Labeling sessions and drafts: what an annotator comes back to, and what they are told at the end."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from db import annotators, clock, comparisons, drafts, labeling_sessions, queues
from db.comparisons import AssignedTask, next_assignment
from db.engine import reading, writing
from db.errors import StoreError
from db.judgments import Said, correct, submit
from db.tables import Comparison, Draft

Ask = Callable[..., list[int]]


def person(session: Session, name: str) -> int:
    return annotators.ensure(session, name, "human").id


def must_lease(session: Session, annotator_id: int) -> AssignedTask:
    task = next_assignment(session, annotator_id)
    assert task is not None
    return task


def test_a_draft_survives_until_its_answer_is_given(engine: Engine, ask: Ask) -> None:
    with writing(engine) as session:
        ask(session, 2)
        ann = person(session, "ann")
        task = must_lease(session, ann)
        assert task.draft is None
        drafts.save(session, task.assignment_id, ann, {"rationale": "I thi"})
        drafts.save(session, task.assignment_id, ann, {"rationale": "I think", "choice": "left"})
    with writing(engine) as session:
        assert must_lease(session, ann).draft == {"rationale": "I think", "choice": "left"}
        submit(session, task.assignment_id, ann, Said("left", rationale="I think so"))
        assert session.query(Draft).count() == 0
        assert must_lease(session, ann).draft is None
        with pytest.raises(StoreError, match="is judged already"):
            drafts.save(session, task.assignment_id, ann, {"rationale": "late"})


def test_an_empty_draft_is_none_and_nobody_writes_into_anothers(engine: Engine, ask: Ask) -> None:
    with writing(engine) as session:
        ask(session)
        ann, bob = person(session, "ann"), person(session, "bob")
        task = must_lease(session, ann)
        drafts.save(session, task.assignment_id, ann, {"rationale": "x"})
        with pytest.raises(StoreError, match="another annotator's"):
            drafts.save(session, task.assignment_id, bob, {"rationale": "y"})
        drafts.save(session, task.assignment_id, ann, {})
        assert must_lease(session, ann).draft is None
        annotators.disable(session, ann)
        session.flush()
        with pytest.raises(StoreError, match="is disabled"):
            drafts.save(session, task.assignment_id, ann, {"rationale": "x"})


def test_one_session_at_a_time(engine: Engine, wait: Callable[[float], None]) -> None:
    with writing(engine) as session:
        ann, bob = person(session, "ann"), person(session, "bob")
        assert labeling_sessions.current(session, ann) is None
        first = labeling_sessions.start(session, ann, "minutes", 30)
        wait(60)
        second = labeling_sessions.start(session, ann, "count", 10)
        assert labeling_sessions.current(session, bob) is None
        assert labeling_sessions.current(session, ann) is second
        assert (first.ended_at, second.ended_at) == (clock.now(), None)
        wait(60)
        ended = labeling_sessions.end(session, second.id, ann)
        wait(60)
        assert labeling_sessions.end(session, second.id, ann).ended_at == clock.now() - timedelta(seconds=60)
        assert labeling_sessions.current(session, ann) is None
        assert labeling_sessions.summary(session, ended.id).seconds == 60
        with pytest.raises(StoreError, match=f"has no session {first.id}"):
            labeling_sessions.end(session, first.id, bob)
        with pytest.raises(StoreError, match="a goal of 0 count; choose 1 or more minutes or count"):
            labeling_sessions.start(session, ann, "count", 0)
        with pytest.raises(StoreError, match="no queue 99"):
            labeling_sessions.start(session, ann, "count", 5, queue_id=99)
        with pytest.raises(StoreError, match="no session 99"):
            labeling_sessions.summary(session, 99)


def test_an_empty_session_has_an_honest_summary(engine: Engine) -> None:
    with writing(engine) as session:
        started = labeling_sessions.start(session, person(session, "ann"), "count", 5)
        told = labeling_sessions.summary(session, started.id)
    assert (told.judgments, told.median_response_ms, told.repeats, told.gold) == (0, None, 0, 0)
    assert (told.goal_kind, told.goal, told.queue_name, told.ended_at) == ("count", 5, None, None)


def test_a_summary_tells_what_was_said_in_it_as_it_stands_now(
    engine: Engine, ask: Ask, wait: Callable[[float], None]
) -> None:
    with writing(engine) as session:
        asked = ask(session, 12)
        queue_id = session.get_one(Comparison, asked[0]).queue_id
        ann, bob = person(session, "ann"), person(session, "bob")
        submit(session, must_lease(session, ann).assignment_id, ann, Said("left", response_ms=90_000))
        wait(5)
        started = labeling_sessions.start(session, ann, "minutes", 20, queue_id=queue_id)
        submit(session, must_lease(session, bob).assignment_id, bob, Said("left", response_ms=90_000))
        for response_ms in (1000, 2000, 6000):
            wait(10)
            given = submit(session, must_lease(session, ann).assignment_id, ann, Said("skip", response_ms=response_ms))
        correct(session, given.judgment_id, ann, Said("flag", reason="unsafe", response_ms=1))
        submit(session, must_lease(session, ann).assignment_id, ann, Said("tie"))
        wait(10)
        labeling_sessions.end(session, started.id, ann)
        wait(5)
        submit(session, must_lease(session, ann).assignment_id, ann, Said("left", response_ms=90_000))
    with reading(engine) as session:
        told = labeling_sessions.summary(session, started.id)
    assert (told.judgments, told.skipped, told.flagged) == (4, 2, 1)
    assert (told.median_response_ms, told.seconds, told.queue_name) == (2000.0, 40.0, "a pair queue")
    assert told.ended_at == told.started_at + timedelta(seconds=40)


@pytest.mark.parametrize("each", [2, 3])
def test_repeats_agree_by_what_was_meant_and_gold_hits_by_its_answer(engine: Engine, ask: Ask, each: int) -> None:
    def said(task: AssignedTask, best: int) -> Said:
        if each == 2:
            return Said("left" if task.candidate_ids[0] == best else "right")
        return Said("ranked", ranking=[[best], sorted(set(task.candidate_ids) - {best})])

    with writing(engine) as session:
        queue_id = session.get_one(Comparison, ask(session, 40, each=each)[0]).queue_id
        queues.update(session, queue_id, repeat_share=0.4, gold_share=0.4)
        for original in session.query(Comparison).order_by(Comparison.id).limit(4).all():
            best = min(candidate.id for candidate in comparisons.candidates_of(session, original.id))
            comparisons.make_gold(session, original.id, best + (original.id % 2))
        session.flush()
        ann = person(session, "ann")
        started = labeling_sessions.start(session, ann, "count", 50)
        repeats = gold = 0
        while (task := next_assignment(session, ann)) is not None:
            comparison = session.get_one(Comparison, task.comparison_id)
            repeats += comparison.purpose == "repeat"
            gold += comparison.purpose == "gold"
            changed_mind = comparison.purpose == "repeat" and repeats == 1
            best = max(task.candidate_ids) if changed_mind else min(task.candidate_ids)
            submit(session, task.assignment_id, ann, said(task, best))
        told = labeling_sessions.summary(session, started.id)
    assert repeats > 2
    assert (told.repeats, told.repeats_agreed) == (repeats, repeats - 1)
    assert (told.gold, told.gold_hits) == (gold, 2) == (4, 2)
