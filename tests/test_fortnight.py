"""A fortnight that nobody looks after: labels trickle in, two tickers race at every tick, workers are killed in every
kind of stage, a disk is full, a recipe fails, the clock is changed. What comes of it is written out before.

Every run trains the tiny model for real. Workers and stages are processes (forked.py); their clocks move with ours.
"""

import random
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from forked import Trouble, once_they_are_gone, stages_alive, start_worker
from test_loop import context
from trickle import label, make, stages

from db import clock, promotions, runs, schedules, versions
from db.engine import reading, writing
from db.schedules import When
from db.tables import Run
from pipeline.context import Context
from pipeline.recipe import Recipe
from pipeline.scheduler import Ticked, tick
from pipeline.verify import verify

BERLIN = "Europe/Berlin"  # its clock goes back at 03:00 on 25 October: 02:30 is shown twice
BEGIN, END = datetime(2026, 10, 19, 8, tzinfo=UTC), datetime(2026, 11, 2, 2, tzinfo=UTC)
TICKS = ("00:45", "01:45", "06:00", "12:00", "18:00")  # UTC
SURE = {"compare": {"compare": {"confidence": 0.51}}}  # so that chance promotes a version now and then
SCHEDULES = {
    "eager": (When(new_pairs=6), stages("snapshot", "kto")),
    "nightly": (
        When("30 2 * * *", BERLIN, new_pairs=3),
        [
            {**stage, **({"settings": SURE["compare"]} if stage["stage"] == "compare" else {})}
            for stage in stages("snapshot", "reward", "exam", "dpo", "compare", "promote")
        ],
    ),
    "weekly": (When("0 5 * * 1", BERLIN), stages("snapshot", "reward", "exam", "ppo", "rloo", "grpo")),
    "writers": (When("0 12 * * 3", BERLIN), stages("snapshot", "sft")),
}
LABELS = {  # by day, at 09:00 UTC
    "10-19": {"pair": 3, "thumbs": 4},
    "10-20": {"pair": 1},
    "10-22": {"pair": 2},
    "10-23": {"pair": 1},
    "10-24": {"pair": 2, "demonstration": 4},
    "10-26": {"pair": 1},
    "10-28": {"pair": 4},
    "10-30": {"pair": 1},
    "10-31": {"pair": 1},
}


@dataclass(frozen=True)
class Planned:
    schedule: str
    slot: str  # UTC
    killed: tuple[str, ...] = ()  # the stages in which its workers are killed, one after the other
    full: str = ""  # the stage that finds the disk full once
    state: str = "finished"

    @property
    def attempt(self) -> int:
        return 1 + len(self.killed) + bool(self.full)


HISTORY = [  # in the order in which they are queued
    Planned("nightly", "10-20 00:30", killed=("snapshot", "reward")),
    Planned("writers", "10-21 10:00", state="failed"),  # nobody has written anything yet
    Planned("eager", "10-22 12:00", killed=("kto",)),
    Planned("nightly", "10-23 00:30", killed=("exam", "dpo")),
    Planned("nightly", "10-25 00:30", killed=("compare", "promote")),  # the first of the two half past two
    Planned("weekly", "10-26 04:00", killed=("ppo", "rloo", "grpo")),  # by winter time
    Planned("eager", "10-28 12:00"),
    Planned("writers", "10-28 11:00", killed=("sft",)),
    Planned("nightly", "10-29 01:30", full="dpo"),
]
NIGHTS = [  # of the schedule nightly: the due times that started nothing, and why
    "due at 2026-10-21 02:30 CEST; 1 of 3 new agreed pairs",
    "due at 2026-10-22 02:30 CEST; 1 of 3 new agreed pairs",
    "due at 2026-10-24 02:30 CEST; 1 of 3 new agreed pairs",
    "due at 2026-10-26 02:30 CET; 0 of 3 new agreed pairs",
    "due at 2026-10-27 02:30 CET; 1 of 3 new agreed pairs",
    "due at 2026-10-28 02:30 CET; 1 of 3 new agreed pairs",
    "due at 2026-10-30 02:30 CET; 0 of 3 new agreed pairs",
    "due at 2026-10-31 02:30 CET; 1 of 3 new agreed pairs",
    "due at 2026-11-01 02:30 CET; 2 of 3 new agreed pairs",
    "due at 2026-11-02 02:30 CET; 2 of 3 new agreed pairs",
]


def at(day_and_time: str) -> datetime:
    return datetime.strptime(f"2026-{day_and_time} +0000", "%Y-%m-%d %H:%M %z")


class Machine:
    """A workspace, a clock that we move, two tickers, and a worker whenever there is something to do."""

    def __init__(self, root: Path, base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ahead = BEGIN - datetime.now(UTC)
        self.moments = random.Random(20)
        monkeypatch.setattr(clock, "now", lambda: datetime.now(UTC) + self.ahead)
        self.root = make(root, base)
        self.ctx, self.other = (context(root)[0] for _ in range(2))
        self.survived: list[str] = []

    def be(self, moment: datetime) -> None:
        assert moment > clock.now(), "time goes on"
        self.ahead = moment - datetime.now(UTC)

    def tick(self) -> None:
        """Both at once: of one schedule they start one run."""
        gate, found = threading.Barrier(2), list[Ticked]()

        def race(ctx: Context) -> None:
            gate.wait()
            found.extend(tick(ctx, clock.now()))

        threads = [threading.Thread(target=race, args=[ctx]) for ctx in (self.ctx, self.other)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(found) == 2 * len(SCHEDULES)
        started = Counter(one.schedule for one in found if one.run_id is not None)
        assert all(count == 1 for count in started.values()), started

    def runs(self) -> list[Run]:
        """Of recipes, in the order in which they were queued."""
        with reading(self.ctx.engine) as session:
            return runs.list_runs(session, stage="recipe", limit=100)[::-1]

    def work(self) -> None:
        """Workers come until nothing is left to do, ten minutes after the one before."""
        while unfinished := [
            (run, planned)
            for run, planned in zip(self.runs(), HISTORY, strict=False)
            if run.state in ("queued", "running")
        ]:
            run, planned = unfinished[0]
            trouble = self.trouble(planned, run.attempt + (run.state == "running"))
            one = start_worker(self.root, ahead=self.ahead, trouble=trouble)
            one.join()
            was_killed = one.exitcode == -signal.SIGKILL
            assert was_killed == (trouble is not None and trouble.kill_worker_after is not None), trouble
            if was_killed:
                once_they_are_gone(self.root)  # the stage does not go on without its worker
                self.survived.append(trouble.stage)  # type: ignore[union-attr]
            self.be(clock.now() + timedelta(minutes=10))  # the lease is over, and the pause after a crash

    def trouble(self, planned: Planned, attempt: int) -> Trouble | None:
        if attempt <= len(planned.killed):
            moment, with_stage = self.moments.uniform(0, 1), self.moments.random() < 0.5
            return Trouble(planned.killed[attempt - 1], kill_worker_after=moment, kill_stage=with_stage)
        return Trouble(planned.full, largest_file=8_000) if planned.full and attempt == 1 else None


@pytest.fixture
def machine(tmp_path: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    made = Machine(tmp_path / "ws", tiny_base, monkeypatch)
    yield made
    for ctx in (made.ctx, made.other):
        ctx.engine.dispose()


@pytest.mark.timeout(900)
def test_a_fortnight_goes_as_planned(machine: Machine) -> None:
    with writing(machine.ctx.engine) as session:
        for name, (when, of_recipe) in SCHEDULES.items():
            recipe = Recipe(name=name, start="base", judges=("taste:concise",), stages=of_recipe)  # type: ignore[arg-type]
            schedules.add(session, name, when, recipe.as_dict())
    for day in range(15):
        date = f"{BEGIN + timedelta(days=day):%m-%d}"
        for time in sorted([*TICKS, "09:00"]):
            moment = at(f"{date} {time}")
            if not BEGIN <= moment <= END:
                continue
            machine.be(max(moment, clock.now() + timedelta(seconds=1)))
            if time == "09:00":
                for kind, count in LABELS.get(date, {}).items():
                    label(machine.ctx, kind, count)  # type: ignore[arg-type]
            else:
                machine.tick()
                machine.work()
    check(machine)


def check(machine: Machine) -> None:
    found = machine.runs()
    with reading(machine.ctx.engine) as session:
        ids = {schedule.id: schedule.name for schedule in schedules.list_schedules(session)}
        told = [(ids[run.schedule_id or 0], run.due_slot, run.state, run.attempt) for run in found]
        every = runs.list_runs(session, limit=1000)
        nightly = schedules.by_name(session, "nightly").id
        nights = [row.reason for row in schedules.waits(session, nightly, 500) if row.reason.startswith("due at")][::-1]
        moves = [move.version for move in promotions.list_moves(session)]
        made = versions.list_versions(session)
    assert told == [(one.schedule, at(one.slot), one.state, one.attempt) for one in HISTORY]
    assert nights == NIGHTS
    failed = [run.error for run in found if run.state == "failed"]
    assert len(failed) == 1
    assert "no human judgment gives a row of the shape demonstrations" in str(failed[0])
    assert sorted(machine.survived) == sorted(stage for one in HISTORY for stage in one.killed)
    assert len(set(machine.survived)) == 11

    assert not [run for run in every if run.state in ("queued", "running")]
    assert not stages_alive(machine.root)
    for run in found:  # whatever was begun again, each stage was done once
        stages_of = Counter(each.stage for each in every if each.recipe_run_id == run.id and each.state == "finished")
        assert all(count == 1 for count in stages_of.values()), (run.id, stages_of)
        if run.state == "finished":
            assert list(run.summary or {}) == [stage["stage"] for stage in run.config["recipe"]["stages"]]
    promoted = [
        run.summary["promote"]["version"] for run in found if (run.summary or {}).get("promote", {}).get("promoted")
    ]  # type: ignore[index]
    assert moves == ["v0", *promoted]
    assert [version.run_id is not None for version in made if version.name != "v0"].count(False) == 0
    assert verify(machine.ctx) == []
