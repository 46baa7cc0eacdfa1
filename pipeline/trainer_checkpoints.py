"""Checkpoints of a TRL trainer that a kill, SIGTERM or a full disk cannot spoil.

transformers' trainer writes a checkpoint in place and resumes from whatever lies there. Here each is sealed once it is
whole, training resumes from the newest sealed one by explicit path, and the batches of an epoch follow from seed and
epoch alone. A resumed run therefore ends with the very weights of an undisturbed one; what is lost is at most the
steps since the last checkpoint.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from transformers import Trainer, TrainerCallback, set_seed

from . import checkpoints
from .errors import PrefloopError
from .stopping import Stopped, on_sigterm

KEPT = 2  # sealed checkpoints: the newest, and one more in case the disk spoils it later


def checkpoint_arguments(out: Path, every: int) -> dict[str, Any]:
    """Trainer arguments: a checkpoint every `every` steps and after the last one; with 0 on SIGTERM only."""
    return {
        "output_dir": str(checkpoints.root_of(out)),
        "save_strategy": "steps" if every else "no",
        "save_steps": every or 1,
        "save_total_limit": None,  # we prune, after sealing: the trainer would delete a good one for one that is torn
    }


def train_with_checkpoints(trainer: Trainer) -> None:
    """Train to the end, from the newest verified checkpoint in the trainer's `output_dir` if there is one.

    Raises Stopped after SIGTERM, and PrefloopError if a checkpoint cannot be written; the last good one stays.
    """
    root = Path(trainer.args.output_dir)
    checkpoints.prune(root, KEPT)  # what is damaged would be written over in place
    start = checkpoints.newest_verified(root)
    keeper = _CheckpointKeeper(root)
    trainer.add_callback(keeper)
    if start is not None:
        # TRL counts tokens anew in every process.
        logged = json.loads((start / "trainer_state.json").read_text())["log_history"]
        trainer._total_train_tokens = int(logged[-1].get("num_tokens", 0)) if logged else 0
    try:
        with on_sigterm(keeper.stop):
            trainer.train(resume_from_checkpoint=None if start is None else str(start))
    except Exception as error:
        if not keeper.saving:
            raise
        shutil.rmtree(root / f"checkpoint-{trainer.state.global_step}", ignore_errors=True)
        good = checkpoints.newest_verified(root)
        raise PrefloopError(
            f"the checkpoint of step {trainer.state.global_step} could not be written to {root} ({error}); "
            "make room on the disk and run the same command again: it goes on from "
            + ("the beginning" if good is None else f"step {checkpoints.step_of(good)}")
        ) from error
    if keeper.stopped:
        raise Stopped(
            f"stopped by SIGTERM at step {trainer.state.global_step} of {trainer.state.max_steps}; "
            "the same command goes on from there"
        )


class _CheckpointKeeper(TrainerCallback):  # type: ignore[misc]  # transformers is not typed
    """Seals what the trainer has saved, ends the training on SIGTERM, and fixes the order of each epoch."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.stopped = False
        self.saving = False  # between the decision to save and the seal

    def stop(self) -> None:
        self.stopped = True

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        # The sampler draws an epoch's order from the global random state; a resumed process has another one by then.
        set_seed(args.seed + int(state.epoch or 0))

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self.stopped:
            control.should_save = control.should_training_stop = True
        self.saving = control.should_save
        if float(state.epoch).is_integer():
            # A checkpoint of an epoch's last step: the trainer takes its random state for the next epoch's beginning.
            self.on_epoch_begin(args, state, control)

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        checkpoints.seal(self.root / f"checkpoint-{state.global_step}")
        checkpoints.prune(self.root, KEPT)
        self.saving = False
