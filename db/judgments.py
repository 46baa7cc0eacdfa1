"""Judgments: what annotators said. Nothing is overwritten: the first submit stands, a correction is a new row."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, exists, func, select
from sqlalchemy.orm import Session, aliased

from . import annotators, audit, clock, places
from .columns import Message
from .comparisons import own_assignment
from .errors import StoreError
from .tables import Annotator, Assignment, Candidate, Comparison, ComparisonCandidate, Judgment, Prompt, Round
from .upsert import lots
from .words import AnnotatorKind, Choice, FinishReason, Purpose, Split

Ranking = list[list[int]]  # groups of candidate ids, best first; the members of a group are tied


@dataclass(frozen=True, slots=True)
class Receipt:
    """The answer to a submit: the judgment that stands."""

    judgment_id: int
    stored: bool  # False when it was there already
    count: int  # assignments that this annotator has judged, in all


@dataclass(frozen=True, slots=True)
class JudgmentRow:
    """A judgment with all that training or statistics ask about it."""

    judgment_id: int
    comparison_id: int
    prompt_id: int
    prompt_sha256: str
    split: Split
    messages: list[Message]
    annotator_id: int
    annotator_kind: AnnotatorKind
    choice: Choice
    preferred_id: int | None
    ranking: Ranking | None
    candidate_ids: list[int]  # by position in the comparison, not as displayed
    texts: dict[int, str]  # by candidate id
    finish_reasons: dict[int, FinishReason]  # by candidate id
    round_number: int | None


def submit(
    session: Session,
    assignment_id: int,
    annotator_id: int,
    choice: Choice,
    ranking: Ranking | None = None,
    rationale: str = "",
    response_ms: int | None = None,
) -> Receipt:
    """Store what the annotator said about their assignment.

    `left` and `right` are the sides as they were shown; `ranking` goes with the choice `ranked`. A repeated submit
    succeeds and stores nothing: the first one stands, whatever the second says (see `correct`). After the lease ran
    out the judgment is still taken if its place is owed.

    StoreError for an assignment that is unknown, another annotator's, or lost to someone else; for a choice that
    does not fit the comparison; for an annotator who is disabled or has withdrawn.
    """
    assignment, comparison = own_assignment(session, assignment_id, annotator_id)
    first = session.scalar(
        select(Judgment.id).where(Judgment.assignment_id == assignment_id, Judgment.supersedes_id.is_(None))
    )
    if first is not None:
        return Receipt(first, stored=False, count=_count(session, annotator_id))
    annotator = annotators.usable(annotators.get(session, annotator_id))
    now = clock.now()
    lapsed = assignment.state != "open" or assignment.expires_at <= now
    # The places are counted for a lease that seems to last as well: the clock of whoever gave it away may be ahead.
    if (lapsed and comparison.closed_at) or not places.is_owed(session, comparison, annotator, now):
        raise StoreError(
            f"the lease on assignment {assignment_id} ran out at {assignment.expires_at:%H:%M:%S} UTC and its place is "
            "taken; the judgment was not stored: ask for the next comparison"
        )
    judgment = _judgment(assignment, choice, ranking, rationale, response_ms, supersedes_id=None)
    session.add(judgment)
    assignment.state = "done"
    session.flush()
    return Receipt(judgment.id, stored=True, count=_count(session, annotator_id))


def correct(
    session: Session,
    judgment_id: int,
    annotator_id: int,
    choice: Choice,
    ranking: Ranking | None = None,
    rationale: str = "",
    response_ms: int | None = None,
) -> Receipt:
    """Supersede the annotator's own judgment, the newest of its chain, by another.

    Repeating the correction that superseded it succeeds and stores nothing. StoreError for a judgment that is
    unknown, another annotator's, or corrected otherwise already; otherwise as `submit`.
    """
    old = session.get(Judgment, judgment_id)
    if old is None:
        raise StoreError(f"there is no judgment {judgment_id}; see your own list of judgments")
    assignment, _ = own_assignment(session, old.assignment_id, annotator_id)
    annotator = annotators.usable(annotators.get(session, annotator_id))
    new = _judgment(assignment, choice, ranking, rationale, response_ms, supersedes_id=old.id)
    successor = session.scalars(select(Judgment).where(Judgment.supersedes_id == old.id)).one_or_none()
    if successor is not None:
        if _said(successor) != _said(new):
            raise StoreError(f"judgment {judgment_id} was corrected by {successor.id} already; correct that one")
        return Receipt(successor.id, stored=False, count=_count(session, annotator_id))
    session.add(new)
    session.flush()
    audit.record(session, annotator.name, "correct", "judgment", new.id, {"supersedes": old.id})
    return Receipt(new.id, stored=True, count=_count(session, annotator_id))


def current(
    session: Session,
    kind: AnnotatorKind | None = None,
    purposes: Sequence[Purpose] = ("train",),
    round_ids: Sequence[int] | None = None,
) -> list[JudgmentRow]:
    """The judgments that count today, ordered by judgment id: the newest of each chain, of nobody withdrawn.

    `kind` None takes people and simulated annotators together; `round_ids` None takes every round and none.
    """
    conditions = [_is_newest(), Annotator.withdrawn_at.is_(None), Comparison.purpose.in_(purposes)]
    if kind is not None:
        conditions.append(Annotator.kind == kind)
    if round_ids is not None:
        conditions.append(Comparison.round_id.in_(round_ids))
    return _rows(session, conditions)


def by_ids(session: Session, ids: Sequence[int]) -> list[JudgmentRow]:
    """These judgments, ordered by judgment id, whether they still count or not; StoreError names a missing one."""
    wanted = sorted(set(ids))
    rows = [row for lot in lots(wanted) for row in _rows(session, [Judgment.id.in_(lot)])]
    missing = set(wanted) - {row.judgment_id for row in rows}
    if missing:
        raise StoreError(f"there is no judgment {min(missing)}; is this the store that it was given to?")
    return rows


def counts(session: Session) -> dict[AnnotatorKind, dict[Choice, int]]:
    """How many judgments count today, by the annotator's kind and by choice; both kinds are always named."""
    query = (
        select(Annotator.kind, Judgment.choice, func.count())
        .select_from(Judgment)
        .join(Assignment, Assignment.id == Judgment.assignment_id)
        .join(Annotator, Annotator.id == Assignment.annotator_id)
        .where(_is_newest(), Annotator.withdrawn_at.is_(None))
        .group_by(Annotator.kind, Judgment.choice)
    )
    counted: dict[AnnotatorKind, dict[Choice, int]] = {"human": {}, "simulated": {}}
    for kind, choice, count in session.execute(query):
        counted[kind][choice] = count
    return counted


def _judgment(
    assignment: Assignment,
    choice: Choice,
    ranking: Ranking | None,
    rationale: str,
    response_ms: int | None,
    supersedes_id: int | None,
) -> Judgment:
    """A judgment about the assignment's candidates; StoreError when what was said does not fit them."""
    shown = assignment.display_order
    if choice in ("left", "right") and len(shown) != 2:
        raise StoreError(f"{choice} is no answer about {len(shown)} candidates; rank them")
    if (choice == "ranked") != (ranking is not None):
        raise StoreError(
            f"choice {choice} with ranking {ranking}; a ranking goes with the choice 'ranked' and no other"
        )
    if ranking is not None and (
        not all(ranking) or sorted(candidate_id for group in ranking for candidate_id in group) != sorted(shown)
    ):
        raise StoreError(f"the ranking {ranking} does not name each of the candidates {sorted(shown)} once")
    if response_ms is not None and response_ms < 0:
        raise StoreError(f"a response time of {response_ms} ms; measure from showing the task to the answer")
    sides = dict(zip(("left", "right"), shown, strict=False))
    return Judgment(
        assignment_id=assignment.id,
        choice=choice,
        preferred_id=sides.get(choice),
        ranking=ranking,
        rationale=rationale,
        response_ms=response_ms,
        supersedes_id=supersedes_id,
    )


def _said(judgment: Judgment) -> tuple[Choice, int | None, Ranking | None, str]:
    return judgment.choice, judgment.preferred_id, judgment.ranking, judgment.rationale


def _count(session: Session, annotator_id: int) -> int:
    done = select(func.count()).where(Assignment.annotator_id == annotator_id, Assignment.state == "done")
    return session.scalars(done).one()


def _is_newest() -> ColumnElement[bool]:
    newer = aliased(Judgment)
    return ~exists().where(newer.supersedes_id == Judgment.id)


def _rows(session: Session, conditions: Sequence[ColumnElement[bool]]) -> list[JudgmentRow]:
    query = (
        select(Judgment, Annotator, Comparison, Prompt, Round.number)
        .join(Assignment, Assignment.id == Judgment.assignment_id)
        .join(Annotator, Annotator.id == Assignment.annotator_id)
        .join(Comparison, Comparison.id == Assignment.comparison_id)
        .join(Prompt, Prompt.id == Comparison.prompt_id)
        .outerjoin(Round, Round.id == Comparison.round_id)
        .where(*conditions)
        .order_by(Judgment.id)
    )
    found = session.execute(query).all()
    candidates = _candidates_of(session, sorted({comparison.id for _, _, comparison, _, _ in found}))
    return [
        JudgmentRow(
            judgment_id=judgment.id,
            comparison_id=comparison.id,
            prompt_id=prompt.id,
            prompt_sha256=prompt.sha256,
            split=prompt.split,
            messages=prompt.messages,
            annotator_id=annotator.id,
            annotator_kind=annotator.kind,
            choice=judgment.choice,
            preferred_id=judgment.preferred_id,
            ranking=judgment.ranking,
            candidate_ids=[candidate_id for candidate_id, _, _ in candidates[comparison.id]],
            texts={candidate_id: text for candidate_id, text, _ in candidates[comparison.id]},
            finish_reasons={candidate_id: reason for candidate_id, _, reason in candidates[comparison.id]},
            round_number=round_number,
        )
        for judgment, annotator, comparison, prompt, round_number in found
    ]


def _candidates_of(session: Session, comparison_ids: Sequence[int]) -> dict[int, list[tuple[int, str, FinishReason]]]:
    """(id, text, finish reason) of every candidate by position, by comparison id."""
    query = (
        select(ComparisonCandidate.comparison_id, Candidate.id, Candidate.text, Candidate.finish_reason)
        .join(Candidate, Candidate.id == ComparisonCandidate.candidate_id)
        .order_by(ComparisonCandidate.comparison_id, ComparisonCandidate.position)
    )
    found: dict[int, list[tuple[int, str, FinishReason]]] = defaultdict(list)
    for lot in lots(comparison_ids):
        in_lot = session.execute(query.where(ComparisonCandidate.comparison_id.in_(lot)))
        for comparison_id, candidate_id, text, reason in in_lot:
            found[comparison_id].append((candidate_id, text, reason))
    return found
