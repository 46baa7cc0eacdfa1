"""What the store promises about leases and judgments, each checked the slow and simple way."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy.orm import Session

from db.judgments import Said
from db.tables import Annotator, Assignment, Comparison, Judgment, Queue

Taken = Counter[tuple[int, str]]  # places, by comparison and kind of annotator


def assert_places(session: Session, queue_ids: Sequence[int], before: Taken) -> Taken:
    """No more places are taken than there are, and the free ones are those that a count finds; the places taken.

    After an overlap was lowered more may be taken, but never more than were `before`.
    """
    given = session.query(Assignment, Annotator).join(Annotator).join(Comparison)
    taken: Taken = Counter(
        (assignment.comparison_id, annotator.kind)
        for assignment, annotator in given.where(Comparison.queue_id.in_(queue_ids))
        if annotator.withdrawn_at is None and assignment.state in ("open", "done")
    )
    for comparison in session.query(Comparison).where(Comparison.queue_id.in_(queue_ids)):
        for kind, free in (("human", comparison.free_human), ("simulated", comparison.free_simulated)):
            if comparison.purpose in ("gold", "repeat"):
                assert free == 0
            else:
                count = taken[comparison.id, kind]
                assert free == max(0, comparison.overlap - count), "the free places are not what is free"
                assert count <= max(comparison.overlap, before[comparison.id, kind]), "over-assigned"
    return taken


def assert_chains(session: Session, queue_ids: Sequence[int], chains: Mapping[int, Sequence[tuple[int, Said]]]) -> None:
    """What was acknowledged, (judgment id, said) in order by assignment, is stored, and nothing else is."""
    given = session.query(Assignment).join(Comparison).where(Comparison.queue_id.in_(queue_ids)).all()
    assert len({(each.comparison_id, each.annotator_id) for each in given}) == len(given), "asked twice"
    stored: dict[int, list[Judgment]] = {each.id: [] for each in given if each.state == "done"}
    ids = [each.id for each in given]
    for judgment in session.query(Judgment).where(Judgment.assignment_id.in_(ids)).order_by(Judgment.id):
        stored[judgment.assignment_id].append(judgment)
    assert stored.keys() == chains.keys(), "acknowledged and lost, or stored and not acknowledged"
    for assignment_id, rows in stored.items():
        told = chains[assignment_id]
        assert [(row.id, row.choice, row.rationale) for row in rows] == [
            (judgment_id, said.choice, said.rationale) for judgment_id, said in told
        ]
        assert [row.supersedes_id for row in rows] == [None, *(row.id for row in rows[:-1])], "a chain has branches"


def is_owed(session: Session, annotator_id: int, queue_ids: Sequence[int], now: datetime) -> bool:
    """Whether one of the queues, not paused, has a place for the annotator on a question that they have not judged."""
    annotator = session.get_one(Annotator, annotator_id)
    asked = session.query(Comparison).join(Queue).where(Comparison.queue_id.in_(queue_ids), Queue.paused_at.is_(None))
    for comparison in asked.where(Comparison.closed_at.is_(None), Comparison.purpose == "train"):
        given = session.query(Assignment, Annotator).join(Annotator).filter(Assignment.comparison_id == comparison.id)
        holders = [
            other.id
            for assignment, other in given
            if other.kind == annotator.kind
            and other.withdrawn_at is None
            and (assignment.state == "done" or (assignment.state == "open" and assignment.expires_at > now))
        ]
        if annotator_id not in holders and len(holders) < comparison.overlap:
            return True
    return False
