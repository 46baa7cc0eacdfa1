"""`prefloop queues`: what annotators are asked, from the command line."""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from db import queues
from db.engine import open_store, reading, writing
from pipeline import cli, workspace

Prefloop = Callable[..., str]


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """The store of a new workspace, which the commands use."""
    monkeypatch.setenv("PREFLOOP_HOME", str(tmp_path))
    engine = open_store(workspace.init(tmp_path).store_url)
    yield engine
    engine.dispose()


@pytest.fixture
def prefloop(engine: Engine, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Prefloop:
    """Runs `prefloop queues …` and returns what it printed."""

    def run(*arguments: str, status: int = 0) -> str:
        monkeypatch.setattr(sys, "argv", ["prefloop", "queues", *arguments])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capfd.readouterr()
        assert (ended.value.code or 0) == status, out + err
        return out + err

    return run


def test_a_queue_is_made_filled_changed_and_paused(
    prefloop: Prefloop, engine: Engine, ask: Callable[..., list[int]], tmp_path: Path
) -> None:
    with writing(engine) as session:
        ask(session, count=3, each=2)
    guidelines = tmp_path / "guidelines.txt"
    guidelines.write_text("The kinder one.")
    prefloop("add", "kind", "--guidelines", str(guidelines), "--overlap", "2", "--priority", "5", "--repeats", "0.1")
    assert "3 comparisons added" in prefloop("fill", "kind")
    assert "0 comparisons added" in prefloop("fill", "kind")
    prefloop("change", "kind", "--priority", "7")
    prefloop("pause", "kind")
    shown = {row["name"]: row for row in json.loads(prefloop("list", "--json"))}["kind"]
    assert (shown["comparisons"], shown["wanted"], shown["judged"], shown["paused"]) == (3, 6, 0, True)
    prefloop("resume", "kind")
    with reading(engine) as session:
        queue = queues.by_name(session, "kind")
    assert (queue.guidelines, queue.overlap, queue.priority, queue.repeat_share) == ("The kinder one.", 2, 7, 0.1)
    assert queue.paused_at is None


def test_a_rating_queue_names_its_aspects(prefloop: Prefloop, engine: Engine) -> None:
    prefloop("add", "stars", "--kind", "rating", "--aspect", "clear", "--aspect", "true")
    with reading(engine) as session:
        assert queues.by_name(session, "stars").aspects == ["clear", "true"]
    assert "name the aspects to rate" in prefloop("add", "other", "--kind", "rating", status=1)


def test_what_cannot_be_is_refused_with_the_remedy(prefloop: Prefloop) -> None:
    assert "use one of pair, ranking" in prefloop("add", "x", "--kind", "essay", status=1)
    assert "there is no queue x" in prefloop("fill", "x", status=1)
    prefloop("add", "x")
    assert "choose another name" in prefloop("add", "x", status=1)
    assert "cannot be read" in prefloop("change", "x", "--guidelines", "missing.txt", status=1)
