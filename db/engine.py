"""From a URL to a store with the newest tables, and from an engine to a session in one transaction.

SQLite and PostgreSQL behave alike behind `writing` and `reading`: a writer on SQLite takes the write lock at once
(BEGIN IMMEDIATE), so it never fails half-way for want of it; a writer on PostgreSQL runs at READ COMMITTED, which
the leasing code counts on (a count taken after a lock sees what was committed before it).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection, Engine, create_engine, make_url
from sqlalchemy.exc import ArgumentError, OperationalError
from sqlalchemy.orm import Session

from . import sqlite
from .errors import StoreError
from .sqlite import SqliteFacts, wal_is_safe

__all__ = [
    "SqliteFacts",
    "alembic_config",
    "head",
    "migrate",
    "open_engine",
    "open_store",
    "reading",
    "revision",
    "sqlite_facts",
    "sqlite_integrity",
    "wal_is_safe",
    "writing",
]

# Any number will do, so long as it is ours: who migrates a PostgreSQL store holds this advisory lock.
_ADVISORY_LOCK = 7_066_176_100


def open_engine(url: str) -> Engine:
    """An engine for `sqlite:///file` or `postgresql://…`; StoreError for any other URL, or a folder that is not there.

    Opens no connection yet.
    """
    parsed = _parse(url)
    if parsed.get_backend_name() == "postgresql":
        return create_engine(parsed, isolation_level="READ COMMITTED", pool_pre_ping=True)
    folder = Path(parsed.database or ".").parent
    if not folder.is_dir():
        raise StoreError(f"the folder of the SQLite store does not exist: {folder}; create it, or correct the URL")
    module = sqlite.driver()
    engine = create_engine(parsed, module=module)
    sqlite.prepare(engine, module)
    return engine


def open_store(url: str) -> Engine:
    """An engine whose store exists and has the newest tables; StoreError if it cannot be reached or is too new."""
    engine = open_engine(url)
    try:
        migrate(engine)
    except OperationalError as error:
        engine.dispose()
        shown = engine.url.render_as_string(hide_password=True)
        raise StoreError(
            f"the store at {shown} does not answer ({error.orig}); check the URL, and that it is running"
        ) from error
    except BaseException:
        engine.dispose()
        raise
    return engine


@contextmanager
def writing(engine: Engine, durable: bool = True) -> Iterator[Session]:
    """A session in one transaction: committed at the end, rolled back on error. Rows stay readable afterwards.

    With `durable` False nobody waits for the disk: a power cut, not a crash of this process, may undo the transaction.
    It is for what can be done again, as a lease. The next durable transaction takes it along.
    """
    with Session(engine, expire_on_commit=False) as session, session.begin():
        connection = session.connection(execution_options={"sqlite_begin": "IMMEDIATE", "durable": durable})
        if not durable and engine.dialect.name == "postgresql":
            connection.exec_driver_sql("SET LOCAL synchronous_commit = off")
        yield session


@contextmanager
def reading(engine: Engine) -> Iterator[Session]:
    """A session whose transaction is always rolled back. Rows stay readable afterwards."""
    with Session(engine, expire_on_commit=False, autoflush=False) as session:
        # Closing rolls back and detaches the rows; an explicit rollback would also empty them.
        yield session


def migrate(engine: Engine) -> None:
    """Upgrade to `head()` in one transaction; does nothing, and takes no lock, when the store is there already.

    Safe when several processes start at once: one upgrades, the others wait and find nothing left to do.
    """
    at = revision(engine)
    if at == head():
        return
    if at is not None and at not in {script.revision for script in _scripts().walk_revisions()}:
        raise StoreError(f"the store is at revision {at}, which this code does not know; update the code")
    if engine.dialect.name == "sqlite":
        with sqlite.rebuilding(engine) as connection:
            _upgrade(connection)
    else:
        with engine.begin() as connection:
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_ADVISORY_LOCK})")
            _upgrade(connection)


def revision(engine: Engine) -> str | None:
    """The revision that the store is at; None for an empty one."""
    with engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def head() -> str:
    """The newest revision that this code knows."""
    newest = _scripts().get_current_head()
    assert newest is not None, "db/migrations/versions is empty"
    return newest


def alembic_config() -> Config:
    """The Alembic configuration; `attributes["connection"]` is for the caller to set."""
    config = Config()
    # % starts an interpolation in a Config, and a checkout may lie in a folder with one in its name.
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    return config


def sqlite_facts(engine: Engine) -> SqliteFacts | None:
    """Version, journal mode and driver of a SQLite store; None on PostgreSQL."""
    return sqlite.facts(engine) if engine.dialect.name == "sqlite" else None


def sqlite_integrity(engine: Engine) -> list[str]:
    """Every problem that SQLite finds in the file, one line each; empty when sound, and on PostgreSQL."""
    return sqlite.integrity(engine) if engine.dialect.name == "sqlite" else []


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError:
        # The text may hold a password: it is not repeated.
        raise StoreError("the store's URL cannot be read; write sqlite:///file or postgresql://user@host/db") from None
    if parsed.get_backend_name() not in ("sqlite", "postgresql"):
        shown = parsed.render_as_string(hide_password=True)
        raise StoreError(f"the store cannot be {shown}; write sqlite:///file or postgresql://user@host/db")
    return parsed


def _scripts() -> ScriptDirectory:
    return ScriptDirectory.from_config(alembic_config())


def _upgrade(connection: Connection) -> None:
    config = alembic_config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
