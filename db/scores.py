"""Scores: what a judge gives a candidate. A judge is named by its content ("reward:r3"), so a score never changes."""

import math
from collections.abc import Mapping, Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from .errors import StoreError
from .tables import Score
from .upsert import lots, upsert


def known(session: Session, judge: str, candidate_ids: Sequence[int]) -> dict[int, float]:
    """The scores that this judge has given, by candidate id."""
    query = select(Score.candidate_id, Score.value).where(Score.judge == judge)
    return {
        candidate_id: value
        for lot in lots(candidate_ids)
        for candidate_id, value in session.execute(query.where(Score.candidate_id.in_(lot)))
    }


def store(session: Session, judge: str, values: Mapping[int, float]) -> None:
    """Store scores by candidate id; one that is there already stands. StoreError for a score that is not finite."""
    for candidate_id, value in values.items():
        if not math.isfinite(value):
            raise StoreError(f"{judge} scores candidate {candidate_id} {value}; check the judge")
    if values:
        statement = upsert(session, Score).on_conflict_do_nothing(index_elements=["candidate_id", "judge"])
        rows = [
            {"candidate_id": candidate_id, "judge": judge, "value": value} for candidate_id, value in values.items()
        ]
        session.execute(statement, rows)
