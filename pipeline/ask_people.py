"""Which of two versions is better, asked of people: an evaluation is filled, read at any moment, and ended early.

Labeling knows nothing of this: no vote waits for a test. Whoever asks how it stands (`settle`) also ends what the votes
have decided, so it is enough that somebody asks now and then: the command, and whatever runs regularly.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy.orm import Session

from db import activity, clock, evaluations, notifications, prompts, queues, versions
from db.engine import reading, writing
from db.evaluations import Asked
from db.tables import Queue, Version
from db.words import AnnotatorKind

from . import people, plan
from .context import Context
from .draw import draw
from .errors import PrefloopError
from .plan import Pace

PRIORITY = 1  # of a new queue of evaluations: before training labels, whose queue has 0
ACTIVE = timedelta(days=7)  # who answered anything within it is active


@dataclass(frozen=True)
class Wanted:
    """What people are to be asked about two versions."""

    judges: int | None = None  # judgments for each pair; None: as before, at first the queue's overlap
    prompts: int | None = None  # of the held-out ones; None: all
    queue: str = evaluations.DEFAULT
    priority: int | None = None  # of the queue; None leaves it as it is


@dataclass(frozen=True)
class Standing:
    """How the evaluation of two versions stands."""

    a: str
    b: str
    annotators: AnnotatorKind
    confidence: float
    evidence: dict[str, Any] | None  # people.evidence: None before the first vote
    owed: int  # judgments that are asked for and not given
    saved: int  # judgments that were asked for until now, and are not needed any more
    pace: Pace | None
    minutes: float | None  # for the votes that it probably still takes; None when that cannot be said

    @property
    def decided(self) -> bool:
        return self.evidence is not None and self.evidence["verdict"] != "undecided"


def ask_people(
    ctx: Context, a: Version, b: Version, wanted: Wanted, kind: AnnotatorKind = "human"
) -> tuple[Asked | None, Standing]:
    """Ask what is missing, unless the votes have decided already (then None), and how it stands.

    Missing completions of held-out prompts are drawn first. What was closed early is asked again if the votes do not
    suffice any more, because one of them was corrected or withdrawn, or more confidence is wanted.
    """
    for version in (a, b):
        if version.kind != "policy":
            raise PrefloopError(f"{version.name} is a {version.kind} model; people compare the answers of policies")
    if a.id == b.id:
        raise PrefloopError(f"{a.name} against itself is no comparison; name two versions")
    standing = settle(ctx, a, b, kind)
    if standing.decided:
        return None, standing
    asked = _ask(ctx, a, b, wanted)
    return asked, settle(ctx, a, b, kind)


def settle(ctx: Context, a: Version, b: Version, kind: AnnotatorKind = "human") -> Standing:
    """How it stands; nobody else is asked once people's votes decide. Simulated votes decide nothing for people."""
    settings = ctx.workspace.settings
    confidence = settings.compare.confidence
    with reading(ctx.engine) as session:
        pace = plan.pace(activity.speed(session, clock.now() - ACTIVE))
    evidence = evidence_of(ctx, a, b, kind)
    decided = evidence is not None and evidence["verdict"] != "undecided"
    saved = _close(ctx, a, b, evidence) if evidence is not None and decided and kind == "human" else 0
    with reading(ctx.engine) as session:
        owed = evaluations.open_count(session, a.id, b.id, kind)
    more = evidence["more"] if evidence else None
    return Standing(
        a=a.name,
        b=b.name,
        annotators=kind,
        confidence=confidence,
        evidence=evidence,
        owed=owed,
        saved=saved,
        pace=pace,
        minutes=pace.minutes(more) if pace and more is not None else None,
    )


def evidence_of(ctx: Context, a: Version, b: Version, kind: AnnotatorKind = "human") -> dict[str, Any] | None:
    """What the votes say so far of answers drawn as the workspace draws them now (people.evidence)."""
    settings = ctx.workspace.settings
    sampling, seed = settings.sampling.model_dump(), settings.compare.seed
    with reading(ctx.engine) as session:
        votes = evaluations.votes(session, a.id, b.id, kind, sampling, seed)
    return people.evidence(votes, settings.compare.confidence)


def settle_all(ctx: Context) -> list[Standing]:
    """How every evaluation stands that people are asked about; those that are decided end."""
    with reading(ctx.engine) as session:
        known = {version.id: version for version in versions.list_versions(session)}
        under_way = evaluations.open_between(session)
    return [settle(ctx, known[newer], known[older]) for older, newer in under_way]


def _ask(ctx: Context, a: Version, b: Version, wanted: Wanted) -> Asked:
    settings = ctx.workspace.settings
    with reading(ctx.engine) as session:
        heldout = prompts.list_prompts(session, split="heldout")[: wanted.prompts]
    if not heldout:
        raise PrefloopError("there are no held-out prompts; import more with `prefloop prompts import`")
    # One answer a prompt: another prompt tells more than another answer to the same one.
    ours, theirs = (
        draw(ctx, version, heldout, 1, settings.sampling, settings.compare.seed, "held-out completions").candidates
        for version in (a, b)
    )
    with writing(ctx.engine) as session:
        queue = _queue(session, wanted, ctx.actor)
        asked = evaluations.ask(session, queue.id, ours, theirs, wanted.judges, ctx.actor)
        evaluations.reopen(session, a.id, b.id, settings.sampling.model_dump(), settings.compare.seed, ctx.actor)
        if owed := evaluations.open_count(session, a.id, b.id):
            names, of = f"{a.name} and {b.name}", asked.asked + asked.identical + asked.known
            text = f"an evaluation of {names} waits for {owed} judgments"
            subject = f"evaluation of {names} on {of} pairs needs labels"
            notifications.tell(session, "needs-labels", subject, text, {"versions": [a.name, b.name]})
    return asked


def _close(ctx: Context, a: Version, b: Version, evidence: dict[str, Any]) -> int:
    """Ask nobody else; the evidence that decided goes into the audit trail. How many judgments that saves."""
    why = {key: evidence[key] for key in ("verdict", "rate", "low", "high", "votes")}
    why["confidence"] = ctx.workspace.settings.compare.confidence
    with writing(ctx.engine) as session:
        return evaluations.close(session, a.id, b.id, why, ctx.actor)


def _queue(session: Session, wanted: Wanted, actor: str) -> Queue:
    """The queue, made if there is none: with the guidelines by which training labels are given, if there are any."""
    known = {queue.name: queue for queue in queues.list_queues(session)}
    guidelines = known[queues.DEFAULT].guidelines if queues.DEFAULT in known else ""
    queue = queues.ensure(session, wanted.queue, guidelines=guidelines, priority=PRIORITY, actor=actor)
    return queues.update(session, queue.id, priority=wanted.priority, actor=actor)
