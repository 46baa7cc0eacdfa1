"""The pages runs and schedules: what they show, what their buttons do, and whom they refuse."""

import re
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from html import unescape
from pathlib import Path

import office_store
import pytest
import runs_store
from office_pages import everything, html, page, person, press, sound
from office_store import EVIL
from sqlalchemy import Engine
from streamlit.testing.v1 import AppTest

from db import annotators, audit, run_queue, runs, schedules
from db.engine import open_engine, reading, writing
from db.errors import StoreError
from labeling_ui import office_runs, office_schedules
from labeling_ui.office_runs import Startable
from labeling_ui.office_schedules import Draft
from pipeline.schedule_words import cron

PAGES = ("runs", "schedules")
Found = dict[str, int]  # runs by state


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Found]:
    file = tmp_path_factory.mktemp("runs") / "store.db"
    engine = office_store.seed(f"sqlite:///{file}", 24)
    found = runs_store.add(engine)
    engine.dispose()
    return file, found


@pytest.fixture
def found(template: tuple[Path, Found]) -> Found:
    return template[1]


@pytest.fixture
def store(template: tuple[Path, Found], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """A copy of a store with runs in every state; the pages are opened on it."""
    shutil.copy(template[0], tmp_path / "store.db")
    monkeypatch.setenv("PREFLOOP_STORE_URL", f"sqlite:///{tmp_path / 'store.db'}")
    engine = open_engine(f"sqlite:///{tmp_path / 'store.db'}")
    yield engine
    engine.dispose()


def words(opened: AppTest) -> str:
    """All that the page says, without its markup."""
    said = unescape(re.sub(r"<[^>]*>", " ", everything(opened)))
    return " ".join([*said.split(), *(code.value for code in opened.code)])


def newest(engine: Engine) -> int:
    with reading(engine) as session:
        return runs.list_runs(session, run_queue.STAGE, limit=1)[0].id


def done_by(engine: Engine, noun: str, noun_id: int) -> list[tuple[str, str]]:
    with reading(engine) as session:
        return [(event.actor, event.action) for event in audit.events(session, noun, noun_id)]


def draft(name: str = "hourly", cron: str = "0 * * * *", recipe: str = "", **other: object) -> Draft:
    values = {"timezone": "Europe/Berlin", "new_pairs": 0, "reward_older": False, "stale": False, **other}
    return Draft(name, cron, recipe=recipe or office_schedules.built_in(), **values)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", PAGES)
def test_an_annotator_sees_nothing_of_these_pages(store: Engine, name: str) -> None:
    opened = page(name, "ben")
    assert "this is for the role manager, and ben is annotator" in html(opened)
    assert not opened.text
    assert not opened.code
    assert not opened.button
    assert "recipe" not in everything(opened)


ACTS: dict[str, Callable[[Engine, int, Found], object]] = {
    "page": lambda engine, who, _: office_runs.page(engine, who, None, 1),
    "one": lambda engine, who, found: office_runs.one(engine, who, found["failed"]),
    "curves": lambda engine, who, found: office_runs.curves(engine, who, found["failed"]),
    "startable": lambda engine, who, _: office_runs.startable(engine, who),
    "start": lambda engine, who, found: office_runs.start(engine, who, Startable("", None, found["failed"])),
    "start schedule": lambda engine, who, _: office_runs.start(engine, who, Startable("", "mender", None)),
    "cancel": lambda engine, who, found: office_runs.cancel(engine, who, found["running"]),
    "retry": lambda engine, who, found: office_runs.retry(engine, who, found["failed"], same=True),
    "lines": lambda engine, who, _: office_schedules.lines(engine, who),
    "waits": lambda engine, who, _: office_schedules.waits(engine, who, "nightly"),
    "check": lambda engine, who, _: office_schedules.check(engine, who, draft()),
    "add": lambda engine, who, _: office_schedules.add(engine, who, draft()),
    "pause": lambda engine, who, _: office_schedules.pause(engine, who, "nightly"),
    "resume": lambda engine, who, _: office_schedules.resume(engine, who, "nightly"),
    "remove": lambda engine, who, _: office_schedules.remove(engine, who, "nightly"),
    "start now": lambda engine, who, _: office_schedules.start(engine, who, "nightly"),
}


@pytest.mark.parametrize("act", ACTS)
def test_the_office_refuses_annotators(store: Engine, found: Found, act: str) -> None:
    with pytest.raises(StoreError, match="this is for the role manager, and ben is annotator"):
        ACTS[act](store, person(store, "ben"), found)
    assert newest(store) == found["queued"]


def test_a_manager_who_is_one_no_more_cannot_press_what_was_drawn_for_one(store: Engine, found: Found) -> None:
    opened = page("runs", "dora", run=f"{found['running']}")
    with writing(store) as session:
        annotators.set_role(session, person(store, "dora"), "annotator", "ada")
    press(opened, f"cancel run {found['running']} now")
    assert "this is for the role manager" in words(opened)
    with reading(store) as session:
        assert runs.get(session, found["running"]).cancel_requested_at is None


def test_a_running_run_tells_its_stage_its_pace_its_cost_and_its_last_words(store: Engine, found: Found) -> None:
    said = words(page("runs", "dora", run=f"{found['running']}"))
    assert "▸ under way train dpo (130 pairs): 12 of 40 steps, loss 0.570" in said
    assert "To come: compare (about 3 min 25 s), promote (about 3 s)." in said
    assert "tokens trained on 48,000" in said
    assert "energy, estimated 62 Wh device time × worker.watts" in said
    assert "train dpo (130 pairs): 11 of 40 steps, loss 0.6" in said


def test_what_failed_says_why_in_full_and_nothing_of_it_is_markup(store: Engine, found: Found) -> None:
    opened = page("runs", "dora", run=f"{found['failed']}")
    assert any("the loss became non-finite at step 13; <img src=" in text.value for text in opened.text)
    assert "<img" not in html(opened)
    assert "Not begun: dpo, compare, promote." in words(opened)
    assert EVIL not in html(opened)


def test_runs_are_filtered_by_state_and_a_run_of_the_url_is_shown_all_the_same(store: Engine, found: Found) -> None:
    opened = page("runs", "dora", state="failed", run=f"{found['finished']}")
    table = html(opened).partition("</table>")[0]
    assert f"{found['failed']} · recipe" in table
    assert f"{found['finished']} · recipe" not in table
    assert "v2 wins 61% (52–69%) over v1 by reward:r1" in words(opened)
    assert "No run is" not in words(opened)


def test_a_queued_run_is_cancelled_and_tried_again_each_under_the_name_of_who_did_it(
    store: Engine, found: Found
) -> None:
    queued = found["queued"]
    opened = press(page("runs", "dora", run=f"{queued}"), f"cancel run {queued} now")
    assert f"Run {queued} is cancelled." in words(opened)
    press(opened, "retry")
    assert newest(store) > queued
    assert done_by(store, "run", queued)[0] == ("dora", "cancel")
    assert done_by(store, "run", newest(store)) == [("dora", "queue")]
    opened = press(page("runs", "ada", run=f"{found['failed']}"), "retry the same")
    with reading(store) as session:
        again = runs.get(session, newest(store))
    assert again.config["reason"] == f"run {found['failed']} tried again by ada"
    assert "resolved" in again.config


def test_what_a_schedule_would_start_or_the_last_recipe_is_run_now(store: Engine, found: Found) -> None:
    opened = page("runs", "dora")
    (choice,) = [box for box in opened.selectbox if box.key == "run-now"]
    assert choice.options == ["schedule mender", "schedule nightly", f"recipe recipe, as in run {found['queued']}"]
    nightly = office_runs.startable(store, person(store, "dora"))[1]
    press(sound(choice.set_value(nightly).run()), "run it now")
    with reading(store) as session:
        run = runs.get(session, newest(store))
        assert run.schedule_id == schedules.by_name(session, "nightly").id
    opened = press(page("schedules", "dora", schedule="nightly"), "run it now")
    assert f"run {run.id} of nightly is queued still" in words(opened)


def test_schedules_tell_when_they_start_and_why_they_wait(store: Engine) -> None:
    said = words(page("schedules", "dora", schedule="nightly"))
    assert "every day at 03:00 (Europe/Berlin), on 100 new agreed pairs" in said
    assert "1 due at 2026-11-24 03:00 CET; 41 of 100 new agreed pairs; 12 conflicted" in said
    assert said.count("03:00 Europe/Berlin; for you") >= 5  # the reader is in UTC


def test_a_schedule_is_paused_resumed_and_removed(store: Engine) -> None:
    opened = page("schedules", "dora", schedule="nightly")
    press(opened, "pause")
    press(opened, "resume")
    press(opened, "remove schedule nightly")
    with reading(store) as session:
        assert [each.name for each in schedules.list_schedules(session)] == ["mender"]
    acts = [action for actor, action in done_by(store, "schedule", 1) if actor == "dora"]
    assert acts == ["remove", "resume", "pause"]


def test_every_fault_of_a_new_schedule_is_said_at_once_and_nothing_is_added(store: Engine) -> None:
    wrong = """
    start = "yesterday"
    [[stages]]
    stage = "dpo"
    [stages.settings.dpo]
    betta = 0.2
    epochs = 0
    [stages.settings.lora]
    rank = 0
    """
    checked = office_schedules.check(store, person(store, "dora"), draft("nightly", "99 3 * * *", wrong))
    told = "\n".join(checked.faults)
    for fault in (
        "there is a schedule nightly already", "'99 3 * * *' is no cron expression", "start = 'yesterday'",
        "unknown key betta", "epochs = 0", "rank = 0",
    ):  # fmt: skip
        assert fault in told
    with pytest.raises(StoreError, match="is not added\n– there is a schedule nightly"):
        office_schedules.add(store, person(store, "dora"), draft("nightly", "99 3 * * *", wrong))
    with reading(store) as session:
        assert len(schedules.list_schedules(session)) == 2
    nothing = office_schedules.check(store, person(store, "dora"), draft("", ""))
    assert nothing.faults == [
        "it has no name; give it one", "nothing would ever start it; give it due times or a trigger"
    ]  # fmt: skip


def test_due_times_are_seen_before_a_schedule_is_added_with_its_recipe(
    store: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("db.clock.now", lambda: datetime(2026, 10, 24, 12, tzinfo=UTC))
    opened = page("schedules", "dora")
    opened.text_input(key="new-0-name").input("early")
    opened.text_input(key="new-0-cron").input("30 2 * * *")
    opened.selectbox(key="new-0-zone").select("Europe/Berlin")
    sound(opened.run())
    said = words(opened)
    assert "starts every day at 02:30 (Europe/Berlin)" in said
    # The clock is put back that night: the same reading, an hour later for the reader from then on.
    assert "Sun 25 Oct 02:30 Europe/Berlin; for you Sun 25 Oct 00:30" in said
    assert "Mon 26 Oct 02:30 Europe/Berlin; for you Mon 26 Oct 01:30" in said
    assert "does snapshot → reward → exam → dpo → compare → promote" in said
    press(opened, "add the schedule")
    assert "Schedule early is there: every day at 02:30 (Europe/Berlin)." in words(opened)
    assert opened.text_input(key="new-1-name").value == ""
    with reading(store) as session:
        assert [stage["stage"] for stage in schedules.by_name(session, "early").recipe["stages"]][-1] == "promote"


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("0 3 * * *", "every day at 03:00"),
        ("*/15 * * * *", "every 15 minutes"),
        ("5 * * * *", "every hour at :05"),
        ("0 3,15 * * 1-5", "Monday to Friday at 03:00 and 15:00"),
        ("0 0 1,15 * 1", "on days 1 and 15 of the month or on Monday at 00:00"),
        ("30 2 1 1,7 *", "on day 1 of the month in January and July at 02:30"),
        ("0 8-17 * * 0", "every hour from 08:00 to 17:00, on Sunday"),
        ("7-40 2 * * *", "by cron 7-40 2 * * *"),
        ("0 9 * * sat#1", "by cron 0 9 * * sat#1"),
    ],
)
def test_cron_in_words(expression: str, said: str) -> None:
    assert cron(expression) == said
