"""The outbox: what is owed to whom, said once, and taken by one at a time."""

from collections.abc import Callable

import pytest
from sqlalchemy import Engine, text

from db import annotators, audit, comparisons, judgments, notifications, run_queue, snapshots, versions
from db.engine import reading, writing
from db.notifications import Wanted
from db.run_queue import Terms
from db.tables import Notification
from db.words import NotificationEvent

EVERYTHING = Wanted(("webhook", "command"), ("finished", "failed", "cancelled", "promoted", "rolled-back", "stale"))
WEBHOOK = Wanted(("webhook",), EVERYTHING.events)
RECIPE = {"recipe": {"name": "nightly", "stages": []}, "reason": "asked for by ann"}

Wait = Callable[[float], None]


def told(engine: Engine, wanted: Wanted = WEBHOOK) -> list[Notification]:
    with reading(engine) as session:
        return notifications.newest(session, wanted)[::-1]


def tell(engine: Engine, subject: str, event: NotificationEvent = "failed") -> None:
    with writing(engine) as session:
        notifications.tell(session, event, subject, f"it {subject}", {})


def test_how_a_run_ended_is_told_in_the_transaction_that_ends_it(engine: Engine) -> None:
    with writing(engine) as session:
        ids = [run_queue.enqueue(session, dict(RECIPE), "ann").id for _ in range(4)]  # type: ignore[union-attr]
    with writing(engine) as session:
        terms = Terms("host:1:a", "host:cpu", 60, 3, "abc")
        assert run_queue.lease(session, terms, only=ids[0]) is not None
        made = {"version": "v3", "run": 9, "adapter_sha256": "0" * 64}
        run_queue.record_stage(session, ids[0], "dpo", made)
        run_queue.record_stage(session, ids[0], "promote", {"promoted": True, "reason": "62 % of 40 prompts"})
        assert run_queue.finish(session, ids[0], "host:1:a")
    with writing(engine) as session:
        assert run_queue.lease(session, terms, only=ids[1]) is not None
        assert run_queue.fail(session, ids[1], "host:1:a", "snapshot: no human judgment; label more" + "!" * 9000)
        run_queue.cancel(session, ids[2], "ann")
    with pytest.raises(RuntimeError), writing(engine) as session:
        run_queue.cancel(session, ids[3], "ann")
        raise RuntimeError("the transaction is rolled back, and with it the news")
    finished, failed, cancelled = told(engine)
    assert [row.event for row in (finished, failed, cancelled)] == ["finished", "failed", "cancelled"]
    assert finished.payload["text"] == f"run {ids[0]} of nightly finished: 62 % of 40 prompts"
    assert finished.payload["data"]["versions"] == ["v3"]
    assert finished.payload["data"]["promoted"] is True
    assert failed.payload["text"].startswith(f"run {ids[1]} of nightly failed: snapshot: no human judgment")
    assert len(str(failed.payload)) < 5000
    assert finished.payload["id"] == finished.key != failed.key
    assert {row.key for row in told(engine, EVERYTHING)} == {row.key for row in told(engine)}, (
        "of each, whoever it goes to"
    )


def test_a_promotion_and_a_rollback_are_told_but_not_what_was_current_first(engine: Engine) -> None:
    with writing(engine) as session:
        base = versions.ensure_base(session, "tiny", "0" * 64)
        new = versions.create(
            session, "policy", "v1", "tiny", "0" * 64, "runs/1/adapter", "1" * 64, base.id, None, None
        )
        versions.promote(session, base.id, None, {}, "ann")
        versions.promote(session, new.id, None, {}, "ann", forced=True, reason="we like it")
        versions.rollback(session, "bob", "we do not")
    promoted, back = told(engine)
    assert (promoted.event, back.event) == ("promoted", "rolled-back")
    assert promoted.payload["text"] == "v1 is current, promoted by force; before it was v0: we like it"
    assert back.payload["text"] == "v0 is current, rolled back to; before it was v1: we do not"
    assert back.payload["data"]["actor"] == "bob"


def test_that_versions_became_stale_is_told_without_saying_whose_words_they_were(
    engine: Engine, ask: Callable[..., list[int]]
) -> None:
    with writing(engine) as session:
        ask(session, 1)
        ann = annotators.ensure(session, "ann", "human").id
        annotators.ensure(session, "an admin", "human", role="admin")
        task = comparisons.next_assignment(session, ann)
        assert task is not None
        said = judgments.submit(session, task.assignment_id, ann, judgments.Said("left")).judgment_id
        snapshot = snapshots.store(session, "ab" * 32, [said], {}, {}, 1).id
        base = versions.ensure_base(session, "tiny", "0" * 64)
        made = "policy", "v1", "tiny", "0" * 64, "runs/1/adapter", "1" * 64
        versions.create(session, *made, base.id, None, snapshot)  # type: ignore[arg-type]
        annotators.withdraw(session, ann)
        annotators.withdraw(session, ann)
    (row,) = told(engine)
    assert (row.event, row.payload["data"]) == ("stale", {"versions": ["v1"]})
    assert "ann" not in row.payload["text"].replace("an annotator", "")


def test_what_was_said_is_not_said_again_until_it_is_forgotten(engine: Engine, wait: Wait) -> None:
    for _ in range(2):
        tell(engine, "waits")
    assert len(told(engine)) == 1
    wait(notifications.KEPT.total_seconds() + 1)
    tell(engine, "runs")
    tell(engine, "waits")
    assert [row.subject for row in told(engine)] == ["runs", "waits"]


def test_one_at_a_time_is_claimed_and_a_claim_runs_out(engine: Engine, wait: Wait) -> None:
    tell(engine, "first")
    tell(engine, "second")
    with writing(engine) as one:
        mine = notifications.claim(one, WEBHOOK, 60, 2)
        assert mine is not None and mine.subject == "first"
        if engine.dialect.name == "postgresql":  # on SQLite there is one writer
            with writing(engine) as other:
                theirs = notifications.claim(other, WEBHOOK, 60, 2)
                assert theirs is not None and theirs.subject == "second"
    with writing(engine) as session:
        notifications.claim(session, WEBHOOK, 60, 2)
        assert notifications.claim(session, WEBHOOK, 60, 2) is None
        assert not notifications.is_due(session, WEBHOOK)
        assert notifications.is_due(session, EVERYTHING), "the command's are others"
    wait(61)
    with writing(engine) as session:
        again = notifications.claim(session, WEBHOOK, 60, 2)
        assert again is not None and (again.subject, again.attempts) == ("first", 2)
        notifications.failed(session, again.id, 1, "the first attempt comes back late", 5)
        assert again.last_error is None, "it is another's by now"
        notifications.delivered(session, again.id)
        notifications.failed(session, again.id, 2, "nonsense", None)
        assert (again.state, again.last_error) == ("delivered", None)


def test_one_whose_every_attempt_was_cut_off_is_given_up(engine: Engine, wait: Wait) -> None:
    tell(engine, "poison")
    for _ in range(3):
        with writing(engine) as session:
            claimed = notifications.claim(session, WEBHOOK, 10, 2)
        wait(11)
    assert claimed is None
    (row,) = told(engine)
    assert (row.state, row.attempts, row.last_error) == ("given_up", 2, "every attempt was cut off")
    with reading(engine) as session:
        assert notifications.counts(session, WEBHOOK) == {"given_up": 1}
        assert notifications.counts(session, Wanted(("webhook",), ("finished",))) == {}


def test_what_nobody_wants_stays_and_is_not_in_the_way(engine: Engine) -> None:
    tell(engine, "cancelled it", "cancelled")
    tell(engine, "failed it")
    with writing(engine) as session:
        found = notifications.claim(session, Wanted(("command",), ("failed",)), 60, 3)
        assert found is not None and (found.receiver, found.subject) == ("command", "failed it")
        assert session.execute(text("SELECT count(*) FROM notification WHERE state = 'pending'")).scalar() == 4
        assert audit.events(session) == []
