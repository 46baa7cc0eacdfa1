"""From votes to a promotion, in Chromium: two people vote, the manager sees it come, and only the manager promotes."""

from pathlib import Path

import compared_store
from browser import Desk, Server, profile_at, serving, sqlite_url
from playwright.sync_api import Browser, Page, expect
from sqlalchemy import Engine, select

from db import annotators, evaluations, versions
from db.engine import reading, writing
from db.tables import Candidate
from labeling_ui import passage

VOTES = 3  # of each of two people


def test_two_people_vote_the_leaderboard_moves_and_only_a_manager_promotes(browser: Browser, tmp_path: Path) -> None:
    engine = compared_store.seed(sqlite_url(tmp_path), votes=0)
    of_v2 = endings(engine, "v2")
    with serving(sqlite_url(tmp_path)) as server, profile_at(server, browser) as profile:
        boss = profile.new_page()
        open_page(boss, server, "versions", "dora")
        line = boss.locator("table.office tr", has=boss.get_by_role("rowheader", name="v2 against v1", exact=True))
        expect(line).to_contain_text("nobody has voted yet")
        expect(boss.get_by_role("radio", name="people", exact=True)).to_have_count(0)

        desks = [Desk(profile.new_page(), name).open(server) for name in ("ben", "cleo")]
        for desk in desks:
            desk.begin(evaluations.DEFAULT, goal=VOTES + 1)
        for number in range(1, VOTES + 1):
            for desk in desks:
                left = passage.readable(desk.look().sides()[0])
                desk.press("1" if any(left.endswith(ending) for ending in of_v2) else "2")
                desk.saved(number)
        expect(line).to_contain_text(f"{2 * VOTES} on {VOTES} prompts", timeout=30_000)  # without anybody's help

        open_page(boss, server, "versions", "dora")
        expect(boss.get_by_role("radio", name="people", exact=True)).to_be_checked()
        leaders = boss.locator("table.office").first.get_by_role("rowheader")
        expect(leaders).to_have_text(["v2 · rolled back", "v1 · current"])

        annotator = desks[0].page
        annotator.goto(f"{server.url}/promotions?annotator=ben&version=v2")
        expect(annotator.locator(".desk")).to_be_visible(timeout=20_000)  # where they may be, and no other page
        expect(annotator.get_by_role("button", name="promote v2")).to_have_count(0)

        open_page(boss, server, "promotions", "dora", "&version=v2")
        role(engine, "annotator")
        boss.get_by_role("button", name="promote v2", exact=True).click()  # it was drawn for a manager
        expect(boss.locator(".desk")).to_be_visible(timeout=20_000)
        assert current(engine) == "v1"
        role(engine, "manager")
        open_page(boss, server, "promotions", "dora", "&version=v2")
        boss.get_by_role("button", name="promote v2", exact=True).click()
        expect(boss.locator(".office-note")).to_contain_text("v2 is current now.", timeout=20_000)
        assert current(engine) == "v2"
    engine.dispose()


def endings(engine: Engine, version: str) -> list[str]:
    """How the version's answers end, which tells them apart on the screen."""
    with reading(engine) as session:
        id_ = versions.by_name(session, version).id
        return [text[-24:] for text in session.scalars(select(Candidate.text).where(Candidate.version_id == id_))]


def open_page(page: Page, server: Server, name: str, who: str, query: str = "") -> None:
    page.goto(f"{server.url}/{name}?annotator={who}{query}")
    expect(page.get_by_role("heading", level=1)).to_have_text(name.capitalize(), timeout=20_000)
    expect(page.locator(".stApp[data-test-script-state=notRunning]")).to_be_visible(timeout=20_000)
    expect(page.locator(".stException")).to_have_count(0)


def role(engine: Engine, name: str) -> None:
    with writing(engine) as session:
        annotators.set_role(session, annotators.by_name(session, "dora").id, name, "ada")  # type: ignore[arg-type]


def current(engine: Engine) -> str:
    with reading(engine) as session:
        now = versions.current(session)
        assert now is not None
        return now.name
