"""The office: what managers and admins may ask of the store. Who asks is checked here, whatever a menu shows.

Every function of the office_* files takes the engine and the id of the person who acts, opens one transaction, and
asks for their role in it; StoreError when it does not suffice. Acts are recorded under that person's name.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from db import annotators
from db.engine import reading, writing
from db.words import AnnotatorRole

PAGE = 50  # rows of a list at a time


@contextmanager
def looking(engine: Engine, person_id: int, role: AnnotatorRole = "manager") -> Iterator[Session]:
    """A transaction that reads, for a person of at least this role."""
    with reading(engine) as session:
        annotators.require_role(session, person_id, role)
        yield session


@contextmanager
def acting(engine: Engine, person_id: int, role: AnnotatorRole = "manager") -> Iterator[tuple[Session, str]]:
    """A transaction that writes, for a person of at least this role, and their name for the audit."""
    with writing(engine) as session:
        yield session, annotators.require_role(session, person_id, role).name
