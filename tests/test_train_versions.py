"""From what people said to a version: demonstrations, plain text and thumbs, by the command line."""

from pathlib import Path

import pytest
from test_crash_safety import kill, killed
from test_loop import ctx, root  # noqa: F401  # fixtures
from typer.testing import CliRunner

from db import annotators, candidates, comparisons, judgments, prompts, queues, runs, snapshots, versions
from db.engine import reading, writing
from db.judgments import Said
from db.tables import Version
from db.words import QueueKind
from pipeline.cli import app
from pipeline.context import Context
from pipeline.errors import PrefloopError
from pipeline.promote import ensure_current
from pipeline.recorded_run import RecordedRun
from pipeline.snapshot import rebuild, shape_of
from pipeline.train import train_version
from pipeline.training import ADAPTER_FILE, OnMetrics, TrainResult, file_sha256
from pipeline.verify import verify


@pytest.fixture(autouse=True)
def here(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    monkeypatch.setenv("PREFLOOP_HOME", str(root))


def say(ctx: Context, kind: QueueKind, answers: list[Said]) -> None:  # noqa: F811
    """A queue of the kind, asked about as many train prompts, and answered by one person."""
    base = ctx.base_version()
    with writing(ctx.engine) as session:
        me = annotators.ensure(session, "me", "human").id
        queue = queues.ensure(session, kind, kind).id
        for prompt in prompts.list_prompts(session, split="train")[: len(answers)]:
            answer = candidates.Completion(prompt.id, 0, f"about {prompt.id}", 4, "stop", -1.0)
            candidates.store(session, base.id, {}, 0, [answer])
            of_prompt = candidates.of_version(session, base.id, {}, 0, [prompt.id])
            ids = [] if kind == "demonstration" else [row.id for row in of_prompt]
            comparisons.create(session, queue, prompt.id, ids)
    for said in answers:
        with writing(ctx.engine) as session:
            task = comparisons.next_assignment(session, me, queue_id=queue)
            assert task is not None
            judgments.submit(session, task.assignment_id, me, said)


def prefloop(*arguments: str) -> str:
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


def test_edits_and_demonstrations_make_a_version_that_names_them(ctx: Context) -> None:  # noqa: F811
    say(ctx, "demonstration", [Said("written", written=f"a fine answer {n}") for n in range(4)])
    say(ctx, "edit", [Said("written", written=f"a better answer {n}") for n in range(3)])
    prefloop("train", "sft")
    prefloop("train", "sft")  # finished work is not done again
    with reading(ctx.engine) as session:
        (version,) = (row for row in versions.list_versions(session) if row.name != "v0")
        run = runs.get(session, version.run_id)
        snapshot = snapshots.get(session, version.snapshot_id)
    assert (version.kind, run.stage, run.summary["demonstrations"]) == ("policy", "sft", 7)
    assert shape_of(snapshot) == "demonstrations"
    assert len(rebuild(ctx, snapshot)) == 7
    assert verify(ctx) == []
    with pytest.raises(PrefloopError, match="snapshot 1 holds demonstrations, and this stage learns from thumbs"):
        prefloop("train", "kto", "--snapshot", "1")


def test_thumbs_make_a_version_and_a_snapshot_can_be_made_first(ctx: Context) -> None:  # noqa: F811
    say(ctx, "thumbs", [Said("up"), Said("down")] * 4)
    assert "thumbs" in prefloop("snapshot", "create", "--shape", "thumbs")
    assert '"good": true' in prefloop("snapshot", "show", "1", "--rows")
    prefloop("train", "kto", "--snapshot", "1", "--parent", "v0")
    with reading(ctx.engine) as session:
        run = runs.get(session, versions.by_name(session, "v1").run_id)
    assert (run.stage, run.summary["thumbs"], run.summary["good"]) == ("kto", 8, 4)
    assert verify(ctx) == []
    with pytest.raises(PrefloopError, match="no human judgment gives a row of the shape demonstrations"):
        prefloop("train", "sft")


def test_plain_text_makes_a_version_that_names_its_hash_and_can_be_a_parent(
    ctx: Context,  # noqa: F811
    tmp_path: Path,
) -> None:
    (tmp_path / "book.txt").write_text("once upon a time " * 40)
    prefloop("train", "sft", "--text", str(tmp_path / "book.txt"))
    (tmp_path / "book.txt").write_text("twice upon a time " * 40)
    prefloop("train", "sft", "--text", str(tmp_path / "book.txt"), "--parent", "v1")
    with reading(ctx.engine) as session:
        second = versions.by_name(session, "v2")
        assert versions.get(session, second.parent_id).name == "v1"
        assert second.snapshot_id is None
        texts = [runs.get(session, row.run_id).config["texts"] for row in versions.list_versions(session)[1:]]
    assert [text["name"] for (text,) in texts] == ["book.txt", "book.txt"]
    assert texts[0] != texts[1]
    assert verify(ctx) == []
    with pytest.raises(PrefloopError, match="two trainings"):
        prefloop("train", "sft", "--text", str(tmp_path / "book.txt"), "--snapshot", "1")


@pytest.mark.parametrize("moment", ["pipeline.train.save_loss_picture", "pipeline.checkpoints.root_of"])
def test_what_a_killed_training_left_beside_its_version_is_cleared_up_by_the_next(
    ctx: Context,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    moment: str,
) -> None:
    """Killed after the adapter is there and before the version is, or when the version is there and before it cleared
    up."""
    parent = ensure_current(ctx)
    monkeypatch.setattr("pipeline.train.save_loss_picture", lambda *_: None)  # its threads do not live on in a fork

    def work(run: RecordedRun, on_metrics: OnMetrics) -> TrainResult:
        for folder in ("adapter", "adapter.checkpoints"):
            (run.folder / folder).mkdir()
        weights = run.folder / "adapter" / ADAPTER_FILE
        weights.write_bytes(b"the weights")
        return TrainResult(weights.parent, file_sha256(weights), [("loss", 1, 0.5)], {}, 1, 1.0, 1)

    def train() -> Version:
        return train_version(ctx, "sft", {}, 0, None, {"texts": 1}, parent, None, work)

    def train_until_then() -> None:
        monkeypatch.setattr(moment, lambda *_: kill())
        train()

    ctx.engine.dispose()  # a connection that is open in a fork loses its locks (SQLite)
    killed(train_until_then)
    assert list(ctx.workspace.artifacts.glob("runs/*/*.checkpoints"))
    assert train().name == "v1"
    assert verify(ctx) == []
