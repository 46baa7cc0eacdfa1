"""Leases: nobody is asked twice, nothing is given away twice, and nothing stays with somebody who is gone."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from db import annotators, clock, comparisons, judgments, prompts, queues
from db.comparisons import AssignedTask, next_assignment, open_count
from db.engine import reading, writing
from db.errors import StoreError
from db.judgments import Said
from db.tables import Comparison

Ask = Callable[..., list[int]]


def person(session: Session, name: str) -> int:
    return annotators.ensure(session, name, "human").id


def robot(session: Session, name: str) -> int:
    return annotators.ensure(session, name, "simulated", taste={"likes": "short"}).id


def must_lease(session: Session, annotator_id: int, **options: int) -> AssignedTask:
    task = next_assignment(session, annotator_id, **options)
    assert task is not None
    return task


def test_the_same_assignment_comes_back_until_it_is_judged(engine: Engine, ask: Ask) -> None:
    with writing(engine) as session:
        ask(session, 3)
        ann = person(session, "ann")
        first = must_lease(session, ann)
    with writing(engine) as session:
        again = must_lease(session, ann)
    assert (again.assignment_id, again.candidate_ids) == (first.assignment_id, first.candidate_ids)
    with writing(engine) as session:
        judgments.submit(session, first.assignment_id, ann, Said("tie"))
        assert must_lease(session, ann).comparison_id != first.comparison_id


def test_a_task_shows_what_was_asked(engine: Engine, ask: Ask) -> None:
    with writing(engine) as session:
        ask(session, each=4)
        task = must_lease(session, person(session, "ann"))
        texts = dict(zip(task.candidate_ids, task.texts, strict=True))
    assert task.messages == [{"role": "user", "content": "question 0"}]
    assert [texts[candidate_id] for candidate_id in sorted(texts)] == [f"answer {n} to 0" for n in range(4)]


def test_questions_come_by_priority_of_the_queue_then_rank_then_nearest_to_complete_then_oldest(
    engine: Engine, ask: Ask
) -> None:
    with writing(engine) as session:
        (last,) = ask(session, queue="later", overlap=3)
        old, started, young = ask(session, 3, queue="now", overlap=3)
        (first,) = ask(session, queue="now", purpose="evaluate", overlap=3, rank=-1)
        queue_id = session.get_one(Comparison, old).queue_id
        queues.update(session, queue_id, priority=1)
        ann, bob = person(session, "ann"), person(session, "bob")
        comparisons.set_overlap(session, started, 2)
        assert all_asked(session, ann) == [first, started, old, young, last]
        comparisons.set_overlap(session, started, 4)
        assert all_asked(session, bob) == [first, old, young, started, last]


def test_a_queue_and_a_round_can_be_asked_for(engine: Engine, ask: Ask) -> None:
    with writing(engine) as session:
        (here,) = ask(session, queue="here")
        (there,) = ask(session, queue="there")
        ann, bob = person(session, "ann"), person(session, "bob")
        queue_id = session.get_one(Comparison, there).queue_id
        assert must_lease(session, ann, queue_id=queue_id).comparison_id == there
        assert must_lease(session, bob).comparison_id == here
        assert next_assignment(session, ann, round_id=77) is None


def test_a_paused_queue_hands_out_nothing_new_and_lets_finish_what_is_open(
    engine: Engine, ask: Ask, wait: Callable[[float], None]
) -> None:
    with writing(engine) as session:
        ask(session, 3)
        queue_id = session.query(Comparison).first().queue_id  # type: ignore[union-attr]
        ann, bob, cleo = person(session, "ann"), person(session, "bob"), person(session, "cleo")
        anns, bobs = must_lease(session, ann, lease_seconds=60), must_lease(session, bob, lease_seconds=600)
        queues.pause(session, queue_id)
        session.flush()
        assert next_assignment(session, cleo) is None
        assert next_assignment(session, cleo, queue_id=queue_id) is None
        assert must_lease(session, bob).assignment_id == bobs.assignment_id
        wait(61)
        assert next_assignment(session, cleo) is None  # and marks what ran out
        assert next_assignment(session, ann) is None
        assert judgments.submit(session, anns.assignment_id, ann, Said("left")).stored
        queues.resume(session, queue_id)
        session.flush()
        assert next_assignment(session, cleo) is not None


def test_nobody_judges_a_comparison_twice(engine: Engine, ask: Ask) -> None:
    with writing(engine) as session:
        ask(session, overlap=2)
        ann = person(session, "ann")
        judgments.submit(session, must_lease(session, ann).assignment_id, ann, Said("left"))
        assert next_assignment(session, ann) is None
        assert open_count(session) == 1


def test_a_lease_keeps_its_place_and_frees_it_when_it_runs_out(
    engine: Engine, ask: Ask, wait: Callable[[float], None]
) -> None:
    with writing(engine) as session:
        ask(session)
        ann, bob = person(session, "ann"), person(session, "bob")
        must_lease(session, ann, lease_seconds=60)
        wait(59)
        assert next_assignment(session, bob) is None
        wait(1)
        assert next_assignment(session, bob) is not None


def test_an_expired_lease_comes_back_with_its_order_while_the_place_is_owed(
    engine: Engine, ask: Ask, wait: Callable[[float], None]
) -> None:
    with writing(engine) as session:
        ask(session, each=5)
        ann, bob = person(session, "ann"), person(session, "bob")
        first = must_lease(session, ann, lease_seconds=60)
        wait(61)
        taken = must_lease(session, bob, lease_seconds=60)
        assert next_assignment(session, ann) is None
        wait(61)
        back = must_lease(session, ann)
        assert (back.assignment_id, back.candidate_ids) == (first.assignment_id, first.candidate_ids)
        with pytest.raises(StoreError, match="its place is taken"):
            judgments.submit(session, taken.assignment_id, bob, Said("tie"))


def test_a_late_answer_is_taken_when_whoever_came_after_is_gone_too(
    engine: Engine, ask: Ask, wait: Callable[[float], None]
) -> None:
    with writing(engine) as session:
        ask(session)
        ann, bob = person(session, "ann"), person(session, "bob")
        anns = must_lease(session, ann, lease_seconds=60)
        wait(61)
        bobs = must_lease(session, bob, lease_seconds=60)
        wait(61)
        assert judgments.submit(session, anns.assignment_id, ann, Said("left")).stored
        with pytest.raises(StoreError, match="its place is taken"):
            judgments.submit(session, bobs.assignment_id, bob, Said("left"))


def test_two_clocks_that_disagree_do_not_fill_a_place_twice(
    engine: Engine, ask: Ask, wait: Callable[[float], None]
) -> None:
    with writing(engine) as session:
        ask(session)
        ann, bob = person(session, "ann"), person(session, "bob")
        anns = must_lease(session, ann, lease_seconds=60)
        wait(90)  # bob is served by a machine whose clock is ahead
        bobs = must_lease(session, bob, lease_seconds=60)
        judgments.submit(session, bobs.assignment_id, bob, Said("left"))
        wait(-90)
        with pytest.raises(StoreError, match="its place is taken"):
            judgments.submit(session, anns.assignment_id, ann, Said("right"))


def test_a_lease_outlives_the_closing_of_its_comparison_only_until_it_runs_out(
    engine: Engine, ask: Ask, wait: Callable[[float], None]
) -> None:
    with writing(engine) as session:
        ask(session, overlap=2)
        ann, bob = person(session, "ann"), person(session, "bob")
        anns, bobs = must_lease(session, ann, lease_seconds=60), must_lease(session, bob, lease_seconds=60)
        comparisons.close(session, anns.comparison_id)
        judgments.submit(session, anns.assignment_id, ann, Said("left"))
        wait(61)
        assert next_assignment(session, bob) is None
        with pytest.raises(StoreError, match="the judgment was not stored"):
            judgments.submit(session, bobs.assignment_id, bob, Said("left"))


def test_renewing_keeps_a_lease_alive(engine: Engine, ask: Ask, wait: Callable[[float], None]) -> None:
    with writing(engine) as session:
        ask(session)
        ann, bob = person(session, "ann"), person(session, "bob")
        task = must_lease(session, ann, lease_seconds=60)
        wait(50)
        assert comparisons.renew(session, task.assignment_id, ann, 60) == clock.now() + timedelta(seconds=60)
        wait(50)
        assert next_assignment(session, bob) is None
        wait(50)
        bobs = must_lease(session, bob)
        with pytest.raises(StoreError, match="its place is taken"):
            comparisons.renew(session, task.assignment_id, ann)
        with pytest.raises(StoreError, match="another annotator's"):
            comparisons.renew(session, bobs.assignment_id, ann)
        judgments.submit(session, bobs.assignment_id, bob, Said("left"))
        with pytest.raises(StoreError, match="is done"):
            comparisons.renew(session, bobs.assignment_id, bob)


def test_simulated_annotators_do_not_use_up_the_places_of_people(engine: Engine, ask: Ask) -> None:
    with writing(engine) as session:
        ask(session)
        r2, ann = robot(session, "r2"), person(session, "ann")
        judgments.submit(session, must_lease(session, r2).assignment_id, r2, Said("left"))
        assert next_assignment(session, robot(session, "c3")) is None
        assert open_count(session) == 1
        assert open_count(session, kind="simulated") == 0
        judgments.submit(session, must_lease(session, ann).assignment_id, ann, Said("left"))
        assert next_assignment(session, person(session, "bob")) is None
        assert open_count(session) == 0


def test_closed_comparisons_and_retired_prompts_are_not_asked(engine: Engine, ask: Ask) -> None:
    with writing(engine) as session:
        closed, _ = ask(session, 2)
        comparisons.close(session, closed)
        for prompt in prompts.list_prompts(session):
            if prompt.messages[0]["content"] == "question 1":
                prompts.retire(session, prompt.id)
        session.flush()
        assert next_assignment(session, person(session, "ann")) is None
        assert open_count(session) == 0


def test_the_disabled_and_the_withdrawn_are_asked_nothing(engine: Engine, ask: Ask) -> None:
    with writing(engine) as session:
        ask(session)
        ann, bob = person(session, "ann"), person(session, "bob")
        task = must_lease(session, ann)
        annotators.disable(session, ann)
        annotators.withdraw(session, bob)
        for annotator_id, why in ((ann, "is disabled"), (bob, "has withdrawn"), (99, "no annotator 99")):
            with pytest.raises(StoreError, match=why):
                next_assignment(session, annotator_id)
        with pytest.raises(StoreError, match="is disabled"):
            judgments.submit(session, task.assignment_id, ann, Said("left"))


def test_what_the_withdrawn_said_is_owed_again(engine: Engine, ask: Ask) -> None:
    with writing(engine) as session:
        ask(session)
        ann, bob = person(session, "ann"), person(session, "bob")
        judgments.submit(session, must_lease(session, ann).assignment_id, ann, Said("left"))
        assert next_assignment(session, bob) is None
        annotators.withdraw(session, ann)
        assert next_assignment(session, bob) is not None


def test_sides_are_shuffled_and_a_seed_repeats_the_shuffle(engine: Engine, ask: Ask) -> None:
    def orders(session: Session, name: str, seed: int) -> list[bool]:
        annotator_id = person(session, name)
        swapped = []
        while (task := next_assignment(session, annotator_id, rng_seed=seed)) is not None:
            swapped.append(task.candidate_ids != sorted(task.candidate_ids))
            judgments.submit(session, task.assignment_id, annotator_id, Said("tie"))
        return swapped

    with reading(engine) as session:
        ask(session, 16)
        first = orders(session, "ann", 7)
        assert orders(session, "bob", 7) == []
    assert 3 < sum(first) < 13
    with reading(engine) as session:  # nothing of the first was kept
        ask(session, 16)
        again = orders(session, "ann", 7)
    # PostgreSQL hands out no id twice, even one that was undone, and the ids are part of the question.
    assert (again == first) == (engine.dialect.name == "sqlite")


def all_asked(session: Session, annotator_id: int) -> list[int]:
    """The comparisons that the annotator is asked about, until nothing is left."""
    asked = []
    while (task := next_assignment(session, annotator_id)) is not None:
        asked.append(task.comparison_id)
        judgments.submit(session, task.assignment_id, annotator_id, Said("tie"))
    return asked
