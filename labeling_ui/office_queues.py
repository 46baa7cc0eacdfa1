"""Queues: what there is, and making, changing, pausing and filling them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine

from db import browse, prompts, queues
from db.queue_progress import QueueProgress
from db.tables import Queue
from db.words import QueueKind
from labeling_ui.office import acting, looking


@dataclass(frozen=True, slots=True)
class QueueLine:
    """A queue and how far people are with it."""

    queue: Queue
    progress: QueueProgress

    @property
    def open(self) -> int:
        """Judgments that are wanted and neither given nor under way."""
        return self.progress.wanted - self.progress.judged - self.progress.leased

    @property
    def judged_share(self) -> float:
        return self.progress.judged / self.progress.wanted if self.progress.wanted else 0.0

    @property
    def leased_share(self) -> float:
        return self.progress.leased / self.progress.wanted if self.progress.wanted else 0.0


@dataclass(frozen=True, slots=True)
class Supply:
    """What a queue can be filled from."""

    prompts: int  # in use, of the split that is trained on
    candidates: list[tuple[int, str, int]]  # id and name of a version, and how many of its candidates there are
    categories: list[str]

    @property
    def written(self) -> int:
        """Candidates, of all versions."""
        return sum(count for _, _, count in self.candidates)


def lines(engine: Engine, person_id: int) -> list[QueueLine]:
    """Every queue in the order in which they are asked."""
    with looking(engine, person_id) as session:
        by_id = {queue.id: queue for queue in queues.list_queues(session)}
        return [QueueLine(by_id[row.queue_id], row) for row in queues.progress(session)]


def supply(engine: Engine, person_id: int) -> Supply:
    with looking(engine, person_id) as session:
        return Supply(
            prompts=prompts.count_by_split(session)["train"],
            candidates=browse.candidates_by_version(session),
            categories=prompts.categories(session),
        )


def create(engine: Engine, person_id: int, name: str, kind: QueueKind, **values: Any) -> str:
    with acting(engine, person_id) as (session, actor):
        queue = queues.create(session, name, kind, **values, actor=actor)
        return f"Queue {queue.name} is there. Fill it next: it asks nothing yet."


def update(engine: Engine, person_id: int, queue_id: int, **values: Any) -> str:
    with acting(engine, person_id) as (session, actor):
        return f"Queue {queues.update(session, queue_id, **values, actor=actor).name} is saved."


def pause(engine: Engine, person_id: int, queue_id: int) -> str:
    with acting(engine, person_id) as (session, actor):
        name = queues.pause(session, queue_id, actor).name
        return f"Queue {name} is paused: nothing new of it is handed out, and what is under way may be finished."


def resume(engine: Engine, person_id: int, queue_id: int) -> str:
    with acting(engine, person_id) as (session, actor):
        return f"Queue {queues.resume(session, queue_id, actor).name} is handed out again."


def fill(
    engine: Engine, person_id: int, queue_id: int, version_id: int | None, category: str | None, limit: int | None
) -> str:
    with acting(engine, person_id) as (session, actor):
        made = queues.fill(session, queue_id, version_id=version_id, category=category, limit=limit, actor=actor)
        queue = queues.get(session, queue_id)
    if made == 0:
        return f"Nothing new for queue {queue.name}: it asks already about everything that fits."
    owed = f"{made * queue.overlap:,} judgments" if made * queue.overlap > 1 else "one judgment"
    return f"{made:,} new question{'s' if made > 1 else ''} in queue {queue.name}: {owed} more to give."


def share(percent: int) -> float:
    return percent / 100


def split_aspects(said: str) -> Sequence[str]:
    """Aspects as they were typed, one a line or between commas."""
    return [aspect.strip() for aspect in said.replace("\n", ",").split(",") if aspect.strip()]
