"""Only a checkpoint that is whole is resumed from; anything else is passed over for the one before it."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline import checkpoints

FILES = {
    "adapter_model.safetensors": b"weights" * 400,
    "optimizer.pt": b"moments" * 800,
    "scheduler.pt": b"schedule",
    "rng_state.pth": b"random",
    "trainer_state.json": b'{"global_step": 10}',
    "reference/adapter_model.safetensors": b"reference" * 100,
}


def checkpoint(root: Path, step: int, sealed: bool = True) -> Path:
    folder = root / f"checkpoint-{step}"
    for name, content in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    if sealed:
        checkpoints.seal(folder)
    return folder


def missing(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def truncated(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes(FILES[name][:-1])


def emptied(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


def changed_byte(folder: Path) -> None:
    content = bytearray(FILES["optimizer.pt"])
    content[100] ^= 1
    (folder / "optimizer.pt").write_bytes(content)


DAMAGE: dict[str, Callable[[Path], None]] = {
    "no trainer_state.json": missing("trainer_state.json"),
    "empty folder": emptied,
    "truncated optimizer.pt": truncated("optimizer.pt"),
    "truncated adapter": truncated("adapter_model.safetensors"),
    "missing optimizer.pt": missing("optimizer.pt"),
    "missing scheduler.pt": missing("scheduler.pt"),
    "missing rng_state.pth": missing("rng_state.pth"),
    "missing file of a subfolder": missing("reference/adapter_model.safetensors"),
    "changed byte": changed_byte,
    "no marker": missing(checkpoints.MANIFEST),
    "torn marker": lambda folder: (folder / checkpoints.MANIFEST).write_text('{"files": {"adap'),
    "marker of another kind": lambda folder: (folder / checkpoints.MANIFEST).write_text("[]"),
    "a file that was not sealed": lambda folder: (folder / "adapter_model.bin").write_bytes(b"pickle") and None,
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(damage: Callable[[Path], None], tmp_path: Path) -> None:
    before, newest = checkpoint(tmp_path, 9), checkpoint(tmp_path, 10)
    assert checkpoints.newest_verified(tmp_path) == newest
    damage(newest)
    assert not checkpoints.verified(newest)
    assert checkpoints.newest_verified(tmp_path) == before


def test_the_newest_is_told_by_step_and_not_by_name(tmp_path: Path) -> None:
    for step in (9, 100, 20):
        checkpoint(tmp_path, step)
    checkpoint(tmp_path, 300, sealed=False)
    shutil.copytree(tmp_path / "checkpoint-100", tmp_path / "checkpoint-400.partial")
    assert checkpoints.newest_verified(tmp_path) == tmp_path / "checkpoint-100"


def test_without_a_checkpoint_there_is_none(tmp_path: Path) -> None:
    assert checkpoints.newest_verified(tmp_path) is None
    assert checkpoints.newest_verified(tmp_path / "nowhere") is None


def test_pruning_keeps_the_newest_verified_ones_and_nothing_else(tmp_path: Path) -> None:
    for step in (10, 20, 30, 40):
        checkpoint(tmp_path, step)
    changed_byte(tmp_path / "checkpoint-30")
    checkpoint(tmp_path, 50, sealed=False)
    (tmp_path / "adapter").mkdir()
    checkpoints.prune(tmp_path, keep=2)
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint-20", "checkpoint-40", "adapter"}


def test_sealing_again_vouches_for_what_is_there_now(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path, 10)
    changed_byte(folder)
    checkpoints.seal(folder)
    assert checkpoints.verified(folder)


def test_a_full_disk_leaves_the_folder_without_a_seal(tmp_path: Path) -> None:
    """The process may write no more than 100 bytes to a file: the manifest does not fit."""
    folder = checkpoint(tmp_path, 10)
    script = (
        "import resource, signal, sys; from pathlib import Path; from pipeline import checkpoints\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))\n"
        "try: checkpoints.seal(Path(sys.argv[1]))\n"
        "except OSError as error: print('refused', error.errno)"
    )
    told = subprocess.run([sys.executable, "-c", script, str(folder)], capture_output=True, text=True, check=True)
    assert told.stdout.startswith("refused")
    assert not checkpoints.verified(folder)
    checkpoints.seal(folder)
    assert checkpoints.verified(folder)
