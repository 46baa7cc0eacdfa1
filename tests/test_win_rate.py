"""Win rates: known answers, and intervals that cover."""

import numpy as np
import pytest
from scipy import stats

from pipeline.stats.win_rate import clustered_interval, win_rate


def test_ties_count_half() -> None:
    rate = win_rate([(1, 1.0), (2, 0.5), (3, 0.0), (4, 1.0)])
    assert (rate.rate, rate.wins, rate.ties, rate.losses) == (0.625, 2, 1, 1)


def test_the_interval_is_the_t_interval_after_adding_a_win_and_a_loss() -> None:
    """With one comparison a prompt the clusters are the observations: the textbook interval of the mean."""
    outcomes = [1.0] * 13 + [0.0] * 7
    augmented = np.array([*outcomes, 1.0, 0.0])
    low, high = stats.t.interval(0.95, len(augmented) - 1, augmented.mean(), stats.sem(augmented))
    rate = win_rate(enumerate(outcomes))
    assert (rate.low, rate.high) == (pytest.approx(low), pytest.approx(high))


def test_answers_to_one_prompt_are_not_independent_evidence() -> None:
    alone = win_rate((prompt, float(prompt % 3 > 0)) for prompt in range(30))
    repeated = win_rate((prompt, float(prompt % 3 > 0)) for prompt in range(30) for _ in range(5))
    assert repeated.rate == alone.rate
    assert repeated.high - repeated.low == pytest.approx(alone.high - alone.low)


def test_sixty_wins_of_sixty_leave_some_doubt() -> None:
    rate = win_rate((prompt, 1.0) for prompt in range(60))
    assert rate.rate == 1.0
    assert 0.9 < rate.low < 0.99


@pytest.mark.parametrize(("prompts", "samples", "share"), [(60, 1, 0.5), (60, 1, 0.85), (100, 2, 0.6), (60, 2, 0.85)])
def test_the_interval_covers_the_truth_about_95_times_of_100(prompts: int, samples: int, share: float) -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(800):
        of_prompt = rng.beta(share * 4, (1 - share) * 4, prompts) if samples > 1 else np.full(prompts, share)
        drawn = rng.random((prompts, samples)) < of_prompt[:, None]
        rate = win_rate((prompt, float(won)) for prompt, row in enumerate(drawn) for won in row)
        covered += rate.low <= share <= rate.high
    assert 0.93 <= covered / 800 <= 0.985


@pytest.mark.parametrize(
    ("prompts", "votes", "concentration"),
    [(60, "3 each", 1.0), (107, "5 each", 0.3), (200, "2 on average", 2.0)],
)
@pytest.mark.parametrize("share", [0.5, 0.7])
def test_the_interval_covers_clusters_of_many_kinds(
    prompts: int, votes: str, concentration: float, share: float
) -> None:
    """Prompts that differ from hardly (concentration 2) to almost as much as they can (0.3)."""
    rng = np.random.default_rng(5)
    covered = 0
    for _ in range(1000):
        sizes = rng.geometric(0.5, prompts) if votes == "2 on average" else np.full(prompts, int(votes[0]))
        of_prompt = rng.beta(share * concentration, (1 - share) * concentration, prompts)
        low, high = clustered_interval(rng.binomial(sizes, of_prompt).astype(float), sizes, 0.95)
        covered += low <= share <= high
    assert 0.93 <= covered / 1000 <= 0.97


def test_nothing_and_nonsense_are_refused() -> None:
    with pytest.raises(ValueError, match="no comparisons"):
        win_rate([])
    with pytest.raises(ValueError, match="0.7"):
        win_rate([(1, 0.7)])
