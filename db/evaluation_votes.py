"""The votes of evaluations, in the order in which they count.

A vote is the newest of each chain of corrections, of nobody withdrawn, by annotators of one kind. A tie is a half; so
is "both bad", which is told apart. A skip and a flag are no votes. Two equal texts are a tie that nobody is asked
about: as many ties as judgments would be owed. It counts when the asking has come past it, before the first vote on a
pair that is asked later: all of these ties at once, before any vote, would make the rate look certain to be one half.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Select, func, literal, null, select
from sqlalchemy.orm import Session

from . import judgment_rows
from .columns import JsonObject
from .evaluation_pairs import FIRST, SECOND, are_equal, first_won, is_between, of_pairs
from .tables import Annotator, Assignment, Comparison, Judgment, Prompt, Version
from .votes import SILENT
from .words import AnnotatorKind


@dataclass(frozen=True, slots=True)
class EvaluationVote:
    """What one annotator said about one pair; the outcome is that of the version asked about first."""

    comparison_id: int
    prompt_id: int
    category: str
    annotator_id: int | None  # None: the texts are equal, and nobody was asked
    outcome: float  # 1 won, 0.5 tied, 0 lost
    both_bad: bool
    judges: int  # judgments wanted of this pair, from annotators of one kind
    at: datetime


@dataclass(frozen=True, slots=True)
class Matrix:
    """Votes among the versions that were ever voted on: `wins[i][j]` is what i won against j, a tie a half to each."""

    version_ids: list[int]  # ascending
    names: list[str]
    wins: list[list[float]]


Pair = frozenset[int]  # the ids of two versions
_ABOUT = FIRST.version_id, SECOND.version_id
_OF_PAIR = Comparison.rank, Comparison.id, Comparison.prompt_id, Prompt.category, Comparison.overlap


class _Counted(NamedTuple):
    """A vote, or a tie of equal texts (of nobody); the outcome is the first candidate's."""

    first: int  # ids of versions
    second: int
    rank: int
    comparison_id: int
    prompt_id: int
    category: str
    judges: int
    annotator_id: int | None
    outcome: float
    both_bad: bool
    at: datetime


def votes(
    session: Session,
    a_id: int,
    b_id: int,
    kind: AnnotatorKind = "human",
    sampling: JsonObject | None = None,
    seed: int | None = None,
) -> list[EvaluationVote]:
    """The votes between two versions, in the order in which they count.

    `sampling` and `seed` take those alone that are about answers drawn so.
    """
    between = _between(session, kind, is_between(a_id, b_id, sampling, seed))
    return [
        EvaluationVote(
            comparison_id=row.comparison_id,
            prompt_id=row.prompt_id,
            category=row.category,
            annotator_id=row.annotator_id,
            outcome=row.outcome if row.first == a_id else 1 - row.outcome,
            both_bad=row.both_bad,
            judges=row.judges,
            at=row.at,
        )
        for row in between[frozenset((a_id, b_id))]
    ]


def matrix(session: Session, kind: AnnotatorKind = "human") -> Matrix:
    """All votes among all versions, for a Bradley-Terry model."""
    between = _between(session, kind, FIRST.version_id != SECOND.version_id)
    ids = sorted({version_id for pair, rows in between.items() if rows for version_id in pair})
    names = {i: name for i, name in session.execute(select(Version.id, Version.name).where(Version.id.in_(ids)))}
    place = {version_id: index for index, version_id in enumerate(ids)}
    wins = [[0.0] * len(ids) for _ in ids]
    for rows in between.values():
        for row in rows:
            wins[place[row.first]][place[row.second]] += row.outcome
            wins[place[row.second]][place[row.first]] += 1 - row.outcome
    return Matrix(ids, [names[version_id] for version_id in ids], wins)


def _between(session: Session, kind: AnnotatorKind, which: ColumnElement[bool]) -> defaultdict[Pair, list[_Counted]]:
    """What counts among those evaluations, by the two versions that they are between."""
    said: dict[Pair, list[_Counted]] = defaultdict(list)
    for row in map(_Counted._make, session.execute(_said(kind).where(which))):
        said[frozenset((row.first, row.second))].append(row)
    ties: dict[Pair, list[_Counted]] = defaultdict(list)
    for row in map(_Counted._make, session.execute(_unasked().where(which))):
        ties[frozenset((row.first, row.second))].append(row)
    last: dict[Pair, int] = defaultdict(lambda: -1)
    for first, second, rank in session.execute(_last_asked().where(which)):
        versions = frozenset((first, second))
        last[versions] = max(rank, last[versions])
    merged: defaultdict[Pair, list[_Counted]] = defaultdict(list)
    for versions in said.keys() | ties.keys():
        merged[versions] = _in_order(said[versions], ties[versions], last[versions])
    return merged


def _said(kind: AnnotatorKind) -> Select[*tuple[Any, ...]]:
    """The columns of `_Counted`: the votes by time."""
    return (
        of_pairs(
            select(
                *_ABOUT,
                *_OF_PAIR,
                Assignment.annotator_id,
                first_won(),
                Judgment.choice == "both_bad",
                Judgment.created_at,
            )
        )
        .join(Assignment, Assignment.comparison_id == Comparison.id)
        .join(Annotator, Annotator.id == Assignment.annotator_id)
        .join(Judgment, Judgment.assignment_id == Assignment.id)
        .where(
            ~are_equal(),
            Annotator.kind == kind,
            Annotator.withdrawn_at.is_(None),
            Judgment.choice.not_in(SILENT),
            judgment_rows.is_newest(),
        )
        .order_by(Judgment.created_at, Judgment.id)
    )


def _unasked() -> Select[*tuple[Any, ...]]:
    """The columns of `_Counted`: one tie for each pair of equal texts."""
    tie = null(), literal(0.5), literal(False), Comparison.created_at
    return of_pairs(select(*_ABOUT, *_OF_PAIR, *tie)).where(are_equal())


def _last_asked() -> Select[*tuple[Any, ...]]:
    """(first version, second version, highest rank of a pair that annotators are asked about)."""
    return of_pairs(select(*_ABOUT, func.max(Comparison.rank))).where(~are_equal()).group_by(*_ABOUT)


def _in_order(said: Sequence[_Counted], ties: Iterable[_Counted], last_asked: int) -> list[_Counted]:
    """Each tie before the first vote on a pair that is asked later; those after the last pair count from the start."""
    ahead = sorted(ties, key=lambda tie: tie.rank, reverse=True)
    ordered = [tie for tie in ahead if tie.rank > last_asked for _ in range(tie.judges)]
    ahead = [tie for tie in ahead if tie.rank <= last_asked]
    for row in said:
        while ahead and ahead[-1].rank <= row.rank:
            tie = ahead.pop()
            ordered += [tie._replace(at=row.at)] * tie.judges
        ordered.append(row)
    return ordered
