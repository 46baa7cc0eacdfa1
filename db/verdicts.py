"""Verdicts: what a judge who compares two candidates says, in the order in which it was shown them.

A judge is named by its content (model, endpoint and question), so a verdict never changes.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from . import clock
from .tables import Verdict
from .upsert import lots, upsert
from .words import Preferred

_REPLY = 2000  # characters that are kept, from the end: the verdict is the last line


@dataclass(frozen=True, slots=True)
class Said:
    """A verdict to store."""

    first_id: int  # candidates, as they were shown
    second_id: int
    preferred: Preferred
    reply: str


def known(session: Session, judge: str, candidate_ids: Sequence[int]) -> dict[tuple[int, int], Preferred]:
    """The judge's verdicts on these candidates among each other, by (first, second) candidate id."""
    wanted = set(candidate_ids)
    query = select(Verdict.first_id, Verdict.second_id, Verdict.preferred).where(Verdict.judge == judge)
    return {
        (first_id, second_id): preferred
        for lot in lots(sorted(wanted))
        for first_id, second_id, preferred in session.execute(query.where(Verdict.first_id.in_(lot)))
        if second_id in wanted
    }


def store(session: Session, judge: str, said: Iterable[Said]) -> None:
    """Store verdicts; one that is there already stands."""
    rows = [
        {
            "judge": judge,
            "first_id": one.first_id,
            "second_id": one.second_id,
            "preferred": one.preferred,
            "reply": one.reply[-_REPLY:],
            "created_at": clock.now(),
        }
        for one in said
    ]
    if rows:
        statement = upsert(session, Verdict).on_conflict_do_nothing(index_elements=["judge", "first_id", "second_id"])
        session.execute(statement, rows)
