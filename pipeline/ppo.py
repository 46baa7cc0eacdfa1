"""The arithmetic of PPO on completions: pure tensor functions, no model, no randomness.

Axes: B episodes, T completion positions, N positions that count (row by row), V vocabulary. `mask_B_T` is true where an
episode has a token. It may begin or end anywhere, as long as each row's true positions are one stretch: padding may lie
left or right. What is not in the mask changes nothing and comes out as 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


def spread(values_N: Tensor, mask_B_T: Tensor) -> Tensor:
    """(N,) values put where the mask is true, row by row: (B, T), 0 elsewhere. Gradients flow through."""
    return values_N.new_zeros(mask_B_T.shape).masked_scatter(mask_B_T, values_N)


def masked_mean(values_B_T: Tensor, mask_B_T: Tensor) -> Tensor:
    """() mean over all positions of the mask together, so that a long episode weighs more than a short one."""
    return values_B_T.masked_fill(~mask_B_T, 0).sum() / mask_B_T.sum()


def token_logprobs(logits_N_V: Tensor, tokens_N: Tensor, temperature: float) -> Tensor:
    """(N,) log π(token) in nats, float32, of the distribution that was sampled from: softmax(logits / temperature).

    Temperature belongs into the ratio as well (Huang et al. 2024, arXiv:2403.17031, detail on sampling temperature).
    """
    logits = logits_N_V.float() / temperature
    return logits.gather(1, tokens_N[:, None])[:, 0] - logits.logsumexp(1)


def token_entropy(logits_N_V: Tensor, temperature: float) -> Tensor:
    """(N,) entropy in nats, −Σ_v π_v log π_v with π = softmax(logits / temperature); float32."""
    logprobs = (logits_N_V.float() / temperature).log_softmax(1)
    return -(logprobs.exp() * logprobs).sum(1)


def kl_k1(logprobs_B_T: Tensor, reference_B_T: Tensor) -> Tensor:
    """(B, T) log π − log π_ref at the sampled tokens: unbiased for KL(π, π_ref), of either sign.

    Schulman 2020, "Approximating KL divergence", k1.
    """
    return logprobs_B_T - reference_B_T


def kl_k3(logprobs_B_T: Tensor, reference_B_T: Tensor) -> Tensor:
    """(B, T) r − 1 − log r with r = π_ref / π at the sampled tokens: unbiased, never negative, of lower variance.

    Schulman 2020, "Approximating KL divergence", k3. Small differences go through expm1, which does not cancel.
    """
    log_ratio = reference_B_T - logprobs_B_T
    return torch.expm1(log_ratio) - log_ratio


def penalise_missing_end(scores_B: Tensor, ended_B: Tensor, penalty: float) -> Tensor:
    """(B,) the score less `penalty` for each episode that was cut off at its length limit (arXiv:2403.17031)."""
    return scores_B - penalty * (~ended_B).to(scores_B.dtype)


def last_positions(mask_B_T: Tensor) -> Tensor:
    """(B,) index of each row's last true position. ValueError for a row without one."""
    if not bool(mask_B_T.any(1).all()):
        raise ValueError("an episode has no token")
    positions = torch.arange(mask_B_T.shape[1], device=mask_B_T.device)
    return positions.expand_as(mask_B_T).masked_fill(~mask_B_T, -1).amax(1)


def token_rewards(scores_B: Tensor, kl_B_T: Tensor, mask_B_T: Tensor, kl_coefficient: float) -> Tensor:
    """(B, T) −β·KL at every token, and the score added at the last one.

    Ziegler et al. 2019, arXiv:1909.08593, Eq. 2, token by token as in its code (arXiv:2403.17031).
    """
    rewards = (-kl_coefficient * kl_B_T).masked_fill(~mask_B_T, 0)
    return rewards.scatter_add(1, last_positions(mask_B_T)[:, None], scores_B[:, None].to(rewards.dtype))


def gae(rewards_B_T: Tensor, values_B_T: Tensor, mask_B_T: Tensor, gamma: float, lam: float) -> tuple[Tensor, Tensor]:
    """((B, T) advantages, (B, T) returns): generalised advantage estimation.

    δ_t = r_t + γ V_{t+1} − V_t, A_t = δ_t + γλ A_{t+1}, with V and A zero after the last token; return = A + V.
    Schulman et al. 2015, arXiv:1506.02438, Eq. 11 to 16; the return as value target: its Eq. 28 at λ.
    """
    rewards = rewards_B_T.masked_fill(~mask_B_T, 0)
    values = values_B_T.masked_fill(~mask_B_T, 0)
    advantage_B = torch.zeros_like(values[:, 0])
    next_value_B = torch.zeros_like(values[:, 0])
    advantages = torch.zeros_like(values)
    for t in range(values.shape[1] - 1, -1, -1):
        delta_B = rewards[:, t] + gamma * next_value_B - values[:, t]
        # Outside of the mask both are 0, so that padding on the right hands zeros to the last token.
        advantage_B = (delta_B + gamma * lam * advantage_B).masked_fill(~mask_B_T[:, t], 0)
        advantages[:, t] = advantage_B
        next_value_B = values[:, t]
    return advantages, advantages + values


def whiten(values_B_T: Tensor, mask_B_T: Tensor, shift_mean: bool = True) -> Tensor:
    """(B, T) values over their standard deviation on the mask; their mean is 0, or with `shift_mean` off what it was.

    The population's deviation, and 1e-8 under its root, as in the code of arXiv:1909.08593 (arXiv:2403.17031).
    """
    mean = masked_mean(values_B_T, mask_B_T)
    variance = masked_mean((values_B_T - mean).square(), mask_B_T)
    whitened = (values_B_T - mean) * torch.rsqrt(variance + 1e-8)
    return (whitened if shift_mean else whitened + mean).masked_fill(~mask_B_T, 0)


def policy_loss(
    logprobs_B_T: Tensor, old_B_T: Tensor, advantages_B_T: Tensor, mask_B_T: Tensor, clip: float
) -> tuple[Tensor, Tensor]:
    """((B, T) loss, (B, T) whether the clipped term decided), both 0 outside of the mask.

    −min(ρ A, clamp(ρ, 1 − ε, 1 + ε) A) with ρ = π / π_old: Schulman et al. 2017, arXiv:1707.06347, Eq. 7.
    """
    ratio = (logprobs_B_T - old_B_T).masked_fill(~mask_B_T, 0).exp()
    plain = -ratio * advantages_B_T
    clipped = -ratio.clamp(1 - clip, 1 + clip) * advantages_B_T
    loss = torch.maximum(plain, clipped).masked_fill(~mask_B_T, 0)
    return loss, (clipped > plain) & mask_B_T


def value_loss(
    values_B_T: Tensor, old_B_T: Tensor, returns_B_T: Tensor, mask_B_T: Tensor, clip: float
) -> tuple[Tensor, Tensor]:
    """((B, T) loss, (B, T) whether the clipped term decided), both 0 outside of the mask.

    ½ max((V − R)², (V_clip − R)²), where V_clip stays within ε of the value at the time of sampling: arXiv:2403.17031,
    after the code of arXiv:1909.08593.
    """
    near = torch.minimum(torch.maximum(values_B_T, old_B_T - clip), old_B_T + clip)
    plain = (values_B_T - returns_B_T).square()
    clipped = (near - returns_B_T).square()
    loss = 0.5 * torch.maximum(plain, clipped).masked_fill(~mask_B_T, 0)
    return loss, (clipped > plain) & mask_B_T


def explained_variance(values_B_T: Tensor, returns_B_T: Tensor, mask_B_T: Tensor) -> float:
    """1 − Var(R − V) / Var(R) on the mask: 1 is a perfect value function, 0 one that knows the mean at best.

    NaN where all returns are equal: there is nothing to explain.
    """
    returns, values = returns_B_T[mask_B_T].double(), values_B_T[mask_B_T].double()
    variance = returns.var(correction=0)
    if variance == 0:
        return math.nan
    return float(1 - (returns - values).var(correction=0) / variance)


@dataclass(frozen=True)
class KlController:
    """The coefficient β of the KL penalty, steered towards a target: Ziegler et al. 2019, arXiv:1909.08593, §2.2.

    e = clamp(KL / target − 1, −0.2, 0.2); β ← β (1 + e · episodes / horizon).
    """

    coefficient: float  # β, score units a nat
    target: float  # nats a completion
    horizon: float  # episodes; the smaller, the faster β moves

    def after(self, kl: float, episodes: int) -> KlController:
        """The controller after `episodes` whose mean KL was `kl` nats a completion."""
        error = min(max(kl / self.target - 1, -0.2), 0.2)
        return KlController(self.coefficient * (1 + error * episodes / self.horizon), self.target, self.horizon)
