"""Training that is killed, told to stop or out of disk goes on from its last good checkpoint, to the same weights."""

import os
import random
import resource
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from test_training import DPO, LORA, REWARD, pairs

from pipeline import checkpoints
from pipeline.errors import PrefloopError
from pipeline.stopping import Stopped
from pipeline.train_dpo import DpoSettings, train_dpo
from pipeline.train_reward import RewardSettings, train_reward
from pipeline.training import Metric, OnMetrics, TrainResult

STEPS = 9  # 12 pairs in batches of 4, three epochs
DPO_2 = DpoSettings(**{**DPO.__dict__, "checkpoint_steps": 2})
REWARD_2 = RewardSettings(**{**REWARD.__dict__, "epochs": 3, "checkpoint_steps": 2})

Train = Callable[[Path, OnMetrics | None], TrainResult]


@pytest.fixture(scope="module")
def parent(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_dpo(pairs(), DPO, tiny_base, None, tmp_path_factory.mktemp("parent") / "adapter", seed=9).adapter


def stage(name: str, base: Path, parent: Path, seed: int) -> Train:
    """A training to be killed. DPO's three differ in where they start and in what they are anchored to."""
    if name == "reward":
        return lambda out, on_metrics: train_reward(pairs(), [], REWARD_2, base, out, seed, on_metrics)
    start, reference = [(None, "parent"), (parent, "parent"), (parent, "base")][seed]
    settings = DpoSettings(**{**DPO_2.__dict__, "reference": reference})
    return lambda out, on_metrics: train_dpo(pairs(), settings, base, start, out, seed, on_metrics)


def at_step(step: int, act: Callable[[], object]) -> OnMetrics:
    def on_metrics(new: list[Metric], *_: int) -> None:
        if any(name == "loss" and at == step for name, at, _ in new):
            act()

    return on_metrics


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def killed(train: Callable[[], object]) -> None:
    """Run it in a process of its own, which must not live to the end."""
    child = os.fork()
    if child == 0:
        try:
            train()
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), "it ended before it was killed"
    assert os.WTERMSIG(status) == signal.SIGKILL


def losses(result: TrainResult) -> list[Metric]:
    return [metric for metric in result.metrics if metric[0] in ("loss", "num_tokens")]


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("name", ["reward", "dpo"])
def test_a_killed_run_goes_on_and_ends_with_the_weights_of_an_undisturbed_one(
    name: str, seed: int, tiny_base: Path, parent: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed twice: at a random step, and later in the middle of writing a checkpoint, just before it is sealed."""
    train = stage(name, tiny_base, parent, seed)
    undisturbed = train(tmp_path / "undisturbed", None)
    out = tmp_path / "killed"
    step = random.Random(f"{name} {seed}").randint(3, STEPS - 1)
    killed(lambda: train(out, at_step(step, kill)))
    saved = (step - 1) // 2 * 2
    assert not out.exists()
    assert checkpoints.newest_verified(checkpoints.root_of(out)) == checkpoints.root_of(out) / f"checkpoint-{saved}"

    def killed_while_saving() -> None:
        monkeypatch.setattr(checkpoints, "seal", lambda folder: kill())
        train(out, None)

    killed(killed_while_saving)
    again, reports = [], []

    def note(new: Sequence[Metric], done: int, steps: int) -> None:
        again.extend(at for metric, at, _ in new if metric == "loss")
        reports.append(done)

    resumed = train(out, note)
    assert again == list(range(1, STEPS + 1))  # what was logged before is told again,
    assert reports[0] == saved  # and at once, for it says nothing of the pace
    assert resumed.adapter_sha256 == undisturbed.adapter_sha256
    assert losses(resumed) == losses(undisturbed)
    assert resumed.tokens == undisturbed.tokens
    assert resumed.summary == undisturbed.summary


def test_a_damaged_checkpoint_is_passed_over_when_training_goes_on(
    tiny_base: Path, parent: Path, tmp_path: Path
) -> None:
    train = stage("dpo", tiny_base, parent, 0)
    undisturbed = train(tmp_path / "undisturbed", None)
    out = tmp_path / "killed"
    killed(lambda: train(out, at_step(7, kill)))
    root = checkpoints.root_of(out)
    (root / "checkpoint-6" / "optimizer.pt").unlink()  # the trainer would resume without a word, and otherwise
    assert checkpoints.newest_verified(root) == root / "checkpoint-4"
    assert train(out, None).adapter_sha256 == undisturbed.adapter_sha256


def test_on_sigterm_it_saves_the_step_that_it_is_at_and_stops(tiny_base: Path, parent: Path, tmp_path: Path) -> None:
    out = tmp_path / "stopped"
    settings = DpoSettings(**{**DPO.__dict__, "checkpoint_steps": 0})  # no others
    handler = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Stopped, match="step 6 of 9"):
        terminate = at_step(5, lambda: os.kill(os.getpid(), signal.SIGTERM))
        train_dpo(pairs(), settings, tiny_base, None, out, 0, terminate)
    assert signal.getsignal(signal.SIGTERM) == handler
    assert [path.name for path in checkpoints.root_of(out).glob("checkpoint-*")] == ["checkpoint-6"]
    resumed = train_dpo(pairs(), settings, tiny_base, None, out, 0)
    assert resumed.adapter_sha256 == stage("dpo", tiny_base, parent, 0)(tmp_path / "whole", None).adapter_sha256


@contextmanager
def largest_file(restore: tuple[int, int]) -> Iterator[Callable[[], None]]:
    """Gives a function after whose call no file may grow beyond 8 kB, as on a full disk."""
    try:
        yield lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (8_000, restore[1]))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, restore)


def test_on_a_full_disk_it_says_so_and_keeps_the_last_good_checkpoint(tiny_base: Path, tmp_path: Path) -> None:
    out = tmp_path / "full"
    with (
        largest_file(resource.getrlimit(resource.RLIMIT_FSIZE)) as fill,
        pytest.raises(PrefloopError, match=r"step 6 could not be written.*goes on from step 4"),
    ):
        train_dpo(pairs(), DPO_2, tiny_base, None, out, 0, at_step(5, fill))
    assert not out.exists()
    root = checkpoints.root_of(out)
    assert {path.name for path in root.glob("checkpoint-*")} == {"checkpoint-2", "checkpoint-4"}
    whole = train_dpo(pairs(), DPO_2, tiny_base, None, tmp_path / "whole", 0)
    assert train_dpo(pairs(), DPO_2, tiny_base, None, out, 0).adapter_sha256 == whole.adapter_sha256


def test_a_diverged_run_ends_early_and_leaves_nothing_to_go_on_from(tiny_base: Path, tmp_path: Path) -> None:
    mad = DpoSettings(**{**DPO_2.__dict__, "learning_rate": 1e30, "lora": LORA})
    seen: list[Metric] = []
    with pytest.raises(PrefloopError, match="non-finite"):
        train_dpo(pairs(), mad, tiny_base, None, tmp_path / "mad", 0, lambda new, *_: seen.extend(new))
    assert max(step for _, step, _ in seen) < STEPS
    assert not list(tmp_path.iterdir())
