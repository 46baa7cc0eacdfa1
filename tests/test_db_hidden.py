"""Hidden questions: repeats and gold come in their share, look like any other question, and count for nothing else."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from db import annotators, clock, comparisons, judgments, queues
from db.comparisons import AssignedTask, next_assignment
from db.engine import reading, writing
from db.judgments import Said
from db.tables import Assignment, Comparison

Ask = Callable[..., list[int]]


def hiding(session: Session, ask: Ask, count: int, each: int = 2, **shares: float) -> int:
    """The id of a queue with so many questions and these shares."""
    comparison_ids = ask(session, count, each=each)
    queue_id = session.get_one(Comparison, comparison_ids[0]).queue_id
    queues.update(session, queue_id, **shares)  # type: ignore[arg-type]
    session.flush()
    return queue_id


def answer_all(session: Session, name: str, said: Said | None = None) -> list[AssignedTask]:
    """Everything that the annotator is asked, until nothing is left."""
    annotator_id = annotators.ensure(session, name, "human").id
    tasks = []
    while (task := next_assignment(session, annotator_id)) is not None:
        tasks.append(task)
        default = (
            Said("left") if task.kind == "pair" else Said("ranked", ranking=[[each] for each in task.candidate_ids])
        )
        judgments.submit(session, task.assignment_id, annotator_id, said or default)
    return tasks


def purpose_of(session: Session, task: AssignedTask) -> str:
    return session.get_one(Comparison, task.comparison_id).purpose


@pytest.mark.parametrize("each", [2, 4])
def test_an_earlier_question_comes_back_once_and_late_with_its_sides_swapped(
    engine: Engine, ask: Ask, each: int
) -> None:
    with writing(engine) as session:
        hiding(session, ask, 60, each=each, repeat_share=0.3)
        tasks = answer_all(session, "ann")
        place = {task.comparison_id: number for number, task in enumerate(tasks)}
        originals = []
        for number, task in enumerate(tasks):
            comparison = session.get_one(Comparison, task.comparison_id)
            if comparison.purpose == "repeat":
                assert comparison.repeats_id is not None
                first = tasks[place[comparison.repeats_id]]
                assert purpose_of(session, first) == "train"
                assert number - place[comparison.repeats_id] > 10
                assert task.candidate_ids == first.candidate_ids[::-1]
                assert task.texts == first.texts[::-1]
                originals.append(comparison.repeats_id)
    assert len(originals) == len(set(originals)) == len(tasks) - 60
    assert 8 <= len(originals) <= 40  # three in ten of the tasks after the first eleven; 21 are to be expected


def test_two_annotators_may_both_be_asked_the_same_question_again(engine: Engine, ask: Ask) -> None:
    with writing(engine) as session:
        for comparison_id in ask(session, 40):
            comparisons.set_overlap(session, comparison_id, 2)
        queues.update(session, session.query(Comparison).first().queue_id, repeat_share=0.5)  # type: ignore[union-attr]
        session.flush()
        for name in ("ann", "bob"):
            answer_all(session, name)
        repeated = [each.repeats_id for each in session.query(Comparison).filter_by(purpose="repeat")]
    assert len(set(repeated)) < len(repeated)


@pytest.mark.parametrize("said", [Said("skip"), Said("flag", reason="unsafe")])
def test_what_got_no_answer_is_not_asked_again(engine: Engine, ask: Ask, said: Said) -> None:
    with writing(engine) as session:
        hiding(session, ask, 40, repeat_share=0.5)
        assert len(answer_all(session, "ann", said)) == 40


def test_gold_is_asked_of_everybody_once_in_its_share(engine: Engine, ask: Ask) -> None:
    with writing(engine) as session:
        hiding(session, ask, 40, gold_share=0.3)
        originals = session.query(Comparison).order_by(Comparison.id).limit(3).all()
        gold = {
            comparisons.make_gold(session, original.id, comparisons.candidates_of(session, original.id)[0].id).id
            for original in originals
        }
        for comparison in session.query(Comparison).filter_by(purpose="train"):
            comparisons.set_overlap(session, comparison.id, 2)
        for name in ("ann", "bob"):
            asked = [task.comparison_id for task in answer_all(session, name)]
            assert len(asked) == len(set(asked)) == 43
            assert gold < set(asked)
            assert not gold & set(asked[-1:]), "nobody is kept busy with gold alone"


def test_the_same_history_draws_the_same(engine: Engine, ask: Ask) -> None:
    with writing(engine) as session:
        hiding(session, ask, 40, repeat_share=0.2)
        for name in ("ann", "bob"):
            annotators.ensure(session, name, "human")
    drawn = []
    for name in ("ann", "ann", "bob"):
        with reading(engine) as session:  # undone
            drawn.append([purpose_of(session, task) for task in answer_all(session, name)])
    assert drawn[0] == drawn[1] != drawn[2]
    assert "repeat" in drawn[0]


def test_hidden_questions_owe_nothing_and_look_like_any_other(engine: Engine, ask: Ask) -> None:
    with writing(engine) as session:
        hiding(session, ask, 30, repeat_share=0.5, gold_share=0.5)
        original = session.query(Comparison).order_by(Comparison.id).first()
        assert original is not None
        comparisons.make_gold(session, original.id, comparisons.candidates_of(session, original.id)[0].id)
        before = comparisons.open_count(session)
        (progress,) = queues.progress(session)
        assert (before, progress.comparisons, progress.wanted) == (30, 30, 30)
        answer_all(session, "ann")
        (progress,) = queues.progress(session)
        assert (progress.comparisons, progress.wanted, progress.judged, progress.leased) == (30, 30, 30, 0)
        assert comparisons.open_count(session) == 0
        rows = judgments.current(session, purposes=("train", "repeat", "gold"))
        assert {row.purpose for row in rows} == {"train", "repeat", "gold"}
        assert {row.purpose for row in judgments.current(session)} == {"train"}
        assert all(each.free_human == 0 for each in session.query(Comparison).populate_existing())


def test_a_repeat_whose_lease_ran_out_waits_for_its_annotator(
    engine: Engine, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    with writing(engine) as session:
        hiding(session, ask, 40, repeat_share=0.5)
        ann, bob = (annotators.ensure(session, name, "human").id for name in ("ann", "bob"))
        while (task := next_assignment(session, ann)) is not None and purpose_of(session, task) != "repeat":
            judgments.submit(session, task.assignment_id, ann, Said("left"))
        assert task is not None
        later = clock.now() + timedelta(hours=1)
        monkeypatch.setattr(clock, "now", lambda: later)
        bobs = next_assignment(session, bob)
        assert bobs is not None
        assert bobs.comparison_id != task.comparison_id
        assert session.get_one(Assignment, task.assignment_id, populate_existing=True).state == "expired"
        again = next_assignment(session, ann)
        assert again is not None
        assert (again.assignment_id, again.candidate_ids) == (task.assignment_id, task.candidate_ids)
        assert judgments.submit(session, task.assignment_id, ann, Said("left")).stored


def test_a_queue_without_shares_asks_nothing_hidden(engine: Engine, ask: Ask) -> None:
    with writing(engine) as session:
        hiding(session, ask, 30)
        assert len(answer_all(session, "ann")) == 30
