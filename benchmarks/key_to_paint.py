"""How long from a key press to the next pair on the screen? One annotator in Chromium, a server and store of their own.

The press is the page's own `keydown` event; the end is the frame in which the text of the next pair stands. Sixty pairs
are labeled, each at the earliest moment at which an answer counts.

    python benchmarks/key_to_paint.py                   SQLite
    python benchmarks/key_to_paint.py --presses 200
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
from browser import Desk, chromium, question, seed, serving, sqlite_url

from db import annotators
from db.engine import writing

GOAL_MS = 150
QUIET_MS = 500  # after a press nobody looks: looking takes time from those who are measured
# Both moments are taken in the page, by a listener that hears a key before the page does. The text is looked up through
# the shadow root in which the sheet is drawn.
MEASURE = """
  const root = () => document.querySelector('.st-key-sheet [data-testid="stBidiComponentIsolated"]').shadowRoot;
  const texts = () => root().querySelector('.answers')?.textContent;
  window.measured = [];
  addEventListener('keydown', ({ key }) => {
    if (key !== '1' && key !== '2') return;
    const pressed = performance.now(), before = texts();
    const observer = new MutationObserver(() => {
      if (!texts() || texts() === before) return;
      observer.disconnect();
      const painted = new MessageChannel(); // its message comes right after the frame
      painted.port1.onmessage = () => window.measured.push(performance.now() - pressed);
      requestAnimationFrame(() => painted.port2.postMessage(0));
    });
    observer.observe(root(), { childList: true, subtree: true, characterData: true });
  }, true);
"""


def measure(presses: int) -> list[float]:
    """Milliseconds from press to paint, for each press."""
    text = "Air scatters short wavelengths of sunlight more than long ones, and so the sky looks blue. " * 6
    pairs = [(question(f"question {n}"), f"{n} one. {text}", f"{n} two. {text}") for n in range(presses + 1)]
    with tempfile.TemporaryDirectory() as folder:
        url = sqlite_url(Path(folder))
        engine = seed(url, pairs)
        with writing(engine) as session:
            annotators.ensure(session, "ann", "human")
        engine.dispose()
        with serving(url) as server, chromium() as browser:
            page = browser.new_page(viewport={"width": 1280, "height": 800})
            page.add_init_script(MEASURE)
            desk = Desk(page, "ann").open(server).begin(goal=presses + 1)
            for count in range(presses):
                desk.look().press("12"[count % 2])
                page.wait_for_timeout(QUIET_MS)
            measured = [float(ms) for ms in page.evaluate("window.measured")]
            assert len(measured) == presses, f"{presses} presses, and {len(measured)} pairs painted"
            return measured


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--presses", type=int, default=60)
    measured = measure(parser.parse_args().presses)
    p50, p95 = np.percentile(measured, [50, 95])
    load = os.getloadavg()[0]
    print(f"key press to next pair painted, {len(measured)} presses: p50 {p50:.0f} ms, p95 {p95:.0f} ms, "
          f"max {max(measured):.0f} ms (goal: p95 {GOAL_MS} ms; {os.cpu_count()} cores, load {load:.1f})")  # fmt: skip


if __name__ == "__main__":
    main()
