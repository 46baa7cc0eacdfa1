"""What one browser session remembers while somebody labels. Losing it loses nothing that they said.

The store holds everything durable: the open task is asked of it at every turn, an answer counts when it says so.
"""

import time
from dataclasses import dataclass, replace

from sqlalchemy import Engine

from db.errors import StoreError
from db.judgments import Receipt
from labeling_ui import desk
from labeling_ui.desk import Answer, Given, Question, Task

MINIMUM_VIEW_MS = 600  # nobody reads two texts faster: a press so early was meant for the task before


@dataclass
class Visit:
    engine: Engine
    name: str  # of the annotator
    receipt: Receipt | None = None  # of the newest answer
    note: str = ""  # why the newest press changed nothing
    last: Given | None = None  # the newest answer, while it can be changed here
    changing: bool = False  # whether it is being changed now
    _task: Task | None = None  # on screen
    _since: float = 0.0  # when it came on screen, on the monotonic clock

    @property
    def is_new(self) -> bool:
        """Whether no task has been shown yet. A press that comes now was made on a page older than this session."""
        return self._task is None

    def task(self) -> Task | None:
        """The task to show: the last one again while its answer is being changed, otherwise the open one.

        StoreError when the person may not label.
        """
        if self.changing and self.last:
            task: Task | None = self.last.again()
        else:
            task = desk.open_task(self.engine, self.name)
        if task and (self._task is None or self._task.question != task.question):
            self._since = time.monotonic()
        self._task = task or self._task
        return task

    def owed(self) -> int:
        """How many judgments people still owe, all of them together."""
        return desk.owed(self.engine)

    def press(self, answer: Answer) -> None:
        """Somebody chose: save it, unless the task has only just come on screen."""
        on_screen_ms = self._on_screen_ms(answer.question)
        if on_screen_ms is not None and on_screen_ms < MINIMUM_VIEW_MS:
            self.note = "That was too quick to be about this pair, and was not saved."
            return
        self.save(answer if answer.response_ms is not None else replace(answer, response_ms=on_screen_ms))

    def save(self, answer: Answer) -> None:
        """Store the answer and keep the receipt; a refusal becomes the note."""
        self.changing, self.note = False, ""
        try:
            self.receipt = desk.take(self.engine, self.name, answer)
        except StoreError as refusal:
            self.note = f"Not saved: {refusal}."
            return
        if self.receipt.stored:
            seen = self._task if self._task and self._task.question == answer.question else None
            self.last = Given(seen, answer, self.receipt.judgment_id) if seen else None

    def change_last(self) -> None:
        """Show the last task again; or, if it is shown, leave its answer as it is after all."""
        self.changing, self.note = self.last is not None and not self.changing, ""

    def _on_screen_ms(self, question: Question) -> int | None:
        """How long the task has been on screen; None when it is not there."""
        if self._task is None or self._task.question != question:
            return None
        return round((time.monotonic() - self._since) * 1000)
