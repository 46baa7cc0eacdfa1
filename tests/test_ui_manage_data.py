"""The manager pages prompts, people and data without a browser: what their buttons do."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from office_pages import everything, html, page, pair_judgment, person, press, sound
from office_store import EVIL_NAME
from sqlalchemy import Engine
from streamlit.testing.v1 import AppTest

from db import annotators, audit, judgments, logins, prompts, snapshots, versions
from db.browse import Wanted
from db.engine import open_engine, reading
from db.errors import StoreError
from labeling_ui import office_data, office_people


@pytest.fixture
def office(office_template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """A copy of the store in which much has happened; the pages are opened on it."""
    shutil.copy(office_template, tmp_path / "store.db")
    monkeypatch.setenv("PREFLOOP_STORE_URL", f"sqlite:///{tmp_path / 'store.db'}")
    engine = open_engine(f"sqlite:///{tmp_path / 'store.db'}")
    yield engine
    engine.dispose()


def test_a_file_of_prompts_is_imported_and_what_is_wrong_with_it_said(office: Engine) -> None:
    opened = page("prompts", "dora")
    lines = b'{"prompt": "brand new", "category": "fresh"}\n{"prompt": "brand new"}\nnonsense\n{"prompt": ""}'
    opened.file_uploader(key="file").set_value(("mine.jsonl", lines, "application/jsonl")).run()
    press(opened, "import")
    assert "mine.jsonl: 1 prompts added, 1 duplicates, 2 bad lines" in html(opened)
    assert "not JSON" in html(opened)
    assert 'data-head="line">3<' in html(opened)
    with reading(office) as session:
        (added,) = prompts.search(session, "brand new").rows
        assert (added.category, added.source) == ("fresh", "mine.jsonl")
        assert audit.events(session, "prompt", limit=1)[0].actor == "dora"


def test_a_file_that_cannot_be_read_is_refused_in_words(office: Engine) -> None:
    opened = page("prompts")
    opened.file_uploader(key="file").set_value(("p.csv", b"question\nwhy", "text/csv")).run()
    press(opened, "import")
    assert "the csv has no column named prompt" in html(opened)


def test_prompts_are_filtered_read_retired_and_brought_back(office: Engine) -> None:
    opened = page("prompts")
    opened.text_input(key="text").input("mend a bicycle").run()
    found = opened.dataframe[0]
    assert all("mend a bicycle" in text for text in found.value["prompt"])
    first, second = list(found.value["id"])[:2]
    opened.session_state[found.key] = {"selection": {"rows": [0, 1], "columns": [], "cells": []}}
    sound(opened.run())
    assert f"prompt {first}" in html(opened)
    press(opened, "retire")
    assert "2 prompts are retired" in html(opened)
    with reading(office) as session:
        assert {prompts.get(session, id_).retired_at is not None for id_ in (first, second)} == {True}
    assert first not in list(opened.dataframe[0].value["id"])

    sound(opened.toggle(key="retired").set_value(True).run())
    found = opened.dataframe[0]
    assert sorted(found.value["id"]) == sorted([first, second])
    opened.session_state[found.key] = {"selection": {"rows": [0], "columns": [], "cells": []}}
    sound(opened.run())
    press(opened, "bring back")
    with reading(office) as session:
        assert sum(prompts.get(session, id_).retired_at is None for id_ in (first, second)) == 1


def test_a_filter_that_leaves_fewer_pages_shows_the_last_of_them(office: Engine) -> None:
    opened = page("prompts")
    sound(opened.pagination(key="prompts-page").set_value(5).run())
    assert len(opened.dataframe[0].value) == 50
    sound(opened.text_input(key="text").input("mend a bicycle").run())
    assert len(opened.dataframe[0].value) > 0


def test_somebody_is_added_with_a_password_that_is_shown_once_and_works(office: Engine) -> None:
    opened = page("people")
    (name,) = [field for field in opened.text_input if field.label == "name"]
    name.input("gil")
    (role,) = [box for box in opened.selectbox if box.label == "role" and "form" not in str(box.key)][:1]
    role.set_value("manager")
    press(opened, "add")
    password = opened.code[0].value
    assert "gil is added." in html(opened)
    with reading(office) as session:
        assert annotators.by_name(session, "gil").role == "manager"
    assert logins.open_login(office, "gil", password, "127.0.0.1")
    press(opened, "I have noted it")
    assert not opened.code
    assert password not in everything(opened)


def choose_person(engine: Engine, name: str) -> AppTest:
    return sound(page("people").selectbox(key="person").set_value(person(engine, name)).run())


def test_a_person_is_disabled_and_enabled_and_gets_another_role_and_password(office: Engine) -> None:
    opened = choose_person(office, "finn")
    for label, said in (
        ("disable", "finn is disabled"),
        ("enable", "finn may act again"),
        ("log out everywhere", "out"),
    ):
        press(opened, label)
        assert said in html(opened)
    roles = [box for box in opened.selectbox if box.label == "role"]
    roles[-1].set_value("manager")
    press(opened, "change the role")
    assert "finn is manager now." in html(opened)
    press(opened, "set a new password")
    assert logins.open_login(office, "finn", opened.code[0].value, "127.0.0.1")


def test_nobody_takes_away_their_own_rights(office: Engine) -> None:
    ada = person(office, "ada")
    for act in (office_people.disable, office_people.withdraw):
        with pytest.raises(StoreError, match="ask another admin"):
            act(office, ada, ada)
    with pytest.raises(StoreError, match="you cannot change your own role"):
        office_people.set_role(office, ada, ada, "annotator")
    labels = [button.label for button in choose_person(office, "ada").button]
    assert "disable" not in labels
    assert "withdraw" not in labels


def test_the_last_active_admin_is_told_so(office: Engine) -> None:
    assert "This is you, the last active admin" in html(choose_person(office, "ada"))
    office_people.set_role(office, person(office, "ada"), person(office, "dora"), "admin")
    opened = choose_person(office, "ada")
    assert "the last active admin" not in html(opened)
    assert "This is you. Another admin can" in html(opened)


def test_a_withdrawal_names_what_becomes_stale_and_then_it_does(office: Engine) -> None:
    opened = choose_person(office, "finn")
    assert "v1 (current), r1, v2" in html(opened)
    (button,) = [button for button in opened.button if button.label == "withdraw"]
    assert button.disabled
    opened.checkbox[0].set_value(True).run()
    press(opened, "withdraw")
    assert "finn has withdrawn. Stale now: 2 snapshots and 3 versions" in html(opened)
    with reading(office) as session:
        assert all(row.stale_reason for row in snapshots.list_snapshots(session))
        assert [version.name for version in versions.list_versions(session) if version.stale_reason] == [
            "v1",
            "r1",
            "v2",
        ]
    assert "That is for good" in html(opened)
    assert "stale: annotator finn withdrew" in html(page("data", judgment="1"))


def test_a_manager_looks_at_people_and_changes_nothing(office: Engine) -> None:
    opened = page("people", "dora")
    assert "finn" in html(opened)
    assert "Only an admin changes people" in html(opened)
    assert not opened.button


def test_data_is_filtered_and_paged(office: Engine) -> None:
    opened = page("data")
    assert set(opened.dataframe[0].value["annotator"]) <= {"ben", "cleo", "finn", EVIL_NAME}
    assert len(opened.dataframe[0].value) == 50
    sound(opened.pagination(key="data-page").set_value(2).run())
    ids = list(opened.dataframe[0].value["id"])
    assert ids == sorted(ids, reverse=True)
    sound(opened.selectbox(key="with-annotator").set_value(person(office, "finn")).run())
    assert set(opened.dataframe[0].value["annotator"]) == {"finn"}
    sound(opened.toggle(key="flagged").set_value(True).run())
    sound(opened.selectbox(key="with-annotator").set_value(None).run())
    assert set(opened.dataframe[0].value["said"]) == {"flag"}


def test_one_judgment_is_shown_with_its_texts_its_corrections_and_its_lineage(office: Engine) -> None:
    with reading(office) as session:
        row = next(row for row in judgments.current(session, "human") if row.choice == "tie")
    opened = page("data", judgment=str(row.judgment_id))
    for text in (*row.texts.values(), row.messages[-1]["content"]):
        assert text in [element.value for element in opened.text]
    shown = html(opened)
    assert "on second thought" in shown  # the correction, and below it what was said first
    for station in ("prompt", "candidates", "judgment", "snapshots", "runs", "versions"):
        assert f'<p class="office-label">{station}</p>' in shown
    for known in ("snapshot 1", "run 1", "version v1", "current", "through its parent", "promoted by ada"):
        assert known in shown


def test_a_row_that_is_chosen_is_shown_and_kept_in_the_url(office: Engine) -> None:
    opened = page("data")
    grid = opened.dataframe[0]
    chosen = int(grid.value["id"].iloc[3])
    sound(page("data", judgment=str(chosen)))
    assert f"judgment {chosen}" in [element.value for element in page("data", judgment=str(chosen)).header]
    assert "there is no judgment 99999" in html(page("data", judgment="99999"))
    assert not page("data", judgment="nonsense").header


def test_a_judged_pair_is_made_gold(office: Engine) -> None:
    opened = page("data", "dora", judgment=str(pair_judgment(office)))
    press(opened, "make gold: 2 is right")
    assert "A gold question of queue helpfulness now; 10% of its tasks are gold" in html(opened)
    press(opened, "make gold: 2 is right")
    assert "is a gold question of queue helpfulness already" in html(opened)
    press(opened, "make gold: 1 is right")
    assert "keep that answer, or make the question gold in another queue" in html(opened)


def test_what_was_found_is_downloaded_without_names(office: Engine) -> None:
    ada, finn = person(office, "ada"), person(office, "finn")
    wanted = Wanted(annotator_id=finn)
    rows = [json.loads(line) for line in office_data.file(office, ada, wanted, "jsonl", True).splitlines()]
    assert {row["annotator"] for row in rows} == {f"annotator-{finn}"}
    assert len(rows) == office_data.page(office, ada, wanted, 1).total
    assert b"finn" in office_data.file(office, ada, wanted, "csv", False)
