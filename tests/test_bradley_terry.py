"""Bradley-Terry: published answers, an independent implementation, and intervals and ranks that cover."""

import time
from typing import Any

import evalica
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from pipeline.stats.bradley_terry import fit, fit_votes, groups, tally
from pipeline.stats.win_rate import win_rate

# The worked example of Wikipedia's article "Bradley-Terry model": wins of the row over the column, and the strengths
# to which its iteration converges, with a geometric mean of 1.
WIKIPEDIA = [[0, 2, 0, 1], [3, 0, 5, 0], [0, 3, 0, 1], [4, 0, 3, 0]]
STRENGTHS = [0.640, 1.043, 0.660, 2.270]

Columns = tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]


def tournament(rng: np.random.Generator, score_V: NDArray[Any], prompts: int, each: int, lean: float = 0.0) -> Columns:
    """Votes on random pairs, `each` a prompt. On its own each prompt leans to some version, by `lean` nats."""
    versions = len(score_V)
    prompt_N = np.repeat(np.arange(prompts), each)
    first_N = np.repeat(rng.integers(versions, size=prompts), each)
    second_N = (first_N + np.repeat(rng.integers(1, versions, size=prompts), each)) % versions
    leaning_N = np.repeat(rng.normal(0, lean, prompts), each)
    chance_N = 1 / (1 + np.exp(score_V[second_N] - score_V[first_N] - leaning_N))
    return prompt_N, first_N, second_N, (rng.random(len(prompt_N)) < chance_N).astype(float)


def test_the_example_of_wikipedia() -> None:
    found = fit(np.array(WIKIPEDIA))
    assert np.exp(found.score_V) == pytest.approx(STRENGTHS, abs=0.0005)
    assert found.rank_V.tolist() == [4, 2, 3, 1]
    assert not found.imagined
    assert found.score_V.sum() == pytest.approx(0)


def test_scores_agree_with_evalica_on_50_random_tournaments_with_ties() -> None:
    for seed in range(50):
        rng = np.random.default_rng(seed)
        versions = int(rng.integers(2, 12))
        _, first_N, second_N, outcome_N = tournament(rng, rng.normal(0, 1, versions), 40 * versions, 1)
        outcome_N[rng.random(len(outcome_N)) < 0.25] = 0.5
        winner = {1.0: evalica.Winner.X, 0.5: evalica.Winner.Draw, 0.0: evalica.Winner.Y}
        oracle = evalica.bradley_terry(
            first_N.tolist(),
            second_N.tolist(),
            [winner[outcome] for outcome in outcome_N],
            tie_weight=0.5,
            tolerance=1e-12,
            limit=100_000,
        )
        theirs_V = np.log(oracle.scores.sort_index().to_numpy())
        ours = fit(tally(first_N, second_N, outcome_N, versions))
        assert not ours.imagined
        assert ours.score_V == pytest.approx(theirs_V - theirs_V.mean(), abs=1e-4)


def test_a_million_votes_among_100_versions_take_less_than_5_seconds() -> None:
    rng = np.random.default_rng(0)
    true_V = rng.normal(0, 0.7, 100)
    votes = tournament(rng, true_V, 250_000, 4)
    started = time.process_time()
    found = fit_votes(*votes, versions=100)
    assert time.process_time() - started < 5
    assert found.score_V == pytest.approx(true_V - true_V.mean(), abs=0.06)


def test_two_versions_are_the_log_odds_of_their_win_rate() -> None:
    """30 wins and 10 losses: log 3 of odds, and the variance 1/30 + 1/10 of a log odds (Woolf 1955)."""
    found = fit(np.array([[0, 30], [10, 0]]), 0.9)
    assert found.score_V[0] - found.score_V[1] == pytest.approx(np.log(3))
    half = stats.norm.ppf(0.95) * np.sqrt(1 / 30 + 1 / 10) / 2  # each score is half of the difference
    assert found.high_V - found.score_V == pytest.approx([half, half])


def test_votes_on_one_prompt_are_not_independent_evidence() -> None:
    """The interval of two versions is that of `win_rate` in log odds, up to their imaginary prompts' place."""
    rng = np.random.default_rng(1)
    votes = tournament(rng, np.array([0.3, -0.3]), 400, 5, lean=3.0)
    clustered, plain = fit_votes(*votes, versions=2), fit(tally(*votes[1:], versions=2))
    assert clustered.score_V == pytest.approx(plain.score_V)
    assert (clustered.high_V - clustered.low_V)[0] > 1.5 * (plain.high_V - plain.low_V)[0]

    prompt_N, first_N, _, outcome_N = votes
    rate = win_rate(zip(prompt_N, np.where(first_N == 0, outcome_N, 1 - outcome_N), strict=True))
    width = (
        2 * (clustered.high_V - clustered.low_V)[0] * rate.rate * (1 - rate.rate)
    )  # as the odds move, to first order
    assert width == pytest.approx(rate.high - rate.low, rel=0.02)


def test_intervals_cover_the_true_score_and_ranges_the_true_rank() -> None:
    rng = np.random.default_rng(2)
    true_V = np.array([0.8, 0.3, 0.2, -0.3, -1.0])
    inside, ranked, runs = np.zeros(5), np.zeros(5), 150
    for _ in range(runs):
        found = fit_votes(*tournament(rng, true_V, 300, 2), versions=5)
        inside += (found.low_V <= true_V) & (true_V <= found.high_V)
        ranked += (found.best_rank_V <= np.arange(1, 6)) & (np.arange(1, 6) <= found.worst_rank_V)
    assert 0.93 <= inside.mean() / runs <= 0.97
    assert (ranked / runs >= 0.92).all()


def test_what_wins_beyond_doubt_has_one_rank_and_what_is_equal_shares_all() -> None:
    found = fit(np.array([[0, 90, 95], [10, 0, 50], [5, 50, 0]]))
    assert found.best_rank_V.tolist() == [1, 2, 2]
    assert found.worst_rank_V.tolist() == [1, 3, 3]
    equal = fit(np.full((3, 3), 5) - 5 * np.eye(3))
    assert equal.score_V == pytest.approx([0, 0, 0])
    assert (equal.rank_V.tolist(), equal.worst_rank_V.tolist()) == ([1, 1, 1], [3, 3, 3])


def test_a_version_that_never_lost_has_a_finite_score_and_says_how() -> None:
    found = fit(np.array([[0, 10, 10], [0, 0, 6], [0, 4, 0]]))
    assert found.imagined
    assert found.rank_V.tolist() == [1, 2, 3]
    assert 2 < found.score_V[0] < 5
    assert found.low_V[0] < found.score_V[0] < found.high_V[0]
    two = fit(np.array([[0, 10], [0, 0]]))
    score = two.score_V[0]
    chance, own = 1 / (1 + np.exp(-2 * score)), 1 / (1 + np.exp(-score))
    assert pytest.approx(10 * chance + own) == 10 + 0.5  # wins as expected: where the likelihood is flat


def test_a_chain_of_versions_that_hardly_ever_lose_to_the_next_is_still_fitted() -> None:
    wins = np.diag(np.full(9, 1e5), 1) + np.diag(np.ones(9), -1)
    assert -np.diff(fit(wins).score_V) == pytest.approx(np.full(9, np.log(1e5)), abs=1e-4)


def test_versions_that_nothing_connects_are_named() -> None:
    wins = np.zeros((5, 5))
    wins[0, 2] = wins[2, 0] = wins[2, 4] = wins[1, 3] = wins[3, 1] = 1
    assert groups(wins) == [[0, 2, 4], [1, 3]]
    with pytest.raises(ValueError, match=r"0, 2, 4 \| 1, 3"):
        fit(wins)
    assert fit(wins[np.ix_([1, 3], [1, 3])]).score_V == pytest.approx([0, 0])


def test_nonsense_is_refused() -> None:
    with pytest.raises(ValueError, match="square"):
        fit(np.zeros((2, 3)))
    with pytest.raises(ValueError, match="negative"):
        fit(np.array([[0, -1], [1, 0]]))
    with pytest.raises(ValueError, match="version 1 was compared with itself"):
        fit(np.array([[0, 1], [1, 2]]))
    with pytest.raises(ValueError, match="0.7"):
        tally(np.array([0]), np.array([1]), np.array([0.7]), 2)


@given(
    st.integers(2, 6).flatmap(
        lambda size: st.lists(
            st.tuples(st.integers(0, size - 1), st.integers(1, size - 1), st.sampled_from([0.0, 0.5, 1.0])),
            min_size=1,
            max_size=40,
        ).map(lambda votes: (size, votes))
    )
)
@settings(max_examples=60)
def test_any_connected_tournament_has_scores_and_swapping_all_sides_turns_them_over(
    drawn: tuple[int, list[tuple[int, int, float]]],
) -> None:
    size, votes = drawn
    first_N = np.array([first for first, _, _ in votes])
    second_N = np.array([(first + step) % size for first, step, _ in votes])
    outcome_N = np.array([outcome for _, _, outcome in votes])
    wins = tally(first_N, second_N, outcome_N, size)
    assert wins.sum() == len(votes)
    if len(groups(wins)) > 1:
        return
    found, turned = fit(wins), fit(wins.T)
    assert found.score_V == pytest.approx(-turned.score_V, abs=1e-6)
    assert np.isfinite([found.score_V, found.low_V, found.high_V]).all()
    assert ((found.best_rank_V <= found.rank_V) & (found.rank_V <= found.worst_rank_V)).all()
