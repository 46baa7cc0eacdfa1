"""What one browser session remembers while somebody labels. Losing it loses nothing that they said.

The store holds everything durable: the session and the open task are asked of it at every turn, and an answer counts
when it says so.
"""

from dataclasses import dataclass, field, replace
from statistics import median

from sqlalchemy import Engine

from db.columns import JsonObject
from db.comparisons import AssignedTask
from db.errors import StoreError
from db.judgments import LastJudgment
from db.labeling_sessions import SessionSummary
from db.tables import LabelingSession
from labeling_ui import asking, desk, sitting
from labeling_ui.messages import Act, Answer, Draft, Message, Start, Stir, Strange, View, ViewMode


@dataclass
class Visit:
    engine: Engine
    annotator_id: int
    heard: str | None = None  # the newest message
    note: str = ""  # what it changed nothing by, and why
    changing: LastJudgment | None = None  # the newest answer, while it is being changed
    mode: ViewMode = "plain"
    whole: str | None = None  # the question whose texts are shown in full
    going_on: int | None = None  # the session that goes on past its goal
    over: SessionSummary | None = None  # of a session that has ended, until the next one
    _so_far: SessionSummary | None = None  # of the session: counted once in the store, then added to
    _times: list[float] = field(default_factory=list)  # milliseconds of each answer in it
    _asked: AssignedTask | None = None  # on screen
    _names: dict[int, str] = field(default_factory=dict)  # of queues

    def hear(self, message: Message) -> None:
        """Do what the page says; a refusal of the store becomes the note. Hearing a message again does nothing.

        A message counts as heard when it is done: what any other error cut short is sent and heard again.
        """
        if message.id == self.heard:
            return
        self.note = ""
        try:
            self._act(message)
        except StoreError as refusal:
            self.note = f"{'Not saved: ' if isinstance(message, Answer | Draft) else ''}{refusal}."
        self.heard = message.id

    def screen(self) -> JsonObject:
        """What to show now; the refusal of the store where the person may not label."""
        try:
            session = desk.sitting(self.engine, self.annotator_id)
            shown = self._before_or_after() if session is None else self._during(session)
        except StoreError as refusal:
            shown = {"screen": "refused", "why": f"{refusal}."}
        return {"heard": self.heard, "note": self.note, "annotator_id": self.annotator_id, **shown}

    def _act(self, message: Message) -> None:
        match message:
            case Answer():
                self._take(message)
            case Draft():
                desk.keep_draft(self.engine, self.annotator_id, message)
            case Stir():
                desk.stay(self.engine, self.annotator_id, message.assignment_id)
            case Start():
                desk.sit_down(self.engine, self.annotator_id, message)
                self.over = self._so_far = None
            case View():
                self.mode, self.whole = message.mode, self._key() if message.whole else None
            case Act(kind="change"):
                self.changing = desk.last_answer(self.engine, self.annotator_id)
                self.note = "" if self.changing else "There is no answer to change yet."
            case Act(kind="keep"):
                self.changing = None
            case Act(kind="end"):
                self.over, self.changing = desk.stand_up(self.engine, self.annotator_id), None
            case Act(kind="go_on"):
                session = desk.sitting(self.engine, self.annotator_id)
                self.going_on = session.id if session else None
            case Act(kind="again"):
                self.over = None
            case Strange():
                self.note = "This page is of another version than the server: reload it."

    def _take(self, answer: Answer) -> None:
        self.changing = None
        match desk.take(self.engine, self.annotator_id, answer):
            case "stored" if answer.replaces is None and self._so_far:
                self._times.append(answer.response_ms)
                count, pace = self._so_far.judgments + 1, float(median(self._times))
                self._so_far = replace(self._so_far, judgments=count, median_response_ms=pace)
            case "repeated":
                self._so_far = None
            case "refused":
                self.note = "You had answered this before, in another window: that answer stands, and can be changed."

    def _before_or_after(self) -> JsonObject:
        if self.over:
            return {"screen": "summary", "summary": sitting.summary(self.over)}
        return {"screen": "start", "start": sitting.start(desk.offers(self.engine))}

    def _during(self, session: LabelingSession) -> JsonObject:
        if self._so_far is None or self._so_far.started_at != session.started_at:
            self._so_far = desk.figures(self.engine, session.id)
            before = self._so_far.median_response_ms
            self._times = [before] * self._so_far.judgments if before is not None else []  # each about the median
        queue_name = self._so_far.queue_name or sitting.EVERYTHING
        shown: JsonObject = {"session": sitting.progress(session, self._so_far), "queue": queue_name}
        if sitting.reached(session, self._so_far) and self.going_on != session.id and not self.changing:
            return {"screen": "goal", **shown}
        task = self.changing.task if self.changing else desk.next_task(self.engine, self.annotator_id, session.queue_id)
        if task is None:
            return {"screen": "nothing", "owed": desk.owed(self.engine, session.queue_id), **shown}
        self._asked = task
        shown["queue"] = self._name(task.queue_id)
        whole = self.whole == asking.key_of(task, self.changing)
        return {"screen": "question", **shown, "question": asking.question(task, self.changing, self.mode, whole)}

    def _name(self, queue_id: int) -> str:
        if queue_id not in self._names:
            self._names[queue_id] = desk.name_of(self.engine, queue_id)
        return self._names[queue_id]

    def _key(self) -> str | None:
        return asking.key_of(self._asked, self.changing) if self._asked else None
