"""Answers side by side: what two versions said to the same prompts, drawn alike.

Drawn alike: the same sampling settings, seed and place among the samples, as comparisons draw them.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Literal, TypeVarTuple, get_args

from sqlalchemy import ColumnElement, Select, and_, exists, func, select
from sqlalchemy.orm import Session, aliased

from .columns import Message
from .errors import StoreError
from .tables import Annotator, Assignment, Candidate, Comparison, ComparisonCandidate, Judgment, Prompt, Score
from .words import FinishReason

Row = TypeVarTuple("Row")
Order = Literal["prompt", "longest", "lost most"]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which pairs of answers, and in which order; `judge` is one of `judges`, and the last two ask for one."""

    judge: str | None = None
    category: str | None = None
    only_flagged: bool = False  # an answer, or a question about it, that somebody flagged
    prompt_ids: Collection[int] | None = None
    only_lost: bool = False  # b has the lower score by the judge
    order: Order = "prompt"  # longest: b's answers, in tokens; lost most: by the judge's score, a's less b's


@dataclass(frozen=True, slots=True)
class Answer:
    candidate_id: int
    text: str
    token_count: int
    finish_reason: FinishReason
    score: float | None  # by the judge that was named


@dataclass(frozen=True, slots=True)
class Pair:
    """One prompt, and what each of the two versions answered."""

    prompt_id: int
    messages: list[Message]
    category: str
    a: Answer
    b: Answer
    flagged: bool


@dataclass(frozen=True, slots=True)
class Pairs:
    """A page of the `total` that fit."""

    rows: list[Pair]
    total: int


_DRAWN = ("prompt_id", "sampling_sha256", "seed", "sample_index")  # what is equal for answers that are drawn alike
_A, _B = aliased(Candidate, name="a"), aliased(Candidate, name="b")
_SCORE_A, _SCORE_B = aliased(Score, name="score_a"), aliased(Score, name="score_b")


def page(session: Session, a_id: int, b_id: int, wanted: Wanted, offset: int = 0, limit: int = 5) -> Pairs:
    """The pairs from `offset` on. StoreError when a judge is needed and none is named."""
    if wanted.judge is None and (wanted.only_lost or wanted.order == "lost most"):
        raise StoreError("where an answer lost is known by a judge; name one")
    if wanted.order not in get_args(Order):
        raise StoreError(f"there is no order {wanted.order!r}; choose one of {', '.join(get_args(Order))}")
    columns = select(_A, _B, Prompt, _SCORE_A.value, _SCORE_B.value, _flagged())
    query = _narrowed(columns, a_id, b_id, wanted).order_by(*_order(wanted.order)).offset(offset).limit(limit)
    rows = [
        Pair(prompt.id, prompt.messages, prompt.category, _answer(a, score_a), _answer(b, score_b), flagged)
        for a, b, prompt, score_a, score_b, flagged in session.execute(query)
    ]
    return Pairs(rows, session.scalars(_narrowed(select(func.count()), a_id, b_id, wanted)).one())


def judges(session: Session, a_id: int, b_id: int) -> list[str]:
    """The judges that scored answers of both versions, by name; log-probabilities are no judge's."""
    of = select(Score.judge).join(Candidate, Candidate.id == Score.candidate_id).distinct()
    found = (
        set(session.scalars(of.where(Candidate.version_id == version_id, ~Score.judge.startswith("logprob:"))))
        for version_id in (a_id, b_id)
    )
    return sorted(set.intersection(*found))


def _narrowed(query: Select[*Row], a_id: int, b_id: int, wanted: Wanted) -> Select[*Row]:
    alike = [getattr(_A, name) == getattr(_B, name) for name in _DRAWN]
    conditions: list[ColumnElement[bool]] = [_A.version_id == a_id, _B.version_id == b_id]
    if wanted.category is not None:
        conditions.append(Prompt.category == wanted.category)
    if wanted.prompt_ids is not None:
        conditions.append(Prompt.id.in_(wanted.prompt_ids))
    if wanted.only_flagged:
        conditions.append(_flagged())
    if wanted.only_lost:
        conditions.append(_SCORE_B.value < _SCORE_A.value)
    return (
        query.select_from(_A)
        .join(_B, and_(*alike))
        .join(Prompt, Prompt.id == _A.prompt_id)
        .outerjoin(_SCORE_A, and_(_SCORE_A.candidate_id == _A.id, _SCORE_A.judge == wanted.judge))
        .outerjoin(_SCORE_B, and_(_SCORE_B.candidate_id == _B.id, _SCORE_B.judge == wanted.judge))
        .where(*conditions)
    )


def _order(order: Order) -> list[ColumnElement[Any]]:
    stable = [_A.prompt_id.asc(), _A.seed.asc(), _A.sample_index.asc()]
    first: dict[Order, list[ColumnElement[Any]]] = {
        "prompt": [],
        "longest": [_B.token_count.desc()],
        "lost most": [(_SCORE_A.value - _SCORE_B.value).desc().nulls_last()],
    }
    return [*first[order], *stable]


def _answer(candidate: Candidate, score: float | None) -> Answer:
    return Answer(candidate.id, candidate.text, candidate.token_count, candidate.finish_reason, score)


def _flagged() -> ColumnElement[bool]:
    """Somebody who has not withdrawn flagged a question about one of the answers, and has not corrected that."""
    newer = aliased(Judgment)
    return (
        exists()
        .where(
            ComparisonCandidate.candidate_id.in_([_A.id, _B.id]),
            Comparison.id == ComparisonCandidate.comparison_id,
            Assignment.comparison_id == Comparison.id,
            Annotator.id == Assignment.annotator_id,
            Annotator.withdrawn_at.is_(None),
            Judgment.assignment_id == Assignment.id,
            Judgment.choice == "flag",
            ~exists().where(newer.supersedes_id == Judgment.id),
        )
        .correlate(_A, _B)
    )
