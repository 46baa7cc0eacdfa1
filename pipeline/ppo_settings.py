"""Settings of a PPO run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from .errors import PrefloopError
from .training import LoraSettings


@dataclass(frozen=True)
class PpoSettings:
    """Rewards are in standard deviations of the scores of the parent's own answers."""

    steps: int = 32  # rollouts, each learned from and then thrown away
    rollout_size: int = 32  # episodes a step, over all processes
    epochs: int = 2  # passes over each rollout
    batch_size: int = 8  # episodes an update, over all processes
    micro_batch_size: int = 8  # episodes, of like length, in one pass through the model; bounds memory
    max_new_tokens: int = 64  # tokens, completion only
    temperature: float = 0.9  # of sampling, and of the policy whose ratio is clipped
    learning_rate: float = 3e-4  # of the adapter at the first step; falls linearly to 0
    value_learning_rate: float = 1e-3  # of the value head, likewise
    gamma: float = 1.0  # discount a token
    lam: float = 0.95  # GAE's λ
    clip: float = 0.2  # of the ratio to the policy that sampled
    value_clip: float = 0.2  # of the value's change since sampling
    value_weight: float = 0.1  # of the value loss beside the policy loss
    whiten_rewards: bool = False  # over their deviation, the mean kept
    missing_end_penalty: float = 0.0  # off the reward of a completion that was cut off at its length limit
    reference: Literal["parent", "base"] = "parent"  # what the KL penalty pulls to
    kl_control: Literal["adaptive", "fixed"] = "adaptive"
    kl_coefficient: float = 0.05  # reward a nat, at the start
    kl_target: float = 8.0  # nats a completion; adaptive only
    kl_horizon: float = 500.0  # episodes; adaptive only
    kl_limit: float = 50.0  # nats a completion; beyond it training stops
    length_floor: float = 0.1  # of the parent's mean length; below it training stops
    entropy_floor: float = 0.05  # of the parent's entropy; below it training stops
    max_gradient_norm: float = 1.0
    checkpoint_steps: int = 4  # steps between checkpoints; 0: only when told to stop
    lora: LoraSettings = field(default_factory=LoraSettings)
    dtype: str = "auto"
    load_in_4bit: bool = False

    def check(self, processes: int) -> None:
        """Raises PrefloopError for sizes that do not divide: nothing is rounded."""
        for small, large in (("micro_batch_size", "batch_size"), ("batch_size", "rollout_size")):
            if getattr(self, large) % getattr(self, small):
                raise PrefloopError(
                    f"ppo.{large} = {getattr(self, large)} is no multiple of ppo.{small} = {getattr(self, small)}"
                )
        if self.micro_batches_an_update % processes:
            raise PrefloopError(
                f"{self.micro_batches_an_update} micro-batches an update do not divide among {processes} processes; "
                "raise ppo.batch_size or lower ppo.micro_batch_size"
            )

    @property
    def micro_batches_an_update(self) -> int:
        return self.batch_size // self.micro_batch_size

    @property
    def micro_batches(self) -> list[slice]:
        """Of a rollout: which episodes go through the model together."""
        return [
            slice(first, first + self.micro_batch_size) for first in range(0, self.rollout_size, self.micro_batch_size)
        ]
