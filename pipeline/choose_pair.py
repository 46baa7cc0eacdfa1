"""Which two of a prompt's candidates to ask about. Answers cost people's time: a pair that teaches little wastes it."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations

from db.tables import Candidate


def most_different(candidates: Sequence[Candidate], seed: int) -> tuple[Candidate, Candidate] | None:
    """The two that differ most on the surface: length, line breaks, exclamation and question marks, having ended.

    For the first round, when nothing is known of the annotators' taste. The weights make one unit of each feature
    (25 tokens, 2 line breaks, 1 mark, half an ending) count alike. None when all texts are equal.
    """

    def features(candidate: Candidate) -> tuple[float, ...]:
        text = candidate.text
        return (
            candidate.token_count / 25,
            min(text.count("\n"), 8) / 2,
            min(text.count("!") + text.count("?"), 4),
            2.0 * (candidate.finish_reason == "stop"),
        )

    def distance(pair: tuple[Candidate, Candidate]) -> float:
        return sum((a - b) ** 2 for a, b in zip(features(pair[0]), features(pair[1]), strict=True))

    return _best(candidates, distance, seed)


def widest_margin(
    candidates: Sequence[Candidate], scores: Mapping[int, float], seed: int
) -> tuple[Candidate, Candidate] | None:
    """The two that a reward model (scores by candidate id) thinks furthest apart. None when all texts are equal."""
    return _best(candidates, lambda pair: abs(scores[pair[0].id] - scores[pair[1].id]), seed)


def _best(
    candidates: Sequence[Candidate], distance: Callable[[tuple[Candidate, Candidate]], float], seed: int
) -> tuple[Candidate, Candidate] | None:
    pairs = [(a, b) for a, b in combinations(candidates, 2) if a.text != b.text]
    if not pairs:
        return None
    rng = random.Random(f"{seed} {candidates[0].prompt_id}")
    rng.shuffle(pairs)  # ties are broken at random, but repeatably
    first, second = max(pairs, key=distance)
    return (first, second) if rng.random() < 0.5 else (second, first)
