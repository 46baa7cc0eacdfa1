"""What only SQLite needs: a driver whose WAL mode is safe, pragmas on every connection, a BEGIN of our own."""

import importlib
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from sqlalchemy import Connection, Engine, event

from .errors import StoreError

_BUSY_TIMEOUT_MS = 30_000


@dataclass(frozen=True, slots=True)
class SqliteFacts:
    """What a SQLite store runs on, for `doctor`."""

    version: tuple[int, int, int]
    journal_mode: str  # "wal" or "delete"
    module: str  # the driver: "pysqlite3.dbapi2" or "sqlite3.dbapi2"


def wal_is_safe(version: tuple[int, int, int]) -> bool:
    """Whether this SQLite keeps every committed row in WAL mode.

    Before 3.51.3 a checkpoint racing a writer could lose commits; the fix was also released as 3.50.7 and 3.44.6.
    """
    return version >= (3, 51, 3) or (3, 50, 7) <= version < (3, 51, 0) or (3, 44, 6) <= version < (3, 45, 0)


def driver() -> ModuleType:
    """pysqlite3 where it is installed and not older than the standard library's SQLite: it bundles a recent one."""
    standard: ModuleType = sqlite3.dbapi2
    try:
        bundled = importlib.import_module("pysqlite3.dbapi2")
    except ImportError:
        return standard
    return bundled if version_of(bundled) >= version_of(standard) else standard


def version_of(module: Any) -> tuple[int, int, int]:
    """The version of the SQLite library inside a driver module."""
    major, minor, patch = module.sqlite_version_info[:3]
    return major, minor, patch


def prepare(engine: Engine, module: Any) -> None:
    """Set the pragmas on every connection, and begin transactions by SQLAlchemy's documented recipe.

    The driver begins nothing by itself, so the BEGIN here is the only one; its kind is the execution option
    `sqlite_begin`, "DEFERRED" unless said otherwise. Every commit waits for the disk unless the option `durable` is
    False; without the WAL it always does, since the file could be damaged otherwise (sqlite.org/pragma.html).
    """
    journal_mode = "wal" if wal_is_safe(version_of(module)) else "delete"

    @event.listens_for(engine, "connect")
    def connected(dbapi_connection: Any, _record: object) -> None:
        dbapi_connection.isolation_level = None
        cursor = dbapi_connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout = {_BUSY_TIMEOUT_MS}")
        _set_journal_mode(cursor, journal_mode, module)
        cursor.execute("PRAGMA foreign_keys = ON")
        # Without it INSERT OR REPLACE deletes a row past its append-only trigger.
        cursor.execute("PRAGMA recursive_triggers = ON")
        cursor.close()

    @event.listens_for(engine, "begin")
    def begun(connection: Connection) -> None:
        options = connection.get_execution_options()
        durable = options.get("durable", True) or journal_mode != "wal"
        connection.exec_driver_sql(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
        connection.exec_driver_sql(f"BEGIN {options.get('sqlite_begin', 'DEFERRED')}")


def facts(engine: Engine) -> SqliteFacts:
    """Version, journal mode and driver."""
    with engine.connect() as connection:
        mode = str(connection.exec_driver_sql("PRAGMA journal_mode").scalar_one())
    module = engine.dialect.loaded_dbapi
    return SqliteFacts(version_of(module), mode, module.__name__)


def integrity(engine: Engine) -> list[str]:
    """Every problem in the file, one line each."""
    with engine.connect() as connection:
        damage = [str(row[0]) for row in connection.exec_driver_sql("PRAGMA integrity_check") if row[0] != "ok"]
        return damage + _broken_references(connection)


@contextmanager
def rebuilding(engine: Engine) -> Iterator[Connection]:
    """A connection in one writing transaction in which tables may be dropped and made anew.

    References are not enforced on the way; they are checked before the commit, and a broken one undoes everything
    with StoreError.
    """
    with engine.connect().execution_options(sqlite_begin="IMMEDIATE") as connection:
        raw: Any = connection.connection.driver_connection
        raw.execute("PRAGMA foreign_keys = OFF")  # has no effect inside a transaction, so it stands before
        try:
            with connection.begin():
                yield connection
                broken = _broken_references(connection)
                if broken:
                    raise StoreError(f"the migration would break references, and was undone: {'; '.join(broken)}")
        finally:
            raw.execute("PRAGMA foreign_keys = ON")


def _broken_references(connection: Connection) -> list[str]:
    rows = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
    return [f"{table} row {rowid} points at a missing {parent}" for table, rowid, parent, _ in rows]


def _set_journal_mode(cursor: Any, wanted: str, module: Any) -> None:
    """The mode is a property of the file, so it is changed only where it differs: a change needs the file alone."""
    cursor.execute("PRAGMA journal_mode")
    if cursor.fetchone()[0] in (wanted, "memory"):
        return
    try:
        cursor.execute(f"PRAGMA journal_mode = {wanted}")
    except module.OperationalError as error:
        # Refused because another connection is at work. Staying with DELETE is slower and as durable;
        # staying with WAL is what an unsafe SQLite must not do.
        if wanted == "delete":
            raise StoreError(
                f"SQLite {module.sqlite_version} can lose rows of a store in WAL mode, and another process keeps this "
                "one in it; stop that process, or install pysqlite3"
            ) from error
