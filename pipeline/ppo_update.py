"""The updates of PPO: a rollout goes through the optimizer, in small batches and several passes."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from accelerate import PartialState
from accelerate.utils import reduce
from torch import Tensor

from . import ppo
from .ppo_settings import PpoSettings
from .roles import Roles
from .rollout import Experience

FIGURES = ("loss", "policy_loss", "value_loss", "clip_fraction", "value_clip_fraction", "approx_kl")


class NonFiniteLoss(Exception):
    """An update had a gradient that is no number; it was not applied."""


@dataclass(frozen=True)
class Targets:
    """What a rollout teaches: whitened advantages and the values' targets, (R, T) each."""

    advantages_R_T: Tensor
    returns_R_T: Tensor


def make_optimizer(models: Roles, settings: PpoSettings) -> torch.optim.Optimizer:
    """Adam with ε = 1e-5 (arXiv:2403.17031); the value head starts from nothing and has a rate of its own."""
    groups = [
        {"params": list(models.policy_parameters.values()), "lr": settings.learning_rate},
        {"params": list(models.value_head.parameters()), "lr": settings.value_learning_rate},
    ]
    return torch.optim.Adam(groups, eps=1e-5)


def set_rates(optimizer: torch.optim.Optimizer, settings: PpoSettings, share: float) -> None:
    """Both learning rates at `share` of their peak."""
    for group, peak in zip(optimizer.param_groups, (settings.learning_rate, settings.value_learning_rate), strict=True):
        group["lr"] = peak * share


def learn(
    models: Roles,
    optimizer: torch.optim.Optimizer,
    experience: Experience,
    targets: Targets,
    settings: PpoSettings,
    process: PartialState,
    order_seed: str,
) -> dict[str, float]:
    """All updates of one rollout; the mean over updates of FIGURES. Raises NonFiniteLoss.

    Micro-batches are shuffled in each pass. An update's loss is the mean over its tokens, however they lie in
    micro-batches and processes.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    totals, updates = torch.zeros(len(FIGURES)), 0
    for epoch in range(settings.epochs):
        order = settings.micro_batches
        random.Random(f"{order_seed} {epoch}").shuffle(order)
        for first in range(0, len(order), settings.micro_batches_an_update):
            batch = order[first : first + settings.micro_batches_an_update]
            tokens = sum(int(experience.mask_R_T[rows].sum()) for rows in batch)
            optimizer.zero_grad(set_to_none=True)
            sums = torch.zeros(len(FIGURES))
            for rows in batch[process.process_index :: process.num_processes]:
                loss, figures = _losses(models, experience, targets, rows, settings)
                (loss / tokens).backward()  # type: ignore[no-untyped-call]
                sums += figures / tokens
            norm = _share_gradients(parameters, process, settings.max_gradient_norm)
            if not math.isfinite(norm):
                raise NonFiniteLoss
            optimizer.step()
            totals += reduce(sums.to(models.device), "sum").cpu()
            updates += 1
    return dict(zip(FIGURES, (totals / updates).tolist(), strict=True))


def _losses(
    models: Roles, experience: Experience, targets: Targets, rows: slice, settings: PpoSettings
) -> tuple[Tensor, Tensor]:
    """(the loss, FIGURES) of one micro-batch, each summed over its tokens."""
    packed = experience.packed(rows, models)
    mask_B_T = packed.mask_B_T
    old_B_T, old_values_B_T, advantages_B_T, returns_B_T = (
        values[rows].to(models.device)
        for values in (experience.logprobs_R_T, experience.values_R_T, targets.advantages_R_T, targets.returns_R_T)
    )
    logprobs_B_T, values_B_T = models.act(packed, experience.below.get(rows.start))
    policy, clipped = ppo.policy_loss(logprobs_B_T, old_B_T, advantages_B_T, mask_B_T, settings.clip)
    value, value_clipped = ppo.value_loss(values_B_T, old_values_B_T, returns_B_T, mask_B_T, settings.value_clip)
    # How far this rollout has carried the policy that sampled it (Schulman 2020, k3).
    moved = ppo.kl_k3(old_B_T, logprobs_B_T.detach())
    loss = policy.sum() + settings.value_weight * value.sum()
    parts = (loss, policy, value, clipped, value_clipped, moved)
    return loss, torch.stack([part.detach().float().sum().cpu() for part in parts])


def _share_gradients(parameters: Sequence[torch.nn.Parameter], process: PartialState, largest: float) -> float:
    """Add up the gradients of all processes and clip them; their norm before clipping.

    By hand: an adapter's gradients are few, and a wrapper would stand between the loop and the adapters' switches.
    """
    if process.num_processes > 1:
        gradients = [p.grad for p in parameters if p.grad is not None]
        together = reduce(torch.cat([g.flatten() for g in gradients]), "sum")
        for gradient, summed in zip(gradients, together.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(summed.view_as(gradient))
    return float(torch.nn.utils.clip_grad_norm_(parameters, largest))
