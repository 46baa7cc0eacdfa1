"""What an annotator says about a question, and whether it fits."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

from .errors import StoreError
from .kinds import CHOICES
from .tables import Assignment, Judgment, Queue
from .words import Choice, FlagReason

Ranking = list[list[int]]  # groups of candidate ids, best first; the members of a group are tied
_STRENGTHS = (1, 2, 3)
_STARS = (1, 2, 3, 4, 5)


@dataclass(frozen=True, slots=True)
class Said:
    """An answer. `left` and `right` are the sides as they were shown."""

    choice: Choice
    ranking: Ranking | None = None  # with `ranked`
    strength: int | None = None  # with `left` and `right`, where the queue asks for it: 1 slight, 2 clear, 3 strong
    ratings: dict[str, int] | None = None  # with `rated`: 1 to 5, by aspect
    written: str | None = None  # with `written`: the better answer, or the demonstration
    reason: str | None = None  # with `skip`, in words, and with `flag`, a FlagReason
    rationale: str = ""
    response_ms: int | None = None


def to_judgment(said: Said, assignment: Assignment, queue: Queue, supersedes_id: int | None) -> Judgment:
    """What was said as a row, not stored yet; StoreError where it does not fit the queue and what was shown."""
    _check(said, assignment.display_order, queue)
    sides = dict(zip(("left", "right"), assignment.display_order, strict=False))
    return Judgment(
        assignment_id=assignment.id,
        choice=said.choice,
        preferred_id=sides.get(said.choice),
        ranking=said.ranking,
        strength=said.strength,
        ratings=said.ratings,
        written=said.written,
        reason=(said.reason or "").strip() or None,
        rationale=said.rationale,
        response_ms=said.response_ms,
        supersedes_id=supersedes_id,
    )


def from_judgment(judgment: Judgment) -> Said:
    """What was said, from its row."""
    return Said(
        choice=judgment.choice,
        ranking=judgment.ranking,
        strength=judgment.strength,
        ratings=judgment.ratings,
        written=judgment.written,
        reason=judgment.reason,
        rationale=judgment.rationale,
        response_ms=judgment.response_ms,
    )


def _check(said: Said, shown: Sequence[int], queue: Queue) -> None:
    fitting = (*CHOICES[queue.kind], "skip", "flag")
    if said.choice not in fitting:
        raise StoreError(
            f"{said.choice} is no answer in queue {queue.name}, of kind {queue.kind}; say one of {', '.join(fitting)}"
        )
    _check_belongs(said)
    if said.choice == "ranked":
        _check_ranking(said.ranking, shown)
    if said.choice == "rated":
        _check_ratings(said.ratings, queue)
    if said.choice == "written" and not (said.written or "").strip():
        raise StoreError("nothing was written; write the answer, or skip the question")
    if said.strength is not None and not (queue.asks_strength and said.strength in _STRENGTHS):
        asked = "1, 2 or 3" if queue.asks_strength else "none, for it is not asked"
        raise StoreError(f"a strength of {said.strength} in queue {queue.name}; say {asked}")
    if said.choice == "flag" and said.reason not in get_args(FlagReason):
        raise StoreError(f"a flag for {said.reason!r}; the reason is one of {', '.join(get_args(FlagReason))}")
    if said.response_ms is not None and said.response_ms < 0:
        raise StoreError(f"a response time of {said.response_ms} ms; measure from showing the task to the answer")


def _check_belongs(said: Said) -> None:
    """Each detail goes with its choices and no other: what does not belong would be a mistake of whoever asks."""
    belongs: dict[str, tuple[object, tuple[Choice, ...]]] = {
        "a ranking": (said.ranking, ("ranked",)),
        "ratings": (said.ratings, ("rated",)),
        "a written answer": (said.written, ("written",)),
        "a strength": (said.strength, ("left", "right")),
        "a reason": (said.reason, ("skip", "flag")),
    }
    for detail, (value, choices) in belongs.items():
        if value is not None and said.choice not in choices:
            raise StoreError(f"{detail} with the choice {said.choice}; it goes with {' and '.join(choices)}, no other")


def _check_ranking(ranking: Ranking | None, shown: Sequence[int]) -> None:
    named = sorted(candidate_id for group in ranking or [] for candidate_id in group)
    if ranking is None or not all(ranking) or named != sorted(shown):
        raise StoreError(f"the ranking {ranking} does not name each of the candidates {sorted(shown)} once")


def _check_ratings(ratings: dict[str, int] | None, queue: Queue) -> None:
    aspects = queue.aspects or []
    if ratings is None or sorted(ratings) != sorted(aspects):
        raise StoreError(f"the ratings {ratings} do not name each of the aspects {', '.join(aspects)} once")
    for aspect, rating in ratings.items():
        if rating not in _STARS or isinstance(rating, bool):
            raise StoreError(f"{aspect} was rated {rating}; rate it from 1 to 5")
