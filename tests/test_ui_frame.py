"""The frame around the pages where nobody has to log in: who is labeling, and what is in the menu."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import sqlite_url
from sqlalchemy import Engine
from streamlit.testing.v1 import AppTest

from db import annotators
from db.engine import open_store, reading, writing
from labeling_ui import identity, launch

MAIN = Path(launch.__file__).parent / "main.py"


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """The store of the pages."""
    engine = open_store(sqlite_url(tmp_path))
    monkeypatch.setenv("PREFLOOP_STORE_URL", sqlite_url(tmp_path))
    yield engine
    engine.dispose()


def open_frame(name: str | None = None) -> AppTest:
    page = AppTest.from_file(str(MAIN), default_timeout=20)
    if name is not None:
        page.query_params["annotator"] = name
    return sound(page.run())


def sound(page: AppTest) -> AppTest:
    assert not page.exception, page.exception[0].message
    return page


def known(engine: Engine) -> dict[str, str]:
    """The role of every annotator."""
    with reading(engine) as session:
        return {annotator.name: annotator.role for annotator in annotators.list_annotators(session)}


def test_whoever_labels_on_their_own_machine_is_its_admin(engine: Engine) -> None:
    page = open_frame()
    assert page.text_input(key="said-name").value == "me"
    assert known(engine) == {"me": "admin"}


def test_the_name_is_that_of_the_url_and_stays_there(engine: Engine) -> None:
    page = open_frame("ann")
    assert page.text_input(key="said-name").value == "ann"
    page.text_input(key="said-name").set_value(" bob ")
    sound(page.run())
    assert "bob" in page.query_params["annotator"]
    del page.query_params["annotator"]  # as a link to another page does
    assert "bob" in sound(page.run()).query_params["annotator"]
    assert known(engine) == {"ann": "admin", "bob": "admin"}


def test_a_name_of_blanks_is_the_default_name(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFLOOP_ANNOTATOR", "dora")
    page = open_frame("ann")
    page.text_input(key="said-name").set_value("  ")
    assert sound(page.run()).text_input(key="said-name").value == "dora"


@pytest.mark.parametrize("name", ["an\x00n", " ann\n", "ann\u202e"])
def test_a_name_loses_what_cannot_be_seen(engine: Engine, name: str) -> None:
    open_frame(name)
    assert known(engine) == {"ann": "admin"}


def test_a_person_whom_the_store_knows_keeps_their_role(engine: Engine) -> None:
    with writing(engine) as session:
        annotators.add(session, "ann")
    open_frame("ann")
    assert known(engine) == {"ann": "annotator"}


def test_a_simulated_annotator_is_nobody_to_label_as_and_the_page_says_so(engine: Engine) -> None:
    with writing(engine) as session:
        annotators.ensure(session, "robot", "simulated", taste={"likes": "short"})
    page = open_frame("robot")
    assert "annotator robot is simulated" in page.text[0].value
    page.text_input(key="said-name").set_value("ann")
    sound(page.run())
    assert known(engine) == {"ann": "admin", "robot": "annotator"}


def test_without_a_store_the_frame_says_how_to_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PREFLOOP_STORE_URL", raising=False)
    assert "python -m labeling_ui --store-url" in open_frame().text[0].value


def test_with_a_login_a_name_in_the_url_is_nobody(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFLOOP_AUTH", "password")
    monkeypatch.setattr(identity, "of_token", lambda token: None)  # without a browser there are no cookies
    page = open_frame("admin")
    assert "You are logged out" in page.markdown[0].value
    assert not page.text_input
    assert known(engine) == {}
