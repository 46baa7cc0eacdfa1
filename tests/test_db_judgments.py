"""Judgments: the first submit stands, a correction is a new row, and nothing is ever overwritten."""

from collections.abc import Callable
from dataclasses import replace
from typing import get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, delete, text, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from db import annotators, audit, judgments, queues, rounds, versions
from db.comparisons import AssignedTask, next_assignment
from db.engine import reading, writing
from db.errors import StoreError
from db.judgments import Receipt, Said, correct, submit
from db.tables import Assignment, Comparison, Event, Judgment, Promotion
from db.words import Choice, QueueKind

Ask = Callable[..., list[int]]


def leased(session: Session, name: str = "ann", kind: str = "human") -> tuple[int, AssignedTask]:
    taste = {"likes": "short"} if kind == "simulated" else None
    annotator_id = annotators.ensure(session, name, kind, taste=taste).id  # type: ignore[arg-type]
    task = next_assignment(session, annotator_id)
    assert task is not None
    return annotator_id, task


def ask_of_kind(session: Session, ask: Ask, kind: QueueKind) -> None:
    """One question of that kind; of a preference the strength is asked."""
    each = {"pair": 2, "ranking": 3, "demonstration": 0}.get(kind, 1)
    (comparison_id,) = ask(session, each=each, kind=kind)
    if kind == "pair":
        queues.update(session, session.get_one(Comparison, comparison_id).queue_id, asks_strength=True)
    session.flush()


def test_left_and_right_are_the_sides_as_shown(engine: Engine, ask: Ask) -> None:
    with writing(engine) as session:
        ask(session, 6)
        for side, choice in ((0, "left"), (1, "right")) * 3:
            ann, task = leased(session)
            receipt = submit(session, task.assignment_id, ann, Said(choice))  # type: ignore[arg-type]
            assert session.get_one(Judgment, receipt.judgment_id).preferred_id == task.candidate_ids[side]


def test_a_repeated_submit_succeeds_and_the_first_stands(engine: Engine, ask: Ask) -> None:
    with writing(engine) as session:
        ask(session, 2)
        ann, task = leased(session)
        first = submit(session, task.assignment_id, ann, Said("left", rationale="clearer", response_ms=1200))
        assert first == Receipt(first.judgment_id, stored=True, count=1)
    with writing(engine) as session:
        assert submit(session, task.assignment_id, ann, Said("tie")) == Receipt(
            first.judgment_id, stored=False, count=1
        )
        _, other = leased(session)
        assert submit(session, other.assignment_id, ann, Said("skip")).count == 2
    with reading(engine) as session:
        kept = session.get_one(Judgment, first.judgment_id)
        assert (kept.choice, kept.rationale, kept.response_ms) == ("left", "clearer", 1200)


def test_a_repeated_submit_succeeds_after_the_annotator_was_disabled(engine: Engine, ask: Ask) -> None:
    with writing(engine) as session:
        ask(session)
        ann, task = leased(session)
        first = submit(session, task.assignment_id, ann, Said("left"))
        annotators.disable(session, ann)
        assert submit(session, task.assignment_id, ann, Said("left")).judgment_id == first.judgment_id


def test_only_ones_own_assignment_is_judged(engine: Engine, ask: Ask) -> None:
    with writing(engine) as session:
        ask(session)
        _, task = leased(session)
        bob = annotators.ensure(session, "bob", "human").id
        with pytest.raises(StoreError, match="another annotator's"):
            submit(session, task.assignment_id, bob, Said("left"))
        with pytest.raises(StoreError, match="no assignment 999"):
            submit(session, 999, bob, Said("left"))
        assert session.query(Judgment).count() == 0


FITTING: list[tuple[QueueKind, Said]] = [
    ("pair", Said("left")),
    ("pair", Said("right", strength=3)),
    ("pair", Said("tie", rationale="no difference")),
    ("pair", Said("both_bad")),
    ("pair", Said("identical")),
    ("ranking", Said("both_bad")),
    ("ranking", Said("identical")),
    ("rating", Said("rated", ratings={"true": 1, "helpful": 5})),
    ("thumbs", Said("up")),
    ("thumbs", Said("down")),
    ("edit", Said("written", written="better")),
    ("edit", Said("up")),
    ("demonstration", Said("written", written="an answer")),
    *((kind, Said("skip", reason="I do not know")) for kind in get_args(QueueKind)),
    *((kind, Said("skip")) for kind in get_args(QueueKind)),
    *((kind, Said("flag", reason="unsafe", rationale="weapons")) for kind in get_args(QueueKind)),
]


@pytest.mark.parametrize(("kind", "said"), FITTING, ids=lambda value: getattr(value, "choice", value))
def test_what_fits_the_kind_is_kept_and_comes_back_as_the_last_that_was_said(
    engine: Engine, ask: Ask, kind: QueueKind, said: Said
) -> None:
    with writing(engine) as session:
        ask_of_kind(session, ask, kind)
        ann, task = leased(session)
        assert judgments.last_of(session, ann) is None
        receipt = submit(session, task.assignment_id, ann, replace(said, response_ms=800))
        last = judgments.last_of(session, ann)
    assert last is not None
    assert (last.judgment_id, last.said) == (receipt.judgment_id, replace(said, response_ms=800))
    assert last.task == task
    with reading(engine) as session:
        (row,) = judgments.current(session)
    assert (row.queue_kind, row.purpose, row.choice, row.reason) == (kind, "train", said.choice, said.reason)
    assert (row.strength, row.ratings, row.written) == (said.strength, said.ratings, said.written)
    assert (row.annotator_name, row.response_ms, row.display_order) == ("ann", 800, task.candidate_ids)


@pytest.mark.parametrize(
    ("kind", "said", "why"),
    [
        ("pair", Said("ranked", ranking=[[0], [1]]), "say one of left, right, tie, both_bad, identical, skip, flag"),
        ("pair", Said("up"), "up is no answer in queue a pair queue, of kind pair"),
        ("pair", Said("written", written="x"), "is no answer"),
        ("pair", Said("tie", ranking=[[0], [1]]), "a ranking with the choice tie; it goes with ranked"),
        ("pair", Said("tie", strength=2), "a strength with the choice tie; it goes with left and right"),
        ("pair", Said("left", strength=0), "a strength of 0 in queue a pair queue; say 1, 2 or 3"),
        ("pair", Said("left", strength=4), "a strength of 4"),
        ("pair", Said("left", reason="nice"), "a reason with the choice left"),
        ("pair", Said("flag"), "a flag for None; the reason is one of unsafe, personal_data, broken_prompt"),
        ("pair", Said("flag", reason="boring"), "a flag for 'boring'"),
        ("pair", Said("tie", response_ms=-1), "response time of -1 ms"),
        ("ranking", Said("left"), "left is no answer"),
        ("ranking", Said("ranked"), "the ranking None does not name each"),
        ("ranking", Said("ranked", ranking=[[0]]), "does not name each"),
        ("ranking", Said("ranked", ranking=[[0, 1], [2], []]), "does not name each"),
        ("ranking", Said("ranked", ranking=[[0, 1], [1, 2]]), "does not name each"),
        ("rating", Said("rated"), "the ratings None do not name each of the aspects helpful, true once"),
        ("rating", Said("rated", ratings={"true": 3}), "do not name each"),
        ("rating", Said("rated", ratings={"true": 3, "helpful": 3, "kind": 3}), "do not name each"),
        ("rating", Said("rated", ratings={"true": 0, "helpful": 3}), "true was rated 0; rate it from 1 to 5"),
        ("rating", Said("rated", ratings={"true": 1, "helpful": 6}), "helpful was rated 6"),
        ("rating", Said("up"), "is no answer"),
        ("thumbs", Said("left"), "is no answer"),
        ("edit", Said("written", written=" \n"), "nothing was written"),
        ("edit", Said("written"), "nothing was written"),
        ("edit", Said("up", written="better"), "a written answer with the choice up"),
        ("demonstration", Said("up"), "is no answer"),
        ("demonstration", Said("written", written=""), "nothing was written"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_is_stored(
    engine: Engine, ask: Ask, kind: QueueKind, said: Said, why: str
) -> None:
    with writing(engine) as session:
        ask_of_kind(session, ask, kind)
        ann, task = leased(session)
        if said.ranking is not None:
            ids = sorted(task.candidate_ids)
            said = replace(said, ranking=[[ids[index] for index in group] for group in said.ranking])
        with pytest.raises(StoreError, match=why):
            submit(session, task.assignment_id, ann, said)
        assert session.query(Judgment).count() == 0
        first = submit(session, task.assignment_id, ann, Said("skip"))
        with pytest.raises(StoreError, match=why):
            correct(session, first.judgment_id, ann, said)


def test_a_strength_is_not_taken_where_nobody_asked(engine: Engine, ask: Ask) -> None:
    with writing(engine) as session:
        ask(session)
        ann, task = leased(session)
        with pytest.raises(StoreError, match="a strength of 2 in queue a pair queue; say none, for it is not asked"):
            submit(session, task.assignment_id, ann, Said("left", strength=2))


def test_the_last_judgment_is_the_newest_of_its_chain_and_of_nobody_withdrawn(engine: Engine, ask: Ask) -> None:
    with writing(engine) as session:
        ask(session, 3)
        ann, first = leased(session)
        submit(session, first.assignment_id, ann, Said("left"))
        _, second = leased(session)
        receipt = submit(session, second.assignment_id, ann, Said("left"))
        corrected = correct(session, receipt.judgment_id, ann, Said("tie", rationale="hasty"))
        leased(session)
        last = judgments.last_of(session, ann)
        assert last is not None
        assert (last.judgment_id, last.task.assignment_id) == (corrected.judgment_id, second.assignment_id)
        assert last.said == Said("tie", rationale="hasty")
        annotators.withdraw(session, ann)
        session.flush()
        assert judgments.last_of(session, ann) is None


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ranks=st.lists(st.integers(0, 3), min_size=2, max_size=8))
def test_any_ranking_with_ties_is_kept_as_it_was_given(engine: Engine, ask: Ask, ranks: list[int]) -> None:
    with reading(engine) as session:  # undone after each example
        ask(session, each=len(ranks), kind="ranking")
        ann, task = leased(session)
        ranking = [
            [candidate_id for candidate_id, own in zip(task.candidate_ids, ranks, strict=True) if own == rank]
            for rank in sorted(set(ranks))
        ]
        submit(session, task.assignment_id, ann, Said("ranked", ranking=ranking))
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
            chains[len(chains)] = [submit(session, tasks[-1].assignment_id, ann, Said("both_bad")).judgment_id]
            standing[len(standing)] = "both_bad"
        for which, choice in said:
            receipt = correct(session, chains[which][-1], ann, Said(choice))
            assert receipt.stored
            chains[which].append(receipt.judgment_id)
            standing[which] = choice
            with pytest.raises(StoreError, match="correct that one"):
                correct(session, chains[which][0], ann, Said(choice, rationale="late"))
        rows = judgments.current(session)
        assert {row.judgment_id: row.choice for row in rows} == {
            chain[-1]: standing[which] for which, chain in chains.items()
        }
        assert [row.judgment_id for row in rows] == sorted(row.judgment_id for row in rows)
        assert session.query(Judgment).count() == 3 + len(said)
        assert judgments.submit(session, tasks[0].assignment_id, ann, Said("tie")).count == 3


def test_a_correction_is_its_authors_and_repeats_harmlessly(engine: Engine, ask: Ask) -> None:
    with writing(engine) as session:
        ask(session)
        ann, task = leased(session)
        first = submit(session, task.assignment_id, ann, Said("left"))
        bob = annotators.ensure(session, "bob", "human").id
        with pytest.raises(StoreError, match="another annotator's"):
            correct(session, first.judgment_id, bob, Said("right"))
        with pytest.raises(StoreError, match="no judgment 999"):
            correct(session, 999, ann, Said("right"))
        second = correct(session, first.judgment_id, ann, Said("right", rationale="misread"))
        assert second == Receipt(second.judgment_id, stored=True, count=1)
        repeated = correct(session, first.judgment_id, ann, Said("right", rationale="misread"))
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
        receipt = submit(session, task.assignment_id, ann, Said("right"))
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
        ask(session, purpose="evaluate", round_id=turn.id, rank=1)
        ids = {}
        for name, kind in (("ann", "human"), ("bob", "human"), ("r2", "simulated")):
            ids[name], task = leased(session, name, kind)
            receipt = submit(session, task.assignment_id, ids[name], Said("left"))
        assert who() == [ids["ann"], ids["bob"], ids["r2"]]
        assert who(kind="human") == [ids["ann"], ids["bob"]]
        assert who(kind="simulated") == [ids["r2"]]
        assert who(purposes=["evaluate"]) == []
        ann, task = leased(session, "ann")
        submit(session, task.assignment_id, ann, Said("tie"))
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
        receipt = submit(session, task.assignment_id, ann, Said("left"))
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
