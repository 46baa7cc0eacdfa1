"""Agreement: published answers, an independent implementation, and intervals that cover."""

from collections import defaultdict
from collections.abc import Iterable
from itertools import combinations, permutations
from typing import NamedTuple

import krippendorff
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.stats import agreement
from pipeline.stats.agreement import (
    Estimate,
    Votes,
    agreement_with_others,
    krippendorff_alpha,
    plain_agreement,
    proportion,
)
from pipeline.stats.win_rate import win_rate

# Krippendorff (2011), Computing Krippendorff's Alpha-Reliability, examples A, B and C. A row an observer, a letter a
# judgment, a dot none.
TWO_BINARY = ["0100000010", "1110010000"]
TWO_NOMINAL = ["aabbdcccedda", "babbbccceddd"]
FOUR_WITH_GAPS = ["123321412...", "1233224125.3", ".3332342251.", "12332441251."]


class Vote(NamedTuple):
    comparison: int
    annotator: int
    value: str | int
    part: str | int = 0


some_votes = st.lists(
    st.tuples(st.integers(0, 6), st.integers(0, 3), st.integers(1, 4)),
    min_size=2,
    max_size=24,
    unique_by=lambda v: v[:2],
).map(lambda found: [Vote(*vote) for vote in found])
votes_in_parts = st.lists(
    st.tuples(st.integers(3, 7), st.integers(0, 3), st.sampled_from(["a", "b", "c"]), st.sampled_from(["x", "y"])),
    max_size=40,
    unique_by=lambda v: (v[0], v[1], v[3]),
).map(lambda found: [Vote(*vote) for vote in found])


def tabled(drawn: Iterable[Vote]) -> Votes:
    return agreement.tabled(*zip(*drawn, strict=True)) if (drawn := list(drawn)) else agreement.tabled([], [], [])


def votes(*observers: str) -> Votes:
    return tabled(
        Vote(comparison, annotator, value)
        for annotator, values in enumerate(observers)
        for comparison, value in enumerate(values)
        if value != "."
    )


@pytest.mark.parametrize(
    ("observers", "level", "published"),
    [
        (TWO_BINARY, "nominal", 0.095),
        (TWO_NOMINAL, "nominal", 0.692),
        (FOUR_WITH_GAPS, "nominal", 0.743),
        (FOUR_WITH_GAPS, "ordinal", 0.815),
    ],
)
def test_alpha_is_what_krippendorff_published(observers: list[str], level: str, published: float) -> None:
    alpha = krippendorff_alpha(votes(*observers), level)  # type: ignore[arg-type]
    assert alpha is not None
    assert alpha.value == pytest.approx(published, abs=0.0005)
    assert alpha.low < alpha.value < alpha.high


@pytest.mark.parametrize("level", ["nominal", "ordinal"])
def test_alpha_is_that_of_an_independent_implementation(level: str) -> None:
    @settings(deadline=None)
    @given(some_votes)
    def check(drawn: list[Vote]) -> None:
        alpha = krippendorff_alpha(tabled(drawn), level, draws=1)  # type: ignore[arg-type]
        table = np.full((4, 7), np.nan)
        for vote in drawn:
            table[vote.annotator, vote.comparison] = vote.value
        shared = table[:, (~np.isnan(table)).sum(axis=0) > 1]
        if alpha is None:
            assert len(np.unique(shared[~np.isnan(shared)])) < 2
        else:
            oracle = krippendorff.alpha(reliability_data=shared, level_of_measurement=level)
            assert alpha.value == pytest.approx(oracle)
            assert alpha.n == shared.shape[1]

    check()


@settings(deadline=None, max_examples=30)
@given(some_votes)
def test_who_is_who_changes_nothing(drawn: list[Vote]) -> None:
    expected = krippendorff_alpha(tabled(drawn)), plain_agreement(tabled(drawn))
    for order in list(permutations(range(4)))[1::7]:
        renamed = tabled(Vote(vote.comparison, order[vote.annotator], vote.value) for vote in drawn)
        alpha, plain = krippendorff_alpha(renamed), plain_agreement(renamed)
        assert (alpha and alpha.value) == pytest.approx(expected[0] and expected[0].value)
        assert (plain and plain.value) == pytest.approx(expected[1] and expected[1].value)


def test_who_always_agree_have_alpha_1_and_some_doubt_is_left() -> None:
    alpha = krippendorff_alpha(votes("abababab", "abababab"))
    assert alpha is not None
    assert (alpha.value, alpha.high, alpha.n) == (1.0, 1.0, 8)
    assert 0.3 < alpha.low < 0.95
    more = krippendorff_alpha(votes("ab" * 100, "ab" * 100))
    assert more is not None
    assert alpha.low < more.low < 1.0


def test_chance_alone_gives_an_alpha_near_0() -> None:
    rng = np.random.default_rng(0)
    alpha = krippendorff_alpha(votes(*("".join(rng.choice(list("ab"), 2000)) for _ in range(2))))
    assert alpha is not None
    assert alpha.value == pytest.approx(0.0, abs=0.05)
    assert alpha.low < 0.0 < alpha.high


def test_alpha_is_not_defined_where_nothing_is_shared_or_everybody_says_the_same_one_thing() -> None:
    assert krippendorff_alpha(tabled([])) is None
    assert krippendorff_alpha(votes("ab..", "..ab")) is None
    assert krippendorff_alpha(votes("aaaa", "aaaa")) is None


def test_a_second_vote_on_the_same_thing_is_refused() -> None:
    with pytest.raises(ValueError, match="annotator 1 judged comparison 7 twice"):
        tabled([Vote(7, 1, "a"), Vote(7, 2, "a"), Vote(7, 1, "b")])


def test_several_votes_on_one_comparison_are_not_independent_evidence() -> None:
    """A ranking of three says three things; saying each of them thrice as often proves nothing more."""
    rng = np.random.default_rng(3)
    drawn = [(c, a, str(rng.choice(["x", "y"], p=[0.8, 0.2]))) for c in range(30) for a in range(2)]
    once = tabled(Vote(*vote) for vote in drawn)
    thrice = tabled(Vote(*vote, part=part) for vote in drawn for part in range(3))
    for estimate in (krippendorff_alpha, plain_agreement):
        one, three = estimate(once), estimate(thrice)
        assert one is not None
        assert three is not None
        assert three.n == one.n == 30
        assert three.value == pytest.approx(one.value, abs=0.02)  # alpha corrects for the size of its sample
        assert (three.low, three.high) == (pytest.approx(one.low, abs=0.02), pytest.approx(one.high, abs=0.02))


@pytest.mark.parametrize(
    ("comparisons", "annotators", "careful"), [(30, 2, 0.6), (100, 2, 0.5), (60, 3, 0.8), (30, 2, 0.97)]
)
def test_the_interval_of_alpha_covers_the_truth_about_95_times_of_100(
    comparisons: int, annotators: int, careful: float
) -> None:
    """Who looks carefully sees the truth and otherwise guesses by the same shares: alpha is the square of `careful`."""
    rng = np.random.default_rng(1)
    shares = [0.45, 0.45, 0.1]
    covered = 0
    for _ in range(250):
        truth = rng.choice(3, comparisons, p=shares)
        guesses = rng.choice(3, (annotators, comparisons), p=shares)
        said = np.where(rng.random(guesses.shape) < careful, truth, guesses)
        alpha = krippendorff_alpha(tabled(Vote(c, a, int(value)) for (a, c), value in np.ndenumerate(said)), draws=400)
        assert alpha is not None
        covered += alpha.low <= careful**2 <= alpha.high
    assert 0.91 <= covered / 250 <= 0.995


def test_the_interval_is_the_same_every_time() -> None:
    assert krippendorff_alpha(votes(*TWO_NOMINAL)) == krippendorff_alpha(votes(*TWO_NOMINAL))


def test_plain_agreement_counts_pairs_of_votes() -> None:
    plain = plain_agreement(votes("aab.", "aac.", "ab.a"))
    assert plain is not None
    # Three pairs agree on the first, one of three on the second, none of one on the third; the fourth has one vote.
    assert (plain.value, plain.n) == (4 / 7, 3)
    assert 0.0 <= plain.low < 4 / 7 < plain.high <= 1.0
    assert plain_agreement(votes("ab..", "..ab")) is None


def by_hand(pairs: list[tuple[int, float]]) -> Estimate | None:
    """Of pairs of votes, (comparison, 1 where they are equal): the share that is equal, as a win rate."""
    if not pairs:
        return None
    rate = win_rate(pairs)
    return Estimate(rate.rate, min(rate.low, rate.rate), max(rate.high, rate.rate), rate.prompts)


def same(found: Estimate | None, expected: Estimate | None) -> bool:
    if found is None or expected is None:
        return found is expected
    interval = (expected.value, expected.low, expected.high)
    return (found.value, found.low, found.high) == pytest.approx(interval, abs=1e-9) and found.n == expected.n


@settings(deadline=None)
@given(votes_in_parts)
def test_counting_in_columns_finds_what_going_through_all_pairs_of_votes_does(drawn: list[Vote]) -> None:
    units: dict[tuple[int, str | int], list[Vote]] = defaultdict(list)
    for vote in drawn:
        units[vote.comparison, vote.part].append(vote)
    pairs: list[tuple[int, float]] = []
    pairs_of: dict[int, list[tuple[int, float]]] = defaultdict(list)
    for of_unit in units.values():
        for one, other in combinations(of_unit, 2):
            pairs.append((one.comparison, float(one.value == other.value)))
            for vote in (one, other):
                pairs_of[vote.annotator].append(pairs[-1])
    assert same(plain_agreement(tabled(drawn)), by_hand(pairs))
    others = agreement_with_others(tabled(drawn))
    assert others.keys() == pairs_of.keys()
    assert all(same(others[annotator], by_hand(of_theirs)) for annotator, of_theirs in pairs_of.items())

    alpha = krippendorff_alpha(tabled(drawn), draws=1)
    shared = [of_unit for of_unit in units.values() if len(of_unit) > 1]
    if alpha is not None:
        table = np.full((4, len(shared)), np.nan)
        for number, of_unit in enumerate(shared):
            for vote in of_unit:
                table[vote.annotator, number] = ord(str(vote.value))
        assert alpha.value == pytest.approx(krippendorff.alpha(reliability_data=table, level_of_measurement="nominal"))
        assert alpha.n == len({of_unit[0].comparison for of_unit in shared})
    else:
        assert len({vote.value for of_unit in shared for vote in of_unit}) < 2


def test_an_annotator_is_held_against_the_others() -> None:
    odd = agreement_with_others(votes("aabb", "aabb", "bbaa", "...." + "a"))
    assert set(odd) == {0, 1, 2}  # the fourth shares nothing
    assert (odd[0].value, odd[1].value, odd[2].value) == (0.5, 0.5, 0.0)
    assert odd[2].high < 0.6
    assert {share.n for share in odd.values()} == {4}


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_a_proportion_has_the_interval_that_newcombe_published(successes: int, n: int, low: float, high: float) -> None:
    """Newcombe (1998), Two-sided confidence intervals for the single proportion, table I, method 3."""
    share = proportion(successes, n)
    assert share is not None
    assert (share.value, share.n) == (successes / n, n)
    assert (share.low, share.high) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))


def test_no_trials_give_no_share_and_nonsense_is_refused() -> None:
    assert proportion(0, 0) is None
    for successes, n in ((3, 2), (-1, 2), (1, 0)):
        with pytest.raises(ValueError, match="successes of"):
            proportion(successes, n)
