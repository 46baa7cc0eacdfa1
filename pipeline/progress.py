"""How far work is: a bar in a terminal, a line now and then in a log, and in the row of the run that is recorded.

with ctx.progress("train dpo (48 pairs)", 40, "steps", whole=True) as progress:
    progress.at(12, "loss 0.612")
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass, field

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError

from db import runs
from db.engine import writing

WRITE = 2.0  # seconds between two writes of one process into the store, at least
LINE = 10.0  # seconds between two lines in a log, at least


@dataclass
class Progress:
    """Work of `total` units, `done` of which are done. Used as a context, it begins and ends what shows it."""

    engine: Engine
    console: Console
    run_id: int | None  # that is being recorded; None: nothing is written
    what: str
    total: int
    unit: str  # "steps"
    done: int = 0
    whole: bool = False  # whether this is all that the stage does: then the pace tells when it ends
    said: str = ""
    _bar: Bar = field(init=False, repr=False)
    _began: float = field(default_factory=time.monotonic, repr=False)
    _first: tuple[int, float] | None = field(default=None, repr=False)  # units and moment from which the pace is known
    _written: float = field(default=float("-inf"), repr=False)
    _told: float = field(default_factory=time.monotonic, repr=False)

    def __post_init__(self) -> None:
        self._bar = Bar(
            TextColumn("{task.description:<28}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TextColumn("{task.fields[said]:>12}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self._bar.add_task(self.what, total=self.total, completed=self.done, said="")

    def __enter__(self) -> Progress:
        self._bar.start()
        self._write()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()
        self._write()
        self._line(f"after {clock(time.monotonic() - self._began)}")

    def advance(self, count: int = 1, said: str = "") -> None:
        self.at(self.done + count, said)

    def at(self, done: int, said: str = "", total: int | None = None) -> None:
        """So much is done; `said` is a figure to go with it, `total` what is known of the whole by now."""
        now = time.monotonic()
        if self._first is None:  # what comes before the first report, loading above all, is no part of the pace
            self._first = (done, now)
        self.done, self.said = done, said or self.said
        self.total = self.total if total is None else total
        self._bar.update(self._bar.task_ids[0], completed=done, total=self.total, said=self.said)
        if now - self._written >= WRITE:
            self._write()
        if now - self._told >= LINE:
            left = self.seconds_left()
            self._line("" if left is None else f"about {clock(left)} left")

    def seconds_left(self) -> float | None:
        """Until the work ends, by its pace since the first report; None before there is one."""
        if self._first is None or self.done <= self._first[0]:
            return None
        done, at = self._first
        return (time.monotonic() - at) / (self.done - done) * (self.total - self.done)

    def _write(self) -> None:
        self._written = time.monotonic()
        if self.run_id is None:
            return
        left = self.seconds_left() if self.whole else None
        now = runs.Progress(self.what, self.done, self.total, self.unit, left, self.said)
        with suppress(OperationalError), writing(self.engine) as session:  # no reason to end the work
            runs.record_progress(session, self.run_id, now)

    def _line(self, also: str) -> None:
        """In a log, where there is no bar."""
        self._told = time.monotonic()
        if not self.console.is_terminal:
            facts = ", ".join(filter(None, [f"{self.done} of {self.total} {self.unit}", self.said, also]))
            self.console.print(f"{self.what}: {facts}", markup=False, highlight=False, soft_wrap=True)


def clock(seconds: float) -> str:
    """A span as minutes and seconds, or hours and minutes: 1:05 min, 2:30 h."""
    whole = round(seconds)
    return f"{whole // 3600}:{whole % 3600 // 60:02} h" if whole >= 3600 else f"{whole // 60}:{whole % 60:02} min"
