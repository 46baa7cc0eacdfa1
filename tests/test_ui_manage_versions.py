"""The pages versions, promotions and read: what they show, what their buttons do, and whom they refuse."""

import re
import shutil
from collections.abc import Callable, Iterator
from html import unescape
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import compared_store
import pytest
from compared_store import JUDGE
from office_pages import everything, html, page, person, press, sound
from office_store import EVIL
from sqlalchemy import Engine
from streamlit.testing.v1 import AppTest

from db import annotators, answers, compared, evaluations, family, promotions, versions
from db.answers import Wanted
from db.engine import open_engine, reading, writing
from db.errors import StoreError
from labeling_ui import office_promotions, office_read, office_versions
from pipeline import leaderboard
from pipeline.context import Context
from pipeline.stats import standings

PAGES = ("versions", "promotions", "read")


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("compared") / "store.db"
    compared_store.seed(f"sqlite:///{file}").dispose()
    return file


@pytest.fixture
def store(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """A copy of the store of compared versions; the pages are opened on it."""
    shutil.copy(template, tmp_path / "store.db")
    monkeypatch.setenv("PREFLOOP_STORE_URL", f"sqlite:///{tmp_path / 'store.db'}")
    engine = open_engine(f"sqlite:///{tmp_path / 'store.db'}")
    yield engine
    engine.dispose()


def words(opened: AppTest) -> str:
    """All that the page says, without its markup."""
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", everything(opened))).split())


def leaders(opened: AppTest) -> str:
    """What the table of the leaderboard says."""
    table = html(opened).partition('<table class="office"')[2].partition("</table>")[0]
    return " ".join(unescape(re.sub(r"^[^>]*>|<[^>]*>", " ", table)).split())


def current(engine: Engine) -> str:
    with reading(engine) as session:
        now = versions.current(session)
        assert now is not None
        return now.name


@pytest.mark.parametrize("name", PAGES)
def test_an_annotator_sees_nothing_of_these_pages(store: Engine, name: str) -> None:
    opened = page(name, "ben")
    assert "this is for the role manager, and ben is annotator" in html(opened)
    assert not opened.text
    assert not opened.button
    assert "v2" not in everything(opened)


ACTS: dict[str, Callable[[Engine, int], object]] = {
    "overview": lambda engine, who: office_versions.overview(engine, who),
    "under way": lambda engine, who: office_versions.under_way(engine, who),
    "standing": lambda engine, who: office_promotions.standing(engine, who),
    "evidence": lambda engine, who: office_promotions.evidence(engine, who, "v2"),
    "promote": lambda engine, who: office_promotions.promote(engine, who, run_of(engine, "v2")),
    "roll back": lambda engine, who: office_promotions.roll_back(engine, who, ""),
    "written": lambda engine, who: office_read.written(engine, who),
    "choices": lambda engine, who: office_read.choices(engine, who, "v1", "v2"),
    "answers": lambda engine, who: office_read.page(engine, who, "v1", "v2", Wanted(), 1),
}


def run_of(engine: Engine, version: str) -> int:
    """The comparison of the version with v1."""
    with reading(engine) as session:
        found = compared.newest_against(session, version, "v1")
        assert found is not None
        return found.run_id


@pytest.mark.parametrize("act", ACTS)
def test_the_office_refuses_annotators(store: Engine, act: str) -> None:
    with pytest.raises(StoreError, match="this is for the role manager, and ben is annotator"):
        ACTS[act](store, person(store, "ben"))
    assert current(store) == "v1"


def test_every_judge_has_its_own_leaderboard_and_the_url_keeps_the_choice(store: Engine) -> None:
    opened = page("versions", "dora")
    by_people, by_reward = leaders(opened), leaders(page("versions", "dora", judge=JUDGE))
    assert by_people.startswith("From the votes of people alone")
    assert re.findall(r"v\d(?= · | \d)", by_people) == ["v2", "v1"]  # nobody was asked about the others
    assert by_reward.startswith("From the verdicts of reward:r1 alone")
    assert re.findall(r"v\d(?= · | \d)", by_reward) == ["v2", "v1", "v0", "v3"]
    assert "it taught v3" in by_reward


def test_an_evaluation_tells_votes_interval_verdict_and_what_is_still_asked(store: Engine) -> None:
    said = words(page("versions", "dora"))
    (found,) = office_versions.under_way(store, person(store, "dora"))
    assert (found.a, found.b, found.so_far.votes, found.so_far.prompts, found.owed) == ("v2", "v1", 30, 15, 17)
    assert "v2 against v1 30 on 15 prompts 57% (26–82%) not decided" in said


def test_the_tree_says_what_made_a_version_and_what_became_of_it(store: Engine) -> None:
    said = words(page("versions", "dora"))
    assert "v1 current by dpo" in said
    assert "v2 rolled back by dpo" in said
    assert "v3 by ppo, run 4, against r1" in said


def test_drift_on_the_frozen_prompts_is_told_with_its_interval(store: Engine) -> None:
    said = words(page("versions", "dora"))
    assert "Changes of v1 on 12 frozen prompts" in said
    assert "v0 +5.2 (+1.5 to +9.0)" in said


def test_the_gate_refuses_in_the_words_of_its_rules_and_force_needs_a_reason(store: Engine) -> None:
    opened = page("promotions", "dora", version="v3")
    assert "the gate refuses" in words(opened)
    press(opened, "promote v3")
    assert "the gate refuses v3: v3 wins" in words(opened)
    press(opened, "force v3")
    assert "or force it, and say why" in words(opened)
    assert current(store) == "v1"
    opened.text_input(key=f"force-reason-{run_of(store, 'v3')}").input("a demonstration")
    press(opened, "force v3")
    assert "v3 is current now, by force." in words(opened)
    with reading(store) as session:
        newest = promotions.list_moves(session)[-1]
    assert (newest.version, newest.forced, newest.reason, newest.actor) == ("v3", True, "a demonstration", "dora")
    assert "failed better by reward:r1, length" in words(page("promotions", "dora"))


def test_what_the_gate_passed_is_promoted_and_rolled_back_and_all_of_it_stays_in_the_history(store: Engine) -> None:
    opened = page("promotions", "dora", version="v2")
    press(opened, "promote v2")
    assert current(store) == "v2"
    opened.text_input(key="rollback-reason").input("too curt")
    press(opened, "roll back")
    assert "Rolled back: v1 is current again." in words(opened)
    assert current(store) == "v1"
    with reading(store) as session:
        moves = [(move.kind, move.version, move.actor) for move in promotions.list_moves(session)]
    assert moves[-2:] == [("promote", "v2", "dora"), ("rollback", "v1", "dora")]
    assert len(moves) == 5
    assert "2 of 2 rules passed" in words(opened)


def test_a_button_drawn_for_a_manager_is_refused_to_whoever_is_none_any_more(store: Engine) -> None:
    opened = page("promotions", "dora", version="v2")
    with writing(store) as session:
        annotators.set_role(session, person(store, "dora"), "annotator", "ada")
    (button,) = [button for button in opened.button if button.label == "promote v2"]
    sound(button.click().run())
    assert "this is for the role manager, and dora is annotator" in words(opened)
    assert current(store) == "v1"


def test_a_version_without_a_comparison_says_which_command_makes_one(store: Engine) -> None:
    opened = page("promotions", "dora", version="v0")
    assert "prefloop compare v0 v1" in words(opened)
    assert not [button for button in opened.button if button.label.startswith("promote")]


def test_hostile_answers_are_read_as_text(store: Engine) -> None:
    marked = page("read", "dora", a="v1", b="v2", category=EVIL)
    assert "<img" not in html(marked)
    assert "&lt;img" in html(marked)
    plain = page("read", "dora", a="v1", b="v2", category=EVIL, differences="false")
    assert sum("<img src=" in text.value for text in plain.text) == 3  # the prompt and both answers, by st.text


@pytest.mark.parametrize("name", PAGES)
def test_text_of_others_reaches_no_element_that_renders_it(store: Engine, name: str) -> None:
    opened = page(name, "dora", a="v1", b="v2", category=EVIL)
    rendered = [element.value for element in [*opened.markdown, *opened.caption, *opened.header, *opened.title]]
    labels = [widget.label for widget in [*opened.button, *opened.toggle, *opened.selectbox]]
    assert not any("evil.example.invalid" in text for text in [*rendered, *labels])
    assert "<img" not in html(opened)
    assert "<script" not in html(opened)
    assert name == "versions" or "&lt;img src=" in html(opened)  # a reason, an answer; nobody writes on versions


def test_reading_keeps_the_versions_in_the_url_and_finds_where_b_lost(store: Engine) -> None:
    opened = page("read", "dora", a="v2", b="v3", judge=JUDGE, lost="true")
    assert [box.value for box in opened.selectbox][:2] == ["v2", "v3"]
    with reading(store) as session:
        wins = standings.by_judge([report.found for report in compared.reports(session)], {})[JUDGE]
        ids = [versions.by_name(session, name).id for name in ("v2", "v1")]
        lost = answers.page(session, *ids, Wanted(judge=JUDGE, only_lost=True, order="lost most"), limit=100)
        flagged = answers.page(session, *ids, Wanted(only_flagged=True))
        longest = answers.page(session, *ids, Wanted(order="longest"), limit=100)
        with pytest.raises(StoreError, match="name one"):
            answers.page(session, *ids, Wanted(only_lost=True))
    over_v1 = standings.between(wins, "v2", "v1")
    assert over_v1 is not None
    assert lost.total == over_v1.wins
    gaps = [cast(float, pair.a.score) - cast(float, pair.b.score) for pair in lost.rows]
    assert gaps == sorted(gaps, reverse=True)
    assert gaps[-1] > 0
    assert (flagged.total, flagged.rows[0].flagged) == (1, True)
    tokens = [pair.b.token_count for pair in longest.rows]
    assert tokens == sorted(tokens, reverse=True)


def test_a_store_without_versions_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from db.engine import open_store

    monkeypatch.setenv("PREFLOOP_STORE_URL", f"sqlite:///{tmp_path / 'empty.db'}")
    open_store(f"sqlite:///{tmp_path / 'empty.db'}").dispose()
    for name in PAGES:
        assert "prefloop" in words(page(name, "ada"))


def test_the_command_line_shows_and_draws_the_same_standings_as_the_page(store: Engine, tmp_path: Path) -> None:
    found = leaderboard.board(cast(Context, SimpleNamespace(engine=store)))
    overview = office_versions.overview(store, person(store, "dora"))
    assert found.judges == overview.judges
    rows = leaderboard.rows(found)
    assert [row["version"] for row in rows if row["judge"] == JUDGE] == ["v2", "v1", "v0", "v3"]
    leaderboard.save_picture(found, tmp_path / "board.svg")
    drawn = (tmp_path / "board.svg").read_text()
    assert all(said in drawn for said in ("v2", "people: strength", "reward:r1: strength", "KL to the base"))


def test_of_each_pair_the_newest_comparison_counts_and_people_are_never_mixed_in() -> None:
    reports = [report("v1", "v0", 10, 0), report("v0", "v1", 6, 4), report("v3", "v2", 5, 5)]
    reports[1]["judges"]["people"] = reports[1]["judges"][JUDGE]
    matches = standings.by_judge(reports, {})
    assert list(matches) == [JUDGE]
    over = standings.between(matches[JUDGE], "v1", "v0")
    assert over is not None
    assert (over.rate, over.wins, over.low, over.high) == (
        pytest.approx(0.4),
        4,
        pytest.approx(0.3),
        pytest.approx(0.5),
    )
    found = standings.standings(matches[JUDGE], ["v0"])
    assert [line.version for line in found.lines] == ["v0", "v1"]
    assert found.apart == ["v2", "v3"]


def report(a: str, b: str, wins: int, losses: int) -> dict[str, Any]:
    rate = wins / (wins + losses)
    counted = {"wins": wins, "ties": 0, "losses": losses, "comparisons": wins + losses, "prompts": 10}
    return {"a": a, "b": b, "judges": {JUDGE: {"rate": rate, "low": rate - 0.1, "high": rate + 0.1, **counted}}}


def test_a_version_is_rolled_back_until_it_is_promoted_again(store: Engine) -> None:
    def marked() -> list[str]:
        with reading(store) as session:
            return [member.name for member in family.members(session) if member.rolled_back]

    assert marked() == ["v2"]
    office_promotions.promote(store, person(store, "dora"), run_of(store, "v2"))
    assert marked() == []


def test_votes_on_answers_drawn_anew_are_an_evaluation_of_their_own(store: Engine) -> None:
    with reading(store) as session:
        assert {pair: len(given) for pair, given in compared.votes(session).items()} == {("v2", "v1"): 30}
        ids = [versions.by_name(session, name).id for name in ("v2", "v1")]
        assert len(evaluations.votes(session, *ids, sampling={"temperature": 2.0})) == 0
