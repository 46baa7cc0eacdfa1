"""The gate's rules on reports worked by hand, and the measures of texts that two of them read."""

from typing import Any

import pytest

from pipeline import gate, people
from pipeline.sections import GateSection
from pipeline.text_measures import distinct, is_refusal, repetition

PLAIN = {"mean_tokens": 40.0, "kl_to_base": 3.0, "repetition": 0.05, "refusal": 0.02}


def rate(value: float, low: float, high: float, **more: Any) -> dict[str, Any]:
    return {"rate": value, "low": low, "high": high, "prompts": 60, "optimised": [], "exam_passed": None, **more}


def report(judges: dict[str, Any] | None = None, worse: int = 0, **facts: float) -> dict[str, Any]:
    """v1 against v0, better by reward:r1 unless said otherwise; `facts` are v1's."""
    slices = [
        {"category": name, "rate": 0.2, "significantly_worse": n < worse} for n, name in enumerate(("advice", "maths"))
    ]
    return {
        "a": "v1",
        "b": "v0",
        "deciding_judge": "reward:r1",
        "judges": judges or {"reward:r1": rate(0.7, 0.58, 0.81)},
        "versions": {"v1": {**PLAIN, **facts}, "v0": PLAIN},
        "slices": slices,
    }


def failed(given: dict[str, Any], **settings: Any) -> list[str]:
    verdict = gate.apply(given, GateSection(**settings))
    refused = [rule["rule"] for rule in verdict["rules"] if not rule["passed"]]
    assert verdict["passed"] is (not refused)
    return refused


@pytest.mark.parametrize(
    ("figures", "passed", "words"),
    [
        ((0.70, 0.58, 0.81), True, "v1 wins 70.0% [58.0%, 81.0%] against v0 by reward:r1 on 60 held-out prompts; the"),
        ((0.60, 0.48, 0.71), False, "not shown to be better"),
        ((0.50, 0.50, 0.50), False, "not shown to be better"),
        ((0.30, 0.20, 0.41), False, "it is worse"),
    ],
)
def test_promotion_needs_the_lower_bound_above_one_half(
    figures: tuple[float, float, float], passed: bool, words: str
) -> None:
    given = report({"reward:r1": rate(*figures)})
    given["gate"] = gate.apply(given, GateSection())
    assert given["gate"]["passed"] is passed
    assert words in gate.summary(given)
    assert given["gate"]["rules"][0]["found"] == figures[1]


def test_every_named_judge_must_agree_and_one_that_was_not_asked_does_not() -> None:
    unsure = {"reward:r1": rate(0.7, 0.58, 0.81), "rule:complete": rate(0.5, 0.45, 0.55)}
    assert failed(report(unsure)) == []  # the deciding judge alone
    assert failed(report(unsure), judges=["reward:r1", "rule:complete"]) == ["better by rule:complete"]
    assert failed(report(), judges=["llm:big", "reward:r1"]) == ["better by llm:big"]
    verdict = gate.apply(report(), GateSection(people=True))
    assert [rule["found"] for rule in verdict["rules"][:2]] == [0.58, None]
    assert "compare them with --by people" in verdict["rules"][1]["words"]


def test_the_gate_finds_people_where_comparisons_put_them() -> None:
    assert gate.PEOPLE == people.JUDGE
    assert failed(report({"reward:r1": rate(0.7, 0.58, 0.81), people.JUDGE: rate(0.6, 0.51, 0.7)}), people=True) == []


def test_one_category_that_is_significantly_worse_refuses_a_version_that_is_better_over_all() -> None:
    assert failed(report(worse=1)) == ["no category worse"]
    (rule,) = [rule for rule in gate.apply(report(worse=1), GateSection())["rules"] if not rule["passed"]]
    assert "significantly worse than v0 in advice (20%)" in rule["words"]
    assert failed(report(worse=1), no_category_worse=False) == []


@pytest.mark.parametrize(
    ("facts", "settings", "refused"),
    [
        ({"repetition": 0.16}, {}, ["repetition"]),
        ({"repetition": 0.14}, {}, []),
        ({"repetition": 0.9}, {"max_repetition_rise": 1.0}, []),
        ({"refusal": 0.13}, {}, ["refusal"]),
        ({"refusal": 0.0}, {"max_refusal_rise": 0.0}, []),
        ({"kl_to_base": 51.0}, {}, []),  # off by default
        ({"kl_to_base": 51.0}, {"max_kl": 50}, ["KL to base"]),
        ({"mean_tokens": 90.0}, {}, []),
        ({"mean_tokens": 90.0}, {"max_length_ratio": 2}, ["length"]),
        ({"mean_tokens": 19.0}, {"max_length_ratio": 2}, ["length"]),
        ({"mean_tokens": 70.0}, {"max_length_ratio": 2}, []),
    ],
)
def test_each_limit_refuses_beyond_it_and_not_within(
    facts: dict[str, float], settings: dict[str, Any], refused: list[str]
) -> None:
    assert failed(report(**facts), **settings) == refused


@pytest.mark.parametrize(("passed", "refused"), [(True, []), (False, ["exam of r1"]), (None, ["exam of r1"])])
def test_the_reward_model_that_decides_must_have_passed_its_exam_where_that_is_asked(
    passed: bool | None, refused: list[str]
) -> None:
    given = report({"reward:r1": rate(0.7, 0.6, 0.8, exam_passed=passed)})
    assert failed(given, exam=True) == refused
    assert failed(given) == []


def test_a_judge_who_taught_the_version_is_named_its_teacher() -> None:
    given = report({"reward:r1": rate(0.7, 0.6, 0.8, optimised=["v1"])})
    assert "reward:r1 taught v1: judged by its own teacher" in gate.apply(given, GateSection())["rules"][0]["words"]


def test_repetition_is_the_share_of_four_word_sequences_that_came_before() -> None:
    assert repetition("one two three four") == 0
    assert repetition("a b c d a b c d") == 1 - 4 / 5  # abcd bcda cdab dabc abcd
    assert repetition("no " * 11) == 1 - 1 / 8
    assert repetition("") == 0


def test_distinct_counts_the_sequences_of_all_texts_together() -> None:
    assert distinct(["a b c", "a b d"], 2) == 3 / 4  # ab bc ab bd
    assert distinct(["alone"], 2) == 1


@pytest.mark.parametrize(
    ("text", "refuses"),
    [
        ("I'm sorry, but I can't help with that.", True),
        ("I’m sorry, but that is not something I do.", True),
        ("As an AI language model, I do not have feelings.", True),
        ("  I cannot assist you.", True),
        ("Unfortunately, I am not allowed to.", True),
        ("I won't answer that.", True),
        ("Sorry for the long list: eggs, milk, flour.", False),
        ("Write: I'm sorry, but I can't come.", False),
        ("We are not able to say.", True),
        ("I'm unable to answer.", True),
        ("Unfortunately, I think that you are right.", False),
        ("I can help with that!", False),
        ("", False),
    ],
)
def test_a_refusal_is_known_by_how_it_begins(text: str, refuses: bool) -> None:
    assert is_refusal(text) is refuses
