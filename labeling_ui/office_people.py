"""People: who may do what. Managers may look, admins change."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Engine

from db import activity, annotators, lineage, logins
from db.activity import AnnotatorActivity
from db.errors import StoreError
from db.lineage import Dependents
from db.words import AnnotatorRole
from labeling_ui.office import acting, looking


@dataclass(frozen=True, slots=True)
class PersonLine:
    did: AnnotatorActivity
    logged_in_at: datetime | None  # when a browser of theirs was last seen

    @property
    def is_active_admin(self) -> bool:
        return self.did.role == "admin" and self.did.disabled_at is None and self.did.withdrawn_at is None


@dataclass(frozen=True, slots=True)
class NewPassword:
    """A password that was made for somebody: it is shown once, and the store keeps only its hash."""

    name: str
    password: str


def lines(engine: Engine, person_id: int) -> list[PersonLine]:
    """Everybody, people first; simulated annotators too."""
    with looking(engine, person_id) as session:
        seen = logins.last_seen(session)
        return [PersonLine(did, seen.get(did.annotator_id)) for did in activity.by_annotator(session)]


def dependents(engine: Engine, person_id: int, annotator_id: int) -> Dependents:
    """What stands on what the annotator said, and becomes stale when they withdraw."""
    with looking(engine, person_id) as session:
        return lineage.of_annotator(session, annotator_id)


def add(engine: Engine, person_id: int, name: str, role: AnnotatorRole) -> NewPassword:
    """A new person, with a password to begin with."""
    with acting(engine, person_id, "admin") as (session, actor):
        annotator = annotators.add(session, name.strip(), role, actor)
        password = logins.new_password()
        logins.set_password(session, annotator.id, password, actor)
        return NewPassword(annotator.name, password)


def new_password(engine: Engine, person_id: int, annotator_id: int) -> NewPassword:
    """Another password; the person is logged out everywhere."""
    with acting(engine, person_id, "admin") as (session, actor):
        password = logins.new_password()
        logins.set_password(session, annotator_id, password, actor)
        return NewPassword(annotators.get(session, annotator_id).name, password)


def set_role(engine: Engine, person_id: int, annotator_id: int, role: AnnotatorRole) -> str:
    with acting(engine, person_id, "admin") as (session, actor):
        _refuse_oneself(person_id, annotator_id, "change your own role")
        return f"{annotators.set_role(session, annotator_id, role, actor).name} is {role} now."


def disable(engine: Engine, person_id: int, annotator_id: int) -> str:
    with acting(engine, person_id, "admin") as (session, actor):
        _refuse_oneself(person_id, annotator_id, "disable yourself")
        name = annotators.disable(session, annotator_id, actor).name
        return f"{name} is disabled and logged out. What they said counts on."


def enable(engine: Engine, person_id: int, annotator_id: int) -> str:
    with acting(engine, person_id, "admin") as (session, actor):
        return f"{annotators.enable(session, annotator_id, actor).name} may act again."


def log_out(engine: Engine, person_id: int, annotator_id: int) -> str:
    with acting(engine, person_id, "admin") as (session, actor):
        logins.revoke_all(session, annotator_id, actor)
        return f"{annotators.get(session, annotator_id).name} is logged out everywhere."


def withdraw(engine: Engine, person_id: int, annotator_id: int) -> str:
    with acting(engine, person_id, "admin") as (session, actor):
        _refuse_oneself(person_id, annotator_id, "withdraw yourself")
        stale = annotators.withdraw(session, annotator_id, actor)
        name = annotators.get(session, annotator_id).name
    return (
        f"{name} has withdrawn. Stale now: {_count(len(stale.snapshot_ids), 'snapshot')} and "
        f"{_count(len(stale.version_ids), 'version')}. The places that they filled are owed again."
    )


def _refuse_oneself(person_id: int, annotator_id: int, what: str) -> None:
    if person_id == annotator_id:
        raise StoreError(f"you cannot {what}, or there might be no admin left; ask another admin to")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
