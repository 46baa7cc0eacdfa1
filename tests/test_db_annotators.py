"""Annotators: their names, their roles, and who may act."""

from collections.abc import Callable
from threading import Barrier, Thread

import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from db import annotators, audit
from db.engine import reading, writing
from db.errors import StoreError
from db.words import AnnotatorRole


def test_a_person_is_added_once(engine: Engine) -> None:
    with writing(engine) as session:
        ann = annotators.add(session, "ann", "manager", actor="root")
        assert (ann.kind, ann.role, ann.password_hash) == ("human", "manager", None)
        with pytest.raises(StoreError, match="there is an annotator ann already; choose another name"):
            annotators.add(session, "ann")
        (event,) = audit.events(session, "annotator", ann.id)
        assert (event.actor, event.action, event.details) == ("root", "add", {"role": "manager"})


@pytest.mark.parametrize("name", ["", " ", " ann", "ann\n", "a\x00nn", "a\u202enn", "\ud800", "x" * 61])
def test_a_name_that_cannot_be_read_or_kept_is_refused(engine: Engine, name: str) -> None:
    with writing(engine) as session, pytest.raises(StoreError, match="is no name for an annotator"):
        annotators.add(session, name)


@pytest.mark.parametrize("name", ["ann", "Anne-Marie O'Neil", "Аня", "李雷", "<script>alert(1)</script>", "x" * 60])
def test_a_name_is_kept_as_it_is_written(engine: Engine, name: str) -> None:
    with writing(engine) as session:
        annotators.add(session, name)
    with reading(engine) as session:
        assert annotators.by_name(session, name).name == name


def test_a_role_includes_those_below_it(engine: Engine) -> None:
    roles: list[AnnotatorRole] = ["annotator", "manager", "admin"]
    with writing(engine) as session:
        ids = {role: annotators.add(session, role, role).id for role in roles}
        for theirs, annotator_id in ids.items():
            for wanted in roles[: roles.index(theirs) + 1]:
                assert annotators.require_role(session, annotator_id, wanted).id == annotator_id
            for wanted in roles[roles.index(theirs) + 1 :]:
                with pytest.raises(StoreError, match=f"for the role {wanted}, and {theirs} is {theirs}; ask an admin"):
                    annotators.require_role(session, annotator_id, wanted)


def test_whoever_may_not_act_has_no_role(engine: Engine) -> None:
    with writing(engine) as session:
        ann, bob, _ = (annotators.add(session, name, "admin").id for name in ("ann", "bob", "an admin who stays"))
        annotators.disable(session, ann)
        annotators.withdraw(session, bob)
        with pytest.raises(StoreError, match="ann is disabled"):
            annotators.require_role(session, ann, "annotator")
        with pytest.raises(StoreError, match="bob has withdrawn"):
            annotators.require_role(session, bob, "annotator")
        with pytest.raises(StoreError, match="no annotator 99"):
            annotators.require_role(session, 99, "annotator")


def test_a_role_is_given_with_a_trace_and_only_to_a_person(engine: Engine) -> None:
    with writing(engine) as session:
        ann = annotators.add(session, "ann").id
        annotators.set_role(session, ann, "admin", actor="root")
        annotators.set_role(session, ann, "admin", actor="root")
        assert annotators.require_role(session, ann, "admin").name == "ann"
        newest, _ = audit.events(session, "annotator", ann)
        assert (newest.actor, newest.action, newest.details) == (
            "root",
            "set role",
            {"from": "annotator", "to": "admin"},
        )
        robot = annotators.ensure(session, "robot", "simulated", taste={"likes": "short"}).id
        with pytest.raises(StoreError, match="robot is simulated"):
            annotators.set_role(session, robot, "admin")


Act = Callable[[Session, int], object]
LEAVING: dict[str, Act] = {
    "disabled": lambda session, admin: annotators.disable(session, admin),
    "withdrawn": lambda session, admin: annotators.withdraw(session, admin),
    "manager": lambda session, admin: annotators.set_role(session, admin, "manager"),
}


@pytest.mark.parametrize("how", LEAVING)
def test_the_last_active_admin_stays_one(engine: Engine, how: str) -> None:
    with writing(engine) as session:
        ann, bob, cleo, dora = (annotators.add(session, name, "admin").id for name in ("ann", "bob", "cleo", "dora"))
        eve = annotators.add(session, "eve").id
        annotators.disable(session, bob)
        annotators.withdraw(session, cleo)
        LEAVING[how](session, dora)
    remedy = "give somebody else the role admin first"
    with pytest.raises(StoreError, match=f"ann is the last active admin.*{remedy}"), writing(engine) as session:
        LEAVING[how](session, ann)
    with reading(engine) as session:
        assert annotators.require_role(session, ann, "admin").name == "ann"
        assert audit.events(session, "annotator", ann)[0].action == "add"
    with writing(engine) as session:
        LEAVING[how](session, eve)  # who is no admin may go at any time
        annotators.enable(session, bob)
        LEAVING[how](session, ann)
        with pytest.raises(StoreError, match="bob is the last active admin"):
            LEAVING[how](session, bob)


def test_two_admins_who_disable_each_other_at_once_do_not_both_succeed(engine: Engine) -> None:
    with writing(engine) as session:
        ann, bob = (annotators.add(session, name, "admin").id for name in ("ann", "bob"))
    together, refused = Barrier(2), []

    def disable(annotator_id: int) -> None:
        together.wait(10)
        try:
            with writing(engine) as session:
                annotators.disable(session, annotator_id)
        except StoreError as error:
            refused.append(str(error))

    threads = [Thread(target=disable, args=(annotator_id,)) for annotator_id in (ann, bob)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(refused) == 1 and "is the last active admin" in refused[0]
