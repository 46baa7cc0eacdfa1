"""Evaluations in SQL: comparisons of purpose `evaluate` on held-out prompts, with the two versions they are between."""

from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Select, and_, case, or_, select
from sqlalchemy.orm import aliased

from . import candidates
from .columns import JsonObject
from .tables import Candidate, Comparison, ComparisonCandidate, Judgment, Prompt, Queue

# The two candidates of a pair, by their position in it, which is not the side that they were shown on.
FIRST, SECOND = aliased(Candidate, name="first"), aliased(Candidate, name="second")
Query = TypeVar("Query", bound=Select[*tuple[Any, ...]])


def of_pairs(query: Query) -> Query:
    """The query over evaluations: comparisons with their prompt and their two candidates."""
    left, right = aliased(ComparisonCandidate), aliased(ComparisonCandidate)
    return (
        query.select_from(Comparison)
        .join(Queue, Queue.id == Comparison.queue_id)
        .join(Prompt, Prompt.id == Comparison.prompt_id)
        .join(left, and_(left.comparison_id == Comparison.id, left.position == 0))
        .join(right, and_(right.comparison_id == Comparison.id, right.position == 1))
        .join(FIRST, FIRST.id == left.candidate_id)
        .join(SECOND, SECOND.id == right.candidate_id)
        .where(Comparison.purpose == "evaluate", Queue.kind == "pair", Prompt.split == "heldout")
    )


def ids_between(a_id: int, b_id: int, sampling: JsonObject | None = None, seed: int | None = None) -> Select[int]:
    """The comparisons between two versions."""
    return of_pairs(select(Comparison.id)).where(is_between(a_id, b_id, sampling, seed))


def is_between(
    a_id: int, b_id: int, sampling: JsonObject | None = None, seed: int | None = None
) -> ColumnElement[bool]:
    """About answers of these two versions, and where that is given about answers drawn with these settings."""
    conditions: list[ColumnElement[bool]] = [
        or_(
            and_(FIRST.version_id == a_id, SECOND.version_id == b_id),
            and_(FIRST.version_id == b_id, SECOND.version_id == a_id),
        )
    ]
    for answer in (FIRST, SECOND):
        if sampling is not None:
            conditions.append(answer.sampling_sha256 == candidates.sampling_key(sampling))
        if seed is not None:
            conditions.append(answer.seed == seed)
    return and_(*conditions)


def are_equal() -> ColumnElement[bool]:
    return FIRST.text == SECOND.text


def first_won() -> ColumnElement[float]:
    """1 where the first candidate was preferred, 0 where the second was, 0.5 otherwise."""
    return case((Judgment.preferred_id == FIRST.id, 1.0), (Judgment.preferred_id == SECOND.id, 0.0), else_=0.5)
