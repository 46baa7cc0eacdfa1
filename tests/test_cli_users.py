"""`prefloop users`: people from the command line, with clean errors and no password twice."""

import io
import json
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from browser import free_port
from sqlalchemy import Engine

from db import annotators, audit, logins
from db.engine import open_store, reading, writing
from db.logins import LoginRefused
from pipeline import cli, workspace

Prefloop = Callable[..., str]


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """The store of a new workspace, which the commands use."""
    monkeypatch.setenv("PREFLOOP_HOME", str(tmp_path))
    monkeypatch.setenv("USER", "root")
    engine = open_store(workspace.init(tmp_path).store_url)
    yield engine
    engine.dispose()


@pytest.fixture
def prefloop(engine: Engine, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Prefloop:
    """Runs a command and returns what it printed; `status` is the exit status that is expected."""

    def run(*arguments: str, stdin: bytes = b"", status: int = 0) -> str:
        monkeypatch.setattr(sys, "argv", ["prefloop", *arguments])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capfd.readouterr()
        assert (ended.value.code or 0) == status, out + err
        return out + err

    return run


def shown(output: str) -> str:
    found = re.search(r"password, shown only this once: (\S+)", output)
    assert found, output
    return found.group(1)


def test_an_added_person_logs_in_with_the_password_that_was_shown(prefloop: Prefloop, engine: Engine) -> None:
    output = prefloop("users", "add", "ann", "--role", "manager")
    assert output.startswith("ann can log in, as manager\n")
    annotator = logins.person_of(engine, logins.open_login(engine, "ann", shown(output), ""))
    assert annotator is not None and annotator.role == "manager"
    with reading(engine) as session:
        assert {event.actor for event in audit.events(session, "annotator", annotator.id)} == {"root", "ann"}


def test_a_password_from_stdin_is_taken_to_the_end_of_the_line_and_not_shown(
    prefloop: Prefloop, engine: Engine
) -> None:
    output = prefloop("users", "add", "ann", "--password-stdin", stdin=" naïve words \r\nnot this".encode())
    assert "naïve" not in output
    assert logins.open_login(engine, "ann", " naïve words ", "")


@pytest.mark.parametrize(
    ("arguments", "stdin", "problem"),
    [
        (("add", "ann", "--password-stdin"), b"short\n", "Error: the password has 5 characters; choose one of 10 to"),
        (("add", "ann", "--password-stdin"), b"", "Error: the password has 0 characters; choose one of 10 to"),
        (("add", "ann", "--password-stdin"), b"\xff" * 12, "Error: the password on stdin is no UTF-8 text"),
        (("add", "ann", "--role", "boss"), b"", "Error: role 'boss': use one of annotator, manager, admin"),
        (("add", " ann"), b"", "Error: ' ann' is no name for an annotator"),
        (("role", "bob", "boss"), b"", "Error: role 'boss': use one of annotator, manager, admin"),
        (("role", "ann", "admin"), b"", "Error: there is no annotator ann; known: bob"),
        (("add", "bob"), b"", "Error: there is an annotator bob already; choose another name"),
        (("withdraw", "ann", "--yes"), b"", "Error: there is no annotator ann; known: bob"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_changes_nothing(
    prefloop: Prefloop, engine: Engine, arguments: tuple[str, ...], stdin: bytes, problem: str
) -> None:
    with writing(engine) as session:
        annotators.add(session, "bob")
    output = prefloop("users", *arguments, stdin=stdin, status=1)
    assert output.startswith(problem) and output.count("\n") == 1
    with reading(engine) as session:
        (bob,) = annotators.list_annotators(session)
        assert (bob.name, bob.role, bob.password_hash) == ("bob", "annotator", None)


def test_the_list_says_how_people_log_in_and_shows_no_secret(prefloop: Prefloop, engine: Engine) -> None:
    password = shown(prefloop("users", "add", "ann", "--role", "admin"))
    logins.open_login(engine, "ann", password, "")
    with writing(engine) as session:
        annotators.ensure(session, "robot", "simulated", taste={"likes": "short"})
        logins.ensure_oidc(session, "https://id.example.org", "17", "[bold]zoe[/bold]")
    prefloop("users", "disable", "robot")
    output = prefloop("users", "list", "--json")
    ann, zoe, robot = sorted(json.loads(output), key=lambda row: str(row["login"] or "z"))
    assert (ann["name"], ann["role"], ann["login"], ann["state"]) == ("ann", "admin", "password", "active")
    assert ann["last_seen"].endswith("Z")
    assert (zoe["name"], zoe["login"], zoe["last_seen"]) == ("[bold]zoe[/bold]", "provider", None)
    assert (robot["kind"], robot["login"], robot["state"]) == ("simulated", None, "disabled")
    table = prefloop("users", "list")
    assert "[bold]zoe[/bold]" in table
    assert all(secret not in output + table for secret in ("argon2", password, "17\n"))


def test_a_person_is_disabled_enabled_promoted_and_logged_out(prefloop: Prefloop, engine: Engine) -> None:
    password = shown(prefloop("users", "add", "ann"))
    token = logins.open_login(engine, "ann", password, "")
    assert prefloop("users", "role", "ann", "admin") == "ann is admin\n"
    annotator = logins.person_of(engine, token)
    assert annotator is not None and annotator.role == "admin"
    assert prefloop("users", "logout", "ann") == "ann is logged out everywhere\n"
    assert logins.person_of(engine, token) is None
    assert "give somebody else the role admin first" in prefloop("users", "disable", "ann", status=1)
    prefloop("users", "add", "bob", "--role", "admin")
    prefloop("users", "disable", "ann")
    with pytest.raises(LoginRefused):
        logins.open_login(engine, "ann", password, "")
    prefloop("users", "enable", "ann")
    assert logins.open_login(engine, "ann", password, "")


def test_a_new_password_replaces_the_old_one(prefloop: Prefloop, engine: Engine) -> None:
    old = shown(prefloop("users", "add", "ann"))
    token = logins.open_login(engine, "ann", old, "")
    new = shown(prefloop("users", "password", "ann"))
    assert logins.person_of(engine, token) is None
    with pytest.raises(LoginRefused):
        logins.open_login(engine, "ann", old, "")
    assert logins.open_login(engine, "ann", new, "")


def test_withdrawing_asks_first(prefloop: Prefloop, engine: Engine) -> None:
    prefloop("users", "add", "ann")
    assert "cannot be undone" in prefloop("users", "withdraw", "ann", stdin=b"n\n", status=1)
    with reading(engine) as session:
        assert annotators.by_name(session, "ann").withdrawn_at is None
    assert "0 snapshots and 0 versions became stale" in prefloop("users", "withdraw", "ann", "--yes")
    with reading(engine) as session:
        assert annotators.by_name(session, "ann").withdrawn_at is not None
    assert "has withdrawn" in prefloop("users", "enable", "ann", status=1)


def labeling_ui(*arguments: str) -> "subprocess.Popen[str]":
    """`prefloop ui` as a process of its own, whose place the server takes."""
    command = [sys.executable, "-m", "pipeline", "ui", *arguments]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--auth", "magic"], "invalid choice: 'magic'"),
        (["--address", "0.0.0.0"], "0.0.0.0 can be reached by others, and nobody has to log in"),
        (["--auth", "oidc"], "secrets.toml is not there; see docs/labeling.md"),
    ],
)
def test_the_labeling_ui_refuses_a_wrong_way_to_log_in_and_others_without_one(
    engine: Engine, arguments: list[str], told: str
) -> None:
    refused = labeling_ui(*arguments)
    assert told in refused.communicate(timeout=60)[1]
    assert refused.returncode == 2


def test_who_ends_the_command_ends_the_server(engine: Engine) -> None:
    port = free_port()
    started = labeling_ui("--port", str(port))
    with socket.socket() as client:
        deadline = time.monotonic() + 60
        while client.connect_ex(("127.0.0.1", port)):
            assert started.poll() is None and time.monotonic() < deadline, "the server did not start"
            time.sleep(0.2)
    started.terminate()
    started.communicate(timeout=30)
    with socket.socket() as client:
        assert client.connect_ex(("127.0.0.1", port)), "the server outlived its command"
