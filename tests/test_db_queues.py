"""Queues: what a queue may be, how it is filled, and how far it is."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from db import annotators, audit, candidates, comparisons, judgments, prompts, queues, versions
from db.engine import reading, writing
from db.errors import StoreError
from db.judgments import Said
from db.queues import QueueProgress
from db.tables import Comparison
from db.words import QueueKind

Ask = Callable[..., list[int]]


def test_a_queue_is_made_found_and_noted(engine: Engine) -> None:
    with writing(engine) as session:
        made = queues.create(session, " tone ", guidelines="Be kind.", overlap=2, repeat_share=0.1, actor="mary")
        assert queues.get(session, made.id) is made
        assert queues.by_name(session, "tone") is made
        assert queues.ensure(session, "tone") is made
        rated = queues.ensure(session, "facts", "rating", aspects=["true ", "clear"], priority=3)
        (event,) = audit.events(session, "queue", made.id)
    assert (made.name, made.kind, made.guidelines, made.overlap, made.priority) == ("tone", "pair", "Be kind.", 2, 0)
    assert (rated.kind, rated.aspects, rated.priority) == ("rating", ["true", "clear"], 3)
    assert (event.actor, event.action) == ("mary", "create")
    with reading(engine) as session:
        assert [queue.name for queue in queues.list_queues(session)] == ["facts", "tone"]


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"name": " "}, "the name of the queue is blank"),
        ({"name": "old"}, "there is a queue old already"),
        ({"kind": "quiz"}, "no kind of queue 'quiz'; choose one of pair, ranking"),
        ({"kind": "rating"}, "name the aspects to rate"),
        ({"kind": "rating", "aspects": []}, "name the aspects to rate"),
        ({"kind": "rating", "aspects": ["clear", "clear "]}, "name the aspects to rate"),
        ({"kind": "rating", "aspects": ["clear", " "]}, "name the aspects to rate"),
        ({"aspects": ["clear"]}, "are for a queue of kind rating"),
        ({"kind": "edit", "asks_strength": True}, "the strength of a preference is asked of a pair"),
        ({"overlap": 0}, "an overlap of 0"),
        ({"repeat_share": 0.6}, "a share of 0.6 for repeats; choose one from 0 to 0.5"),
        ({"gold_share": -0.1}, "a share of -0.1 for gold"),
        ({"kind": "thumbs", "gold_share": 0.1}, "gold are asked in queues of kind pair and ranking"),
    ],
)
def test_a_senseless_queue_is_refused_in_words(engine: Engine, values: dict[str, Any], why: str) -> None:
    with writing(engine) as session:
        queues.create(session, "old")
        with pytest.raises(StoreError, match=why):
            queues.create(session, **{"name": "new", **values})
        assert [queue.name for queue in queues.list_queues(session)] == ["old"]


def test_an_unknown_queue_is_refused_with_the_known_ones(engine: Engine) -> None:
    with writing(engine) as session:
        with pytest.raises(StoreError, match="no queue tone; known: none yet"):
            queues.by_name(session, "tone")
        queues.create(session, "facts")
        with pytest.raises(StoreError, match="no queue tone; known: facts"):
            queues.by_name(session, "tone")
        with pytest.raises(StoreError, match="no queue 99"):
            queues.get(session, 99)
        with pytest.raises(StoreError, match="queue facts is of kind pair already, not edit"):
            queues.ensure(session, "facts", "edit")


def test_an_update_changes_what_it_names_and_is_noted_once(engine: Engine) -> None:
    with writing(engine) as session:
        queue = queues.create(session, "tone", guidelines="Be kind.", gold_share=0.1)
        queues.update(session, queue.id, priority=4, overlap=2, asks_strength=True, gold_share=0.0, actor="mary")
        queues.update(session, queue.id, priority=4, guidelines="Be kind.")
        assert (queue.priority, queue.overlap, queue.asks_strength, queue.gold_share) == (4, 2, True, 0.0)
        assert queue.guidelines == "Be kind."
        updates = [event for event in audit.events(session, "queue", queue.id) if event.action == "update"]
        assert [event.details for event in updates] == [
            {"priority": 4, "overlap": 2, "asks_strength": True, "gold_share": 0.0}
        ]
        with pytest.raises(StoreError, match="an overlap of 0"):
            queues.update(session, queue.id, overlap=0)


def test_aspects_change_only_before_the_first_judgment(engine: Engine, ask: Ask) -> None:
    with writing(engine) as session:
        (comparison_id,) = ask(session, each=1, kind="rating")
        queue_id = session.get_one(Comparison, comparison_id).queue_id
        queues.update(session, queue_id, aspects=["kind"])
        ann = annotators.ensure(session, "ann", "human").id
        task = comparisons.next_assignment(session, ann)
        assert task is not None
        assert task.aspects == ["kind"]
        judgments.submit(session, task.assignment_id, ann, Said("rated", ratings={"kind": 5}))
        with pytest.raises(StoreError, match="was rated by kind already; make a new queue"):
            queues.update(session, queue_id, aspects=["kind", "true"])
        queues.update(session, queue_id, aspects=["kind"], guidelines="none")


def test_pausing_and_resuming_twice_is_noted_once(engine: Engine) -> None:
    with writing(engine) as session:
        queue = queues.create(session, "tone")
        for act in (queues.pause, queues.pause, queues.resume, queues.resume):
            act(session, queue.id, "mary")
        assert queue.paused_at is None
        assert [event.action for event in audit.events(session, "queue")] == ["resume", "pause", "create"]


def stock(session: Session, texts: dict[str, list[str]], split: str = "train", category: str = "") -> dict[str, int]:
    """Prompts with these candidates of the base; their ids by content."""
    base = versions.ensure_base(session, "tiny", "0" * 64)
    ids = {}
    for content, answers in texts.items():
        share = 0.0 if split == "train" else 1.0
        message = {"role": "user", "content": content}
        ids[content] = prompts.add(session, [message], category=category, heldout_share=share).id
        completions = [
            candidates.Completion(ids[content], n, answer, 4, "stop", -1.0) for n, answer in enumerate(answers)
        ]
        candidates.store(session, base.id, {}, 0, completions)
    return ids


def asked_texts(session: Session, queue_id: int) -> list[list[str]]:
    found = session.query(Comparison).filter_by(queue_id=queue_id).order_by(Comparison.id)
    return [[candidate.text for candidate in comparisons.candidates_of(session, each.id)] for each in found]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("pair", [["a", "b"], ["a", "b"]]),
        ("ranking", [["a", "b", "c", "d"], ["a", "b"]]),
        ("thumbs", [["a"], ["a"], ["a"]]),
        ("edit", [["a"], ["a"], ["a"]]),
        ("demonstration", [[], [], [], []]),
    ],
)
def test_a_queue_is_filled_with_the_first_different_texts_of_each_prompt(
    engine: Engine, kind: QueueKind, expected: list[list[str]]
) -> None:
    with writing(engine) as session:
        stock(session, {"many": ["a", "a", "b", "c", "d", "e"], "two": ["a", "b"], "one": ["a", "a"], "none": []})
        queue = queues.create(session, "new", kind, overlap=2)
        assert queues.fill(session, queue.id, actor="mary") == len(expected)
        assert queues.fill(session, queue.id) == 0, "the same question twice"
        assert asked_texts(session, queue.id) == expected
        assert {each.overlap for each in session.query(Comparison)} == {2}
        assert audit.events(session, "queue", queue.id)[1].details["made"] == len(expected)


def test_filling_goes_by_split_category_version_and_limit_and_leaves_out_retired_prompts(engine: Engine) -> None:
    with writing(engine) as session:
        two = ["a", "b"]
        stock(session, {"held": two}, split="heldout")
        stock(session, {"poem": two}, category="art")
        ids = stock(session, {f"question {n}": two for n in range(5)} | {"retired": two})
        prompts.retire(session, ids["retired"])
        queue = queues.create(session, "new")
        assert queues.fill(session, queue.id, version_id=99) == 0
        assert queues.fill(session, queue.id, category="art") == 1
        assert queues.fill(session, queue.id, limit=0) == 0
        assert queues.fill(session, queue.id, limit=2) == 2
        assert queues.fill(session, queue.id, limit=2) == 2
        assert queues.fill(session, queue.id, limit=2) == 1
        assert queues.fill(session, queue.id, split="heldout") == 1
        assert queues.fill(session, queue.id) == 0


def test_progress_counts_what_people_did_and_what_is_still_wanted(engine: Engine, ask: Ask) -> None:
    with writing(engine) as session:
        closed, *_, retired = ask(session, 5, overlap=2)
        queue_id = session.get_one(Comparison, closed).queue_id
        queues.create(session, "empty", priority=-1)
        robot = annotators.ensure(session, "robot", "simulated", taste={"likes": "short"}).id
        crew = [annotators.ensure(session, name, "human").id for name in ("ann", "bob", "cleo")]
        for annotator_id, said in ((robot, "left"), (crew[0], "left"), (crew[1], "skip"), (crew[0], "left")):
            task = comparisons.next_assignment(session, annotator_id)
            assert task is not None
            receipt = judgments.submit(session, task.assignment_id, annotator_id, Said(said))  # type: ignore[arg-type]
        judgments.correct(session, receipt.judgment_id, crew[0], Said("flag", reason="unsafe"))
        comparisons.next_assignment(session, crew[2])
        comparisons.close(session, closed)
        prompts.retire(session, session.get_one(Comparison, retired).prompt_id)
        session.flush()
        # Five comparisons of overlap 2; nobody is asked about the retired one.
        assert queues.progress(session) == [
            QueueProgress(
                queue_id,
                "a pair queue",
                "pair",
                False,
                comparisons=5,
                wanted=8,
                judged=3,
                leased=1,
                skipped=1,
                flagged=1,
            ),
            QueueProgress(
                queue_id + 1, "empty", "pair", False, comparisons=0, wanted=0, judged=0, leased=0, skipped=0, flagged=0
            ),
        ]
        annotators.withdraw(session, crew[1])
        queues.pause(session, queue_id)
        session.flush()
        after = queues.progress(session)[0]
    # The closed comparison lost bob's skip, and asks nobody else for it.
    assert (after.paused, after.wanted, after.judged, after.skipped) == (True, 7, 2, 0)
