"""Logging in and out in Chromium, and what becomes of a page whose login has ended."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from axe_playwright_python.sync_playwright import Axe
from guarded import SECRET, Site, Visitor, newcomer, opened_site
from playwright.sync_api import Browser, BrowserContext, Page, expect
from sqlalchemy import select

from db import annotators, logins
from db.engine import reading, writing
from db.tables import Assignment, LabelingSession
from db.words import AnnotatorRole


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with opened_site(tmp_path_factory.mktemp("store")) as site:
        yield site


@pytest.fixture
def name(site: Site) -> str:
    return newcomer(site.engine)


@contextmanager
def sitting(browser: Browser, site: Site, name: str, **options: object) -> Iterator[Page]:
    """Somebody logs in, in a browser profile of their own."""
    context: BrowserContext = browser.new_context(viewport={"width": 1280, "height": 800}, **options)  # type: ignore[arg-type]
    page = context.new_page()
    page.goto(site.server.url)
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(SECRET)
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url(f"{site.server.url}/")
    yield page
    context.close()


def test_one_logs_in_and_out_where_scripts_are_switched_off(browser: Browser, site: Site, name: str) -> None:
    with sitting(browser, site, name, java_script_enabled=False) as page:
        page.goto(f"{site.server.url}/logout")
        expect(page.get_by_text(f"You are logged in as {name}")).to_be_visible()
        page.get_by_role("button", name="Log out").click()
        page.wait_for_url(f"{site.server.url}/login")
        page.goto(site.server.url)
        assert page.url == f"{site.server.url}/login"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_login_pages_are_accessible_and_break_no_rule_of_their_own(
    browser: Browser, site: Site, name: str, scheme: str
) -> None:
    complaints: list[str] = []
    context = browser.new_context(color_scheme=scheme)  # type: ignore[arg-type]
    page = context.new_page()
    page.on("console", lambda message: complaints.append(message.text) if "/log" in page.url else None)
    page.goto(f"{site.server.url}/login")
    expect(page.get_by_label("Name")).to_be_focused()
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert paper == ("rgb(245, 245, 242)" if scheme == "light" else "rgb(22, 22, 19)")
    assert flaws(page) == []
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill("wrong password")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("do not belong together")
    expect(page.get_by_label("Name")).to_have_value(name)
    expect(page.get_by_label("Password")).to_be_focused()
    assert flaws(page) == []
    page.get_by_label("Password").fill(SECRET)
    page.keyboard.press("Enter")
    page.wait_for_url(f"{site.server.url}/")
    page.goto(f"{site.server.url}/logout")
    assert flaws(page) == []
    assert [told for told in complaints if "Content Security" in told] == []
    context.close()


def flaws(page: Page) -> list[str]:
    # Playwright's own evaluation is not bound by the page's policy, a script element would be.
    results = Axe().run(page)
    return [f"{found['id']}: {found['help']}" for found in results.response["violations"]]


def test_after_logging_out_everywhere_the_next_press_elsewhere_stores_nothing_and_shows_the_way_in(
    browser: Browser, site: Site, name: str
) -> None:
    with sitting(browser, site, name) as here, sitting(browser, site, name) as there:
        begin = there.get_by_role("button", name="begin")
        expect(begin).to_be_visible(timeout=15_000)
        here.goto(f"{site.server.url}/account")
        here.get_by_role("button", name="log out everywhere").click(timeout=15_000)
        expect(here.get_by_role("link", name="Log in")).to_be_visible()
        begin.click()
        link = there.get_by_role("link", name="Log in")
        expect(link).to_be_visible()
        expect(there.get_by_text("You are logged out")).to_be_visible()
        expect(begin).not_to_be_visible()
        for button in ("1", "Enter"):
            there.keyboard.press(button)
        there.wait_for_timeout(500)
        with reading(site.engine) as session:
            annotator_id = annotators.by_name(session, name).id
            for table in (LabelingSession, Assignment):
                assert session.scalars(select(table).where(table.annotator_id == annotator_id)).all() == []
        link.click()
        there.wait_for_url(f"{site.server.url}/login")


def test_a_form_that_is_sent_after_the_login_has_ended_changes_nothing(browser: Browser, site: Site, name: str) -> None:
    with sitting(browser, site, name) as page:
        page.goto(f"{site.server.url}/account")
        page.get_by_label("password now").fill(SECRET, timeout=15_000)
        page.get_by_label("new password", exact=True).fill("a new password")
        page.get_by_label("new password again").fill("a new password")
        with writing(site.engine) as session:
            logins.revoke_all(session, annotators.by_name(session, name).id)
        page.get_by_role("button", name="change password").click()
        expect(page.get_by_role("link", name="Log in")).to_be_visible()
    assert logins.open_login(site.engine, name, SECRET, "")


def test_a_changed_password_is_the_one_that_counts(browser: Browser, site: Site, name: str) -> None:
    with sitting(browser, site, name) as page:
        page.goto(f"{site.server.url}/account")
        for old, new, again, told in (
            ("wrong password", "a new password", "a new password", "do not belong together"),
            (SECRET, "short", "short", "has 5 characters"),
            (SECRET, "a new password", "another password", "in two different ways"),
        ):
            change(page, old, new, again)
            expect(page.get_by_text(told)).to_be_visible(timeout=10_000)
        change(page, SECRET, "a new password", "a new password")
        expect(page.get_by_role("link", name="Log in")).to_be_visible(timeout=10_000)
    assert Visitor(site.server.port).log_in(name, "a new password").status == 303


def change(page: Page, old: str, new: str, again: str) -> None:
    page.get_by_label("password now").fill(old, timeout=15_000)
    page.get_by_label("new password", exact=True).fill(new)
    page.get_by_label("new password again").fill(again)
    page.get_by_role("button", name="change password").click()


@pytest.mark.parametrize(
    ("role", "managed"),
    [
        ("annotator", []),
        (
            "manager",
            [
                "queues",
                "progress",
                "quality",
                "prompts",
                "data",
                "versions",
                "promotions",
                "runs",
                "schedules",
                "read",
                "playground",
                "people",
            ],
        ),
    ],
)
def test_the_menu_is_that_of_the_role_and_an_address_opens_no_more(
    browser: Browser, site: Site, name: str, role: AnnotatorRole, managed: list[str]
) -> None:
    with writing(site.engine) as session:
        annotators.set_role(session, annotators.by_name(session, name).id, role)
    with sitting(browser, site, name) as page:
        page.goto(f"{site.server.url}/people")
        not_found = page.get_by_text("Page not found")
        expect(page.get_by_role("heading", name="People") if managed else not_found).to_be_visible(timeout=15_000)
        page.goto(site.server.url)
        expect(page.get_by_role("button", name="begin")).to_be_visible(timeout=15_000)
        page.get_by_test_id("stExpandSidebarButton").click()
        expect(page.get_by_test_id("stSidebarNav").get_by_role("link")).to_have_text(["label", "account", *managed])
        sidebar = page.get_by_test_id("stSidebarContent")
        expect(sidebar.get_by_text(name, exact=True)).to_be_visible()
        expect(sidebar.get_by_text(role, exact=True)).to_be_visible()
        sidebar.get_by_role("link", name="log out").click()
        page.wait_for_url(f"{site.server.url}/logout")
