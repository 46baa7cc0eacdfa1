"""Annotators: their names, their roles, and who may act."""

import pytest
from sqlalchemy import Engine

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
        ann, bob = (annotators.add(session, name, "admin").id for name in ("ann", "bob"))
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
