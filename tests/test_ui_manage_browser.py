"""The manager pages in Chromium: they open, fit, can be read by everybody, fetch nothing from elsewhere, and work."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import compared_store
import office_store
import pytest
import runs_store
from axe_playwright_python.sync_playwright import Axe
from browser import Server, profile_at, serving
from office_store import EVIL
from playwright.sync_api import Browser, BrowserContext, Page, expect
from sqlalchemy import Engine

from db import annotators, browse, judgments, prompts, queues
from db.browse import Wanted
from db.engine import open_engine, reading

PAGES = (
    "queues", "progress", "quality", "prompts", "data", "versions", "promotions", "runs", "schedules", "read", "people",
)  # fmt: skip
SCREENS: list[tuple[int, Literal["light", "dark"]]] = [(1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")]
_OVERFLOW = "document.querySelector('.stMain').scrollWidth - document.querySelector('.stMain').clientWidth"


@dataclass(frozen=True)
class Site:
    server: Server
    engine: Engine
    evil: int  # a judgment whose prompt, answers and rationale would do harm if they were rendered
    failed: int  # a run whose error would, too


@pytest.fixture(scope="module")
def site(office_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    url = f"sqlite:///{shutil.copy(office_template, tmp_path_factory.mktemp('office'))}"
    engine = open_engine(url)
    compared_store.add(engine)
    failed = runs_store.add(engine)["failed"]
    with reading(engine) as session:
        rows = judgments.current(session, "human")
        evil = next(row.judgment_id for row in rows if EVIL in row.messages[-1]["content"] and row.candidate_ids)
    with serving(url) as server:
        yield Site(server, engine, evil, failed)
    engine.dispose()


@dataclass
class Visit:
    """A page as somebody sees it, and what it did that it should not."""

    page: Page
    site: Site
    hosts: set[str] = field(default_factory=set)
    dialogs: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("request", lambda request: self.hosts.add(host(request.url)))
        self.page.on("dialog", lambda dialog: (self.dialogs.append(dialog.message), dialog.dismiss()))

    def open(self, name: str, query: str = "") -> "Visit":
        self.page.goto(f"{self.site.server.url}/{name}?annotator=ada{query}")
        expect(self.page.get_by_role("heading", level=1)).to_have_text(name.capitalize(), timeout=20_000)
        return self.settle()

    def settle(self) -> "Visit":
        expect(self.page.locator(".stApp[data-test-script-state=notRunning]")).to_be_visible(timeout=20_000)
        expect(self.page.locator(".stException")).to_have_count(0)
        self.page.wait_for_timeout(400)  # charts and grids draw after the script has ended
        return self

    def unfold(self) -> "Visit":
        """Open what is folded, so that all of the page is looked at."""
        folded = self.page.locator("details:not([open]) > summary")
        while folded.count():
            folded.first.click()
        for tab in self.page.get_by_role("tab").all()[1:]:
            tab.click()
        return self.settle()

    def note(self, text: str) -> None:
        expect(self.page.locator(".office-note")).to_contain_text(text, timeout=10_000)


def host(url: str) -> str:
    scheme, _, rest = url.partition(":")
    return scheme if scheme in ("blob", "data") else rest.removeprefix("//").partition("/")[0]


@pytest.fixture(scope="module")
def profile(browser: Browser, site: Site) -> Iterator[BrowserContext]:
    with profile_at(site.server, browser) as profile:
        yield profile


@pytest.fixture
def visit(profile: BrowserContext, site: Site) -> Iterator[Visit]:
    page = profile.new_page()
    page.set_viewport_size({"width": 1280, "height": 900})
    yield Visit(page, site)
    page.close()


@pytest.mark.parametrize("name", PAGES)
def test_every_page_opens_fits_is_accessible_and_fetches_nothing_from_elsewhere(
    visit: Visit, site: Site, name: str
) -> None:
    queries = {"data": f"&judgment={site.evil}", "versions": "&judge=reward:r1", "promotions": "&version=v3"}
    queries["runs"] = f"&state=failed&run={site.failed}"  # nothing of which changes by itself
    visit.open(name, queries.get(name, "")).unfold()
    for width, scheme in SCREENS:
        visit.page.emulate_media(color_scheme=scheme)
        visit.page.set_viewport_size({"width": width, "height": 900})
        expect(visit.page.locator(".stApp")).to_have_css("color-scheme", scheme)
        visit.settle()
        assert visit.page.evaluate(_OVERFLOW) <= 0, (width, scheme)
        found = Axe().run(visit.page)
        assert found.violations_count == 0, f"{width} {scheme}: {found.generate_report()}"
        assert visit.page.locator("[src*='evil.example.invalid'], [href*='evil.example.invalid']").count() == 0
    assert visit.hosts - {"blob", "data"} == {site.server.url.removeprefix("http://")}
    assert visit.dialogs == []


def test_hostile_texts_are_there_to_be_read(visit: Visit) -> None:
    visit.open("data", f"&judgment={visit.site.evil}")
    shown = visit.page.locator(".stText").all_inner_texts()
    assert sum('<img src="http://evil.example.invalid/a.png" onerror="alert(1)">' in text for text in shown) >= 3
    expect(visit.page.locator("table.office, .office-facts, .stText").first).to_be_visible()
    visit.open("queues")
    expect(visit.page.get_by_role("rowheader", name=office_store.EVIL_NAME)).to_be_visible()


def test_a_judgment_is_chosen_in_the_grid_and_kept_in_the_url(visit: Visit) -> None:
    with reading(visit.site.engine) as session:
        second = browse.page(session, Wanted(annotator_kind="human")).rows[1].judgment_id
    visit.open("data")
    row(visit.page, 2)
    expect(visit.page.get_by_role("heading", name=f"judgment {second}", exact=True)).to_be_visible(timeout=10_000)
    assert f"judgment={second}" in visit.page.url
    visit.page.reload()
    expect(visit.page.get_by_role("heading", name=f"judgment {second}", exact=True)).to_be_visible(timeout=10_000)


def test_the_uploader_is_mended_for_screen_readers_however_often_it_is_drawn(visit: Visit) -> None:
    visit.open("prompts").unfold()
    part = visit.page.get_by_test_id("stFileUploaderDropzone")
    expect(part).to_be_visible()
    for _ in range(3):
        part.evaluate("element => element.setAttribute('role', 'presentation')")
        expect(part).not_to_have_attribute("role", "presentation")


def test_prompts_are_imported_from_a_file_and_retired_in_the_grid(visit: Visit, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("Is this the newest prompt?\n")
    visit.open("prompts").unfold()
    visit.page.locator("input[type=file]").set_input_files(tmp_path / "mine.txt")
    visit.page.get_by_role("button", name="import", exact=True).click()
    visit.note("mine.txt: 1 prompts added, 0 duplicates, 0 bad lines")
    visit.settle()
    row(visit.page, 1)
    expect(visit.page.locator(".stText", has_text="Is this the newest prompt?")).to_be_visible(timeout=10_000)
    visit.page.get_by_role("button", name="retire", exact=True).click()
    visit.note("One prompt is retired")
    with reading(visit.site.engine) as session:
        assert [prompt.source for prompt in prompts.search(session, "newest prompt", retired=True).rows] == ["mine.txt"]


def test_a_file_is_downloaded(visit: Visit) -> None:
    visit.open("data")
    with visit.page.expect_download() as coming:
        visit.page.get_by_role("button", name="download all that were found").click()
    lines = Path(coming.value.path()).read_text().splitlines()
    with reading(visit.site.engine) as session:
        assert len(lines) == browse.page(session, Wanted(annotator_kind="human")).total
    assert coming.value.suggested_filename == "judgments.jsonl"


def test_a_queue_is_made_and_paused_and_a_person_added(visit: Visit) -> None:
    visit.open("queues").unfold()
    visit.page.get_by_label("name", exact=True).fill("safety")
    visit.page.get_by_role("button", name="make the queue").click()
    visit.note("Queue safety is there.")
    visit.page.get_by_role("button", name="pause", exact=True).click()
    visit.note("is paused")
    visit.open("people").unfold()
    visit.page.get_by_label("name", exact=True).fill("gil")
    visit.page.get_by_role("button", name="add", exact=True).click()
    visit.note("gil is added.")
    password = visit.page.locator(".st-key-new-password-card code").inner_text()
    assert len(password) >= 16
    with reading(visit.site.engine) as session:
        assert annotators.by_name(session, "gil").password_hash
        assert any(queue.paused_at for queue in queues.list_queues(session) if queue.name == "helpfulness")


def row(page: Page, number: int) -> None:
    """Choose a row of the grid, counted from 1, by its left edge."""
    grid = page.locator('[data-testid="stDataFrame"]')
    grid.scroll_into_view_if_needed()
    box = grid.bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + 16, box["y"] + 35 * number + 18)  # it is a canvas: there is no element to click
