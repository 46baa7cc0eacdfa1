"""A win rate that may be looked at after every vote: a confidence sequence, and the verdict that follows from it.

An ordinary 95 % interval that is read again and again until it leaves one half is wrong far more often than once in
twenty. The intervals here hold at all looks together: with probability `confidence` the true rate lies in every one of
them, however often somebody looks and whatever makes them stop (Waudby-Smith & Ramdas 2024, "Estimating means of
bounded random variables by betting", JRSS-B 86(1), arXiv:2010.09686).

What is assumed. Prompts are draws from one population, in an order that has nothing to do with the outcomes: given the
earlier prompts, a prompt's mean outcome has the true rate as its expectation. Of votes on the same prompt nothing is
assumed; they may all be equal. So a prompt is one observation, the mean of its votes, and it counts from the moment it
has `votes_per_prompt` of them, a number that must be fixed before the first vote. It cannot count earlier: a second
vote that is counted only if the first was lost is an optional stop that moves the mean. Votes on unfinished prompts
wait; votes beyond that number are left out. With one vote a prompt, the default, each vote counts at once.

What is not here: annotators as a second clustering. One annotator's leniency towards a side is removed by shuffling
the sides; their taste is part of what is measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

Floats = NDArray[np.float64]
Verdict = Literal["better", "worse", "undecided"]

FARTHEST = 20_000  # prompts; a verdict that is farther off is none that one can plan for
HALVINGS = 24  # of [0, 1]: bounds to 1e-7, and never too narrow

# Shares c of the capital that are staked, G of them, and how the capital is divided among them: in proportion to
# √c (1 − c)⁵, the density of Beta(3/2, 6). A stake of c against one half is the one that grows fastest at a true rate
# of (1 + c) / 2 without ties, so that most capital waits where versions usually differ, between 53 and 75 %.
STAKES_G = (np.arange(60) + 0.5) / 60
LOG_CAPITAL_G = np.log(np.sqrt(STAKES_G) * (1 - STAKES_G) ** 5)
LOG_CAPITAL_G = LOG_CAPITAL_G - logsumexp(LOG_CAPITAL_G)


@dataclass(frozen=True)
class Sequential:
    """What the votes so far say of one version against another; `rate` and interval are of the prompts that count."""

    votes: int  # all that were given
    waiting: int  # of them: on unfinished prompts, or beyond the number that a prompt is owed
    prompts: int  # that count
    rate: float  # of all votes while no prompt counts yet; one half without a vote
    low: float
    high: float
    verdict: Verdict
    more: int | None  # further votes until a verdict, if they fall as those so far; None: decided, or cannot be told


@dataclass(frozen=True)
class Path:
    """The rate and its confidence sequence after each of N votes."""

    rate_N: Floats
    low_N: Floats
    high_N: Floats


def confidence_sequence(
    outcomes: Sequence[tuple[int, float]], confidence: float = 0.95, votes_per_prompt: int = 1
) -> Sequential:
    """From (prompt, outcome) pairs in the order in which they were given: 1 a win, 0.5 a tie, 0 a loss.

    May be called after every vote, and the comparison ended at the first verdict: of two equal versions at most
    1 − `confidence` ever get one, half of it either way. A verdict looks at one half only. See the module for what is
    assumed, and for votes on the same prompt. ValueError for any other outcome.
    """
    counts_N_L = _counts(outcomes, votes_per_prompt)
    last = counts_N_L[-1:]
    low, high = (float(bound[0]) for bound in _bounds(last, log_threshold(confidence)))
    prompts = int(last.sum())
    verdict: Verdict = "better" if low >= 0.5 else "worse" if high <= 0.5 else "undecided"
    waiting = len(outcomes) - prompts * votes_per_prompt
    return Sequential(
        votes=len(outcomes),
        waiting=waiting,
        prompts=prompts,
        rate=float(_rates(outcomes, counts_N_L)[-1]) if outcomes else 0.5,
        low=low,
        high=high,
        verdict=verdict,
        more=_more(last[0], votes_per_prompt, confidence) if verdict == "undecided" else None,
    )


def confidence_path(outcomes: Sequence[tuple[int, float]], confidence: float = 0.95, votes_per_prompt: int = 1) -> Path:
    """What `confidence_sequence` would have said after each vote: the whole way, for a picture."""
    counts_N_L = _counts(outcomes, votes_per_prompt)[1:]
    low_N, high_N = _bounds(counts_N_L, log_threshold(confidence))
    return Path(_rates(outcomes, counts_N_L), low_N, high_N)


def first_verdict(
    outcomes: Sequence[tuple[int, float]], confidence: float = 0.95, votes_per_prompt: int = 1
) -> tuple[int, Verdict] | None:
    """(votes given until then, verdict) of the first look that decides, looking after every vote; None if none does."""
    evidence_N_2 = log_evidence(_counts(outcomes, votes_per_prompt)[1:])
    decided_N_2 = evidence_N_2 >= log_threshold(confidence)
    if not decided_N_2.any():
        return None
    first = int(decided_N_2.any(axis=1).argmax())
    return first + 1, "better" if decided_N_2[first, 0] else "worse"


def log_threshold(confidence: float) -> float:
    """Capital that a fair game reaches with a probability of at most half of 1 − confidence (Ville's inequality).

    Half, because one gambler bets on each side: the hedged capital process (arXiv:2010.09686, Theorem 3) with θ = 1/2.
    """
    if not 0 < confidence < 1:
        raise ValueError(f"a confidence lies between 0 and 1, not {confidence}")
    return float(np.log(2 / (1 - confidence)))


def _counts(outcomes: Sequence[tuple[int, float]], votes_per_prompt: int) -> Floats:
    """(1 + votes, L): how many prompts count with each of the L means 0, 1 / 2k … 1, before the first vote and after
    each, k being the votes a prompt is owed."""
    if votes_per_prompt < 1:
        raise ValueError(f"a prompt is owed one vote or more, not {votes_per_prompt}")
    finished = np.zeros((1 + len(outcomes), 2 * votes_per_prompt + 1))
    given: dict[int, tuple[int, float]] = {}  # by prompt: votes, and their sum
    for vote, (prompt, outcome) in enumerate(outcomes, start=1):
        if outcome not in (0.0, 0.5, 1.0):
            raise ValueError(f"an outcome is 0, 0.5 or 1, not {outcome}")
        number, total = given.get(prompt, (0, 0.0))
        given[prompt] = number + 1, total + outcome
        if number + 1 == votes_per_prompt:
            finished[vote, round(2 * (total + outcome))] = 1
    return np.asarray(finished.cumsum(axis=0))


def _levels(counts_N_L: Floats) -> Floats:
    return np.linspace(0.0, 1.0, counts_N_L.shape[-1])


def _rates(outcomes: Sequence[tuple[int, float]], counts_N_L: Floats) -> Floats:
    """After each vote: the mean over the prompts that count, or over all votes while none does."""
    values = np.array([outcome for _, outcome in outcomes])
    plain_N = values.cumsum() / np.arange(1, len(values) + 1)
    counts_N_L = counts_N_L[-len(values) :]
    prompts_N = counts_N_L.sum(axis=1)
    return np.asarray(np.divide(counts_N_L @ _levels(counts_N_L), prompts_N, out=plain_N, where=prompts_N > 0))


def _log_growth(levels_L: Floats, mean_N: Floats) -> Floats:
    """(N, L, G): what each stake on "the rate is above the mean" makes of one's capital at each outcome.

    The factor 1 + λ (x − m) of the capital process of arXiv:2010.09686, with λ = c / m: fair where the mean is m, and
    never bankrupt.
    """
    return np.asarray(np.log1p(STAKES_G * (levels_L[:, None] / mean_N[:, None, None] - 1)))


def log_evidence(counts_N_L: Floats) -> Floats:
    """(N, 2): log of what one unit of capital has become, betting against one half that the rate is above, or below.

    A weighted mixture of constant stakes, as in a universal portfolio (Cover 1991): an average of fair games is fair.
    """
    growth_L_G = _log_growth(_levels(counts_N_L), np.array([0.5]))[0]
    sides = [logsumexp(counts_N_L @ growth + LOG_CAPITAL_G, axis=1) for growth in (growth_L_G, growth_L_G[::-1])]
    return np.stack(sides, axis=1)


def _bounds(counts_N_L: Floats, log_threshold: float) -> tuple[Floats, Floats]:
    """Lower and upper ends of the rates that no gambler has refuted, for each row of counts."""
    low_N = _refuted_up_to(counts_N_L, log_threshold)
    high_N = 1 - _refuted_up_to(counts_N_L[:, ::-1], log_threshold)  # a loss of ours is a win of theirs
    return low_N, high_N


def _refuted_up_to(counts_N_L: Floats, log_threshold: float) -> Floats:
    """The highest mean at which betting on "above" has reached the threshold; 0 if there is none.

    The capital falls as the mean rises (every factor does), so halving finds it. The first mean that is tried is one
    half: the verdict is exactly that of `log_evidence`.
    """
    low_N, high_N = np.zeros(len(counts_N_L)), np.ones(len(counts_N_L))
    for _ in range(HALVINGS):
        mean_N = (low_N + high_N) / 2
        growth_N_L_G = _log_growth(_levels(counts_N_L), mean_N)
        capital_N = logsumexp(np.einsum("nl,nlg->ng", counts_N_L, growth_N_L_G) + LOG_CAPITAL_G, axis=1)
        refuted_N = capital_N >= log_threshold
        low_N, high_N = np.where(refuted_N, mean_N, low_N), np.where(refuted_N, high_N, mean_N)
    return low_N


def _more(counts_L: Floats, votes_per_prompt: int, confidence: float) -> int | None:
    """Further votes until the evidence suffices if outcomes keep the shares they have; None beyond FARTHEST prompts.

    One prompt won and one lost are added to the shares, as in `win_rate`, so that three wins of three do not promise a
    verdict at the next vote. The log capital is convex along that way, so it crosses the threshold once.
    """
    imagined_L = counts_L.copy()
    imagined_L[[0, -1]] += 1
    share_L = imagined_L / imagined_L.sum()

    def decided(prompts: int) -> Any:
        return log_evidence((counts_L + prompts * share_L)[None]).max() >= log_threshold(confidence)

    if not decided(FARTHEST):
        return None
    low, high = 0, FARTHEST
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if decided(middle) else (middle, high)
    return high * votes_per_prompt
