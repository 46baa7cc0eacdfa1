"""The sequential win rate: it never promises more than it may, however often one looks, and it sees a difference."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from pipeline.stats.sequential import confidence_path, confidence_sequence, first_verdict

some_outcomes = st.lists(st.tuples(st.integers(0, 30), st.sampled_from([0.0, 0.5, 1.0])), max_size=30)


def simulated(rng: np.random.Generator, prompts: int, votes: int, rate: float, ties: float) -> list[tuple[int, float]]:
    """Votes on every prompt, whose own rate varies as much as it can; in an order of their own, not by prompt."""
    of_prompt = rng.beta(rate, 1 - rate, prompts) if votes > 1 else np.full(prompts, rate)
    prompt_V = rng.permutation(np.repeat(np.arange(prompts), votes))
    won_V = rng.random(len(prompt_V)) < of_prompt[prompt_V]
    outcome_V = np.where(rng.random(len(prompt_V)) < ties, 0.5, won_V.astype(float))
    return list(zip(prompt_V.tolist(), outcome_V.tolist(), strict=True))


@pytest.mark.parametrize(("votes", "ties"), [(1, 0.0), (1, 0.3), (3, 0.2)])
def test_equal_versions_looked_at_after_every_vote_are_promoted_in_at_most_5_of_100(votes: int, ties: float) -> None:
    rng = np.random.default_rng(0)
    found = [first_verdict(simulated(rng, 400 // votes, votes, 0.5, ties), votes_per_prompt=votes) for _ in range(400)]
    better = np.mean([verdict is not None and verdict[1] == "better" for verdict in found])
    either = np.mean([verdict is not None for verdict in found])
    assert better <= 0.025
    assert 0 < either <= 0.05


def test_a_true_rate_of_60_percent_is_found_in_four_of_five_comparisons_of_300_votes() -> None:
    rng = np.random.default_rng(1)
    found = [first_verdict(simulated(rng, 300, 1, 0.6, 0.0)) for _ in range(200)]
    assert np.mean([verdict is not None and verdict[1] == "better" for verdict in found]) >= 0.75
    assert all(verdict is None or verdict[1] == "better" for verdict in found)


@pytest.mark.parametrize(("votes", "rate"), [(1, 0.5), (1, 0.8), (3, 0.65)])
def test_the_true_rate_lies_in_all_intervals_of_a_path_in_95_of_100_paths(votes: int, rate: float) -> None:
    rng = np.random.default_rng(2)
    missed = 0
    for _ in range(40):
        path = confidence_path(simulated(rng, 45 // votes, votes, rate, 0.0), votes_per_prompt=votes)
        missed += not bool(np.all((path.low_N <= rate) & (rate <= path.high_N)))
    assert missed <= 5  # 2 are expected at the most, 6 or more in 1.4 % of such simulations


def test_binary_bets_are_likelihood_ratios() -> None:
    """Without ties the capital is the mean, over alternative rates, of their likelihood ratio against one half."""
    outcomes = [(vote, float(vote % 3 > 0)) for vote in range(30)]  # 20 wins, 10 losses
    rate_G = (1 + (np.arange(60) + 0.5) / 60) / 2
    weight_G = stats.beta.pdf(2 * rate_G - 1, 1.5, 6)
    ratio = np.average(stats.binom.pmf(20, 30, rate_G) / stats.binom.pmf(20, 30, 0.5), weights=weight_G)
    just_enough = 1 - 2 / ratio
    assert confidence_sequence(outcomes, just_enough - 1e-6).verdict == "better"
    assert confidence_sequence(outcomes, just_enough + 1e-6).verdict == "undecided"


@given(some_outcomes, st.sampled_from([1, 2, 3]))
@settings(max_examples=12)
def test_every_look_of_the_path_says_what_a_look_at_that_vote_says(
    outcomes: list[tuple[int, float]], votes: int
) -> None:
    path = confidence_path(outcomes, 0.8, votes)
    verdicts = []
    for look in range(1, len(outcomes) + 1):
        found = confidence_sequence(outcomes[:look], 0.8, votes)
        assert (path.rate_N[look - 1], path.low_N[look - 1], path.high_N[look - 1]) == pytest.approx(
            (found.rate, found.low, found.high)
        )
        verdicts.append(found.verdict)
    decided = [(look, verdict) for look, verdict in enumerate(verdicts, start=1) if verdict != "undecided"]
    assert first_verdict(outcomes, 0.8, votes) == (decided[0] if decided else None)


@given(some_outcomes, st.sampled_from([1, 2, 3]))
@settings(max_examples=12)
def test_what_is_said_of_a_against_b_is_said_of_b_against_a_the_other_way_round(
    outcomes: list[tuple[int, float]], votes: int
) -> None:
    ours = confidence_sequence(outcomes, 0.9, votes)
    theirs = confidence_sequence([(prompt, 1 - outcome) for prompt, outcome in outcomes], 0.9, votes)
    assert (ours.low, ours.high) == pytest.approx((1 - theirs.high, 1 - theirs.low))
    assert (ours.rate, ours.more) == (pytest.approx(1 - theirs.rate), theirs.more)
    assert ours.verdict == {"better": "worse", "worse": "better"}.get(theirs.verdict, "undecided")
    assert ours.low <= ours.rate <= ours.high


def test_a_prompt_is_one_observation_and_counts_when_it_has_all_its_votes() -> None:
    prompts = [(prompt, float(prompt % 4 > 0)) for prompt in range(60)]
    once = confidence_sequence(prompts)
    thrice = confidence_sequence([vote for vote in prompts for _ in range(3)], votes_per_prompt=3)
    assert (thrice.low, thrice.high, thrice.rate) == pytest.approx((once.low, once.high, once.rate))
    assert (thrice.votes, thrice.prompts, thrice.waiting) == (180, 60, 0)

    unfinished = confidence_sequence([vote for vote in prompts for _ in range(2)], votes_per_prompt=3)
    assert (unfinished.low, unfinished.high, unfinished.prompts, unfinished.waiting) == (0, 1, 0, 120)
    assert unfinished.rate == 0.75

    extra = confidence_sequence([*prompts, *prompts[:10]])
    assert (extra.low, extra.high, extra.votes, extra.waiting) == (once.low, once.high, 70, 10)


def test_stopping_a_prompt_at_its_first_win_would_promote_equal_versions() -> None:
    """Why unfinished prompts wait. A second vote that is asked for only after a loss makes equal versions look good;
    the counted prompts are fair nevertheless."""
    rng = np.random.default_rng(3)
    outcomes = []
    for prompt in range(2000):
        first, second = (rng.random(2) < 0.5).astype(float)
        outcomes += [(prompt, first)] if first else [(prompt, first), (prompt, second)]
    assert first_verdict(outcomes) is None
    assert np.mean([outcome for _, outcome in outcomes]) == pytest.approx(0.5, abs=0.03)
    by_prompt = dict(outcomes)  # the last vote of each: a win wherever there was one
    found = first_verdict(list(by_prompt.items()))
    assert found is not None and found[1] == "better"


def test_more_is_near_the_votes_that_a_comparison_goes_on_to_need() -> None:
    rng = np.random.default_rng(4)
    promised, needed = [], []
    for _ in range(30):
        outcomes = simulated(rng, 600, 1, 0.65, 0.0)
        found, more = first_verdict(outcomes), confidence_sequence(outcomes[:30]).more
        if found is not None and found[0] > 30 and more is not None:
            promised.append(more)
            needed.append(found[0] - 30)
    assert len(needed) > 20
    assert 0.5 < np.median(promised) / np.median(needed) < 2


def test_more_counts_votes_of_whole_prompts_and_is_silent_where_it_cannot_tell() -> None:
    assert confidence_sequence([]).more is None
    assert confidence_sequence([(vote, 0.5) for vote in range(50)]).more is None  # all ties: which way?
    alone = confidence_sequence([(prompt, 1.0) for prompt in range(5)])
    thrice = confidence_sequence([(prompt, 1.0) for prompt in range(5) for _ in range(3)], votes_per_prompt=3)
    assert alone.more is not None
    assert thrice.more == 3 * alone.more
    decided = confidence_sequence([(prompt, 1.0) for prompt in range(5 + 3 * alone.more)])
    assert (decided.verdict, decided.more) == ("better", None)


def test_nonsense_is_refused() -> None:
    with pytest.raises(ValueError, match="0.7"):
        confidence_sequence([(1, 0.7)])
    with pytest.raises(ValueError, match="not 0"):
        confidence_sequence([(1, 1.0)], votes_per_prompt=0)
    with pytest.raises(ValueError, match="95"):
        confidence_sequence([(1, 1.0)], confidence=95)
