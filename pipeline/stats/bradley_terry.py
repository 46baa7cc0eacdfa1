"""Bradley-Terry: one score for each version from all comparisons among them, with intervals and a range of ranks.

The chance that i wins against j is σ(score_i − score_j) (Bradley & Terry 1952, Biometrika 39). Scores are in nats of
log odds with mean 0 over the versions; times 400 / ln 10 they are Elo points. A tie is half a win for each.

Axes: Versions, and once more for the other one; N votes; P prompts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse import csgraph
from scipy.special import expit, stdtrit

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

STEPS = 100  # of Newton; ten are usual


@dataclass(frozen=True)
class BradleyTerry:
    """Scores with two-sided intervals, each for itself, and ranks: 1 is the best, equal scores share the better rank.

    The true rank of a version lies in its range of ranks with the confidence asked for, at the least.
    """

    score_V: Floats
    low_V: Floats
    high_V: Floats
    rank_V: Ints
    best_rank_V: Ints
    worst_rank_V: Ints
    imagined: bool  # each got a tie with an imaginary version, since no scores are the likeliest


def fit(wins_VV: NDArray[Any], confidence: float = 0.95) -> BradleyTerry:
    """From wins[i, j], how often i won against j, a tie counting half to each. Votes are taken to be independent.

    Maximum likelihood, which exists if no group of versions won all its comparisons with the others (Ford 1957). If
    one did, each version gets one tie with one and the same imaginary version, and `imagined` says so. ValueError for
    versions that no chain of comparisons connects (named; see `groups`), and for a table that is none of wins.

    Intervals are from the Fisher information. With many ties they are wider than need be; where votes share prompts
    they are too narrow: `fit_votes` is for those who know the votes.
    """
    score_V, information_VV, imagined = _likeliest(_checked(wins_VV))
    return _ranked(score_V, _inverse(information_VV), imagined, confidence, freedom=np.inf)


def fit_votes(
    prompt_N: NDArray[Any],
    first_N: NDArray[Any],
    second_N: NDArray[Any],
    outcome_N: NDArray[Any],
    versions: int,
    confidence: float = 0.95,
) -> BradleyTerry:
    """From votes: the prompt's id, two versions' numbers from 0, and 1, 0.5 or 0 for the first of them.

    Scores and errors as in `fit`. The intervals are Student's t on a cluster-robust covariance, prompts being the
    clusters (Liang & Zeger 1986). As in `win_rate`, two imaginary prompts with all votes one way are added to it, so
    that few prompts, or prompts that agree, do not give intervals of width zero.
    """
    score_V, information_VV, imagined = _likeliest(_checked(tally(first_N, second_N, outcome_N, versions)))
    _, prompt_N = np.unique(prompt_N, return_inverse=True)
    count, prompts = len(prompt_N), int(prompt_N.max()) + 1
    residual_N = outcome_N - expit(score_V[first_N] - score_V[second_N])
    entries = np.concatenate([residual_N, -residual_N])
    places = np.concatenate([prompt_N, prompt_N]), np.concatenate([first_N, second_N])
    surprise_P_V = sparse.coo_array((entries, places), shape=(prompts, versions)).tocsr()
    spread_VV = (surprise_P_V.T @ surprise_P_V).toarray() + 2 * count / prompts**2 * information_VV
    spread_VV *= (prompts + 2) / (prompts + 1)
    inverse_VV = _inverse(information_VV)
    return _ranked(score_V, inverse_VV @ spread_VV @ inverse_VV, imagined, confidence, freedom=prompts + 1)


def tally(first_N: NDArray[Any], second_N: NDArray[Any], outcome_N: NDArray[Any], versions: int) -> Floats:
    """The table of wins that `fit` takes, of votes as `fit_votes` takes them."""
    outcome_N = np.asarray(outcome_N, dtype=float)
    unknown = ~np.isin(outcome_N, (0.0, 0.5, 1.0))
    if unknown.any():
        raise ValueError(f"an outcome is 0, 0.5 or 1, not {outcome_N[unknown.argmax()]}")
    cell_N = np.asarray(first_N, dtype=np.int64) * versions + second_N
    wins_VV = np.bincount(cell_N, weights=outcome_N, minlength=versions**2).reshape(versions, versions)
    losses_VV = np.bincount(cell_N, weights=1 - outcome_N, minlength=versions**2).reshape(versions, versions)
    return np.asarray(wins_VV + losses_VV.T)


def groups(wins_VV: NDArray[Any]) -> list[list[int]]:
    """The versions that comparisons connect, largest group first: each can be fitted, no two can be put in order."""
    _, group_V = csgraph.connected_components(np.asarray(wins_VV) > 0, connection="weak")
    found = [np.flatnonzero(group_V == group).tolist() for group in np.unique(group_V)]
    return sorted(found, key=len, reverse=True)


def _checked(wins_VV: NDArray[Any]) -> Floats:
    wins_VV = np.asarray(wins_VV, dtype=float)
    if wins_VV.ndim != 2 or wins_VV.shape[0] != wins_VV.shape[1] or not wins_VV.size:
        raise ValueError(f"a table of wins is square, not {wins_VV.shape}")
    if not np.isfinite(wins_VV).all() or (wins_VV < 0).any():
        raise ValueError("a number of wins is finite and not negative")
    if wins_VV.diagonal().any():
        raise ValueError(f"version {int(wins_VV.diagonal().argmax())} was compared with itself")
    if len(found := groups(wins_VV)) > 1:
        names = " | ".join(", ".join(map(str, group)) for group in found)
        raise ValueError(f"no comparisons connect the versions {names}; compare across, or fit each of `groups`")
    return wins_VV


def _likeliest(wins_VV: Floats) -> tuple[Floats, Floats, bool]:
    """Scores with mean 0, the Fisher information there, and whether ties had to be imagined. By Newton's method."""
    components, _ = csgraph.connected_components(wins_VV > 0, connection="strong")
    imagined = 0.5 if components > 1 else 0.0  # of each, won and lost, against the imaginary version of score 0
    games_VV = wins_VV + wins_VV.T
    score_V = np.zeros(len(wins_VV))
    for _ in range(STEPS):
        chance_VV, own_V = expit(score_V[:, None] - score_V), expit(score_V)
        gradient_V = wins_VV.sum(axis=1) - (games_VV * chance_VV).sum(axis=1) + imagined * (1 - 2 * own_V)
        weight_VV = games_VV * chance_VV * (1 - chance_VV)
        information_VV = np.diag(weight_VV.sum(axis=1) + 2 * imagined * own_V * (1 - own_V)) - weight_VV
        step_V = _inverse(information_VV) @ gradient_V
        # Far from the top the curve is flat and a full step would overshoot; so no score moves by more than one nat.
        score_V = score_V + step_V / max(1.0, np.abs(step_V).max())
        if np.abs(step_V).max() < 1e-8:
            break
    else:
        raise ArithmeticError(f"no likeliest scores were found in {STEPS} steps")
    return score_V - score_V.mean(), information_VV, imagined > 0


def _inverse(information_VV: Floats) -> Floats:
    """Inverse among scores that sum to 0: of all scores together the comparisons say nothing."""
    together = information_VV.trace() / len(information_VV) ** 2
    centre_VV = np.eye(len(information_VV)) - 1 / len(information_VV)
    return np.asarray(centre_VV @ np.linalg.inv(information_VV + together) @ centre_VV)


def _ranked(score_V: Floats, covariance_VV: Floats, imagined: bool, confidence: float, freedom: float) -> BradleyTerry:
    """An estimate's error in standard errors is Student's t with `freedom` degrees of freedom.

    The range of ranks follows Mogstad, Romano, Shaikh & Wilhelm (2024), "Inference for Ranks": a version's rank is one
    more than the number that are better, and its differences from all others are bounded together (Bonferroni).
    """
    half_V = stdtrit(freedom, (1 + confidence) / 2) * np.sqrt(covariance_VV.diagonal())
    variance_V = covariance_VV.diagonal()
    error_VV = np.sqrt(np.maximum(variance_V[:, None] + variance_V - 2 * covariance_VV, 0))
    limit_VV = stdtrit(freedom, 1 - (1 - confidence) / 2 / max(1, len(score_V) - 1)) * error_VV
    ahead_VV = score_V - score_V[:, None]  # how far the other is ahead
    others_VV = ~np.eye(len(score_V), dtype=bool)
    return BradleyTerry(
        score_V=score_V,
        low_V=score_V - half_V,
        high_V=score_V + half_V,
        rank_V=1 + (ahead_VV > 1e-8).sum(axis=1),
        best_rank_V=1 + (others_VV & (ahead_VV > limit_VV)).sum(axis=1),
        worst_rank_V=len(score_V) - (others_VV & (-ahead_VV > limit_VV)).sum(axis=1),
        imagined=imagined,
    )
