"""The manager pages without a browser: what they show, what their buttons do, and whom they refuse."""

import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from browser import question, seed
from office_pages import PAGES, everything, html, page, pair_judgment, person, press, queue, sound
from office_store import EVIL
from sqlalchemy import Engine

from db import annotators, audit, comparisons, judgments, queues
from db.browse import Wanted
from db.engine import open_engine, open_store, reading, writing
from db.errors import StoreError
from db.judgments import Said
from db.votes import CountedVote
from labeling_ui import (
    office_data,
    office_people,
    office_progress,
    office_prompts,
    office_quality,
    office_queues,
)
from labeling_ui.office_quality import AgreementLine


@pytest.fixture
def office(office_template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """A copy of the store in which much has happened; the pages are opened on it."""
    shutil.copy(office_template, tmp_path / "store.db")
    monkeypatch.setenv("PREFLOOP_STORE_URL", f"sqlite:///{tmp_path / 'store.db'}")
    engine = open_engine(f"sqlite:///{tmp_path / 'store.db'}")
    yield engine
    engine.dispose()


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """A store with nothing in it."""
    monkeypatch.setenv("PREFLOOP_STORE_URL", f"sqlite:///{tmp_path / 'empty.db'}")
    engine = open_store(f"sqlite:///{tmp_path / 'empty.db'}")
    yield engine
    engine.dispose()


@pytest.mark.parametrize("who", ["ada", "dora"])
@pytest.mark.parametrize("name", PAGES)
def test_admins_and_managers_open_every_page(office: Engine, name: str, who: str) -> None:
    opened = page(name, who)
    assert opened.title[0].value.lower() == name
    assert "office-refused" not in html(opened)


@pytest.mark.parametrize("name", PAGES)
def test_an_annotator_sees_nothing_of_a_manager_page(office: Engine, name: str) -> None:
    opened = page(name, "ben")
    assert "this is for the role manager, and ben is annotator" in html(opened)
    assert not opened.text
    assert not opened.dataframe
    assert not any(known in everything(opened) for known in ("cleo", "helpfulness", "everyday"))


ACTS: dict[str, Callable[[Engine, int], object]] = {
    "queues": lambda engine, who: office_queues.lines(engine, who),
    "supply": lambda engine, who: office_queues.supply(engine, who),
    "create queue": lambda engine, who: office_queues.create(engine, who, "new", "pair"),
    "update queue": lambda engine, who: office_queues.update(engine, who, 1, priority=3),
    "pause": lambda engine, who: office_queues.pause(engine, who, 1),
    "resume": lambda engine, who: office_queues.resume(engine, who, 1),
    "fill": lambda engine, who: office_queues.fill(engine, who, 1, None, None, None),
    "burn down": lambda engine, who: office_progress.burn_down(engine, who, None),
    "bars": lambda engine, who: office_progress.bars(engine, who, ["human"], 7),
    "annotators": lambda engine, who: office_progress.annotators(engine, who, True),
    "quality": lambda engine, who: office_quality.quality(engine, who, "human"),
    "search": lambda engine, who: office_prompts.search(engine, who, "", None, None, False, 1),
    "categories": lambda engine, who: office_prompts.categories(engine, who),
    "counts": lambda engine, who: office_prompts.counts(engine, who),
    "import": lambda engine, who: office_prompts.import_file(engine, who, "p.txt", b"why?", ""),
    "retire": lambda engine, who: office_prompts.retire(engine, who, [1]),
    "bring back": lambda engine, who: office_prompts.bring_back(engine, who, [1]),
    "choices": lambda engine, who: office_data.choices(engine, who),
    "data": lambda engine, who: office_data.page(engine, who, Wanted(), 1),
    "details": lambda engine, who: office_data.details(engine, who, 1),
    "gold": lambda engine, who: office_data.make_gold(engine, who, 100, 1),
    "file": lambda engine, who: office_data.file(engine, who, Wanted(), "jsonl", True),
    "people": lambda engine, who: office_people.lines(engine, who),
    "dependents": lambda engine, who: office_people.dependents(engine, who, 1),
}
ADMIN_ACTS: dict[str, Callable[[Engine, int], object]] = {
    "add": lambda engine, who: office_people.add(engine, who, "new", "annotator"),
    "password": lambda engine, who: office_people.new_password(engine, who, 1),
    "role": lambda engine, who: office_people.set_role(engine, who, 1, "manager"),
    "disable": lambda engine, who: office_people.disable(engine, who, 1),
    "enable": lambda engine, who: office_people.enable(engine, who, 1),
    "log out": lambda engine, who: office_people.log_out(engine, who, 1),
    "withdraw": lambda engine, who: office_people.withdraw(engine, who, 1),
}


@pytest.mark.parametrize("act", [*ACTS, *ADMIN_ACTS])
def test_the_office_refuses_annotators_and_whoever_is_disabled(office: Engine, act: str) -> None:
    with writing(office) as session:
        lapsed = annotators.ensure(session, "lapsed", "human", role="admin").id
        annotators.disable(session, lapsed)
        before = audit.events(session, limit=10_000)
    for who in (person(office, "ben"), lapsed):
        with pytest.raises(StoreError, match="this is for the role|is disabled"):
            (ACTS | ADMIN_ACTS)[act](office, who)
    with reading(office) as session:
        assert len(audit.events(session, limit=10_000)) == len(before)


@pytest.mark.parametrize("act", ADMIN_ACTS)
def test_a_manager_changes_no_people(office: Engine, act: str) -> None:
    with pytest.raises(StoreError, match="this is for the role admin, and dora is manager"):
        ADMIN_ACTS[act](office, person(office, "dora"))


def test_what_is_done_is_recorded_under_the_name_of_who_did_it(office: Engine) -> None:
    ada = person(office, "ada")
    for act in ("create queue", "pause", "retire", "import", "gold", "role", "disable"):
        if act == "gold":
            first = office_data.details(office, ada, pair_judgment(office))
            office_data.make_gold(office, ada, first.comparison_id, first.candidates[0].id)
        else:
            (ACTS | ADMIN_ACTS)[act](office, ada)
    with reading(office) as session:
        newest = [(event.actor, event.action) for event in audit.events(session, limit=7)]
    acts = ["disable", "set role", "make gold", "import", "retire", "pause", "create"]
    assert newest == [("ada", act) for act in acts]


def test_an_empty_store_says_on_every_page_what_to_do_first(empty: Engine) -> None:
    first_steps = {
        "queues": "Import prompts, on the page prompts: 0 to train on",
        "progress": "Make a queue on the page queues",
        "quality": "overlap of 2 or more",
        "prompts": "Import a file below",
        "data": "let people label",
    }
    for name, said in first_steps.items():
        opened = page(name, "me")
        assert "office-empty" in html(opened)
        assert said in html(opened)
    assert "me" in html(page("people", "me"))


def test_queues_are_shown_in_the_order_in_which_they_are_asked(office: Engine) -> None:
    shown = html(page("queues"))
    names = ("helpfulness", "best of four", "clear and kind", "quick check", "write it yourself")
    assert sorted(names, key=shown.index) == list(names)
    assert "paused" in shown
    assert "of 300" in shown


def test_a_queue_is_made_filled_changed_paused_and_resumed(office: Engine) -> None:
    opened = page("queues", "dora")
    opened.selectbox(key="new-kind").set_value("rating").run()
    opened.text_input(key="new-name").input("politeness")
    opened.text_input(key="new-rating-aspects").input("polite, short")
    press(opened, "make the queue")
    assert "Queue politeness is there. Fill it next" in html(opened)
    id_ = queue(office, "politeness")

    opened.selectbox(key="queue").set_value(id_).run()
    (limit,) = [field for field in opened.number_input if field.label == "at most"]
    limit.set_value(3)
    press(opened, "fill")
    assert "3 new questions in queue politeness: 3 judgments more to give" in html(opened)

    opened.number_input(key=f"change-{id_}-overlap").set_value(2)
    opened.text_area(key=f"change-{id_}-text").input("Be strict.")
    press(opened, "save")
    press(opened, "pause")
    with reading(office) as session:
        made = queues.get(session, id_)
        assert (made.kind, made.aspects, made.overlap, made.guidelines) == (
            "rating",
            ["polite", "short"],
            2,
            "Be strict.",
        )
        assert made.paused_at is not None
    press(opened, "resume")
    with reading(office) as session:
        assert queues.get(session, id_).paused_at is None
        assert comparisons.open_count(session, queue_id=id_) == 3


def test_what_does_not_fit_a_queue_is_refused_in_words(office: Engine) -> None:
    opened = page("queues")
    opened.text_input(key="new-name").input("helpfulness")
    press(opened, "make the queue")
    assert "there is a queue helpfulness already; choose another name." in html(opened)
    assert opened.text_input(key="new-name").value == "helpfulness"  # what was typed is still there


def test_progress_leaves_simulated_annotators_out_until_they_are_asked_for(office: Engine) -> None:
    opened = page("progress")
    assert "cleo" in html(opened)
    assert "taste:concise" not in html(opened)
    opened.toggle(key="simulated").set_value(True).run()
    assert "taste:concise (simulated)" in html(sound(opened))


def test_progress_says_what_is_owed_and_for_how_long(office: Engine) -> None:
    ada = person(office, "ada")
    found = office_progress.burn_down(office, ada, None)
    with reading(office) as session:
        assert found.owed == comparisons.open_count(session)
        helpfulness = queues.by_name(session, "helpfulness").id
        assert office_progress.burn_down(office, ada, helpfulness).owed == comparisons.open_count(
            session, queue_id=helpfulness
        )
    assert found.points[0].judgments == 0
    assert found.points[-1].judgments == found.owed
    assert found.pace is not None
    assert found.pace.hours_left == pytest.approx(found.owed / found.pace.per_hour)
    assert f"{found.owed:,} judgments" in html(page("progress"))


NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


def aged(store: Engine, monkeypatch: pytest.MonkeyPatch, age: timedelta, answers: int) -> int:
    """Four questions asked at noon, and answers between then and now; the id of the admin who gave them."""
    moments = [NOON]
    monkeypatch.setattr("db.clock.now", lambda: moments[0])
    seed(str(store.url), [(question(f"q{n}"), "one", "another") for n in range(4)]).dispose()
    with writing(store) as session:
        me = annotators.ensure(session, "me", "human", role="admin").id
    for _ in range(answers):
        moments[0] += age / (answers + 1)
        with writing(store) as session:
            task = comparisons.next_assignment(session, me)
            assert task is not None
            judgments.submit(session, task.assignment_id, me, Said("left"))
    moments[0] = NOON + age
    return me


@pytest.mark.parametrize(
    ("age", "step", "grain"),
    [
        (timedelta(minutes=8), timedelta(minutes=1), "minute"),
        (timedelta(hours=9), timedelta(minutes=10), "hour"),
        (timedelta(days=12), timedelta(hours=1), "hour"),
        (timedelta(days=80), timedelta(days=1), "day"),
    ],
)
def test_the_charts_of_progress_are_as_fine_as_the_store_is_young(
    empty: Engine, monkeypatch: pytest.MonkeyPatch, age: timedelta, step: timedelta, grain: str
) -> None:
    me = aged(empty, monkeypatch, age, answers=3)
    found = office_progress.burn_down(empty, me, None)
    assert [point.judgments for point in found.points] == [0, 4, 4, 3, 2, 1, 1]
    at = [point.at for point in found.points]
    assert at[0] == at[1] <= NOON < at[0] + step
    assert at[2] == at[0] + step
    for number, changed in enumerate(at[3:6], start=1):
        assert timedelta() < changed - (NOON + age * number / 4) <= step
    assert at[-1] == NOON + age
    by_time = office_progress.bars(empty, me, ["human"], None)
    assert (by_time.grain, sum(slot.judgments for _, slot in by_time.slots)) == (grain, 3)
    assert "begins when" not in html(page("progress", "me"))


@pytest.mark.parametrize(
    ("minutes", "answers", "said"),
    [
        (9, 0, "and nobody has answered yet: a line begins when somebody does"),
        (2, 1, "a moment ago: the line begins when there are three minutes to show"),
    ],
)
def test_progress_draws_no_line_before_it_has_a_course(
    empty: Engine, monkeypatch: pytest.MonkeyPatch, minutes: int, answers: int, said: str
) -> None:
    me = aged(empty, monkeypatch, timedelta(minutes=minutes), answers)
    assert office_progress.burn_down(empty, me, None).points == []
    shown = html(page("progress", "me"))
    assert said in shown
    assert f"{4 - answers} judgments" in shown


def test_quality_shows_agreement_with_intervals(office: Engine) -> None:
    shown = html(page("quality"))
    for known in ("helpfulness", "best of four", "clear and kind: clear", "clear and kind: kind", "ben", "cleo"):
        assert known in shown
    assert "alpha" in shown
    assert "taste:concise" not in shown


def test_agreement_is_about_candidates_and_skips_are_no_answers(office: Engine) -> None:
    found = office_quality.quality(office, person(office, "dora"), "human")
    by_name = {line.about: line for line in found.lines}
    helpful = by_name["helpfulness"]
    assert helpful.alpha is not None
    assert helpful.plain is not None
    assert 0.2 < helpful.alpha.low < helpful.alpha.value < helpful.alpha.high < 1  # by side it would be 0
    assert helpful.plain.n < 150
    assert found.longer is not None
    assert found.longer.high < 0.3  # in this store people like the shorter one
    assert found.left is not None
    assert found.left.low < 0.5 < found.left.high
    ben = next(line for line in found.annotators if line.name == "ben")
    assert ben.gold is not None
    assert ben.gold.n >= 1


def test_quality_is_honest_when_nothing_was_judged_twice(empty: Engine) -> None:
    seed("sqlite:///" + str(empty.url.database), [(question(f"q{n}"), "one", "another") for n in range(2)]).dispose()
    with writing(empty) as session:
        me = annotators.ensure(session, "me", "human", role="admin").id
        task = comparisons.next_assignment(session, me)
        assert task is not None
        judgments.submit(session, task.assignment_id, me, Said("left"))
    shown = html(page("quality", "me"))
    assert "No agreement yet: it needs comparisons that two people judged" in shown
    assert "no question came back yet" in shown
    assert "100% (21–100%), n\u00a01" in shown  # the left share, and how little one judgment says


def vote(comparison: int, annotator: int, **said: Any) -> CountedVote:
    fields = {"queue_id": 1, "queue": "q", "kind": "ranking", "choice": "ranked", "preferred": None, "ranking": None}
    return CountedVote(comparison, annotator_id=annotator, **{**fields, "ratings": None, **said})


def lines_of(counted: list[CountedVote]) -> list[AgreementLine]:
    return office_quality.lines(office_quality.polled(counted))


def test_a_ranking_agrees_pair_by_pair() -> None:
    (line,) = lines_of(
        [
            vote(1, 1, ranking=[[10], [11], [12]]),
            vote(1, 2, ranking=[[10], [12], [11]]),  # two of three pairs as before
            vote(2, 1, ranking=[[20, 21]]),
            vote(2, 2, choice="both_bad"),  # all bad is no tie
        ]
    )
    assert line.plain is not None
    assert (line.plain.value, line.plain.n) == (2 / 4, 2)


def test_ratings_agree_aspect_by_aspect() -> None:
    lines = lines_of(
        [
            vote(1, 1, kind="rating", choice="rated", ratings={"true": 5, "kind": 1}),
            vote(1, 2, kind="rating", choice="rated", ratings={"kind": 2, "true": 5}),
        ]
    )
    assert {line.about: line.plain and line.plain.value for line in lines} == {"q: true": 1.0, "q: kind": 0.0}


def test_queues_of_one_kind_are_also_taken_together() -> None:
    lines = lines_of([vote(n, who, kind="thumbs", choice="up", queue=f"q{n}") for n in (1, 2) for who in (1, 2)])
    assert [line.about for line in lines] == ["all of kind thumbs", "q1", "q2"]
    assert [line.plain and line.plain.n for line in lines] == [2, 1, 1]


@pytest.mark.parametrize("name", PAGES)
def test_text_of_others_reaches_no_element_that_renders_it(office: Engine, name: str) -> None:
    """Nothing of it in Markdown, labels or helps; in our HTML it is escaped."""
    query = {"judgment": str(evil_judgment(office))} if name == "data" else {}
    opened = page(name, **query)
    rendered = [element.value for element in [*opened.markdown, *opened.caption, *opened.header, *opened.title]]
    labels = [
        widget.label for widget in [*opened.button, *opened.toggle, *opened.checkbox, *opened.selectbox, *opened.tabs]
    ]
    assert not any("evil.example.invalid" in text or "alert" in text for text in [*rendered, *labels])
    assert "<img" not in html(opened)
    assert "<script" not in html(opened)
    if name != "prompts":
        assert "&lt;img src=" in html(opened)


def evil_judgment(engine: Engine) -> int:
    with reading(engine) as session:
        rows = judgments.current(session, "human", purposes=("train",))
        return next(row.judgment_id for row in rows if EVIL in row.messages[-1]["content"] and row.reason is None)
