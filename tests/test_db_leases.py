"""Leases: nobody is asked twice, nothing is given away twice, and nothing stays with somebody who is gone."""

from collections import Counter
from collections.abc import Callable
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from db import annotators, clock, comparisons, judgments, prompts
from db.comparisons import AssignedTask, next_assignment, open_count
from db.engine import reading, writing
from db.errors import StoreError
from db.tables import Assignment, Comparison

Ask = Callable[..., list[int]]


@pytest.fixture
def wait(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Lets seconds pass on the store's clock."""
    moments = [clock.now()]
    monkeypatch.setattr(clock, "now", lambda: moments[0])

    def pass_by(seconds: float) -> None:
        moments[0] += timedelta(seconds=seconds)

    return pass_by


def person(session: Session, name: str) -> int:
    return annotators.ensure(session, name, "human").id


def robot(session: Session, name: str) -> int:
    return annotators.ensure(session, name, "simulated", taste={"likes": "short"}).id


def must_lease(session: Session, annotator_id: int, **options: int) -> AssignedTask:
    task = next_assignment(session, annotator_id, **options)  # type: ignore[arg-type]
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
        judgments.submit(session, first.assignment_id, ann, "tie")
        assert must_lease(session, ann).comparison_id != first.comparison_id


def test_a_task_shows_what_was_asked(engine: Engine, ask: Ask) -> None:
    with writing(engine) as session:
        ask(session, each=4)
        task = must_lease(session, person(session, "ann"))
        texts = dict(zip(task.candidate_ids, task.texts, strict=True))
    assert task.messages == [{"role": "user", "content": "question 0"}]
    assert [texts[candidate_id] for candidate_id in sorted(texts)] == [f"answer {n} to 0" for n in range(4)]


def test_comparisons_come_by_priority_then_nearest_to_complete_then_oldest(engine: Engine, ask: Ask) -> None:
    with writing(engine) as session:
        old, started, urgent = ask(session, 3, overlap=2)
        session.get_one(Comparison, urgent).priority = 5
        session.get_one(Comparison, started).overlap = 3
        for name in ("ann", "bob"):  # two of three judgments of `started` are in
            annotator_id = person(session, name)
            task = must_lease(session, annotator_id)
            assert task.comparison_id == urgent
            judgments.submit(session, task.assignment_id, annotator_id, "tie")
        session.get_one(Comparison, started).priority = 1
        for name in ("ann", "bob"):
            annotator_id = person(session, name)
            task = must_lease(session, annotator_id)
            assert task.comparison_id == started
            judgments.submit(session, task.assignment_id, annotator_id, "tie")
        session.get_one(Comparison, started).priority = 0
        cleo = person(session, "cleo")
        order = []
        while (task_or_none := next_assignment(session, cleo)) is not None:
            order.append(task_or_none.comparison_id)
            judgments.submit(session, task_or_none.assignment_id, cleo, "tie")
    assert order == [started, old]


def test_filters_choose_the_purpose_and_the_round(engine: Engine, ask: Ask) -> None:
    with writing(engine) as session:
        (train,) = ask(session)
        (evaluate,) = ask(session, purpose="evaluate")
        ann, bob = person(session, "ann"), person(session, "bob")
        chosen = next_assignment(session, ann, purpose="evaluate")
        assert chosen is not None
        assert chosen.comparison_id == evaluate
        assert must_lease(session, bob).comparison_id == train
        assert next_assignment(session, bob, round_id=77) is None


def test_nobody_judges_a_comparison_twice(engine: Engine, ask: Ask) -> None:
    with writing(engine) as session:
        ask(session, overlap=2)
        ann = person(session, "ann")
        judgments.submit(session, must_lease(session, ann).assignment_id, ann, "left")
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
            judgments.submit(session, taken.assignment_id, bob, "tie")


def test_two_clocks_that_disagree_do_not_fill_a_place_twice(
    engine: Engine, ask: Ask, wait: Callable[[float], None]
) -> None:
    with writing(engine) as session:
        ask(session)
        ann, bob = person(session, "ann"), person(session, "bob")
        anns = must_lease(session, ann, lease_seconds=60)
        wait(90)  # bob is served by a machine whose clock is ahead
        bobs = must_lease(session, bob, lease_seconds=60)
        judgments.submit(session, bobs.assignment_id, bob, "left")
        wait(-90)
        with pytest.raises(StoreError, match="its place is taken"):
            judgments.submit(session, anns.assignment_id, ann, "right")


def test_a_lease_outlives_the_closing_of_its_comparison_only_until_it_runs_out(
    engine: Engine, ask: Ask, wait: Callable[[float], None]
) -> None:
    with writing(engine) as session:
        ask(session, overlap=2)
        ann, bob = person(session, "ann"), person(session, "bob")
        anns, bobs = must_lease(session, ann, lease_seconds=60), must_lease(session, bob, lease_seconds=60)
        comparisons.close(session, anns.comparison_id)
        judgments.submit(session, anns.assignment_id, ann, "left")
        wait(61)
        assert next_assignment(session, bob) is None
        with pytest.raises(StoreError, match="the judgment was not stored"):
            judgments.submit(session, bobs.assignment_id, bob, "left")


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
        judgments.submit(session, bobs.assignment_id, bob, "left")
        with pytest.raises(StoreError, match="is done"):
            comparisons.renew(session, bobs.assignment_id, bob)


def test_simulated_annotators_do_not_use_up_the_places_of_people(engine: Engine, ask: Ask) -> None:
    with writing(engine) as session:
        ask(session)
        r2, ann = robot(session, "r2"), person(session, "ann")
        judgments.submit(session, must_lease(session, r2).assignment_id, r2, "left")
        assert next_assignment(session, robot(session, "c3")) is None
        assert open_count(session) == 1
        assert open_count(session, kind="simulated") == 0
        judgments.submit(session, must_lease(session, ann).assignment_id, ann, "left")
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
            judgments.submit(session, task.assignment_id, ann, "left")


def test_what_the_withdrawn_said_is_owed_again(engine: Engine, ask: Ask) -> None:
    with writing(engine) as session:
        ask(session)
        ann, bob = person(session, "ann"), person(session, "bob")
        judgments.submit(session, must_lease(session, ann).assignment_id, ann, "left")
        assert next_assignment(session, bob) is None
        annotators.withdraw(session, ann)
        assert next_assignment(session, bob) is not None


def test_sides_are_shuffled_and_a_seed_repeats_the_shuffle(engine: Engine, ask: Ask) -> None:
    def orders(session: Session, name: str, seed: int) -> list[bool]:
        annotator_id = person(session, name)
        swapped = []
        while (task := next_assignment(session, annotator_id, rng_seed=seed)) is not None:
            swapped.append(task.candidate_ids != sorted(task.candidate_ids))
            judgments.submit(session, task.assignment_id, annotator_id, "tie")
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


ACTS = st.tuples(
    st.sampled_from(["next", "next", "next", "submit", "submit", "resubmit", "wait", "withdraw"]), st.integers(0, 4)
)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(overlap=st.integers(1, 3), acts=st.lists(ACTS, min_size=5, max_size=40))
def test_whatever_happens_nothing_is_over_assigned_or_stranded(
    engine: Engine, ask: Ask, wait: Callable[[float], None], overlap: int, acts: list[tuple[str, int]]
) -> None:
    with reading(engine) as session:  # undone after each example
        ask(session, 3, overlap=overlap)
        crew = [person(session, f"person {n}") for n in range(4)] + [robot(session, "robot")]
        held: dict[int, AssignedTask] = {}
        order: dict[int, list[int]] = {}
        receipts: dict[int, judgments.Receipt] = {}
        for act, who in acts:
            annotator_id = crew[who]
            task = held.get(who)
            try:
                if act == "wait":
                    wait(40)
                elif act == "withdraw":
                    annotators.withdraw(session, annotator_id)
                elif act == "next" and (leased := next_assignment(session, annotator_id, lease_seconds=60)):
                    assert order.setdefault(leased.assignment_id, leased.candidate_ids) == leased.candidate_ids
                    held[who] = leased
                elif act == "submit" and task is not None:
                    receipt = judgments.submit(session, task.assignment_id, annotator_id, "left")
                    receipts.setdefault(task.assignment_id, receipt)
                elif act == "resubmit" and task is not None and task.assignment_id in receipts:
                    repeated = judgments.submit(session, task.assignment_id, annotator_id, "right")
                    assert not repeated.stored
                    assert repeated.judgment_id == receipts[task.assignment_id].judgment_id
            except StoreError as refused:
                assert "withdrawn" in str(refused) or "place is taken" in str(refused)
            session.flush()
            assert_not_over_assigned(session)
        wait(1_000)
        for number in range(3):  # everybody left: new people finish all of it
            annotator_id = person(session, f"latecomer {number}")
            while (task := next_assignment(session, annotator_id)) is not None:
                judgments.submit(session, task.assignment_id, annotator_id, "tie")
        assert open_count(session) == 0
        assert_not_over_assigned(session)


def assert_not_over_assigned(session: Session) -> None:
    taken: Counter[tuple[int, str]] = Counter()
    for assignment in session.query(Assignment):
        annotator = annotators.get(session, assignment.annotator_id)
        live = assignment.state == "open" and assignment.expires_at > clock.now()
        if annotator.withdrawn_at is None and (assignment.state == "done" or live):
            taken[assignment.comparison_id, annotator.kind] += 1
    overlap = {comparison.id: comparison.overlap for comparison in session.query(Comparison)}
    assert all(count <= overlap[comparison_id] for (comparison_id, _), count in taken.items())
