"""Judgments to demonstrations and to thumbs: the policies, point by point."""

from random import Random
from typing import Any

import pytest
from hypothesis import given
from test_pairs import SEVERAL, judged

from db.judgments import JudgmentRow
from pipeline import demonstrations, thumbs
from pipeline.demonstrations import DemonstrationRow
from pipeline.pairs import RowPolicy
from pipeline.snapshot import build_rows
from pipeline.thumbs import ThumbRow

POLICY = RowPolicy()


def written(number: int, text: str, shown: int | None = None, **other: Any) -> JudgmentRow:
    ids = [] if shown is None else [shown]
    return judged(number, "written", written=text, candidate_ids=ids, display_order=ids, **other)


def about(number: int, choice: str, shown: int = 1, **other: Any) -> JudgmentRow:
    return judged(number, choice, candidate_ids=[shown], display_order=[shown], **other)


def test_edits_and_demonstrations_become_texts_to_imitate() -> None:
    made = demonstrations.build([written(1, "from nothing"), written(2, "better", shown=1), judged(3)], POLICY)
    messages = ({"role": "user", "content": "why?"},)
    assert made.rows == [
        DemonstrationRow("a" * 64, messages, "better", True),
        DemonstrationRow("a" * 64, messages, "from nothing", True),
    ]
    assert made.counts == {"judgments": 3, "demonstration": 1, "edit": 1, "left": 1, "demonstrations": 2}


def test_a_text_stands_once_and_an_edit_that_changes_nothing_does_not() -> None:
    made = demonstrations.build([written(1, "same"), written(2, "same"), written(3, "one", shown=1)], POLICY)
    assert [row.text for row in made.rows] == ["same"]
    assert (made.counts["duplicate"], made.counts["same_text"]) == (1, 1)


def test_a_demonstration_cut_by_us_does_not_count_as_ended() -> None:
    (row,) = demonstrations.build([written(1, "long text")], RowPolicy(max_characters=4)).rows
    assert (row.text, row.ended) == ("long", False)


def test_thumbs_are_votes_on_a_text() -> None:
    made = thumbs.build([about(1, "up"), about(2, "up"), about(3, "down"), about(4, "down", shown=2)], POLICY)
    assert [(row.completion, row.good, row.votes_up, row.votes_down, row.ended) for row in made.rows] == [
        ("one", True, 2, 1, True),
        ("two", False, 0, 1, False),  # it was cut off at its length limit
    ]
    assert made.counts == {"judgments": 4, "up": 2, "down": 2, "thumbs": 2}


def test_an_even_split_of_thumbs_gives_nothing_even_between_two_candidates_of_one_text() -> None:
    made = thumbs.build([about(1, "up", shown=1), about(2, "down", shown=3, texts={3: "one"})], POLICY)
    assert (made.rows, made.counts["conflict"]) == ([], 1)


@pytest.mark.parametrize(
    ("ratings", "good"),
    [({"helpful": 5, "true": 3}, True), ({"helpful": 1, "true": 3}, False), ({"helpful": 5, "true": 2}, None)],
)
def test_a_rating_is_a_thumb_where_it_is_clear(ratings: dict[str, int], good: bool | None) -> None:
    made = thumbs.build([about(1, "rated", ratings=ratings)], POLICY)
    assert [row.good for row in made.rows] == ([] if good is None else [good])
    assert made.counts.get("middling", 0) == (good is None)


@pytest.mark.parametrize("shape", ["pairs", "demonstrations", "thumbs"])
def test_heldout_and_flagged_prompts_and_skips_give_no_row_of_any_shape(shape: Any) -> None:
    def everything(start: int, **other: Any) -> list[JudgmentRow]:
        return [judged(start, **other), written(start + 1, "text", **other), about(start + 2, "up", **other)]

    policy = RowPolicy(shape=shape)
    assert build_rows(everything(1), policy).rows
    heldout = build_rows(everything(1, split="heldout"), policy)
    assert (heldout.rows, heldout.counts["heldout"]) == ([], 3)
    flagged = build_rows([*everything(1), judged(9, "flag", reason="unsafe")], policy)
    assert (flagged.rows, flagged.counts["flag"], flagged.counts["flagged"]) == ([], 1, 3)
    assert build_rows([judged(1, "skip")], policy).counts["skip"] == 1


@given(SEVERAL)
def test_in_every_shape_each_judgment_is_counted_once_in_any_order(rows: list[JudgmentRow]) -> None:
    outcomes = {"judgments", "pairs", "demonstrations", "thumbs", "conflict"}
    for shape in ("demonstrations", "thumbs"):
        policy = RowPolicy(shape=shape)  # type: ignore[arg-type]
        made = build_rows(rows, policy)
        assert sum(count for name, count in made.counts.items() if name not in outcomes) == len(rows)
        assert made.counts[shape] == len(made.rows)
        shuffled = build_rows(Random(0).sample(rows, len(rows)), policy)
        assert (shuffled.content(), shuffled.counts) == (made.content(), made.counts)


def test_a_policy_without_a_shape_is_of_pairs() -> None:
    stored = RowPolicy().as_dict()
    del stored["shape"]
    assert RowPolicy.from_dict(stored).shape == "pairs"
    assert RowPolicy.from_dict(RowPolicy(shape="thumbs").as_dict()).shape == "thumbs"


def test_thumbs_keep_what_the_annotators_saw() -> None:
    assert thumbs.build([about(1, "up")], POLICY).rows == [
        ThumbRow("a" * 64, ({"role": "user", "content": "why?"},), "one", True, True, 1, 0)
    ]
