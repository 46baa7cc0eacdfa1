"""Judgments to training pairs: the policy, point by point."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from db.judgments import JudgmentRow
from pipeline.pairs import PairPolicy, PreferenceRow, build, split_by_prompt

POLICY = PairPolicy(annotators="human")


def judged(number: int, choice: str = "left", preferred: int | None = 1, **other: Any) -> JudgmentRow:
    values: dict[str, Any] = {
        "judgment_id": number,
        "comparison_id": number,
        "prompt_id": 7,
        "prompt_sha256": "a" * 64,
        "split": "train",
        "messages": [{"role": "user", "content": "why?"}],
        "annotator_id": 1,
        "annotator_kind": "human",
        "choice": choice,
        "preferred_id": preferred if choice in ("left", "right") else None,
        "ranking": None,
        "candidate_ids": [1, 2],
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


def test_ties_both_bad_and_skips_give_no_pair_and_are_counted() -> None:
    made = build([judged(1, "tie"), judged(2, "both_bad"), judged(3, "skip")], POLICY)
    assert made.rows == []
    assert {name: made.counts[name] for name in ("tie", "both_bad", "skip", "pairs")} == {
        "tie": 1,
        "both_bad": 1,
        "skip": 1,
        "pairs": 0,
    }


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
    made = build([same_start], PairPolicy(max_characters=3))
    assert made.rows == []
    assert made.counts["identical"] == 1


def test_a_text_cut_by_us_does_not_count_as_ended() -> None:
    (row,) = build([judged(1, texts={1: "long text", 2: "b"})], PairPolicy(max_characters=4)).rows
    assert row.chosen == "long"
    assert not row.chosen_ended


def test_the_same_content_twice_is_one_row_and_its_opposite_a_conflict() -> None:
    other_ids = {"candidate_ids": [4, 5], "texts": {4: "one", 5: "two"}, "finish_reasons": {4: "stop", 5: "length"}}
    twice = build([judged(1), judged(2, preferred=4, **other_ids)], POLICY)
    assert (len(twice.rows), twice.counts["duplicate"]) == (1, 1)
    opposed = build([judged(1), judged(2, preferred=5, **other_ids)], POLICY)
    assert (opposed.rows, opposed.counts["conflict"]) == ([], 2)


@given(
    st.permutations([judged(n, preferred=1 + n % 2, prompt_sha256=f"{n % 3}" * 64, comparison_id=n) for n in range(8)])
)
def test_the_order_of_judgments_does_not_change_the_bytes(rows: list[JudgmentRow]) -> None:
    assert build(rows, POLICY).content() == build(sorted(rows, key=lambda r: r.judgment_id), POLICY).content()


def test_a_policy_survives_being_stored() -> None:
    policy = PairPolicy(annotators="simulated", purposes=("train",), rounds=(3, 4), max_characters=10)
    assert PairPolicy.from_dict(policy.as_dict()) == policy


@given(st.lists(st.integers(0, 30), min_size=1, max_size=60), st.floats(0, 1))
def test_no_prompt_is_on_both_sides_of_a_split(prompts: list[int], share: float) -> None:
    rows = [PreferenceRow(f"{p:064x}", (), f"c{i}", "r", True, True) for i, p in enumerate(prompts)]
    train, heldout = split_by_prompt(rows, share)
    assert len(train) + len(heldout) == len(rows)
    assert not {r.prompt_sha256 for r in train} & {r.prompt_sha256 for r in heldout}
