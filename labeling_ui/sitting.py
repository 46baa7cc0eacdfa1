"""A session's screens beside the questions: before it, at its goal, when nothing is left, and after it."""

from collections.abc import Sequence

from db import clock
from db.columns import JsonObject
from db.labeling_sessions import SessionSummary
from db.tables import LabelingSession
from labeling_ui.desk import Offer

GOALS = {"count": 60, "minutes": 20}  # proposed
EVERYTHING = "everything, by priority"


def start(offers: Sequence[Offer]) -> JsonObject:
    """What can be chosen: a queue, or all of them where there are several, and a goal."""
    queues: list[JsonObject] = [
        {
            "id": offer.queue.id,
            "name": offer.queue.name,
            "kind": offer.queue.kind,
            "left": offer.left,
            "guidelines": offer.queue.guidelines,
        }
        for offer in offers
    ]
    if len(queues) > 1:
        left = sum(offer.left for offer in offers)
        queues.insert(0, {"id": None, "name": EVERYTHING, "kind": None, "left": left, "guidelines": ""})
    return {"queues": queues, "goals": GOALS}


def progress(session: LabelingSession, so_far: SessionSummary) -> JsonObject:
    """How far the session is, for the header."""
    return {
        "goal_kind": session.goal_kind,
        "goal": session.goal,
        "judgments": so_far.judgments,
        "seconds": round(_seconds(session)),
        "median_ms": so_far.median_response_ms,
    }


def reached(session: LabelingSession, so_far: SessionSummary) -> bool:
    done = so_far.judgments if session.goal_kind == "count" else _seconds(session) / 60
    return done >= session.goal


def _seconds(session: LabelingSession) -> float:
    return (clock.now() - session.started_at).total_seconds()


def summary(over: SessionSummary) -> JsonObject:
    """What a session came to. None of the shares is given without its number of cases."""
    return {
        "queue": over.queue_name or EVERYTHING,
        "judgments": over.judgments,
        "skipped": over.skipped,
        "flagged": over.flagged,
        "median_ms": over.median_response_ms,
        "seconds": round(over.seconds),
        "repeats": over.repeats,
        "repeats_agreed": over.repeats_agreed,
        "gold": over.gold,
        "gold_hits": over.gold_hits,
    }
