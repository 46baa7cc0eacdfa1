"""Judgments: the first submit stands, a correction is a new row, and nothing is ever overwritten."""

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, delete, text, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from db import annotators, audit, judgments, rounds, versions
from db.comparisons import AssignedTask, next_assignment
from db.engine import reading, writing
from db.errors import StoreError
from db.judgments import Receipt, correct, submit
from db.tables import Assignment, Event, Judgment, Promotion
from db.words import Choice

Ask = Callable[..., list[int]]


def leased(session: Session, name: str = "ann", kind: str = "human") -> tuple[int, AssignedTask]:
    taste = {"likes": "short"} if kind == "simulated" else None
    annotator_id = annotators.ensure(session, name, kind, taste=taste).id  # type: ignore[arg-type]
    task = next_assignment(session, annotator_id)
    assert task is not None
    return annotator_id, task


def test_left_and_right_are_the_sides_as_shown(engine: Engine, ask: Ask) -> None:
    with writing(engine) as session:
        ask(session, 6)
        for side, choice in ((0, "left"), (1, "right")) * 3:
            ann, task = leased(session)
            receipt = submit(session, task.assignment_id, ann, choice)  # type: ignore[arg-type]
            assert session.get_one(Judgment, receipt.judgment_id).preferred_id == task.candidate_ids[side]


def test_a_repeated_submit_succeeds_and_the_first_stands(engine: Engine, ask: Ask) -> None:
    with writing(engine) as session:
        ask(session, 2)
        ann, task = leased(session)
        first = submit(session, task.assignment_id, ann, "left", rationale="clearer", response_ms=1200)
        assert first == Receipt(first.judgment_id, stored=True, count=1)
    with writing(engine) as session:
        assert submit(session, task.assignment_id, ann, "tie") == Receipt(first.judgment_id, stored=False, count=1)
        _, other = leased(session)
        assert submit(session, other.assignment_id, ann, "skip").count == 2
    with reading(engine) as session:
        kept = session.get_one(Judgment, first.judgment_id)
        assert (kept.choice, kept.rationale, kept.response_ms) == ("left", "clearer", 1200)


def test_a_repeated_submit_succeeds_after_the_annotator_was_disabled(engine: Engine, ask: Ask) -> None:
    with writing(engine) as session:
        ask(session)
        ann, task = leased(session)
        first = submit(session, task.assignment_id, ann, "left")
        annotators.disable(session, ann)
        assert submit(session, task.assignment_id, ann, "left").judgment_id == first.judgment_id


def test_only_ones_own_assignment_is_judged(engine: Engine, ask: Ask) -> None:
    with writing(engine) as session:
        ask(session)
        _, task = leased(session)
        bob = annotators.ensure(session, "bob", "human").id
        with pytest.raises(StoreError, match="another annotator's"):
            submit(session, task.assignment_id, bob, "left")
        with pytest.raises(StoreError, match="no assignment 999"):
            submit(session, 999, bob, "left")
        assert session.query(Judgment).count() == 0


@pytest.mark.parametrize(
    ("each", "choice", "ranking", "why"),
    [
        (3, "left", None, "rank them"),
        (2, "ranked", None, "a ranking goes with"),
        (2, "tie", [[0], [1]], "a ranking goes with"),
        (2, "ranked", [[0]], "does not name each"),
        (2, "ranked", [[0, 1], []], "does not name each"),
        (2, "ranked", [[0, 1], [1]], "does not name each"),
    ],
)
def test_an_answer_that_does_not_fit_is_refused(
    engine: Engine, ask: Ask, each: int, choice: Choice, ranking: list[list[int]] | None, why: str
) -> None:
    with writing(engine) as session:
        ask(session, each=each)
        ann, task = leased(session)
        ids = sorted(task.candidate_ids)
        named = None if ranking is None else [[ids[index] for index in group] for group in ranking]
        with pytest.raises(StoreError, match=why):
            submit(session, task.assignment_id, ann, choice, ranking=named)
        with pytest.raises(StoreError, match="response time of -1 ms"):
            submit(session, task.assignment_id, ann, "tie", response_ms=-1)
        assert submit(session, task.assignment_id, ann, "both_bad").stored


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ranks=st.lists(st.integers(0, 3), min_size=2, max_size=5))
def test_any_ranking_with_ties_is_kept_as_it_was_given(engine: Engine, ask: Ask, ranks: list[int]) -> None:
    with reading(engine) as session:  # undone after each example
        ask(session, each=len(ranks))
        ann, task = leased(session)
        ranking = [
            [candidate_id for candidate_id, own in zip(task.candidate_ids, ranks, strict=True) if own == rank]
            for rank in sorted(set(ranks))
        ]
        submit(session, task.assignment_id, ann, "ranked", ranking=ranking)
        (row,) = judgments.current(session)
        assert row.ranking == ranking
        assert sorted(row.candidate_ids) == sorted(candidate_id for group in ranking for candidate_id in group)


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(said=st.lists(st.tuples(st.integers(0, 2), st.sampled_from(["left", "right", "tie", "skip"])), max_size=10))
def test_chains_never_branch_and_their_newest_judgment_is_current(
    engine: Engine, ask: Ask, said: list[tuple[int, Choice]]
) -> None:
    with reading(engine) as session:  # undone after each example
        ask(session, 3)
        chains: dict[int, list[int]] = {}
        standing: dict[int, Choice] = {}
        ann = annotators.ensure(session, "ann", "human").id
        tasks = []
        for _ in range(3):
            tasks.append(leased(session)[1])
            chains[len(chains)] = [submit(session, tasks[-1].assignment_id, ann, "both_bad").judgment_id]
            standing[len(standing)] = "both_bad"
        for which, choice in said:
            receipt = correct(session, chains[which][-1], ann, choice)
            assert receipt.stored
            chains[which].append(receipt.judgment_id)
            standing[which] = choice
            with pytest.raises(StoreError, match="correct that one"):
                correct(session, chains[which][0], ann, choice, rationale="late")
        rows = judgments.current(session)
        assert {row.judgment_id: row.choice for row in rows} == {
            chain[-1]: standing[which] for which, chain in chains.items()
        }
        assert [row.judgment_id for row in rows] == sorted(row.judgment_id for row in rows)
        assert session.query(Judgment).count() == 3 + len(said)
        assert judgments.submit(session, tasks[0].assignment_id, ann, "tie").count == 3


def test_a_correction_is_its_authors_and_repeats_harmlessly(engine: Engine, ask: Ask) -> None:
    with writing(engine) as session:
        ask(session)
        ann, task = leased(session)
        first = submit(session, task.assignment_id, ann, "left")
        bob = annotators.ensure(session, "bob", "human").id
        with pytest.raises(StoreError, match="another annotator's"):
            correct(session, first.judgment_id, bob, "right")
        with pytest.raises(StoreError, match="no judgment 999"):
            correct(session, 999, ann, "right")
        second = correct(session, first.judgment_id, ann, "right", rationale="misread")
        assert second == Receipt(second.judgment_id, stored=True, count=1)
        repeated = correct(session, first.judgment_id, ann, "right", rationale="misread")
        assert repeated == Receipt(second.judgment_id, stored=False, count=1)
        (event,) = audit.events(session, "judgment")
        assert (event.actor, event.action, event.noun_id) == ("ann", "correct", second.judgment_id)
        assert event.details == {"supersedes": first.judgment_id}


def test_a_row_tells_all_that_training_asks(engine: Engine, ask: Ask) -> None:
    with writing(engine) as session:
        base = versions.ensure_base(session, "tiny", "0" * 64)
        turn = rounds.ensure(session, "demo", 3, base.id, {})
        ask(session, round_id=turn.id)
        ann, task = leased(session)
        receipt = submit(session, task.assignment_id, ann, "right")
    with reading(engine) as session:
        (row,) = judgments.current(session)
        assert judgments.by_ids(session, [receipt.judgment_id]) == [row]
    low, high = sorted(task.candidate_ids)
    assert row.judgment_id == receipt.judgment_id
    assert (row.annotator_id, row.annotator_kind, row.choice) == (ann, "human", "right")
    assert (row.preferred_id, row.ranking, row.round_number) == (task.candidate_ids[1], None, 3)
    assert row.messages == [{"role": "user", "content": "question 0"}]
    assert row.candidate_ids == [low, high]
    assert row.texts == {low: "answer 0 to 0", high: "answer 1 to 0"}
    assert row.finish_reasons == {low: "stop", high: "stop"}


def test_current_chooses_kind_purpose_and_round_and_leaves_out_the_withdrawn(engine: Engine, ask: Ask) -> None:
    def who(**choice: object) -> list[int]:
        return [row.annotator_id for row in judgments.current(session, **choice)]  # type: ignore[arg-type]

    with writing(engine) as session:
        base = versions.ensure_base(session, "tiny", "0" * 64)
        turn = rounds.ensure(session, "demo", 1, base.id, {})
        ask(session, overlap=2)
        ask(session, purpose="evaluate", round_id=turn.id, priority=-1)
        ids = {}
        for name, kind in (("ann", "human"), ("bob", "human"), ("r2", "simulated")):
            ids[name], task = leased(session, name, kind)
            receipt = submit(session, task.assignment_id, ids[name], "left")
        assert who() == [ids["ann"], ids["bob"], ids["r2"]]
        assert who(kind="human") == [ids["ann"], ids["bob"]]
        assert who(kind="simulated") == [ids["r2"]]
        assert who(purposes=["evaluate"]) == []
        ann, task = leased(session, "ann")
        submit(session, task.assignment_id, ann, "tie")
        assert who(purposes=["train", "evaluate"], round_ids=[turn.id]) == [ann]
        assert judgments.counts(session) == {"human": {"left": 2, "tie": 1}, "simulated": {"left": 1}}
        annotators.withdraw(session, ids["ann"])
        assert who() == [ids["bob"], ids["r2"]]
        assert judgments.counts(session) == {"human": {"left": 1}, "simulated": {"left": 1}}
        with pytest.raises(StoreError, match=f"no judgment {receipt.judgment_id + 100}"):
            judgments.by_ids(session, [receipt.judgment_id, receipt.judgment_id + 100])


@pytest.fixture
def judged(engine: Engine, ask: Ask) -> tuple[int, int]:
    """A stored judgment and its assignment; a promotion and an event beside it."""
    with writing(engine) as session:
        ask(session)
        ann, task = leased(session)
        receipt = submit(session, task.assignment_id, ann, "left")
        versions.promote(session, versions.by_name(session, "v0").id, None, {}, "ann")
    return receipt.judgment_id, task.assignment_id


@pytest.mark.parametrize("table", [Judgment, Promotion, Event])
@pytest.mark.parametrize("verb", ["update", "delete", "update of nothing new"])
def test_append_only_tables_refuse_change(
    engine: Engine, judged: tuple[int, int], table: type[Judgment | Promotion | Event], verb: str
) -> None:
    statement = {
        "update": update(table).values(id=table.id + 100),
        "delete": delete(table),
        "update of nothing new": update(table).values(id=table.id),
    }[verb]
    with pytest.raises(IntegrityError, match=f"{table.__tablename__} is append-only"), writing(engine) as session:
        session.execute(statement)
    with reading(engine) as session:
        assert session.query(table).count() >= 1


def test_a_row_cannot_be_replaced_past_its_trigger(engine: Engine, judged: tuple[int, int]) -> None:
    if engine.dialect.name == "sqlite":
        swap = (
            "INSERT OR REPLACE INTO judgment (id, assignment_id, choice, rationale, created_at) "
            f"SELECT id, assignment_id, 'tie', '', created_at FROM judgment WHERE id = {judged[0]}"
        )
    else:
        swap = "TRUNCATE judgment CASCADE"
    with pytest.raises(IntegrityError, match="judgment is append-only"), writing(engine) as session:
        session.execute(text(swap))


@pytest.mark.parametrize(
    ("wrong", "constraint"),
    [
        ({"choice": "left"}, "preferred_iff_side"),
        ({"choice": "tie", "ranking": [[1], [2]]}, "ranking_iff_ranked"),
        ({"choice": "ranked"}, "ranking_iff_ranked"),
        ({"choice": "tie", "response_ms": -1}, "response_ms_not_negative"),
        ({"choice": "maybe"}, "ck_judgment_choice"),
        ({"choice": "tie"}, r"uq_judgment_first|UNIQUE constraint failed: judgment\.assignment_id"),
        ({"choice": "tie", "supersedes_id": 77}, r"fk_judgment_supersedes|FOREIGN KEY"),
    ],
)
def test_the_store_itself_refuses_a_senseless_judgment(
    engine: Engine, judged: tuple[int, int], wrong: dict[str, object], constraint: str
) -> None:
    # It supersedes the first, so that only what is wrong about it can be refused.
    judgment_id, assignment_id = judged
    proper: dict[str, object] = {"assignment_id": assignment_id, "rationale": "", "supersedes_id": judgment_id}
    if wrong == {"choice": "tie"}:
        proper["supersedes_id"] = None
    with pytest.raises(IntegrityError, match=constraint), writing(engine) as session:
        session.add(Judgment(**proper | wrong))


def test_a_correction_stays_with_its_assignment(engine: Engine, ask: Ask, judged: tuple[int, int]) -> None:
    with pytest.raises(IntegrityError), writing(engine) as session:
        ask(session, 2)
        _, task = leased(session, "ann")
        assert session.get_one(Assignment, task.assignment_id).id != judged[1]
        session.add(Judgment(assignment_id=task.assignment_id, choice="tie", rationale="", supersedes_id=judged[0]))
