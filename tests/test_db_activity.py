"""What annotators did and said, as the manager pages count it."""

import csv
import io
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from browser import question, seed
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from db import activity, annotators, browse, clock, comparisons, export, judgments, prompts, queues, votes
from db.browse import Wanted
from db.engine import reading, writing
from db.judgments import Said
from db.tables import Assignment, Comparison

NINE = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
Ask = Callable[..., list[int]]


class Clock:
    """The clock of the store, set by the test."""

    def __init__(self) -> None:
        self.now = NINE

    def __call__(self) -> datetime:
        return self.now

    def at(self, hours: float) -> None:
        self.now = NINE + timedelta(hours=hours)


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Clock:
    own = Clock()
    monkeypatch.setattr(clock, "now", own)
    return own


def person(session: Session, name: str) -> int:
    return annotators.ensure(session, name, "human").id


def robot(session: Session) -> int:
    return annotators.ensure(session, "taste:short", "simulated", taste={"likes": "short"}).id


def judge(session: Session, annotator_id: int, said: Said, queue: str | None = None) -> int:
    """The annotator says this about their next question; the id of the judgment."""
    queue_id = queues.by_name(session, queue).id if queue else None
    task = comparisons.next_assignment(session, annotator_id, rng_seed=0, queue_id=queue_id)
    assert task is not None
    return judgments.submit(session, task.assignment_id, annotator_id, said).judgment_id


def prefer(session: Session, annotator_id: int, position: int, said: Said | None = None) -> int:
    """The annotator prefers the candidate at this position of the comparison, on whichever side they see it."""
    task = comparisons.next_assignment(session, annotator_id)
    assert task is not None
    wanted = comparisons.candidates_of(session, task.comparison_id)[position].id
    choice = Said("left" if task.candidate_ids[0] == wanted else "right")
    return judgments.submit(session, task.assignment_id, annotator_id, said or choice).judgment_id


def test_annotators_are_listed_with_what_they_did(engine: Engine, ask: Ask, time: Clock) -> None:
    with writing(engine) as session:
        ask(session, 4, overlap=2)
        ann, bob = person(session, "ann"), person(session, "bob")
        judge(session, robot(session), Said("tie", response_ms=5))
        for hours, said in ((1, Said("left", response_ms=900)), (2, Said("skip", response_ms=100)), (3, Said("tie"))):
            time.at(hours)
            newest = judge(session, ann, said)
        judge(session, ann, Said("flag", reason="unsafe", response_ms=400))
        judgments.correct(session, newest, ann, Said("left", response_ms=9_000))
        for response_ms in (100, 200, 400, 900):
            judge(session, bob, Said("tie", response_ms=response_ms))
        annotators.disable(session, bob)
        person(session, "cleo")
    with reading(engine) as session:
        listed = activity.by_annotator(session)
    assert [(each.name, each.kind, each.judgments, each.skipped, each.median_response_ms) for each in listed] == [
        ("ann", "human", 4, 2, 400.0),
        ("bob", "human", 4, 0, 300.0),
        ("cleo", "human", 0, 0, None),
        ("taste:short", "simulated", 1, 0, 5.0),
    ]
    assert [each.last_seen for each in listed] == [time.now, time.now, None, NINE]
    assert [each.disabled_at is not None for each in listed] == [False, True, False, False]


def test_work_is_counted_by_time_of_first_judgments_and_by_kind(engine: Engine, ask: Ask, time: Clock) -> None:
    with writing(engine) as session:
        ask(session, 5)
        ann, rob = person(session, "ann"), robot(session)
        for hours in (0.1, 0.9, 2.2, 2.4):
            time.at(hours)
            newest = judge(session, ann, Said("tie"))
        judge(session, rob, Said("tie"))
        time.at(5)
        judgments.correct(session, newest, ann, Said("left"))
    with reading(engine) as session:
        people = activity.by_slot(session, "human")
        assert [(slot.start - NINE, slot.judgments) for slot in people] == [
            (timedelta(0), 2),
            (timedelta(hours=2), 2),
        ]
        tens = activity.by_slot(session, "human", minutes=10, since=NINE + timedelta(hours=1))
        assert [(slot.start - NINE, slot.judgments) for slot in tens] == [
            (timedelta(minutes=130), 1),
            (timedelta(minutes=140), 1),
        ]
        assert [slot.judgments for slot in activity.by_slot(session, "simulated")] == [1]


def test_the_debt_by_slot_sums_up_to_what_is_owed_today(engine: Engine, ask: Ask, time: Clock) -> None:
    with writing(engine) as session:
        first = ask(session, 4, overlap=2)
        ann, bob = person(session, "ann"), person(session, "bob")
        time.at(2)
        for _ in range(3):
            judge(session, ann, Said("tie"))
        judge(session, bob, Said("skip"))
        judge(session, robot(session), Said("tie"))
        comparisons.close(session, first[3])
        retired = comparisons.get(session, first[2]).prompt_id
        prompts.retire(session, retired)
        time.at(3)
        ask(session, 2, each=3)
    with reading(engine) as session:
        debt = activity.debt_by_slot(session)
        assert [((each.start - NINE) // timedelta(hours=1), each.asked, each.judged) for each in debt] == [
            (0, 4, 0),
            (2, 0, 3),
            (3, 2, 0),
        ]
        assert sum(each.asked - each.judged for each in debt) == comparisons.open_count(session) == 3
        of_pairs = activity.debt_by_slot(session, queue_id=queues.by_name(session, "a pair queue").id)
        assert sum(each.asked - each.judged for each in of_pairs) == 1


def test_withdrawn_work_is_owed_again_and_not_counted(engine: Engine, ask: Ask) -> None:
    with writing(engine) as session:
        ask(session, 2)
        ann = person(session, "ann")
        judge(session, ann, Said("tie"))
        annotators.withdraw(session, ann)
    with reading(engine) as session:
        assert activity.by_slot(session, "human") == []
        assert sum(each.asked - each.judged for each in activity.debt_by_slot(session)) == 2
        assert votes.counted(session, "human") == []
        assert browse.page(session, Wanted()).total == 0


def test_a_vote_names_the_candidate_and_not_the_side(engine: Engine, ask: Ask) -> None:
    with writing(engine) as session:
        ask(session, 1, overlap=20)
        people = [person(session, f"p{n}") for n in range(16)]
        for annotator_id in people:
            prefer(session, annotator_id, 1)
        changed = prefer(session, person(session, "changes"), 0)
        judgments.correct(session, changed, person(session, "changes"), Said("tie"))
        judge(session, person(session, "skips"), Said("skip"))
        prefer(session, robot(session), 0)
    with reading(engine) as session:
        found = votes.counted(session, "human")
        assert [vote.preferred for vote in found] == [1] * 16 + [None]
        assert found[-1].choice == "tie"
        assert {vote.kind for vote in found} == {"pair"}
        assert len({vote.choice for vote in found[:16]}) == 2  # both sides were shown
        assert [vote.preferred for vote in votes.counted(session, "simulated")] == [0]


def test_left_and_longer_are_counted_among_decided_pairs(engine: Engine, ask: Ask) -> None:
    with writing(engine) as session:
        ask(session, 3)
        ask(session, 1, each=3)
        ann = person(session, "ann")
        said = [Said("left"), Said("left"), Said("right"), Said("both_bad")]
        for each in said:
            judge(session, ann, each)
    with reading(engine) as session:
        (sides,) = votes.sides(session, "human")
    # All the answers of `ask` are as long as each other.
    assert (sides.decided, sides.left, sides.lengths_differ, sides.longer) == (3, 2, 0, 0)


def test_the_longer_of_two_is_told_by_its_characters(engine: Engine) -> None:
    url = engine.url.render_as_string(hide_password=False)
    seed(url, [(question(f"q{n}"), "short", "not so short é") for n in range(3)]).dispose()
    with writing(engine) as session:
        ann = person(session, "ann")
        for position in (1, 1, 0):
            prefer(session, ann, position)
        (sides,) = votes.sides(session, "human")
    assert (sides.decided, sides.lengths_differ, sides.longer) == (3, 3, 2)


def test_gold_is_hit_by_the_right_candidate_alone_on_top(engine: Engine, ask: Ask) -> None:
    with writing(engine) as session:
        pair, ranking = ask(session, 1)[0], ask(session, 1, each=3)[0]
        for asked in (pair, ranking):
            right = comparisons.candidates_of(session, asked)[0].id
            comparisons.make_gold(session, asked, right)
        for queue in queues.list_queues(session):
            queues.update(session, queue.id, gold_share=0.5)
        one, two, three = (candidate.id for candidate in comparisons.candidates_of(session, ranking))
        outcomes = {
            "right": [Said("left"), Said("ranked", ranking=[[one], [two, three]])],
            "wrong": [Said("tie"), Said("ranked", ranking=[[one, two], [three]])],
        }
    expected = {}
    for name, (of_pair, of_ranking) in outcomes.items():
        with writing(engine) as session:
            annotator_id = person(session, name)
            expected[annotator_id] = 0
            golds = {gold.id: gold.gold_candidate_id for gold in _golds(session)}
            for comparison_id, right in golds.items():
                assignment_id = _hand(session, comparison_id, annotator_id)
                order = _order(session, assignment_id)
                said = of_ranking if len(order) == 3 else of_pair
                if said.choice == "left" and order[0] != right:
                    said = Said("right")
                judgments.submit(session, assignment_id, annotator_id, said)
                expected[annotator_id] += name == "right"
    with reading(engine) as session:
        assert {each.annotator_id: (each.hits, each.asked) for each in votes.gold_hits(session, "human")} == {
            annotator_id: (hits, 2) for annotator_id, hits in expected.items()
        }
        assert votes.counted(session, "human") == []  # hidden questions are no votes


def _golds(session: Session) -> list[Comparison]:
    return list(session.query(Comparison).where(Comparison.purpose == "gold"))


def _hand(session: Session, comparison_id: int, annotator_id: int) -> int:
    """Hand the hidden question to the annotator, as the draw of hidden questions would."""
    order = [candidate.id for candidate in comparisons.candidates_of(session, comparison_id)]
    now = clock.now()
    assignment = Assignment(
        comparison_id=comparison_id, annotator_id=annotator_id, display_order=order, state="open", leased_at=now,
        expires_at=now + timedelta(hours=1),
    )  # fmt: skip
    session.add(assignment)
    session.flush()
    return assignment.id


def _order(session: Session, assignment_id: int) -> list[int]:
    return session.get_one(Assignment, assignment_id).display_order


def test_a_repeat_agrees_when_the_same_candidate_is_preferred_again(engine: Engine, ask: Ask) -> None:
    with writing(engine) as session:
        asked = ask(session, 3)
        ann, queue_id = person(session, "ann"), queues.by_name(session, "a pair queue").id
        before = [Said("left"), Said("left"), Said("tie")]
        for said in before:
            judge(session, ann, said)
        again = [Said("right"), Said("left"), Said("tie")]  # with the sides swapped
        for original, said in zip(asked, again, strict=True):
            row = comparisons.get(session, original)
            (assignment,) = [a for a in _assignments(session, ann) if a.comparison_id == original]
            shown = assignment.display_order[::-1]
            repeat = comparisons.create(
                session, queue_id, row.prompt_id, shown, purpose="repeat", repeats_id=original
            ).id
            judgments.submit(session, _hand(session, repeat, ann), ann, said)
    with reading(engine) as session:
        (checked,) = votes.repeats_agreed(session, "human")
        assert (checked.annotator_id, checked.hits, checked.asked) == (ann, 2, 3)
        assert votes.repeats_agreed(session, "simulated") == []


def _assignments(session: Session, annotator_id: int) -> list[Assignment]:
    return list(session.query(Assignment).where(Assignment.annotator_id == annotator_id))


@pytest.fixture
def said(engine: Engine, ask: Ask) -> dict[str, int]:
    """Judgments to look for, by name."""
    with writing(engine) as session:
        ask(session, 3, overlap=2)
        ask(session, 1, kind="demonstration", each=0)
        ann, bob = person(session, "ann"), person(session, "bob")
        by_name = {
            "first": judge(session, ann, Said("left", rationale="=HYPERLINK(1)"), "a pair queue"),
            "flag": judge(session, ann, Said("flag", reason="unsafe"), "a pair queue"),
            "bob": judge(session, bob, Said("tie", response_ms=7), "a pair queue"),
            "written": judge(session, bob, Said("written", written="Übung macht's"), "a demonstration queue"),
            "robot": judge(session, robot(session), Said("right"), "a pair queue"),
        }
        by_name["corrected"] = judgments.correct(session, by_name["first"], ann, Said("right")).judgment_id
        return by_name


@pytest.mark.parametrize(
    ("wanted", "names"),
    [
        (Wanted(), ["corrected", "robot", "written", "bob", "flag"]),
        (Wanted(annotator_kind="human"), ["corrected", "written", "bob", "flag"]),
        (Wanted(choice="flag"), ["flag"]),
        (Wanted(choice="right", annotator_kind="human"), ["corrected"]),
        (Wanted(text="MACHT'S"), ["written"]),
        (Wanted(text="question 1"), ["flag"]),
        (Wanted(text="answer 1 to 0"), ["corrected", "robot", "bob"]),
        (Wanted(text="unsafe"), ["flag"]),
        (Wanted(text="%"), []),
        (Wanted(purpose="gold"), []),
    ],
)
def test_judgments_are_found_by_what_is_wanted_newest_first(
    engine: Engine, said: dict[str, int], wanted: Wanted, names: list[str]
) -> None:
    with reading(engine) as session:
        found = browse.page(session, wanted)
        assert [line.judgment_id for line in found.rows] == [said[name] for name in names]
        assert found.total == len(names)
        assert browse.ids(session, wanted) == sorted(said[name] for name in names)


def test_judgments_are_paged_and_found_by_queue_annotator_and_round(engine: Engine, said: dict[str, int]) -> None:
    with reading(engine) as session:
        second = browse.page(session, Wanted(), offset=2, limit=2)
        assert [line.judgment_id for line in second.rows] == [said["written"], said["bob"]]
        assert second.total == 5
        bob, queue = annotators.by_name(session, "bob").id, queues.by_name(session, "a pair queue").id
        assert browse.ids(session, Wanted(annotator_id=bob, queue_id=queue)) == [said["bob"]]
        assert browse.ids(session, Wanted(round_id=1)) == []
        (newest, *_) = browse.page(session, Wanted(), limit=1).rows
        assert (newest.annotator, newest.queue, newest.is_correction) == ("ann", "a pair queue", True)


def test_an_export_is_complete_and_names_nobody(engine: Engine, said: dict[str, int]) -> None:
    with reading(engine) as session:
        text = "".join(export.lines(session, sorted(said.values()), "jsonl"))
        ann = annotators.by_name(session, "ann").id
    rows = {row["judgment_id"]: row for row in map(json.loads, text.splitlines())}
    assert set(rows) == set(said.values())
    first, written, bob = (rows[said[name]] for name in ("first", "written", "bob"))
    assert "ann" not in {row["annotator"] for row in rows.values()}
    assert first["annotator"] == f"annotator-{ann}"
    assert (first["choice"], first["preferred"], first["rationale"]) == ("left", 1, "=HYPERLINK(1)")
    assert rows[said["corrected"]]["preferred"] == 2
    assert sorted(first["answers"]) == ["answer 0 to 0", "answer 1 to 0"]
    assert first["versions"] == ["v0", "v0"]
    assert first["messages"] == [{"role": "user", "content": "question 0"}]
    assert (written["written"], written["answers"]) == ("Übung macht's", [])
    assert bob["response_ms"] == 7


def test_a_csv_has_names_when_asked_and_no_formulas(engine: Engine, said: dict[str, int]) -> None:
    with reading(engine) as session:
        text = "".join(export.lines(session, [said["first"], said["written"]], "csv", pseudonyms=False))
        assert list(export.lines(session, [], "csv")) == []
    first, written = csv.DictReader(io.StringIO(text))
    assert (first["annotator"], written["annotator"]) == ("ann", "bob")
    assert first["rationale"] == "'=HYPERLINK(1)"
    assert json.loads(first["messages"]) == [{"role": "user", "content": "question 0"}]
    assert written["written"] == "Übung macht's"
