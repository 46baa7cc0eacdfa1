"""Calibration of a model that orders pairs: is it right as often as it is sure?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .agreement import proportion

BINS = 5  # of confidence, from one half to 1, of equal width


@dataclass(frozen=True)
class Bin:
    """The pairs about which the model is about equally sure; the accuracy has a Wilson interval."""

    confidence: float  # mean, from one half to 1
    accuracy: float
    low: float
    high: float
    pairs: int


def calibration(
    differences: Sequence[float] | NDArray[np.float64], confidence: float = 0.95
) -> tuple[float | None, list[Bin]]:
    """(expected calibration error, filled bins) of the model's confidence in its own order of each pair.

    `differences` are scores of the better less the worse, in nats. The confidence is σ(|difference|), and the model is
    right where the difference is positive (half right at 0). The error is the mean distance of confidence and accuracy
    over the bins, weighted by their pairs (Guo et al. 2017, arXiv:1706.04599, Eq. 3). With few pairs it is above 0 for
    a perfectly calibrated model too. None without pairs.
    """
    delta = np.asarray(differences, dtype=np.float64)
    if not len(delta):
        return None, []
    sure = 1 / (1 + np.exp(-np.abs(delta)))
    right = np.where(delta == 0, 0.5, (delta > 0).astype(float))
    of_bin = np.minimum(((sure - 0.5) * 2 * BINS).astype(int), BINS - 1)
    bins = []
    for number in sorted(set(of_bin.tolist())):
        inside = of_bin == number
        count = int(inside.sum())
        share = proportion(int(right[inside].sum()), count, confidence)
        assert share is not None, "a filled bin has pairs"
        bins.append(Bin(float(sure[inside].mean()), float(right[inside].mean()), share.low, share.high, count))
    return sum(b.pairs * abs(b.accuracy - b.confidence) for b in bins) / len(delta), bins
