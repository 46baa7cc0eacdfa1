"""The engine: what each connection promises, and what a transaction leaves behind."""

import sqlite3
import threading
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import StatementError

import db
from db import annotators, audit, runs, sqlite
from db.engine import open_engine, open_store, reading, sqlite_facts, sqlite_integrity, wal_is_safe, writing
from db.errors import StoreError
from db.hashing import canonical_json, sha256_text
from db.tables import Annotator


def test_db_is_the_package_of_this_checkout() -> None:
    assert Path(db.__file__).parent.parent == Path(__file__).parent.parent


@pytest.mark.parametrize(
    ("version", "safe"),
    [
        ((3, 40, 1), False),
        ((3, 44, 5), False),
        ((3, 44, 6), True),
        ((3, 45, 0), False),
        ((3, 50, 6), False),
        ((3, 50, 7), True),
        ((3, 51, 0), False),
        ((3, 51, 2), False),
        ((3, 51, 3), True),
        ((3, 53, 4), True),
        ((4, 0, 0), True),
    ],
)
def test_wal_is_trusted_only_where_it_is_fixed(version: tuple[int, int, int], safe: bool) -> None:
    assert wal_is_safe(version) is safe


@pytest.mark.parametrize(("safe", "mode"), [(True, "wal"), (False, "delete")])
def test_every_sqlite_connection_is_durable_and_checks_references(
    safe: bool, mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "wal_is_safe", lambda version: safe)
    engine = open_store(f"sqlite:///{tmp_path / 'store.db'}")
    with engine.connect() as one, engine.connect() as two:
        for connection in (one, two):
            pragmas = {
                name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
                for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout", "recursive_triggers")
            }
            assert pragmas == {
                "journal_mode": mode,
                "synchronous": 2,  # FULL
                "foreign_keys": 1,
                "busy_timeout": 30_000,
                "recursive_triggers": 1,
            }
    facts = sqlite_facts(engine)
    assert facts is not None
    assert facts.journal_mode == mode
    assert facts.version >= sqlite3.sqlite_version_info
    engine.dispose()


def test_only_a_transaction_that_may_be_undone_does_not_wait_for_the_disk(engine: Engine) -> None:
    setting = "PRAGMA synchronous" if engine.dialect.name == "sqlite" else "SHOW synchronous_commit"
    found = []
    for durable in (True, False, True):
        with writing(engine, durable=durable) as session:
            found.append(str(session.execute(text(setting)).scalar_one()))
    assert found == (["2", "1", "2"] if engine.dialect.name == "sqlite" else ["on", "off", "on"])


def test_without_the_wal_every_commit_waits_for_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "wal_is_safe", lambda version: False)
    engine = open_store(f"sqlite:///{tmp_path / 'store.db'}")
    with writing(engine, durable=False) as session:
        assert session.execute(text("PRAGMA synchronous")).scalar_one() == 2
    engine.dispose()


def test_an_unsafe_sqlite_does_not_join_a_store_in_wal_mode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"sqlite:///{tmp_path / 'store.db'}"
    monkeypatch.setattr(sqlite, "_BUSY_TIMEOUT_MS", 50)
    monkeypatch.setattr(sqlite, "wal_is_safe", lambda version: True)
    newer = open_store(url)
    monkeypatch.setattr(sqlite, "wal_is_safe", lambda version: False)
    older = open_engine(url)
    with newer.connect() as connection, pytest.raises(StoreError, match="stop that process"):
        connection.exec_driver_sql("SELECT 1 FROM prompt").all()
        older.connect()
    newer.dispose()
    with older.connect() as connection:  # the file is alone now, and is converted
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "delete"
    older.dispose()


def test_facts_and_integrity_fit_the_engine(engine: Engine) -> None:
    assert (sqlite_facts(engine) is None) == (engine.dialect.name == "postgresql")
    assert sqlite_integrity(engine) == []


def test_a_broken_reference_is_found(tmp_path: Path) -> None:
    file = tmp_path / "store.db"
    engine = open_store(f"sqlite:///{file}")
    engine.dispose()
    with sqlite3.connect(file) as careless:
        careless.execute("INSERT INTO metric (run_id, name, step, value) VALUES (7, 'loss', 0, 1.0)")
    careless.close()
    assert sqlite_integrity(engine) == ["metric row 1 points at a missing run"]
    engine.dispose()


@pytest.mark.parametrize("url", ["mysql://somebody:hunter2@host/db", "postgres://somebody:hunter2@host/db", "store.db"])
def test_another_url_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(StoreError, match=r"write sqlite:///file or postgresql://") as refused:
        open_engine(url)
    assert "hunter2" not in str(refused.value)


def test_a_missing_folder_is_named() -> None:
    with pytest.raises(StoreError, match="/nowhere/at/all; create it"):
        open_engine("sqlite:////nowhere/at/all/store.db")


def test_a_silent_postgresql_is_named_without_its_password(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="does not answer") as refused:
        open_store(f"postgresql://somebody:hunter2@/db?host={tmp_path}")
    assert "hunter2" not in str(refused.value)


def test_writing_commits_and_rows_stay_readable(engine: Engine) -> None:
    with writing(engine) as session:
        ann = annotators.ensure(session, "ann", "human")
    assert ann.name == "ann"
    with reading(engine) as session:
        found = annotators.by_name(session, "ann")
    assert found.created_at.tzinfo is UTC


def test_an_error_undoes_the_whole_transaction(engine: Engine) -> None:
    with pytest.raises(ZeroDivisionError), writing(engine) as session:
        annotators.ensure(session, "ann", "human")
        audit.record(session, "ann", "join", "annotator", None)
        raise ZeroDivisionError
    with reading(engine) as session:
        assert annotators.list_annotators(session) == []
        assert audit.events(session) == []


def test_reading_leaves_nothing_behind(engine: Engine) -> None:
    with reading(engine) as session:
        annotators.ensure(session, "ann", "human")
    with reading(engine) as session:
        assert annotators.list_annotators(session) == []


def test_writers_at_once_wait_for_each_other(engine: Engine) -> None:
    def join(number: int) -> None:
        with writing(engine) as session:
            assert len(annotators.list_annotators(session)) >= 0  # a read first: the usual way to a locked database
            annotators.ensure(session, f"ann {number}", "human")

    threads = [threading.Thread(target=join, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with reading(engine) as session:
        assert len(annotators.list_annotators(session)) == 8


def test_moments_keep_their_instant_and_come_back_in_utc(engine: Engine) -> None:
    moment = datetime(2026, 3, 1, 1, 30, tzinfo=timezone(timedelta(hours=2)))
    with writing(engine) as session:
        annotators.ensure(session, "ann", "human").disabled_at = moment
    with reading(engine) as session:
        disabled_at = annotators.by_name(session, "ann").disabled_at
        same = session.query(Annotator).where(Annotator.disabled_at == moment).count()
    assert disabled_at == moment
    assert str(disabled_at) == "2026-02-28 23:30:00+00:00"
    assert same == 1


def test_a_naive_moment_is_refused(engine: Engine) -> None:
    with pytest.raises(StatementError, match="naive datetime"), writing(engine) as session:
        annotators.ensure(session, "ann", "human").disabled_at = datetime(2026, 3, 1)


def test_text_that_an_engine_cannot_keep_is_kept_alike_on_both(engine: Engine) -> None:
    with writing(engine) as session:
        run = runs.start(session, "generate", {}, 0, "test", "f" * 64)
        runs.fail(session, run.id, "nul \x00, half a pair \ud83d, a whole one \U0001f600")
    with reading(engine) as session:
        assert runs.get(session, run.id).error == "nul \ufffd, half a pair \ufffd, a whole one \U0001f600"


def test_a_word_outside_the_vocabulary_is_refused_by_the_store(engine: Engine) -> None:
    with pytest.raises(Exception, match="ck_annotator_kind"), writing(engine) as session:
        session.execute(
            text(
                "INSERT INTO annotator (name, kind, role, judged, created_at) "
                "VALUES ('x', 'robot', 'annotator', 0, '2026-01-01 00:00:00')"
            )
        )


def test_canonical_json_is_one_text_for_equal_values() -> None:
    assert canonical_json({"b": [1, 2.5], "a": "ü\n"}) == '{"a":"ü\\n","b":[1,2.5]}'
    assert sha256_text("") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json(float("nan"))
