"""How many votes it takes to see that one version is better, before the first of them is asked for.

One vote a prompt is assumed: a second vote on the same prompt adds less than one on another.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, inf

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from .sequential import log_evidence, log_threshold

NEAREST = 0.02  # to one half; nearer rates take tens of thousands of votes, which nobody gives one by one


@dataclass(frozen=True)
class Stopping:
    """Votes until the verdict of `sequential.confidence_sequence`, looked at after every vote."""

    mean: float
    votes: int  # by then the right verdict has been reached with the power asked for


def votes_to_detect(rate: float, confidence: float = 0.95, power: float = 0.8, ties: float = 0.0) -> int:
    """Votes of a comparison whose size is fixed before and that is looked at once, at its end.

    It finds a true win rate (ties half) other than one half with probability `power`, by a two-sided test; `ties` is
    the share of ties. The usual normal approximation for one proportion, with the variances that ties leave. ValueError
    for a rate of one half, and for more ties than the rate leaves room for.
    """
    decided, wins = _decided(rate, confidence, power, ties)
    variance, variance_of_equals = wins + ties / 4 - rate**2, decided / 4
    sure, seen = ndtri((1 + confidence) / 2), ndtri(power)
    return ceil(float((sure * variance_of_equals**0.5 + seen * variance**0.5) / (rate - 0.5)) ** 2)


def sequential_votes_to_detect(
    rate: float, confidence: float = 0.95, power: float = 0.8, ties: float = 0.0
) -> Stopping:
    """Votes of a comparison that is looked at after every vote and ends at its verdict.

    Not simulated: the chance of each number of wins is carried from vote to vote, and what reaches a verdict leaves.
    A tie moves nothing against one half, so votes are decided votes over their share: exact for the mean, and near
    enough for the other. ValueError as in `votes_to_detect`, and for rates nearer to one half than NEAREST.
    """
    decided, wins = _decided(rate, confidence, power, ties)
    if abs(rate - 0.5) < NEAREST:
        raise ValueError(f"a win rate of {rate} is too near to one half to be planned for vote by vote")
    win = max(wins, decided - wins) / decided
    enough_N = _wins_for_a_verdict(100 + 8 * votes_to_detect(win, confidence, power), confidence)
    chance_W = np.ones(1)  # of each number of wins from `fewest` on, without a verdict so far
    fewest, found, mean, by = 0, 0.0, 0.0, inf
    for vote, enough in enumerate(enough_N.tolist(), start=1):
        mean += chance_W.sum()  # a comparison without a verdict asks for this vote
        chance_W = np.concatenate([chance_W * (1 - win), [0]]) + np.concatenate([[0], chance_W * win])
        found += chance_W[max(0, enough - fewest) :].sum()
        if by == inf and found >= power:
            by = vote
        lost = max(0, vote - enough + 1 - fewest)  # so few wins that the other one is better
        chance_W, fewest = chance_W[lost : max(0, enough - fewest)], fewest + lost
        if chance_W.sum() < 1e-6:
            break
    if by == inf:
        raise ValueError(f"a power of {power} is not reached at a win rate of {rate}; ask for less")
    return Stopping(mean=float(mean / decided), votes=ceil(by / decided))


def _decided(rate: float, confidence: float, power: float, ties: float) -> tuple[float, float]:
    """The share of votes that decide, and of wins; after refusing what cannot be."""
    if not (0 < confidence < 1 and 0 < power < 1):
        raise ValueError(f"confidence and power lie between 0 and 1, not {confidence} and {power}")
    if rate == 0.5:
        raise ValueError("no number of votes shows a difference where there is none: name a win rate other than 0.5")
    wins, losses = rate - ties / 2, 1 - rate - ties / 2
    if not (0 <= ties < 1 and wins >= 0 and losses >= 0):
        raise ValueError(f"a win rate of {rate} with ties of {ties} leaves {wins:.3g} wins and {losses:.3g} losses")
    return 1 - ties, wins


def _wins_for_a_verdict(votes: int, confidence: float) -> NDArray[np.int64]:
    """After 1 … `votes` decided votes: the fewest wins that make the verdict "better"; one more than all if none do."""
    vote_N = np.arange(1, votes + 1)
    low_N, high_N = vote_N // 2, vote_N + 1
    while (low_N < high_N).any():
        middle_N = np.minimum((low_N + high_N) // 2, vote_N)
        counts_N_L = np.stack([vote_N - middle_N, np.zeros(votes), middle_N], axis=1)
        open_N = low_N < high_N
        better_N = log_evidence(counts_N_L)[:, 0] >= log_threshold(confidence)
        high_N = np.where(open_N & better_N, middle_N, high_N)
        low_N = np.where(open_N & ~better_N, middle_N + 1, low_N)
    return high_N
