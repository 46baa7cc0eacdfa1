"""Comparisons: a question is asked once, and its candidates answer its prompt."""

from collections.abc import Callable

import pytest
from sqlalchemy import Engine
from sqlalchemy.exc import IntegrityError

from db import comparisons
from db.comparisons import Created, create_pair
from db.engine import writing
from db.errors import StoreError
from db.tables import Candidate, Comparison, ComparisonCandidate

Ask = Callable[..., list[int]]


def test_the_same_question_is_one_comparison(engine: Engine, ask: Ask) -> None:
    with writing(engine) as session:
        (first,) = ask(session)
        a, b = session.query(Candidate).order_by(Candidate.id).all()
        assert create_pair(session, a.prompt_id, [b.id, a.id]) == Created(first, created=False)
        other = create_pair(session, a.prompt_id, [b.id, a.id], purpose="evaluate")
        repeat = create_pair(session, a.prompt_id, [a.id, b.id], purpose="repeat", repeats_id=first)
        repeat_of_other = create_pair(session, a.prompt_id, [a.id, b.id], purpose="repeat", repeats_id=other.id)
        assert other.created
        assert repeat.created
        assert repeat_of_other.created
        assert session.query(Comparison).count() == 4


def test_candidates_of_two_prompts_are_not_compared(engine: Engine, ask: Ask) -> None:
    with writing(engine) as session:
        ask(session, 2)
        a, _, stranger, _ = session.query(Candidate).order_by(Candidate.id).all()
        with pytest.raises(StoreError, match=rf"candidates \[{stranger.id}\] do not answer prompt {a.prompt_id}"):
            create_pair(session, a.prompt_id, [a.id, stranger.id])


@pytest.mark.parametrize("claimed_prompt", ["of the comparison", "of the candidate"])
def test_the_store_itself_refuses_candidates_of_two_prompts(engine: Engine, ask: Ask, claimed_prompt: str) -> None:
    with pytest.raises(IntegrityError), writing(engine) as session:
        comparison_id, _ = ask(session, 2)
        a, _, stranger, _ = session.query(Candidate).order_by(Candidate.id).all()
        prompt_id = a.prompt_id if claimed_prompt == "of the comparison" else stranger.prompt_id
        session.add(
            ComparisonCandidate(comparison_id=comparison_id, position=2, candidate_id=stranger.id, prompt_id=prompt_id)
        )


@pytest.mark.parametrize("shape", [[0], [], [0, 0], [0, 1, 0]])
def test_a_comparison_is_between_different_candidates(engine: Engine, ask: Ask, shape: list[int]) -> None:
    with writing(engine) as session:
        ask(session)
        found = session.query(Candidate).order_by(Candidate.id).all()
        with pytest.raises(StoreError, match="two or more different candidates"):
            create_pair(session, found[0].prompt_id, [found[index].id for index in shape])


def test_a_gold_answer_is_among_the_candidates(engine: Engine, ask: Ask) -> None:
    with writing(engine) as session:
        ask(session, each=3)
        a, b, c = session.query(Candidate).order_by(Candidate.id).all()
        assert create_pair(session, a.prompt_id, [a.id, b.id], purpose="gold", gold_candidate_id=b.id).created
        with pytest.raises(StoreError, match="the gold answer"):
            create_pair(session, a.prompt_id, [a.id, b.id], purpose="gold", gold_candidate_id=c.id)


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
        one, _ = ask(session, 2, overlap=3)
        assert comparisons.open_count(session) == 6
        assert comparisons.open_count(session, round_id=1) == 0
        comparisons.close(session, one)
        assert comparisons.open_count(session) == 3
        assert comparisons.open_count(session, kind="simulated") == 3
