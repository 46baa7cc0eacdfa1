"""What judgments are worth to statistics of quality: without the texts, and by candidate rather than by side.

Everywhere: the newest of each chain of corrections, of nobody withdrawn, by annotators of one kind.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import ColumnElement, Integer, Select, and_, cast, exists, func, select
from sqlalchemy.orm import Session, aliased

from .places import COUNTED
from .tables import Annotator, Assignment, Candidate, Comparison, ComparisonCandidate, Judgment, Prompt, Queue
from .words import AnnotatorKind, Choice, Purpose, QueueKind

SILENT: tuple[Choice, ...] = ("skip", "flag")  # choices that say nothing about the candidates


class CountedVote(NamedTuple):
    """A judgment that others may have agreed with. A tuple: a page counts hundreds of thousands of them."""

    comparison_id: int
    queue_id: int
    queue: str
    kind: QueueKind
    annotator_id: int
    choice: Choice
    preferred: int | None  # its position in the comparison, which is not the side it was shown on
    ranking: list[list[int]] | None
    ratings: dict[str, int] | None


class DecidedPair(NamedTuple):
    """A pair between whose candidates an annotator decided. `first` and `second` are by position, not as displayed."""

    judgment_id: int
    comparison_id: int
    prompt_id: int
    prompt_sha256: str
    first_id: int
    second_id: int
    preferred_id: int


@dataclass(frozen=True, slots=True)
class Sides:
    """How often an annotator preferred a left candidate, and a longer one."""

    annotator_id: int
    decided: int  # said left or right
    left: int
    lengths_differ: int  # of the decided, those between texts of different length
    longer: int


@dataclass(frozen=True, slots=True)
class Checked:
    """How often an annotator was right, or said the same again, of so many times."""

    annotator_id: int
    hits: int
    asked: int


def counted(session: Session, kind: AnnotatorKind) -> list[CountedVote]:
    """What was said about ordinary comparisons, but for skips, flags and written answers."""
    query = (
        select(
            Comparison.id,
            Queue.id,
            Queue.name,
            Queue.kind,
            Assignment.annotator_id,
            Judgment.choice,
            ComparisonCandidate.position,
            Judgment.ranking,
            Judgment.ratings,
        )
        .select_from(Judgment)
        .join(Assignment, Assignment.id == Judgment.assignment_id)
        .join(Annotator, Annotator.id == Assignment.annotator_id)
        .join(Comparison, Comparison.id == Assignment.comparison_id)
        .join(Queue, Queue.id == Comparison.queue_id)
        .outerjoin(
            ComparisonCandidate,
            and_(
                ComparisonCandidate.comparison_id == Comparison.id,
                ComparisonCandidate.candidate_id == Judgment.preferred_id,
            ),
        )
        .where(*_said_by(kind), Comparison.purpose.in_(COUNTED), Queue.kind.not_in(("edit", "demonstration")))
        .order_by(Judgment.id)
    )
    # By the connection: the rows are no objects of the session, and its work on each would take as long as the search.
    return list(map(CountedVote._make, session.connection().execute(query)))


def decided(session: Session, kind: AnnotatorKind) -> list[DecidedPair]:
    """Ordinary comparisons of pairs that were answered by left or right, ordered by judgment."""
    first, second = aliased(ComparisonCandidate), aliased(ComparisonCandidate)
    query = (
        select(
            Judgment.id,
            Comparison.id,
            Prompt.id,
            Prompt.sha256,
            first.candidate_id,
            second.candidate_id,
            Judgment.preferred_id,
        )
        .select_from(Judgment)
        .join(Assignment, Assignment.id == Judgment.assignment_id)
        .join(Annotator, Annotator.id == Assignment.annotator_id)
        .join(Comparison, Comparison.id == Assignment.comparison_id)
        .join(Prompt, Prompt.id == Comparison.prompt_id)
        .join(first, and_(first.comparison_id == Comparison.id, first.position == 0))
        .join(second, and_(second.comparison_id == Comparison.id, second.position == 1))
        .where(*_said_by(kind), Comparison.purpose.in_(COUNTED), Judgment.choice.in_(("left", "right")))
        .order_by(Judgment.id)
    )
    return list(map(DecidedPair._make, session.connection().execute(query)))


def sides(session: Session, kind: AnnotatorKind) -> list[Sides]:
    """By annotator, of every pair that they decided, hidden ones too."""
    preferred, rejected, other = aliased(Candidate), aliased(Candidate), aliased(ComparisonCandidate)
    lengths = func.length(preferred.text), func.length(rejected.text)
    query = (
        select(
            Assignment.annotator_id,
            func.count(),
            func.sum(cast(Judgment.choice == "left", Integer)),
            func.sum(cast(lengths[0] != lengths[1], Integer)),
            func.sum(cast(lengths[0] > lengths[1], Integer)),
        )
        .select_from(Judgment)
        .join(Assignment, Assignment.id == Judgment.assignment_id)
        .join(Annotator, Annotator.id == Assignment.annotator_id)
        .join(preferred, preferred.id == Judgment.preferred_id)
        .join(
            other,
            and_(other.comparison_id == Assignment.comparison_id, other.candidate_id != Judgment.preferred_id),
        )
        .join(rejected, rejected.id == other.candidate_id)
        .where(*_said_by(kind), Judgment.choice.in_(("left", "right")))
        .group_by(Assignment.annotator_id)
        .order_by(Assignment.annotator_id)
    )
    return [Sides(*row) for row in session.execute(query)]


def gold_hits(session: Session, kind: AnnotatorKind) -> list[Checked]:
    """By annotator: how often they put the right candidate of a gold comparison first, alone. A skip is no answer."""
    query = (
        select(Assignment.annotator_id, Comparison.gold_candidate_id, Judgment.preferred_id, Judgment.ranking)
        .select_from(Judgment)
        .join(Assignment, Assignment.id == Judgment.assignment_id)
        .join(Annotator, Annotator.id == Assignment.annotator_id)
        .join(Comparison, Comparison.id == Assignment.comparison_id)
        .where(*_said_by(kind), Assignment.comparison_id.in_(_of_purpose("gold")))
        .order_by(Assignment.annotator_id)
    )
    return _checked(
        (annotator_id, [right] == (ranking[0] if ranking else [preferred_id]))
        for annotator_id, right, preferred_id, ranking in session.execute(query)
    )


def repeats_agreed(session: Session, kind: AnnotatorKind) -> list[Checked]:
    """By annotator: how often they said of a pair that came back, sides swapped, what they had said before."""
    first, again = aliased(Judgment), aliased(Judgment)
    first_assignment, again_assignment = aliased(Assignment), aliased(Assignment)
    query = (
        select(again_assignment.annotator_id, first, again)
        .select_from(Comparison)
        .join(again_assignment, again_assignment.comparison_id == Comparison.id)
        .join(again, again.assignment_id == again_assignment.id)
        .join(
            first_assignment,
            and_(
                first_assignment.comparison_id == Comparison.repeats_id,
                first_assignment.annotator_id == again_assignment.annotator_id,
            ),
        )
        .join(first, first.assignment_id == first_assignment.id)
        .join(Annotator, Annotator.id == again_assignment.annotator_id)
        .where(
            Annotator.kind == kind,
            Annotator.withdrawn_at.is_(None),
            again_assignment.comparison_id.in_(_of_purpose("repeat")),
            *(said.choice.not_in(SILENT) for said in (first, again)),
            *(_is_newest(said) for said in (first, again)),
        )
        .order_by(again_assignment.annotator_id)
    )
    return _checked(
        (annotator_id, _opinion(before) == _opinion(after)) for annotator_id, before, after in session.execute(query)
    )


def _of_purpose(purpose: Purpose) -> Select[int]:
    """The comparisons of a rare purpose: a search that begins with them does not go through all judgments."""
    return select(Comparison.id).where(Comparison.purpose == purpose)


def _checked(outcomes: Iterable[tuple[int, bool]]) -> list[Checked]:
    hits: dict[int, list[bool]] = defaultdict(list)
    for annotator_id, hit in outcomes:
        hits[annotator_id].append(hit)
    return [Checked(annotator_id, sum(of_theirs), len(of_theirs)) for annotator_id, of_theirs in hits.items()]


def _opinion(judgment: Judgment) -> tuple[object, ...]:
    """What was said about the candidates, wherever on the screen they were."""
    side = judgment.choice in ("left", "right")
    ranking = judgment.ranking and [sorted(group) for group in judgment.ranking]
    return (None if side else judgment.choice), judgment.preferred_id, ranking, judgment.ratings


def _said_by(kind: AnnotatorKind) -> list[ColumnElement[bool]]:
    return [
        Annotator.kind == kind,
        Annotator.withdrawn_at.is_(None),
        Judgment.choice.not_in(SILENT),
        _is_newest(Judgment),
    ]


def _is_newest(judgment: type[Judgment]) -> ColumnElement[bool]:
    newer = aliased(Judgment)
    return ~exists().where(newer.supersedes_id == judgment.id)
