"""Leases and judgments as a state machine: whatever people do and in whatever order, the store's promises hold."""

from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from promises import Taken, assert_chains, assert_places, is_owed
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from db import annotators, clock, comparisons, hidden, judgments, queues
from db.comparisons import AssignedTask
from db.engine import reading, writing
from db.errors import StoreError
from db.judgments import Said
from db.tables import Assignment, Comparison, Queue

Ask = Callable[..., list[int]]
LEASE = 60.0  # seconds
PEOPLE, ROBOTS = 3, 1
ANYBODY = st.integers(0, PEOPLE + ROBOTS - 1)
CHOICES = st.sampled_from(["left", "right", "tie", "skip"])
NOW = [datetime(2030, 1, 1, tzinfo=clock.now().tzinfo)]  # the store's clock; it only goes forward


class Labeling(RuleBasedStateMachine):
    """Every act is a transaction of its own, as in the product. Each example has its own queues and annotators."""

    engine: Engine
    ask: Ask
    examples = 0

    @initialize(overlaps=st.lists(st.integers(1, 3), min_size=2, max_size=3), shares=st.sampled_from([0.0, 0.5]))
    def begin(self, overlaps: list[int], shares: float) -> None:
        Labeling.examples += 1
        self.held: dict[int, tuple[AssignedTask, datetime]] = {}  # by person: the task, and until when
        self.orders: dict[int, list[int]] = {}  # by assignment
        self.chains: dict[int, list[tuple[int, Said]]] = {}  # by assignment: acknowledged judgments
        self.taken: Taken = Counter()
        self.gone: set[int] = set()
        self.disabled: set[int] = set()
        with writing(self.engine) as session:
            self.queues = [
                queues.create(session, f"{Labeling.examples} {number}", priority=number).id for number in (0, 1)
            ]
            self.comparisons = [
                comparison_id
                for number, overlap in enumerate(overlaps)
                for comparison_id in self.ask(
                    session, queue=f"{Labeling.examples} {number % 2}", overlap=overlap, rank=number
                )
            ]
            queues.update(session, self.queues[0], repeat_share=shares, gold_share=shares)
            best = comparisons.candidates_of(session, self.comparisons[0])[0].id
            comparisons.make_gold(session, self.comparisons[0], best)
            self.crew = [self.person(session, f"{number}") for number in range(PEOPLE)]
            self.crew += [self.robot(session, f"{number}") for number in range(ROBOTS)]

    def person(self, session: Session, name: str) -> int:
        return annotators.ensure(session, f"{Labeling.examples} person {name}", "human").id

    def robot(self, session: Session, name: str) -> int:
        return annotators.ensure(session, f"{Labeling.examples} robot {name}", "simulated", taste={"likes": "short"}).id

    # What people do

    @rule(first=ANYBODY, second=ANYBODY)
    def lease_two(self, first: int, second: int) -> None:
        self.lease(first, None)
        self.lease(second, None)

    @rule(who=ANYBODY, where=st.sampled_from([None, 0, 1]))
    def lease(self, who: int, where: int | None) -> None:
        queue_id = None if where is None else self.queues[where]
        try:
            with writing(self.engine) as session:
                task = comparisons.next_assignment(session, self.crew[who], lease_seconds=LEASE, queue_id=queue_id)
        except StoreError:
            assert who in self.gone | self.disabled
            return
        assert who not in self.gone | self.disabled
        if self.lives(who) and queue_id in (None, self.held[who][0].queue_id) and not self.is_closed(who):
            assert task is not None, "the task is theirs, and was not given back"
        if task is None:
            with reading(self.engine) as session:
                asked = self.queues if queue_id is None else [queue_id]
                assert not is_owed(session, self.crew[who], asked, NOW[0]), "sent away although something is owed"
        else:
            assert task.assignment_id not in self.chains, "asked about what they judged"
            order = self.orders.setdefault(task.assignment_id, task.candidate_ids)
            assert task.candidate_ids == order, "shown in another order than before"
            self.held[who] = (task, NOW[0] + timedelta(seconds=LEASE))

    @rule(holder=ANYBODY)
    @precondition(lambda self: self.held)
    def renew(self, holder: int) -> None:
        who, task = self.holding(holder)
        try:
            with writing(self.engine) as session:
                until = comparisons.renew(session, task.assignment_id, self.crew[who], LEASE)
        except StoreError:
            self.assert_may_be_refused(who)
        else:
            self.held[who] = (task, until)

    @rule(holder=ANYBODY, choice=CHOICES, again=CHOICES)
    @precondition(lambda self: self.held)
    def submit(self, holder: int, choice: str, again: str) -> None:
        """Every submit is sent twice, and the second may say something else."""
        who, task = self.holding(holder)
        said, other = Said(choice), Said(again)  # type: ignore[arg-type]
        known = self.chains.get(task.assignment_id)
        try:
            with writing(self.engine) as session:
                receipt = judgments.submit(session, task.assignment_id, self.crew[who], said)
        except StoreError:
            self.assert_may_be_refused(who)
            return
        assert receipt.stored == (known is None)
        if known is None:
            known = self.chains[task.assignment_id] = [(receipt.judgment_id, said)]
        with writing(self.engine) as session:
            repeated = judgments.submit(session, task.assignment_id, self.crew[who], other)
        assert (repeated.judgment_id, repeated.stored) == (known[0][0], False)
        assert repeated.count == receipt.count == self.done_by(who)

    @rule(holder=ANYBODY, choice=CHOICES)
    @precondition(lambda self: self.held)
    def submit_late(self, holder: int, choice: str) -> None:
        """The lease runs out, and everybody else comes for a task."""
        late, _ = self.holding(holder)
        self.wait(61)
        for who in range(len(self.crew)):
            if who != late:
                self.lease(who, None)
        self.submit(sorted(self.held).index(late), choice, choice)

    @rule(who=ANYBODY, choice=CHOICES, rationale=st.sampled_from(["", "on second thought"]))
    @precondition(lambda self: self.chains)
    def undo(self, who: int, choice: str, rationale: str) -> None:
        with writing(self.engine) as session:
            last = judgments.last_of(session, self.crew[who])
        if last is None:
            assert who in self.gone or not self.done_by(who)
            return
        chain = self.chains[last.task.assignment_id]
        assert (last.judgment_id, last.said) == chain[-1], "not the newest of its chain"
        said = Said(choice, rationale=rationale)  # type: ignore[arg-type]
        try:
            with writing(self.engine) as session:
                receipt = judgments.correct(session, last.judgment_id, self.crew[who], said)
        except StoreError:
            assert who in self.disabled
            return
        assert receipt.stored
        chain.append((receipt.judgment_id, said))
        with writing(self.engine) as session:
            assert not judgments.correct(session, last.judgment_id, self.crew[who], said).stored

    # What happens to them

    @rule(seconds=st.sampled_from([1, 30, 61, 61]))
    def wait(self, seconds: int) -> None:
        NOW[0] += timedelta(seconds=seconds)

    @rule(who=ANYBODY)
    @precondition(lambda self: len(self.gone) < 2 and self.chains)
    def withdraw(self, who: int) -> None:
        with writing(self.engine) as session:
            annotators.withdraw(session, self.crew[who])
        self.gone.add(who)

    @rule(who=ANYBODY)
    def disable_or_enable(self, who: int) -> None:
        with writing(self.engine) as session:
            change = annotators.enable if who in self.disabled else annotators.disable
            change(session, self.crew[who])
        self.disabled ^= {who}

    @rule(which=st.integers(0, 1))
    def pause_or_resume(self, which: int) -> None:
        with writing(self.engine) as session:
            paused = session.get_one(Queue, self.queues[which]).paused_at is not None
            (queues.resume if paused else queues.pause)(session, self.queues[which])

    @rule(which=st.integers(0, 2))
    def close(self, which: int) -> None:
        if which < len(self.comparisons):
            with writing(self.engine) as session:
                comparisons.close(session, self.comparisons[which])

    @rule(which=st.integers(0, 2), overlap=st.integers(1, 3))
    def set_overlap(self, which: int, overlap: int) -> None:
        if which < len(self.comparisons):
            with writing(self.engine) as session:
                comparisons.set_overlap(session, self.comparisons[which], overlap)

    # What is promised

    @invariant()
    def the_store_keeps_its_promises(self) -> None:
        if not hasattr(self, "crew"):
            return
        with reading(self.engine) as session:
            self.taken = assert_places(session, self.queues, self.taken)
            assert_chains(session, self.queues, self.chains)

    def assert_may_be_refused(self, who: int) -> None:
        task, _ = self.held[who]
        assert who in self.gone | self.disabled or task.assignment_id in self.chains or not self.lives(who), (
            "refused although they may act, and their lease has not run out"
        )

    def holding(self, holder: int) -> tuple[int, AssignedTask]:
        """One of those who were given a task, and the task."""
        who = sorted(self.held)[holder % len(self.held)]
        return who, self.held[who][0]

    def lives(self, who: int) -> bool:
        """Whether the person has a task that is not judged and whose lease has not run out."""
        if who not in self.held:
            return False
        task, until = self.held[who]
        return task.assignment_id not in self.chains and until > NOW[0]

    def is_closed(self, who: int) -> bool:
        with reading(self.engine) as session:
            return session.get_one(Comparison, self.held[who][0].comparison_id).closed_at is not None

    def done_by(self, who: int) -> int:
        with reading(self.engine) as session:
            return session.query(Assignment).filter_by(annotator_id=self.crew[who], state="done").count()

    def teardown(self) -> None:
        """Everybody has left: nothing is stranded, and newcomers finish all that is owed."""
        if not hasattr(self, "crew"):
            return
        NOW[0] += timedelta(seconds=10 * LEASE)
        for queue_id in self.queues:
            with writing(self.engine) as session:
                queues.resume(session, queue_id)
        for number in range(3):
            for kind in (self.person, self.robot):
                with writing(self.engine) as session:
                    newcomer = kind(session, f"newcomer {number}")
                while self.finish_one(newcomer):
                    pass
        for queue_id in self.queues:
            with writing(self.engine) as session:
                assert comparisons.open_count(session, queue_id=queue_id) == 0, "stranded"
                assert comparisons.open_count(session, queue_id=queue_id, kind="simulated") == 0, "stranded"
                queues.pause(session, queue_id)

    def finish_one(self, annotator_id: int) -> bool:
        with writing(self.engine) as session:
            task = comparisons.next_assignment(session, annotator_id)
        if task is not None:
            with writing(self.engine) as session:
                judgments.submit(session, task.assignment_id, annotator_id, Said("tie"))
        return task is not None


def test_whatever_people_do_the_store_keeps_its_promises(
    engine: Engine, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clock, "now", lambda: NOW[0])
    monkeypatch.setattr(hidden, "_REST", 1)  # few tasks are done in an example

    class Here(Labeling):
        pass

    Here.engine, Here.ask = engine, staticmethod(ask)
    run_state_machine_as_test(
        Here,
        settings=settings(
            max_examples=10,
            phases=[Phase.generate],  # shrinking would take longer than a test may
            stateful_step_count=40,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
