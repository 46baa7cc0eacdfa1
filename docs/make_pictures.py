"""Pictures of the real pages for the README, taken in Chromium: `make pictures`.

They are made on a copy of the workspace's store (that of `make demo`), in which somebody labels a few pairs first; the
store itself is not touched.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Page
from sqlalchemy import make_url

from pipeline import workspace

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests"))

from browser import Desk, Server, chromium, serving  # noqa: E402  (the tests' own Chromium and server)

OUT = HERE / "pictures"
LABELED = 14  # pairs, before the picture
MANAGED = ("queues", "quality", "data")  # progress says little of a store a few minutes old


def main() -> None:
    found = workspace.find(workspace.default_root())
    url = make_url(found.store_url)
    if url.get_backend_name() != "sqlite" or not url.database or not Path(url.database).exists():
        sys.exit(f"no demo's store in {found.root}: run `make demo` first")
    OUT.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "store.db"
        found.open_store().dispose()  # the last connection to close writes the log back into the file
        shutil.copy(url.database, copy)
        with serving(f"sqlite:///{copy}") as server, chromium() as browser:
            for scheme in ("light", "dark"):
                context = browser.new_context(
                    viewport={"width": 1280, "height": 800}, color_scheme=scheme, reduced_motion="reduce"
                )
                take(context.new_page(), server, scheme)
                context.close()


def take(page: Page, server: Server, scheme: str) -> None:
    """Every page once in light; in dark the label page alone."""
    desk = Desk(page, "ada").open(server)
    if scheme == "light":
        save(page, "start")
        desk.begin()
        for number in range(1, LABELED + 1):
            desk.press("12012"[number % 5])
            desk.saved(number)
            desk.look()
        save(page, "label")
        for name in MANAGED:
            page.goto(f"{server.url}/{name}?annotator=ada")
            page.locator(".stApp[data-test-script-state=notRunning] h1").wait_for()
            page.wait_for_timeout(1500)  # charts draw themselves after the script has run
            save(page, name)
    else:
        desk.look()
        save(page, "label-dark")


def save(page: Page, name: str) -> None:
    page.screenshot(path=OUT / f"{name}.png")
    print(f"docs/pictures/{name}.png")


if __name__ == "__main__":
    main()
