"""Judgments to training pairs: the policy, point by point."""

from datetime import UTC, datetime
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from db.judgments import JudgmentRow
from pipeline.pairs import PreferenceRow, RowPolicy, build, shared_pairs, split_by_prompt

POLICY = RowPolicy(annotators="human")


def judged(number: int, choice: str = "left", preferred: int | None = 1, **other: Any) -> JudgmentRow:
    values: dict[str, Any] = {
        "judgment_id": number,
        "comparison_id": number,
        "prompt_id": 7,
        "prompt_sha256": "a" * 64,
        "split": "train",
        "messages": [{"role": "user", "content": "why?"}],
        "annotator_id": 1,
        "annotator_name": "ann",
        "annotator_kind": "human",
        "queue_id": 1,
        "queue_kind": "pair",
        "purpose": "train",
        "choice": choice,
        "preferred_id": preferred if choice in ("left", "right") else None,
        "ranking": None,
        "strength": None,
        "ratings": None,
        "written": None,
        "reason": None,
        "response_ms": 1000,
        "created_at": datetime(2030, 1, 1, tzinfo=UTC),
        "candidate_ids": [1, 2],
        "display_order": [2, 1],
        "texts": {1: "one", 2: "two", 3: "three"},
        "finish_reasons": {1: "stop", 2: "length", 3: "stop"},
        "round_number": 1,
    }
    return JudgmentRow(**(values | other))


def texts(rows: list[PreferenceRow]) -> set[tuple[str, str]]:
    return {(row.chosen, row.rejected) for row in rows}


def test_the_preferred_text_is_chosen_and_a_cut_off_one_is_marked() -> None:
    (row,) = build([judged(1)], POLICY).rows
    assert (row.chosen, row.rejected) == ("one", "two")
    assert (row.chosen_ended, row.rejected_ended) == (True, False)


@pytest.mark.parametrize("choice", ["tie", "both_bad", "identical", "skip", "up", "down", "rated"])
def test_an_answer_that_decides_nothing_gives_no_pair_and_is_counted(choice: str) -> None:
    made = build([judged(1, choice)], POLICY)
    assert made.rows == []
    assert made.counts == {"judgments": 1, choice: 1, "pairs": 0}


@pytest.mark.parametrize("reason", ["unsafe", "personal_data", "broken_prompt"])
def test_a_flagged_prompt_gives_nothing_whatever_others_said_about_it(reason: str) -> None:
    elsewhere = judged(4, prompt_id=8, prompt_sha256="b" * 64)
    made = build([judged(1), judged(2, "flag", reason=reason), judged(3, "tie"), elsewhere], POLICY)
    assert [row.prompt_sha256 for row in made.rows] == ["b" * 64]
    assert made.counts == {"judgments": 4, "flag": 1, "flagged": 2, "decided": 1, "pairs": 1}


def edited(number: int, written: str = "better", **other: Any) -> JudgmentRow:
    return judged(number, "written", queue_kind="edit", candidate_ids=[2], display_order=[2], written=written, **other)


def test_an_edit_is_preferred_to_what_it_improves_and_ended_properly() -> None:
    made = build([edited(1)], POLICY)
    (row,) = made.rows
    assert (row.chosen, row.rejected) == ("better", "two")
    assert (row.chosen_ended, row.rejected_ended) == (True, False)
    assert made.counts == {"judgments": 1, "written": 1, "pairs": 1}


def test_an_edit_that_changes_nothing_teaches_nothing_and_two_alike_are_one() -> None:
    made = build([edited(1, "two"), edited(2), edited(3), edited(4, "best")], POLICY)
    assert texts(made.rows) == {("better", "two"), ("best", "two")}
    assert (made.counts["same_text"], made.counts["duplicate"], made.counts["written"]) == (1, 1, 4)


def test_an_edit_cut_by_us_does_not_count_as_ended() -> None:
    (row,) = build([edited(1, "long text")], RowPolicy(max_characters=4)).rows
    assert (row.chosen, row.chosen_ended) == ("long", False)


def test_an_edit_that_a_pair_contradicts_is_a_conflict() -> None:
    made = build([edited(1, "one"), judged(2, preferred=2)], POLICY)
    assert made.rows == []
    assert made.counts["conflict"] == 2


def test_a_demonstration_is_counted_and_gives_no_pair() -> None:
    made = build([judged(1, "written", written="an answer", candidate_ids=[], display_order=[])], POLICY)
    assert made.rows == []
    assert made.counts == {"judgments": 1, "demonstration": 1, "pairs": 0}


def test_the_mean_strength_is_that_of_the_votes_for_the_chosen_text() -> None:
    votes = [judged(1, strength=3), judged(2, strength=2), judged(3), judged(4, preferred=2, strength=1)]
    (row,) = build(votes, POLICY).rows
    assert (row.chosen, row.votes_chosen, row.votes_rejected, row.strength) == ("one", 3, 1, 2.5)
    assert build([judged(1)], POLICY).rows[0].strength is None


def test_pairs_that_several_annotators_decided_are_kept_for_the_ceiling_with_even_splits() -> None:
    split = [judged(1), judged(2, preferred=2, annotator_id=2)]
    again = judged(3, preferred=2, purpose="repeat")  # the same annotator's second opinion is not another's
    tie = judged(4, "tie", annotator_id=3)
    elsewhere: dict[str, Any] = {"candidate_ids": [1, 3], "texts": {1: "one", 3: "three"}}
    alone = judged(5, **elsewhere)
    (pair,) = shared_pairs([*split, again, tie, alone], POLICY)
    assert (pair.first, pair.second, pair.for_first) == ("one", "two", (True, False))
    assert (pair.first_ended, pair.second_ended) == (True, False)
    assert shared_pairs([*split, judged(6, "flag", annotator_id=3)], POLICY) == []


def test_a_heldout_prompt_never_becomes_a_row() -> None:
    made = build([judged(1, split="heldout")], POLICY)
    assert made.rows == []
    assert made.counts["heldout"] == 1


def test_the_majority_decides_and_its_votes_are_kept() -> None:
    votes = [judged(1), judged(2, preferred=2), judged(3)]
    (row,) = build(votes, POLICY).rows
    assert (row.chosen, row.votes_chosen, row.votes_rejected) == ("one", 2, 1)


def test_an_even_split_is_a_conflict() -> None:
    made = build([judged(1), judged(2, preferred=2)], POLICY)
    assert made.rows == []
    assert made.counts["conflict"] == 1


def test_a_ranking_gives_a_pair_for_candidates_of_different_groups() -> None:
    ranked = judged(1, "ranked", None, ranking=[[2], [1, 3]], candidate_ids=[1, 2, 3])
    assert texts(build([ranked], POLICY).rows) == {("two", "one"), ("two", "three")}


def test_texts_that_are_equal_after_cutting_teach_nothing() -> None:
    same_start = judged(1, texts={1: "abcX", 2: "abcY"})
    made = build([same_start], RowPolicy(max_characters=3))
    assert made.rows == []
    assert made.counts["same_text"] == 1


def test_a_text_cut_by_us_does_not_count_as_ended() -> None:
    (row,) = build([judged(1, texts={1: "long text", 2: "b"})], RowPolicy(max_characters=4)).rows
    assert row.chosen == "long"
    assert not row.chosen_ended


def test_the_same_content_twice_is_one_row_and_its_opposite_a_conflict() -> None:
    other_ids: dict[str, Any] = {
        "candidate_ids": [4, 5],
        "texts": {4: "one", 5: "two"},
        "finish_reasons": {4: "stop", 5: "length"},
    }
    twice = build([judged(1), judged(2, preferred=4, **other_ids)], POLICY)
    assert (len(twice.rows), twice.counts["duplicate"]) == (1, 1)
    opposed = build([judged(1), judged(2, preferred=5, **other_ids)], POLICY)
    assert (opposed.rows, opposed.counts["conflict"]) == ([], 2)


CHOICES = ["left", "right", "ranked", "written", "tie", "both_bad", "identical", "up", "rated", "skip", "flag"]


@st.composite
def anything(draw: st.DrawFn) -> JudgmentRow:
    """A judgment of any choice about one of three prompts, whose candidates say the same few things."""
    prompt, choice = draw(st.integers(1, 3)), draw(st.sampled_from(CHOICES))
    ids = [10 * prompt + number for number in (1, 2, 3)]
    shown = {"written": ids[:1], "up": ids[:1], "rated": ids[:1], "ranked": ids}.get(choice, ids[:2])
    return judged(
        draw(st.integers(1, 10**6)),
        choice,
        draw(st.sampled_from(shown)),
        prompt_id=prompt,
        prompt_sha256=f"{prompt}" * 64,
        candidate_ids=shown,
        texts=dict(zip(ids, ["one", "two", "one"], strict=True)),
        finish_reasons=dict.fromkeys(ids, "stop"),
        ranking=[[ids[2]], draw(st.permutations(ids[:2]))] if choice == "ranked" else None,
        written=draw(st.sampled_from(["one", "two", "new"])) if choice == "written" else None,
    )


SEVERAL = st.lists(anything(), max_size=12, unique_by=lambda row: row.judgment_id)


@given(SEVERAL, st.randoms(use_true_random=False))
def test_the_order_of_judgments_does_not_change_the_bytes(rows: list[JudgmentRow], random: Random) -> None:
    shuffled = random.sample(rows, len(rows))
    assert build(shuffled, POLICY).content() == build(rows, POLICY).content()
    assert build(shuffled, POLICY).counts == build(rows, POLICY).counts


@given(SEVERAL)
def test_every_judgment_is_counted_once_and_no_pair_contradicts_another(rows: list[JudgmentRow]) -> None:
    made = build(rows, POLICY)
    outcomes = {"judgments", "pairs", "conflict", "duplicate", "same_text"}
    assert sum(count for name, count in made.counts.items() if name not in outcomes) == len(rows)
    pairs = {(row.prompt_sha256, row.chosen, row.rejected) for row in made.rows}
    assert len(pairs) == len(made.rows) == made.counts["pairs"]
    assert not pairs & {(prompt, rejected, chosen) for prompt, chosen, rejected in pairs}
    flagged = {row.prompt_sha256 for row in rows if row.choice == "flag"}
    assert not flagged & {row.prompt_sha256 for row in made.rows}


def test_a_policy_survives_being_stored() -> None:
    policy = RowPolicy(annotators="simulated", purposes=("train",), rounds=(3, 4), max_characters=10)
    assert RowPolicy.from_dict(policy.as_dict()) == policy


@given(st.lists(st.integers(0, 30), min_size=1, max_size=60), st.floats(0, 1))
def test_no_prompt_is_on_both_sides_of_a_split(prompts: list[int], share: float) -> None:
    rows = [PreferenceRow(f"{p:064x}", (), f"c{i}", "r", True, True) for i, p in enumerate(prompts)]
    train, heldout = split_by_prompt(rows, share)
    assert len(train) + len(heldout) == len(rows)
    assert not {r.prompt_sha256 for r in train} & {r.prompt_sha256 for r in heldout}
