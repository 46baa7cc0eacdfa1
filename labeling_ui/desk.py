"""The desk between the pages and the store: hands out tasks and takes answers, a transaction for each.

A task says nothing about who wrote a text: labeling is blind.
"""

from dataclasses import dataclass, replace

from sqlalchemy import Engine

from db import annotators, comparisons, judgments
from db.columns import Message
from db.engine import reading, writing
from db.judgments import Receipt
from db.words import Choice


@dataclass(frozen=True, slots=True)
class Question:
    """What an answer is about: an assignment, and the judgment that the answer would replace, if any."""

    assignment_id: int
    replaces: int | None = None

    @property
    def key(self) -> str:
        return f"{self.assignment_id}" if self.replaces is None else f"{self.assignment_id}-{self.replaces}"


@dataclass(frozen=True, slots=True)
class Task:
    """What the annotator is shown; the texts are in the stored display order, left to right."""

    question: Question
    messages: list[Message]
    texts: list[str]


@dataclass(frozen=True, slots=True)
class Answer:
    """What the annotator said, and what it was about."""

    question: Question
    choice: Choice
    rationale: str = ""
    response_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Given:
    """An answer that was given and stored: it can be changed."""

    task: Task
    answer: Answer
    judgment_id: int

    def again(self) -> Task:
        """The same task, to be answered anew."""
        return replace(self.task, question=Question(self.answer.question.assignment_id, replaces=self.judgment_id))


def open_task(engine: Engine, name: str) -> Task | None:
    """The person's unfinished task, as they saw it before, or their next one; None when nothing is owed by them.

    StoreError when the person may not label.
    """
    with writing(engine) as session:
        annotator = annotators.ensure(session, name, "human")
        leased = comparisons.next_assignment(session, annotator.id)
    return Task(Question(leased.assignment_id), leased.messages, leased.texts) if leased else None


def owed(engine: Engine) -> int:
    """How many judgments people still owe, all of them together."""
    with reading(engine) as session:
        return comparisons.open_count(session)


def take(engine: Engine, name: str, answer: Answer) -> Receipt:
    """Store the person's answer; repeating it succeeds. StoreError when it cannot be taken any more."""
    with writing(engine) as session:
        annotator_id = annotators.by_name(session, name).id
        question = answer.question
        said = (answer.choice, None, answer.rationale, answer.response_ms)  # no ranking
        if question.replaces is None:
            return judgments.submit(session, question.assignment_id, annotator_id, *said)
        return judgments.correct(session, question.replaces, annotator_id, *said)
