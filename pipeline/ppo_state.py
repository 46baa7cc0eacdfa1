"""What a PPO run has to remember: in memory between steps, and on disk so that a killed run ends with the same weights.

Besides what is written here nothing is kept: prompts and completions follow from seed and step (`rollout.py`).
"""

from __future__ import annotations

import json
import random
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import PartialState
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from . import checkpoints
from .errors import PrefloopError
from .ppo import KlController
from .roles import Roles
from .training import Metric

KEPT = 2  # checkpoints: the newest, and one to fall back to if it is damaged


@dataclass(frozen=True)
class Start:
    """The first rollout, which the parent drew: scores are scaled by it, and collapse is measured against it."""

    score_mean: float
    score_deviation: float
    length: float  # mean tokens of a completion
    entropy: float  # mean nats a token


@dataclass
class State:
    controller: KlController
    step: int = 0  # rollouts that have been learned from
    start: Start | None = None
    last_good: dict[str, Tensor] = field(default_factory=dict)  # the policy of the newest healthy rollout
    metrics: list[Metric] = field(default_factory=list)
    samples: list[dict[str, Any]] = field(default_factory=list)
    tokens: int = 0  # gone through in training


def policy_weights(roles: Roles) -> dict[str, Tensor]:
    """A copy of the policy adapter's parameters, by name."""
    return {name: parameter.detach().cpu().clone() for name, parameter in roles.policy_parameters.items()}


def set_policy_weights(roles: Roles, weights: dict[str, Tensor]) -> None:
    with torch.no_grad():
        for name, parameter in roles.policy_parameters.items():
            parameter.copy_(weights[name])


@dataclass(frozen=True)
class Store:
    """Where checkpoints lie, and what they are of. Under torchrun every process calls `save` and `load`."""

    root: Path
    identity: str  # sha256 of what decides the run's result
    models: Roles
    optimizer: torch.optim.Optimizer
    process: PartialState

    def save(self, state: State) -> None:
        """A sealed checkpoint of `state.step`; older ones are pruned.

        Raises PrefloopError if it cannot be written, with a full disk for one: the checkpoint before it stays.
        """
        folder = self.root / f"checkpoint-{state.step}"
        try:
            if self.process.is_main_process:
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir(parents=True)
                self._write(folder, state)
            self.process.wait_for_everyone()
            (folder / f"random-{self.process.process_index}.json").write_text(json.dumps(_random_state()))
            self.process.wait_for_everyone()
            if self.process.is_main_process:
                checkpoints.seal(folder)
                checkpoints.prune(self.root, KEPT)
        except (
            OSError,
            RuntimeError,
            SafetensorError,
        ) as error:  # torch's word for it, and safetensors'
            shutil.rmtree(folder, ignore_errors=True)
            raise PrefloopError(
                f"the checkpoint of step {state.step} could not be written to {self.root} ({error}); make room on the "
                "disk and run the same command again: it goes on from the checkpoint before"
            ) from error

    def _write(self, folder: Path, state: State) -> None:
        save_file(policy_weights(self.models), folder / "policy.safetensors")
        save_file(state.last_good, folder / "last_good.safetensors")
        save_file(self.models.value_head.state_dict(), folder / "value_head.safetensors")
        torch.save(self.optimizer.state_dict(), folder / "optimizer.pt")
        facts = {
            "identity": self.identity,
            "step": state.step,
            "controller": asdict(state.controller),
            "start": asdict(state.start) if state.start else None,
            "metrics": state.metrics,
            "samples": state.samples,
            "tokens": state.tokens,
        }
        (folder / "state.json").write_text(json.dumps(facts))

    def load(self) -> State | None:
        """The newest verified checkpoint, put into models, optimizer and random streams; None without one.

        Raises PrefloopError for a checkpoint of other work.
        """
        self.process.wait_for_everyone()
        folder = checkpoints.newest_verified(self.root)
        if folder is None:
            return None
        facts = json.loads((folder / "state.json").read_text())
        if facts["identity"] != self.identity:
            raise PrefloopError(
                f"the checkpoints in {self.root} are of a run with other prompts, settings, models, seed or number of "
                "processes; delete the folder to start over"
            )
        set_policy_weights(self.models, load_file(folder / "policy.safetensors"))
        self.models.value_head.load_state_dict(load_file(folder / "value_head.safetensors"))
        device = self.process.device
        self.optimizer.load_state_dict(torch.load(folder / "optimizer.pt", map_location=device, weights_only=True))
        _set_random_state(json.loads((folder / f"random-{self.process.process_index}.json").read_text()))
        return State(
            controller=KlController(**facts["controller"]),
            step=facts["step"],
            start=Start(**facts["start"]) if facts["start"] else None,
            last_good=load_file(folder / "last_good.safetensors"),
            metrics=[(name, step, value) for name, step, value in facts["metrics"]],
            samples=facts["samples"],
            tokens=facts["tokens"],
        )


def _random_state() -> dict[str, Any]:
    """The global streams of torch, numpy and Python. PPO draws from none of them; what it calls may."""
    numpy_state: dict[str, Any] = np.random.get_state(legacy=False)  # a dict, so asked
    inner = {**numpy_state["state"], "key": numpy_state["state"]["key"].tolist()}
    return {
        "torch": torch.get_rng_state().tolist(),
        "cuda": [state.tolist() for state in torch.cuda.get_rng_state_all()] if torch.cuda.is_available() else [],
        "numpy": {**numpy_state, "state": inner},
        "python": random.getstate(),
    }


def _set_random_state(saved: dict[str, Any]) -> None:
    torch.set_rng_state(torch.tensor(saved["torch"], dtype=torch.uint8))
    if saved["cuda"]:
        torch.cuda.set_rng_state_all([torch.tensor(state, dtype=torch.uint8) for state in saved["cuda"]])
    inner = {**saved["numpy"]["state"], "key": np.array(saved["numpy"]["state"]["key"], dtype=np.uint32)}
    np.random.set_state({**saved["numpy"], "state": inner})
    version, internal, gauss = saved["python"]
    random.setstate((version, tuple(internal), gauss))
