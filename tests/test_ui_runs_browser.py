"""Runs and schedules in Chromium: a run is watched and cancelled, and the loop is closed from the screen alone."""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from browser import Desk, Server, profile_at, serving
from forked import start_worker
from playwright.sync_api import Browser, Page, expect
from runs_store import RECIPE
from test_loop import SETTINGS, context

from db import annotators, candidates, comparisons, orders, prompts, queues, runs
from db.engine import reading, writing
from db.tables import Prompt
from pipeline import import_prompts, workspace
from pipeline.context import Context
from pipeline.draw import draw
from pipeline.promote import ensure_current

# Stands in for the stages of a worker that is real: what it writes comes by the same functions.
STAGE = """
import sys, time
from db import runs
from db.engine import open_engine, writing
engine, run_id = open_engine(sys.argv[1]), int(sys.argv[2])
with writing(engine) as session:
    record = runs.start(session, "snapshot", {}, 0, "", "f" * 64, recipe_run_id=run_id).id
for step in range(1, 1000):
    with writing(engine) as session:
        runs.record_progress(session, record, runs.Progress("learn", step, 1000, "steps", 90.0))
        runs.add_metrics(session, record, [("loss", step, 1 / step)])
    print("\\x1b[31mat step", step, flush=True)
    time.sleep(0.2)
"""
WORKER = f"""
import sys
from pipeline import cli, worker
argv = [sys.executable, "-c", {STAGE!r}]
worker.stage_command = lambda ctx, run_id, stage: [*argv, ctx.workspace.store_url, str(run_id)]
cli.main()
"""
PAIRS = 6
SHORT = "Yes."
LONG = "What is the best of all the things that one can do"
LESSON = """
judges = ["rule:ended"]

[[stages]]
stage = "snapshot"

[[stages]]
stage = "dpo"
[stages.settings.dpo]
epochs = 16
learning_rate = 0.02
sft_weight = 1.0
extrapolation = 0.0
[stages.settings.lora]
layer_share = 1.0
rank = 16

[[stages]]
stage = "compare"

[[stages]]
stage = "promote"
"""


def made(root: Path, settings: str) -> Context:
    """A workspace in which ada is an admin and ben labels."""
    root.mkdir()
    (root / "prefloop.toml").write_text(settings)
    workspace.init(root)
    ctx, engine = context(root)
    with writing(engine) as session:
        annotators.ensure(session, "ada", "human", role="admin")
        annotators.ensure(session, "ben", "human")
    return ctx


@contextmanager
def working(root: Path, *command: str) -> Iterator[subprocess.Popen[bytes]]:
    """A worker on the workspace, in a process of its own."""
    environment = {**os.environ, "PREFLOOP_HOME": str(root)}
    process = subprocess.Popen([sys.executable, *command], env=environment, stdout=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(20)


def open_page(page: Page, server: Server, name: str) -> None:
    """As ada. A page that looks again by itself is hardly ever at rest: its title is waited for, and not that."""
    page.goto(f"{server.url}/{name}?annotator=ada")
    expect(page.get_by_role("heading", level=1)).to_have_text(name.capitalize(), timeout=60_000)


def steps(page: Page) -> int:
    """How far the page says that the stage is; 0 before it says so."""
    found = re.search(r"learn: (\d+) of 1,000 steps", page.locator(".stMain").inner_text())
    return int(found[1]) if found else 0


def until_past(page: Page, step: int) -> int:
    deadline = time.monotonic() + 60
    while (now := steps(page)) <= step:
        assert time.monotonic() < deadline, f"the page does not move beyond step {step}"
        page.wait_for_timeout(200)
    return now


def test_a_run_is_watched_as_it_goes_on_and_cancelled_within_five_seconds(browser: Browser, tmp_path: Path) -> None:
    root = tmp_path / "ws"
    ctx = made(root, "[worker]\nlease_seconds = 4\n")
    with writing(ctx.engine) as session:
        run_id = orders.order(session, {"recipe": RECIPE}, "ada").id
    with (
        serving(ctx.workspace.store_url) as server,
        profile_at(server, browser) as profile,
        working(root, "-c", WORKER, "worker", "--once", "--device", "cpu"),
    ):
        page = profile.new_page()
        open_page(page, server, "runs")
        until_past(page, until_past(page, 0))  # nobody touches the page
        expect(page.locator(".stCode").first).to_contain_text("at step", timeout=60_000)
        expect(page.locator(".stCode").first).not_to_contain_text("[31m")
        expect(page.locator("[data-testid=stVegaLiteChart]").first).to_be_visible(timeout=60_000)

        annotator = profile.new_page()
        annotator.goto(f"{server.url}/runs?annotator=ben")
        expect(annotator.locator(".desk")).to_be_visible(timeout=60_000)  # where they may be, and no other page
        expect(annotator.get_by_text(f"cancel run {run_id}")).to_have_count(0)

        page.get_by_text(f"cancel run {run_id}", exact=True).click()
        page.get_by_role("button", name=f"cancel run {run_id} now").click()
        pressed = time.monotonic()
        while state(ctx, run_id) != "cancelled" and time.monotonic() - pressed < 30:
            page.wait_for_timeout(100)
        assert time.monotonic() - pressed < 5
        expect(page.get_by_text(f"try run {run_id} again")).to_be_visible(timeout=60_000)  # by itself, too
    ctx.engine.dispose()


def state(ctx: Context, run_id: int) -> str:
    with reading(ctx.engine) as session:
        return runs.get(session, run_id).state


def test_a_schedule_from_the_screen_and_labels_promote_a_version_that_writes_the_next_candidates(
    browser: Browser, tmp_path: Path, tiny_base: Path
) -> None:
    """Schedule and labels by people in Chromium; a worker as a process of its own, which ticks and trains for real."""
    root = tmp_path / "ws"
    ctx = made(root, SETTINGS.format(base=able(tiny_base, tmp_path / "base")))
    ask_about_answers(ctx)
    with serving(ctx.workspace.store_url) as server, profile_at(server, browser) as profile:
        manager = profile.new_page()
        add_schedule(manager, server)
        label(Desk(profile.new_page(), "ben"), server)
        worker = start_worker(root, ticks=True)
        finished(manager, server)
        worker.join()
    with reading(ctx.engine) as session:
        run = runs.list_runs(session, "recipe", limit=1)[0]
        assert (run.state, run.error, run.config["reason"]) == (
            "finished",
            None,
            f"{PAIRS} of {PAIRS} new agreed pairs",
        )
        assert run.summary is not None
        assert run.summary["promote"]["promoted"]
    current = ensure_current(ctx)
    assert (current.name, current.run_id) == ("v1", run.summary["dpo"]["run"])
    drawn = draw(ctx, current, unseen(ctx), 1, ctx.workspace.settings.sampling, 0)
    assert {candidate.version_id for candidate in drawn.candidates} == {current.id}
    assert sum(candidate.finish_reason == "stop" for candidate in drawn.candidates) >= 3  # as it was taught to
    ctx.engine.dispose()


def able(tiny_base: Path, folder: Path) -> Path:
    """The tiny base with louder embeddings. Its own make every token about as likely, whatever an adapter learns."""
    from transformers import AutoModelForCausalLM

    shutil.copytree(tiny_base, folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    model.get_input_embeddings().weight.data.mul_(12)
    model.save_pretrained(folder)
    return folder


def add_schedule(page: Page, server: Server) -> None:
    open_page(page, server, "schedules")
    page.get_by_label("name", exact=True).fill("eager")
    page.get_by_label("new agreed pairs", exact=False).fill(f"{PAIRS}")
    page.get_by_role("combobox", name="recipe").click()
    page.get_by_role("option", name="TOML of my own").click()
    page.get_by_label("TOML", exact=True).fill(LESSON)
    page.get_by_label("TOML", exact=True).press("Control+Enter")
    expect(page.get_by_text("does snapshot → dpo → compare → promote")).to_be_visible(timeout=60_000)
    page.get_by_role("button", name="add the schedule").click()
    expect(page.locator(".office-note")).to_contain_text(f"eager is there: on {PAIRS} new agreed pairs", timeout=60_000)


def label(desk: Desk, server: Server) -> None:
    """Prefer the short answer, wherever it stands."""
    desk.open(server).begin(queues.DEFAULT, goal=PAIRS)
    for number in range(1, PAIRS + 1):
        desk.look().press("1" if desk.sides()[0] == SHORT else "2")
        desk.saved(number)
    desk.page.close()


def finished(page: Page, server: Server) -> None:
    """The page shows how the run goes, from nothing to its end, whoever looks."""
    deadline = time.monotonic() + 200
    open_page(page, server, "runs")
    while page.get_by_role("rowheader", name="· recipe").count() == 0:  # nothing is under way: it does not look again
        assert time.monotonic() < deadline, "the tick has started nothing"
        open_page(page, server, "runs")
    expect(page.locator(".office-facts").get_by_text("finished", exact=True)).to_be_visible(timeout=200_000)
    expect(page.get_by_text("v1 wins", exact=False).first).to_be_visible()
    expect(page.get_by_role("cell", name="promoted", exact=True)).to_be_visible()
    page.get_by_role("button", name="see v1 among the versions").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Versions", timeout=60_000)
    expect(page.get_by_text("v1 · current").first).to_be_visible(timeout=60_000)


def unseen(ctx: Context) -> list[Prompt]:
    """Prompts that nobody has been asked about."""
    with reading(ctx.engine) as session:
        return prompts.list_prompts(session, split="train")[PAIRS : PAIRS + 6]


def ask_about_answers(ctx: Context) -> None:
    """Pairs for people: a short answer that ends, and a long one that is cut off."""
    with writing(ctx.engine) as session:
        prompts.add_many(session, import_prompts.builtin().items[:60])
    base = ensure_current(ctx)
    with writing(ctx.engine) as session:
        queue = queues.ensure(session, queues.DEFAULT)
        for prompt in prompts.list_prompts(session, split="train")[:PAIRS]:
            answers = [
                candidates.Completion(prompt.id, 0, SHORT, 3, "stop", -1.0),
                candidates.Completion(prompt.id, 1, LONG, 12, "length", -1.0),
            ]
            candidates.store(session, base.id, {}, 0, answers)
            ids = [candidate.id for candidate in candidates.of_version(session, base.id, {}, 0, [prompt.id])]
            comparisons.create(session, queue.id, prompt.id, ids)
