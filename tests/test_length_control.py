"""The win rate at equal length: on comparisons whose cause is known."""

import numpy as np
import pytest
from scipy.special import expit, logit

from pipeline.stats.length_control import length_controlled
from pipeline.stats.win_rate import win_rate


def judged(
    rng: np.random.Generator, prompts: int, each: int, at_equal: float, for_length: float, longer: float
) -> list[tuple[int, float, float]]:
    """Comparisons of answers that are `longer` tokens longer on average, by a judge whom length moves by so many nats
    per standard deviation of 40 tokens."""
    prompt_N = np.repeat(np.arange(prompts), each)
    difference_N = rng.normal(longer, 40, len(prompt_N))
    chance_N = expit(logit(at_equal) + for_length * np.tanh(difference_N / difference_N.std()))
    won_N = (rng.random(len(prompt_N)) < chance_N).astype(float)
    return list(zip(prompt_N.tolist(), won_N.tolist(), difference_N.tolist(), strict=True))


def test_wins_by_length_alone_are_none_at_equal_length() -> None:
    found = length_controlled(judged(np.random.default_rng(0), 2000, 1, 0.5, 2.0, 40))
    assert found.uncontrolled > 0.7
    assert found.low < 0.5 < found.high
    assert found.rate == pytest.approx(0.5, abs=0.04)
    assert found.longer == pytest.approx(expit(2 * np.tanh(1)), abs=0.04)


def test_a_version_that_is_better_but_shorter_is_seen_to_be_better() -> None:
    found = length_controlled(judged(np.random.default_rng(1), 2000, 1, 0.65, 1.5, -40))
    assert found.uncontrolled < 0.5 < found.low
    assert found.rate == pytest.approx(0.65, abs=0.04)


def test_without_differences_in_length_it_is_the_centre_of_the_plain_interval() -> None:
    outcomes = [(prompt, [1.0, 0.5, 0.0, 1.0][prompt % 4]) for prompt in range(80) for _ in range(2)]
    found = length_controlled([(prompt, outcome, 7.0) for prompt, outcome in outcomes])
    plain = win_rate(outcomes)
    assert found.uncontrolled == plain.rate
    assert found.rate == pytest.approx((plain.low + plain.high) / 2)
    width = (logit(found.high) - logit(found.low)) * found.rate * (1 - found.rate)  # of the rate, to first order
    assert width == pytest.approx(plain.high - plain.low, rel=0.03)
    assert found.longer == pytest.approx(0.5)


def test_a_judge_who_always_takes_the_longer_answer_leaves_a_finite_answer() -> None:
    found = length_controlled([(prompt, float(prompt % 2), 10.0 if prompt % 2 else -10.0) for prompt in range(40)])
    assert found.rate == pytest.approx(0.5)
    assert 0.9 < found.longer < 1
    assert 0 < found.low < 0.5 < found.high < 1


def test_answers_to_one_prompt_are_not_independent_evidence() -> None:
    once = judged(np.random.default_rng(2), 200, 1, 0.6, 1.0, 10)
    alone, repeated = length_controlled(once), length_controlled([row for row in once for _ in range(4)])
    assert (repeated.rate, repeated.low, repeated.high) == pytest.approx((alone.rate, alone.low, alone.high))


def test_the_other_side_sees_the_complement() -> None:
    rows = judged(np.random.default_rng(3), 60, 2, 0.7, 1.0, 20)
    ours = length_controlled(rows)
    theirs = length_controlled([(prompt, 1 - outcome, -difference) for prompt, outcome, difference in rows])
    assert (ours.rate, ours.low, ours.high) == pytest.approx((1 - theirs.rate, 1 - theirs.high, 1 - theirs.low))
    assert ours.longer == pytest.approx(theirs.longer)


def test_the_interval_covers_the_rate_at_equal_length() -> None:
    rng = np.random.default_rng(4)
    found = [length_controlled(judged(rng, 80, 2, 0.6, 1.5, 30)) for _ in range(300)]
    assert 0.92 <= np.mean([one.low <= 0.6 <= one.high for one in found]) <= 0.98


def test_nothing_and_nonsense_are_refused() -> None:
    with pytest.raises(ValueError, match="no comparisons"):
        length_controlled([])
    with pytest.raises(ValueError, match="0.7"):
        length_controlled([(1, 0.7, 3.0)])
