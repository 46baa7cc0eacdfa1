"""The migrations, by pytest-alembic on both engines: one head, up, down and up again, and no drift from the tables."""

from collections.abc import Iterator
from multiprocessing import get_context

import pytest
from alembic.config import Config
from pytest_alembic.tests import (  # noqa: F401  (collected from here)
    test_model_definitions_match_ddl,
    test_single_head_revision,
    test_up_down_consistency,
    test_upgrade,
)
from sqlalchemy import Engine, inspect, text

from db.engine import alembic_config as configuration
from db.engine import head, migrate, open_engine, open_store, revision
from db.errors import StoreError
from db.tables import Base


@pytest.fixture
def alembic_config() -> Config:
    return configuration()


@pytest.fixture
def alembic_engine(empty_url: str) -> Iterator[Engine]:
    engine = open_engine(empty_url)
    yield engine
    engine.dispose()


def test_migrating_twice_is_a_noop(alembic_engine: Engine) -> None:
    assert revision(alembic_engine) is None
    migrate(alembic_engine)
    migrate(alembic_engine)
    assert revision(alembic_engine) == head()


def test_migrations_and_tables_make_the_same_triggers(alembic_engine: Engine) -> None:
    query = {
        "sqlite": "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' ORDER BY name",
        "postgresql": "SELECT tgname, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal ORDER BY tgname",
    }[alembic_engine.dialect.name]
    Base.metadata.create_all(alembic_engine)
    with alembic_engine.begin() as connection:
        declared = connection.execute(text(query)).all()
    Base.metadata.drop_all(alembic_engine)
    migrate(alembic_engine)
    with alembic_engine.begin() as connection:
        assert connection.execute(text(query)).all() == declared
    assert len(declared) >= 3


def test_migrations_and_tables_make_the_same_checks(alembic_engine: Engine) -> None:
    # Alembic's comparison does not look at CHECK constraints.
    Base.metadata.create_all(alembic_engine)
    declared = checks(alembic_engine)
    Base.metadata.drop_all(alembic_engine)
    migrate(alembic_engine)
    assert checks(alembic_engine) == declared
    assert len(declared) >= 20


def test_every_constraint_is_named_by_the_convention() -> None:
    for table in Base.metadata.tables.values():
        for constraint in table.constraints:
            assert str(constraint.name).startswith(("pk_", "fk_", "uq_", "ck_")), constraint
            assert len(str(constraint.name)) <= 63, "PostgreSQL would cut it"


def test_processes_that_start_at_once_migrate_once(empty_url: str) -> None:
    context = get_context("spawn")
    with context.Pool(2) as pool:
        assert pool.map(opened_revision, [empty_url] * 4, chunksize=1) == [head()] * 4


def test_a_store_of_newer_code_is_refused(empty_url: str) -> None:
    engine = open_store(empty_url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(StoreError, match="revision 9999, which this code does not know"):
        migrate(engine)
    engine.dispose()


def opened_revision(url: str) -> str | None:
    engine = open_store(url)
    try:
        return revision(engine)
    finally:
        engine.dispose()


def checks(engine: Engine) -> set[tuple[str, str, str]]:
    found = inspect(engine)
    return {
        (table, str(check["name"]), check["sqltext"])
        for table in Base.metadata.tables
        for check in found.get_check_constraints(table)
    }
