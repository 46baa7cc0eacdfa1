"""Ticks: look at every schedule, queue what is due, and say of all others why nothing was started.

A tick is idempotent and may run on any number of machines at once (`db.schedules`). A due time that passed while nobody
ticked is made up for once, however many of them there were. At a due time the schedule's triggers are asked, if it has
any, and the answer stands until the next one; a due time that comes while the last run is under way waits for its end.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from functools import cached_property

from sqlalchemy.orm import Session

from db import comparisons, judgments, notifications, schedules, snapshots, versions
from db.engine import reading, writing
from db.tables import Run, Schedule, Version

from .ask_people import settle_all
from .context import Context
from .due_times import newest_due, next_due, zone
from .pairs import RowPolicy, build


@dataclass(frozen=True)
class Ticked:
    schedule: str
    run_id: int | None  # that was queued
    reason: str  # why it was, or why nothing was


@dataclass(frozen=True)
class _Decision:
    start: bool
    reason: str
    slot: datetime | None  # the due time that this settles; None: asked again at the next tick
    short_of_pairs: bool = False  # it waits for people's judgments


def tick(ctx: Context, now: datetime) -> list[Ticked]:
    """Queue what is due at `now`, record why the other schedules wait, and end the evaluations that are decided."""
    settle_all(ctx)
    with reading(ctx.engine) as session:
        known = [schedule.id for schedule in schedules.list_schedules(session)]
    return [_tick(ctx, schedule_id, now) for schedule_id in known]


def _tick(ctx: Context, schedule_id: int, now: datetime) -> Ticked:
    with reading(ctx.engine) as session:
        # In this order: a run that another tick starts in between is one that the schedule has not decided on, never
        # one that its due time waits for.
        last = schedules.newest_run(session, schedule_id)
        schedule = session.get_one(Schedule, schedule_id)
    seen = None if last is None else last.id
    decision = _decide(ctx, schedule, last, now)
    with writing(ctx.engine) as session:
        if not decision.start:
            schedules.wait(session, schedule.id, seen, decision.reason, now, decision.slot)
            if decision.short_of_pairs:
                _say_if_nothing_is_left_to_label(session, schedule, seen, decision.reason)
            return Ticked(schedule.name, None, decision.reason)
        assert decision.slot is not None, "what is started is started for a slot"
        config = {"recipe": schedule.recipe, "judgments_up_to": judgments.newest_id(session)}
        run = schedules.start(session, schedule.id, decision.slot, seen, config, decision.reason)
    if run is None:
        return Ticked(schedule.name, None, "another tick was first")
    return Ticked(schedule.name, run.id, decision.reason)


def _decide(ctx: Context, schedule: Schedule, last: Run | None, now: datetime) -> _Decision:
    if schedule.paused_at is not None:
        return _Decision(False, f"paused since {_shown(schedule.paused_at)}", None)
    slot = now.astimezone(UTC).replace(second=0, microsecond=0)
    due = ""
    if schedule.cron is not None:
        where = zone(schedule.timezone)
        slot = newest_due(schedule.cron, where, now)
        if slot <= (schedule.decided_slot or schedule.created_at):
            return _Decision(False, f"not due before {_shown(next_due(schedule.cron, where, now), where)}", None)
        due = f"due at {_shown(slot, where)}"
    if last is not None and last.state in ("queued", "running"):
        return _Decision(False, "; ".join(filter(None, [due, f"run {last.id} of it is {last.state} still"])), None)
    triggers = list(_Triggers(ctx, schedule, last).asked())
    met = [trigger for trigger in triggers if trigger.met]
    words = "; ".join(filter(None, [due, *(trigger.words for trigger in met or triggers)]))
    start = bool(met) or not triggers
    short = not start and schedule.new_pairs is not None and schedule.recipe["annotators"] == "human"
    return _Decision(start, words, slot if start or schedule.cron is not None else None, short)


def _say_if_nothing_is_left_to_label(session: Session, schedule: Schedule, after: int | None, reason: str) -> None:
    """It waits for pairs that nobody can give: people are told, once for each lot of questions that ran out."""
    if comparisons.open_count(session, kind="human"):
        return
    newest = comparisons.newest_id(session, "train")
    subject = f"schedule {schedule.id} needs labels after run {after or 0} and question {newest}"
    text = f"schedule {schedule.name} waits ({reason}), and nothing is left to label; `prefloop generate` asks more"
    notifications.tell(session, "needs-labels", subject, text, {"schedule": schedule.name, "waits": reason})


@dataclass(frozen=True)
class _Trigger:
    met: bool
    words: str  # with the figures


@dataclass
class _Triggers:
    """What may start a run beside the clock, judged on people's pairs as a snapshot would hold them now."""

    ctx: Context
    schedule: Schedule
    last: Run | None

    def asked(self) -> Iterator[_Trigger]:
        if self.schedule.new_pairs is not None:
            yield self.new_pairs(self.schedule.new_pairs)
        if self.schedule.reward_older:
            yield self.reward_older()
        if self.schedule.stale:
            yield self.stale()

    def new_pairs(self, wanted: int) -> _Trigger:
        """Agreed pairs, repeats and conflicts left out, that the last run did not see."""
        seen: int = 0 if self.last is None else self.last.config["judgments_up_to"]
        with reading(self.ctx.engine) as session:
            if judgments.newest_id(session) <= seen:  # most ticks of most days: nothing is read
                return _Trigger(False, f"0 of {wanted} new agreed pairs")
        now = build(self.rows, self.policy)
        before = build([row for row in self.rows if row.judgment_id <= seen], self.policy)
        known = {(row.prompt_sha256, row.chosen, row.rejected) for row in before.rows}
        new = sum((row.prompt_sha256, row.chosen, row.rejected) not in known for row in now.rows)
        left_out = [
            f"{count} {word}"
            for name, word in (("conflict", "conflicted"), ("duplicate", "were repeats"))
            if (count := now.counts.get(name, 0) - before.counts.get(name, 0)) > 0
        ]
        return _Trigger(new >= wanted, "; ".join([f"{new} of {wanted} new agreed pairs", *left_out]))

    def reward_older(self) -> _Trigger:
        newest = self.newest_reward
        if newest is None:
            return _Trigger(bool(self.rows), f"no reward model yet; judgments: {len(self.rows)}")
        assert newest.snapshot_id is not None, "a trained reward model has a snapshot"
        with reading(self.ctx.engine) as session:
            snapshot = snapshots.get(session, newest.snapshot_id)
        now = build(self.rows, self.policy)
        if now.sha256 == snapshot.sha256:
            return _Trigger(False, f"reward model {newest.name} has learned from all {snapshot.row_count} pairs")
        return _Trigger(
            bool(now.rows),
            f"reward model {newest.name} is older than its data ({snapshot.row_count} pairs then, {len(now.rows)} now)",
        )

    def stale(self) -> _Trigger:
        with reading(self.ctx.engine) as session:
            current = versions.current(session)
        at_work = [version for version in (current, self.newest_reward) if version is not None]
        found = [f"{version.name} is stale ({version.stale_reason})" for version in at_work if version.stale_reason]
        names = " and ".join(version.name for version in at_work) or "no version"
        return _Trigger(bool(found), "; ".join(found) or f"{names}: not stale")

    @property
    def policy(self) -> RowPolicy:
        return RowPolicy(annotators=self.schedule.recipe["annotators"])

    @cached_property
    def rows(self) -> list[judgments.JudgmentRow]:
        with reading(self.ctx.engine) as session:
            return judgments.current(session, kind=self.policy.annotators, purposes=self.policy.purposes)

    @cached_property
    def newest_reward(self) -> Version | None:
        with reading(self.ctx.engine) as session:
            found = versions.list_versions(session, "reward")
        return found[-1] if found else None


def _shown(moment: datetime, where: tzinfo = UTC) -> str:
    return f"{moment.astimezone(where):%Y-%m-%d %H:%M %Z}"
