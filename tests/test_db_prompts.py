"""Prompts and candidates: imported once, split by content, generated once."""

import hashlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine

from db import audit, candidates, prompts, scores, versions
from db.candidates import Completion
from db.engine import reading, writing
from db.errors import StoreError
from db.prompts import Added, AddedMany, PromptItem
from db.tables import Candidate


def user(content: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": content}]


@given(st.binary(max_size=8), st.floats(0, 1), st.floats(0, 1))
def test_a_larger_share_only_moves_prompts_into_heldout(content: bytes, one: float, other: float) -> None:
    sha256 = hashlib.sha256(content).hexdigest()
    smaller, larger = sorted((one, other))
    assert prompts.split_of(sha256, 0.0) == "train"
    assert prompts.split_of(sha256, 1.0) == "heldout"
    if prompts.split_of(sha256, smaller) == "heldout":
        assert prompts.split_of(sha256, larger) == "heldout"


def test_the_split_keeps_its_share() -> None:
    splits = [prompts.split_of(hashlib.sha256(str(n).encode()).hexdigest(), 0.25) for n in range(4000)]
    assert 900 < splits.count("heldout") < 1100


def test_the_same_prompt_is_imported_once(engine: Engine) -> None:
    with writing(engine) as session:
        first = prompts.add(session, user("why?"), category="a")
        again = prompts.add(session, [{"content": "why?", "role": "user"}], category="b")
    assert again == Added(first.id, created=False)
    with reading(engine) as session:
        assert prompts.get(session, first.id).category == "a"


def test_a_batch_counts_repeats_within_itself_and_against_the_store(engine: Engine) -> None:
    with writing(engine) as session:
        prompts.add(session, user("old"))
        batch = [PromptItem(user(text)) for text in ("new", "old", "new", "newer")]
        assert prompts.add_many(session, batch) == AddedMany(added=2, duplicates=2)
        assert prompts.add_many(session, batch) == AddedMany(added=0, duplicates=4)
    with reading(engine) as session:
        assert [event.details["added"] for event in audit.events(session, "prompt")] == [0, 2, 1]


def test_prompts_are_listed_in_the_order_of_their_content(engine: Engine) -> None:
    with writing(engine) as session:
        prompts.add_many(session, [PromptItem(user(str(n)), category="ab"[n % 2]) for n in range(20)])
        listed = prompts.list_prompts(session)
        assert [prompt.sha256 for prompt in listed] == sorted(prompt.sha256 for prompt in listed)
        counted = prompts.count_by_split(session)
        assert counted == {split: len(prompts.list_prompts(session, split)) for split in ("train", "heldout")}
        assert len(prompts.list_prompts(session, category="a")) == 10
        prompts.retire(session, listed[0].id)
        assert prompts.list_prompts(session) == listed[1:]
        assert prompts.list_prompts(session, include_retired=True) == listed
        assert sum(prompts.count_by_split(session).values()) == 19


@pytest.mark.parametrize(
    "messages",
    [
        [],
        [{"role": "assistant", "content": "hello"}],
        [{"role": "user", "content": "hello", "name": "ann"}],
        [{"role": "user"}],
        [{"role": "user", "content": None}],
    ],
)
def test_malformed_messages_are_refused(engine: Engine, messages: list[dict[str, str]]) -> None:
    with writing(engine) as session:
        with pytest.raises(StoreError):
            prompts.add(session, messages)
        with pytest.raises(StoreError, match="prompt 2 of 2: "):
            prompts.add_many(session, [PromptItem(user("good")), PromptItem(messages)])
        assert prompts.list_prompts(session) == []


def test_a_candidate_is_stored_once_for_its_settings_and_seed(engine: Engine) -> None:
    with writing(engine) as session:
        base = versions.ensure_base(session, "tiny", "0" * 64)
        one, two = (prompts.add(session, user(text)).id for text in ("one", "two"))
        drawn = [
            Completion(prompt_id, index, "text \x00", 2, "length", -3.0) for prompt_id in (two, one) for index in (1, 0)
        ]
        sampling = {"temperature": 0.7, "top_p": 0.9}
        assert candidates.store(session, base.id, sampling, 2**40, drawn[:3]) == 3
        assert candidates.store(session, base.id, dict(reversed(sampling.items())), 2**40, drawn) == 1
        assert candidates.store(session, base.id, sampling, 1, drawn[:1]) == 1
        assert candidates.store(session, base.id, sampling, 1, []) == 0
        assert candidates.existing(session, base.id, sampling, 2**40, [one, two]) == {
            (one, 0),
            (one, 1),
            (two, 0),
            (two, 1),
        }
        assert candidates.existing(session, base.id, sampling, 1, [one]) == set()
        rows = candidates.of_version(session, base.id, sampling, 2**40, [two, one])
        assert [(row.prompt_id, row.sample_index) for row in rows] == [(one, 0), (one, 1), (two, 0), (two, 1)]
        assert rows[0].text == "text \ufffd"


def test_a_candidate_of_a_broken_model_is_refused(engine: Engine) -> None:
    with writing(engine) as session:
        base = versions.ensure_base(session, "tiny", "0" * 64)
        prompt_id = prompts.add(session, user("one")).id
        with pytest.raises(StoreError, match="the log-probability is nan"):
            candidates.store(session, base.id, {}, 0, [Completion(prompt_id, 0, "x", 1, "stop", float("nan"))])


def test_a_score_once_given_stands(engine: Engine, ask: Callable[..., list[int]]) -> None:
    with writing(engine) as session:
        ask(session, each=3)
        one, two, three = session.query(Candidate.id).order_by(Candidate.id).all()
        scores.store(session, "reward:r1", {one.id: 0.5, two.id: -1.0})
        scores.store(session, "reward:r1", {one.id: 9.0})
        scores.store(session, "taste:concise", {three.id: 1.0})
        assert scores.known(session, "reward:r1", [one.id, two.id, three.id]) == {one.id: 0.5, two.id: -1.0}
        with pytest.raises(StoreError, match="scores candidate"):
            scores.store(session, "reward:r1", {three.id: float("inf")})


def test_a_lone_surrogate_does_not_reach_the_store(engine: Engine) -> None:
    with writing(engine) as session:
        prompt_id = prompts.add(session, user("a \ud800 b \U0001f600")).id
    with reading(engine) as session:
        assert prompts.get(session, prompt_id).messages == user("a \ufffd b \U0001f600")


def test_prompts_are_searched_by_what_their_messages_say(engine: Engine) -> None:
    with writing(engine) as session:
        turns = [{"role": "assistant", "content": 'Café "crème"?'}, {"role": "user", "content": "100% yes_no"}]
        ids = [
            prompts.add(session, messages, category).id
            for messages, category in ((user("Why is the sky blue?"), "a"), (turns, "b"), (user("a user, a role"), "b"))
        ]

        def found(text: str, **filters: Any) -> list[int]:
            return [prompt.id for prompt in prompts.search(session, text, **filters).rows]

        assert found("") == ids[::-1]
        assert found("SKY") == [ids[0]]
        assert found(' café "crème" ') == [ids[1]]
        assert found("100%") == [ids[1]]
        assert found("yes_") == [ids[1]]
        assert found("%") == [ids[1]]
        assert found("user") == found("role") == [ids[2]]  # what the roles are called is no text
        assert found("content") == []
        assert found("", category="b") == ids[:0:-1]
        assert found("", category="b", limit=1, offset=1) == [ids[1]]
        assert prompts.search(session, category="b", limit=1).total == 2
        assert prompts.categories(session) == ["a", "b"]
        splits = {split: found("", split=split) for split in ("train", "heldout")}
        assert sorted(splits["train"] + splits["heldout"]) == ids


def test_a_retired_prompt_comes_back_with_its_split(engine: Engine) -> None:
    with writing(engine) as session:
        prompt_id = prompts.add(session, user("one")).id
        split = prompts.get(session, prompt_id).split
        for _ in range(2):
            prompts.retire(session, prompt_id, actor="ann")
        assert prompts.search(session).rows == []
        assert [prompt.id for prompt in prompts.search(session, retired=True).rows] == [prompt_id]
        for _ in range(2):
            prompts.unretire(session, prompt_id, actor="ann")
        assert prompts.search(session).rows[0].split == split
    with reading(engine) as session:
        acts = [(event.actor, event.action) for event in audit.events(session, "prompt", prompt_id)]
        assert acts == [("ann", "unretire"), ("ann", "retire"), ("prefloop", "import")]
