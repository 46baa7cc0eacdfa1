"""Win rates by category: many looks do not make a difference of none."""

import numpy as np
import pytest

from pipeline.stats.slices import holm, slices
from pipeline.stats.win_rate import win_rate


def test_holm_is_the_worked_example_of_its_definition() -> None:
    """0.01 · 4, 0.02 · 3, then 0.03 · 2 and 0.04 · 1, which must not be below the one before."""
    assert holm(np.array([0.01, 0.04, 0.03, 0.02])) == pytest.approx([0.04, 0.06, 0.06, 0.06])
    assert holm(np.array([0.9, 0.6])) == pytest.approx([1, 1])
    assert len(holm(np.array([]))) == 0


def test_one_category_says_what_its_win_rate_says() -> None:
    outcomes = [(prompt, float(prompt % 3 == 0)) for prompt in range(60) for _ in range(2)]
    [found] = slices({"code": outcomes})
    rate = win_rate(outcomes)
    assert (found.rate, found.low, found.high, found.prompts, found.comparisons) == (
        rate.rate,
        rate.low,
        rate.high,
        60,
        120,
    )
    assert found.significantly_worse and rate.high < 0.5
    # The interval of confidence 1 − p ends exactly at one half.
    assert win_rate(outcomes, 1 - found.p).high == pytest.approx(0.5)


def test_a_category_that_is_worse_alone_is_not_so_among_many() -> None:
    worse = [(prompt, float(prompt % 3 == 0)) for prompt in range(45)]
    even = [(prompt, float(prompt % 2)) for prompt in range(45)]
    [alone] = slices({"code": worse})
    among = {found.category: found for found in slices({"code": worse} | {f"other {n}": even for n in range(9)})}
    assert alone.significantly_worse
    assert not among["code"].significantly_worse
    assert among["code"].p == pytest.approx(10 * alone.p)
    assert (among["code"].low, among["code"].high) == (alone.low, alone.high)


def test_of_equal_versions_one_comparison_in_twenty_at_most_has_a_significant_category() -> None:
    rng = np.random.default_rng(0)
    alarms = 0
    for _ in range(100):
        drawn = (rng.random((6, 30)) < 0.5).astype(float)
        found = slices({f"category {number}": list(enumerate(row)) for number, row in enumerate(drawn)})
        alarms += any(one.significantly_worse or one.significantly_better for one in found)
    assert alarms <= 10  # 5 are expected at the most, 11 or more in 1 % of such simulations


def test_a_better_category_is_named_beside_a_worse_one() -> None:
    better, worse = [(prompt, 1.0) for prompt in range(20)], [(prompt, 0.0) for prompt in range(20)]
    first, second = slices({"maths": better, "code": worse})
    assert (first.category, first.significantly_worse, first.significantly_better) == ("code", True, False)
    assert (second.category, second.significantly_worse, second.significantly_better) == ("maths", False, True)
    assert slices({}) == []
    with pytest.raises(ValueError, match="no comparisons"):
        slices({"code": []})
