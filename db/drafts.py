"""Drafts: what an annotator has typed and chosen on an assignment, and not sent yet."""

from sqlalchemy import delete
from sqlalchemy.orm import Session

from . import annotators, clock
from .columns import JsonObject
from .comparisons import own_assignment
from .errors import StoreError
from .tables import Draft
from .upsert import upsert


def save(session: Session, assignment_id: int, annotator_id: int, content: JsonObject) -> None:
    """Keep the draft in place of the one before; empty content deletes it. It comes back with the assigned task.

    StoreError for an assignment that is unknown, another annotator's, or judged already; for an annotator who is
    disabled or has withdrawn.
    """
    assignment, _ = own_assignment(session, assignment_id, annotator_id)
    annotators.usable(annotators.get(session, annotator_id))
    if assignment.state == "done":
        raise StoreError(f"assignment {assignment_id} is judged already; correct the judgment")
    if not content:
        session.execute(delete(Draft).where(Draft.assignment_id == assignment_id))
        return
    values = {"content": content, "saved_at": clock.now()}
    statement = upsert(session, Draft).values(assignment_id=assignment_id, **values)
    session.execute(statement.on_conflict_do_update(index_elements=["assignment_id"], set_=values))
