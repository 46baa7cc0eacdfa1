"""Planning a comparison: textbook sizes, and sizes that a simulation of the product's own test bears out."""

import numpy as np
import pytest

from pipeline.stats.power import sequential_votes_to_detect, votes_to_detect
from pipeline.stats.sequential import first_verdict


def test_a_fixed_size_is_that_of_the_textbook_formula() -> None:
    """(1.96 · 0.5 + 0.8416 · √(p (1 − p)))² / (p − 0.5)², rounded up."""
    assert votes_to_detect(0.6) == 194
    assert votes_to_detect(0.55) == 783
    assert votes_to_detect(0.6, power=0.9) == 259
    assert votes_to_detect(0.4) == votes_to_detect(0.6)


def test_ties_take_variance_away_from_the_same_win_rate() -> None:
    """Ties of 30 % at 60 %: 45 wins and 25 losses of 100, with variance 0.175 if equal and 0.165 as they are."""
    assert votes_to_detect(0.6, ties=0.3) == int(np.ceil(((1.95996 * 0.175**0.5 + 0.84162 * 0.165**0.5) / 0.1) ** 2))


def test_a_fixed_size_has_the_power_that_it_promises() -> None:
    rng = np.random.default_rng(0)
    size = votes_to_detect(0.6, ties=0.2)
    drawn = rng.choice([1.0, 0.5, 0.0], p=[0.5, 0.2, 0.3], size=(4000, size))
    seen = (drawn.mean(axis=1) - 0.5) / (drawn.std(axis=1, ddof=1) / size**0.5) > 1.96
    assert 0.78 <= seen.mean() <= 0.82


@pytest.mark.parametrize(("rate", "ties"), [(0.65, 0.0), (0.3, 0.25)])
def test_a_sequential_comparison_takes_the_votes_that_are_foretold(rate: float, ties: float) -> None:
    foretold = sequential_votes_to_detect(rate, ties=ties)
    rng = np.random.default_rng(1)
    wins = rate - ties / 2
    votes = []
    for _ in range(150):
        drawn = rng.choice([1.0, 0.5, 0.0], p=[wins, ties, 1 - wins - ties], size=4 * foretold.votes)
        found = first_verdict(list(enumerate(drawn.tolist())))
        assert found is not None
        votes.append(found[0])
    assert np.mean(votes) == pytest.approx(foretold.mean, rel=0.2)
    assert np.mean(np.array(votes) <= foretold.votes) == pytest.approx(0.8, abs=0.1)


def test_what_cannot_be_planned_is_refused() -> None:
    with pytest.raises(ValueError, match="0.5"):
        votes_to_detect(0.5)
    with pytest.raises(ValueError, match="-0.1 losses"):
        votes_to_detect(0.9, ties=0.4)
    with pytest.raises(ValueError, match="80"):
        votes_to_detect(0.6, power=80)
    with pytest.raises(ValueError, match="0.51 is too near"):
        sequential_votes_to_detect(0.51)
