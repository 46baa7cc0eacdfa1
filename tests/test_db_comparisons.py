"""Comparisons: a question is asked once in a queue, and its candidates answer its prompt."""

from collections.abc import Callable

import pytest
from sqlalchemy import Engine
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from db import annotators, audit, comparisons, judgments, prompts, queues
from db.comparisons import Created, create, make_gold, open_count
from db.engine import writing
from db.errors import StoreError
from db.judgments import Said
from db.tables import Candidate, Comparison, ComparisonCandidate
from db.words import QueueKind

Ask = Callable[..., list[int]]


def candidates_in(session: Session) -> list[Candidate]:
    return session.query(Candidate).order_by(Candidate.id).all()


def test_the_same_question_is_one_comparison_of_its_queue(engine: Engine, ask: Ask) -> None:
    with writing(engine) as session:
        (first,) = ask(session)
        a, b = candidates_in(session)
        here = session.get_one(Comparison, first).queue_id
        there = queues.create(session, "another").id
        assert create(session, here, a.prompt_id, [b.id, a.id]) == Created(first, created=False)
        assert create(session, there, a.prompt_id, [b.id, a.id]).created
        other = create(session, here, a.prompt_id, [b.id, a.id], purpose="evaluate")
        repeat = create(session, here, a.prompt_id, [a.id, b.id], purpose="repeat", repeats_id=first)
        repeat_of_other = create(session, here, a.prompt_id, [a.id, b.id], purpose="repeat", repeats_id=other.id)
        assert other.created
        assert repeat.created
        assert repeat_of_other.created
        assert session.query(Comparison).count() == 5


def test_two_prompts_can_be_asked_about_without_candidates(engine: Engine, ask: Ask) -> None:
    with writing(engine) as session:
        first, second = ask(session, 2, each=0, kind="demonstration")
        assert first != second
        task = comparisons.next_assignment(session, annotators.ensure(session, "ann", "human").id)
        assert task is not None
        assert (task.comparison_id, task.kind, task.texts, task.candidate_ids) == (first, "demonstration", [], [])


def test_candidates_of_two_prompts_are_not_compared(engine: Engine, ask: Ask) -> None:
    with writing(engine) as session:
        ask(session, 2)
        a, _, stranger, _ = candidates_in(session)
        queue_id = queues.create(session, "another").id
        with pytest.raises(StoreError, match=rf"candidates \[{stranger.id}\] do not answer prompt {a.prompt_id}"):
            create(session, queue_id, a.prompt_id, [a.id, stranger.id])


@pytest.mark.parametrize("claimed_prompt", ["of the comparison", "of the candidate"])
def test_the_store_itself_refuses_candidates_of_two_prompts(engine: Engine, ask: Ask, claimed_prompt: str) -> None:
    with pytest.raises(IntegrityError), writing(engine) as session:
        comparison_id, _ = ask(session, 2)
        a, _, stranger, _ = candidates_in(session)
        prompt_id = a.prompt_id if claimed_prompt == "of the comparison" else stranger.prompt_id
        session.add(
            ComparisonCandidate(comparison_id=comparison_id, position=2, candidate_id=stranger.id, prompt_id=prompt_id)
        )


@pytest.mark.parametrize(
    ("kind", "shape", "how_many"),
    [
        ("pair", [0], "2"),
        ("pair", [0, 1, 2], "2"),
        ("pair", [0, 0], "2"),
        ("ranking", [0], "2 to 8"),
        ("ranking", [0, 1, 0], "2 to 8"),
        ("rating", [], "1"),
        ("rating", [0, 1], "1"),
        ("thumbs", [0, 1], "1"),
        ("edit", [0, 1], "1"),
        ("demonstration", [0], "0"),
    ],
)
def test_a_comparison_has_as_many_candidates_as_its_kind_asks_about(
    engine: Engine, ask: Ask, kind: QueueKind, shape: list[int], how_many: str
) -> None:
    with writing(engine) as session:
        ask(session, each=8)
        found = candidates_in(session)
        queue = queues.create(session, "asked", kind, aspects=["clear"] if kind == "rating" else None)
        with pytest.raises(StoreError, match=f"kind {kind}: its comparisons are about {how_many} different"):
            create(session, queue.id, found[0].prompt_id, [found[index].id for index in shape])


def test_nobody_ranks_more_than_eight(engine: Engine, ask: Ask) -> None:
    with pytest.raises(StoreError, match="2 to 8 different"), writing(engine) as session:
        ask(session, each=9)


def test_a_gold_answer_is_among_the_candidates(engine: Engine, ask: Ask) -> None:
    with writing(engine) as session:
        ask(session, each=3)
        a, b, c = candidates_in(session)
        queue_id = queues.create(session, "another").id
        pair = [a.id, b.id]
        assert create(session, queue_id, a.prompt_id, pair, purpose="gold", gold_candidate_id=b.id).created
        with pytest.raises(StoreError, match="the gold answer"):
            create(session, queue_id, a.prompt_id, pair, purpose="gold", gold_candidate_id=c.id)


def test_gold_is_made_once_from_a_comparison_and_noted(engine: Engine, ask: Ask) -> None:
    with writing(engine) as session:
        (original,) = ask(session)
        (edit,) = ask(session, each=1, kind="edit")
        best = comparisons.candidates_of(session, original)[1].id
        made = make_gold(session, original, best, actor="mary")
        assert make_gold(session, original, best) == Created(made.id, created=False)
        gold = session.get_one(Comparison, made.id)
        assert (gold.purpose, gold.gold_candidate_id, gold.free_human, gold.free_simulated) == ("gold", best, 0, 0)
        assert comparisons.candidates_of(session, made.id) == comparisons.candidates_of(session, original)
        (event,) = audit.events(session, "comparison", made.id)
        assert (event.actor, event.details) == ("mary", {"of": original, "answer": best})
        with pytest.raises(StoreError, match="kind edit; gold answers are for pair and ranking"):
            make_gold(session, edit, best)
        with pytest.raises(StoreError, match="no comparison 999"):
            make_gold(session, 999, best)


@pytest.mark.parametrize("each", [2, 3])
def test_a_gold_question_has_one_known_answer(engine: Engine, ask: Ask, each: int) -> None:
    with writing(engine) as session:
        (original,) = ask(session, each=each)
        (elsewhere,) = ask(session, each=each, queue="elsewhere")
        first, second, *_ = (candidate.id for candidate in comparisons.candidates_of(session, original))
        gold = make_gold(session, original, first).id
    refused = f"the gold question {gold} of queue .* has the answer {first}, and cannot have {second} as well; keep"
    with pytest.raises(StoreError, match=refused), writing(engine) as session:
        make_gold(session, original, second)
    with writing(engine) as session:
        comparison = session.get_one(Comparison, original)
        again = [candidate.id for candidate in comparisons.candidates_of(session, original)][::-1]
        with pytest.raises(StoreError, match="or make the question gold in another queue"):
            create(session, comparison.queue_id, comparison.prompt_id, again, "gold", gold_candidate_id=second)
        assert make_gold(session, original, first) == Created(gold, created=False)
        assert make_gold(session, elsewhere, second).created
        session.expire_all()
        assert session.get_one(Comparison, gold).gold_candidate_id == first
        assert len(audit.events(session, "comparison", gold)) == 1


@pytest.mark.parametrize(
    ("wrong", "constraint"),
    [
        ({"overlap": 0}, "ck_comparison_overlap_positive"),
        ({"purpose": "gold"}, "ck_comparison_gold_names_answer"),
        ({"purpose": "repeat"}, "ck_comparison_repeat_names_original"),
        ({"purpose": "fun"}, "ck_comparison_purpose"),
    ],
)
def test_a_senseless_comparison_is_refused_by_the_store(
    engine: Engine, ask: Ask, wrong: dict[str, object], constraint: str
) -> None:
    with pytest.raises(IntegrityError, match=constraint), writing(engine) as session:
        ask(session, **wrong)


def test_open_count_is_what_people_still_owe(engine: Engine, ask: Ask) -> None:
    with writing(engine) as session:
        one, two = ask(session, 2, overlap=3)
        (elsewhere,) = ask(session, queue="elsewhere")
        queue_id = session.get_one(Comparison, elsewhere).queue_id
        assert open_count(session) == 7
        assert open_count(session, queue_id=queue_id) == 1
        assert open_count(session, round_id=1) == 0
        comparisons.close(session, one)
        session.flush()
        assert open_count(session) == 4
        assert open_count(session, kind="simulated") == 4
        ann = annotators.ensure(session, "ann", "human").id
        task = comparisons.next_assignment(session, ann)
        assert task is not None
        assert open_count(session) == 4, "a lease is no judgment yet"
        judgments.submit(session, task.assignment_id, ann, Said("tie"))
        assert (open_count(session), open_count(session, kind="simulated")) == (3, 4)
        for comparison_id in (two, elsewhere):
            prompts.retire(session, session.get_one(Comparison, comparison_id).prompt_id)
        session.flush()
        assert open_count(session) == 0


def test_another_overlap_wants_more_judgments_or_fewer_and_takes_none_back(engine: Engine, ask: Ask) -> None:
    with writing(engine) as session:
        (one,) = ask(session)
        for name in ("ann", "bob"):
            annotator_id = annotators.ensure(session, name, "human").id
            task = comparisons.next_assignment(session, annotator_id)
            assert task is not None
            judgments.submit(session, task.assignment_id, annotator_id, Said("left"))
            comparisons.set_overlap(session, one, 3)
        assert open_count(session) == 1
        comparisons.set_overlap(session, one, 1)
        assert open_count(session) == 0
        assert len(judgments.current(session)) == 2
        with pytest.raises(StoreError, match="an overlap of 0"):
            comparisons.set_overlap(session, one, 0)
