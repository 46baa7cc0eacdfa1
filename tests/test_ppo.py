"""PPO's arithmetic: against numbers worked by hand, against a slow reference of loops, and by its properties."""

import math

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from pipeline import ppo

GAMMA, LAM, CLIP, BETA, TEMPERATURE = 0.97, 0.9, 0.2, 0.07, 0.8
FIELDS = ("logprobs", "old", "reference", "values", "old_values")


def row_mask(lengths: list[int], width: int) -> Tensor:
    return torch.arange(width) < torch.tensor(lengths)[:, None]


@st.composite
def batches(draw: st.DrawFn) -> dict[str, Tensor]:
    """Random episodes, padded on the right, in float64."""
    lengths = draw(st.lists(st.integers(1, 6), min_size=1, max_size=5))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    mask = row_mask(lengths, max(lengths))
    made = {name: torch.randn(mask.shape, generator=generator, dtype=torch.float64) for name in FIELDS}
    scores = torch.randn(len(lengths), generator=generator, dtype=torch.float64)
    return {name: value.masked_fill(~mask, 0) for name, value in made.items()} | {"mask": mask, "scores": scores}


def pipeline_of(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """From log-probabilities to losses, as the loop strings the functions together."""
    mask = batch["mask"]
    kl = ppo.kl_k1(batch["old"], batch["reference"])
    rewards = ppo.token_rewards(batch["scores"], kl, mask, BETA)
    advantages, returns = ppo.gae(rewards, batch["old_values"], mask, GAMMA, LAM)
    policy, clipped = ppo.policy_loss(batch["logprobs"], batch["old"], advantages, mask, CLIP)
    value, value_clipped = ppo.value_loss(batch["values"], batch["old_values"], returns, mask, CLIP)
    return {
        "rewards": rewards,
        "advantages": advantages,
        "returns": returns.masked_fill(~mask, 0),
        "policy": policy,
        "clipped": clipped.double(),
        "value": value,
        "value_clipped": value_clipped.double(),
    }


def slow_reference(batch: dict[str, Tensor], row: int) -> dict[str, list[float]]:
    """One episode by loops over Python floats, from the papers' formulas."""
    count = int(batch["mask"][row].sum())
    at = {name: [float(batch[name][row, t]) for t in range(count)] for name in FIELDS}
    rewards = [-BETA * (at["old"][t] - at["reference"][t]) for t in range(count)]
    rewards[-1] += float(batch["scores"][row])
    values = [*at["old_values"], 0.0]
    deltas = [rewards[t] + GAMMA * values[t + 1] - values[t] for t in range(count)]
    # arXiv:1506.02438, Eq. 16: the sum of all later deltas, discounted by γλ
    advantages = [sum((GAMMA * LAM) ** (k - t) * deltas[k] for k in range(t, count)) for t in range(count)]
    returns = [advantages[t] + values[t] for t in range(count)]
    out: dict[str, list[float]] = {"rewards": rewards, "advantages": advantages, "returns": returns}
    out |= {name: [] for name in ("policy", "clipped", "value", "value_clipped")}
    for t in range(count):
        ratio = math.exp(at["logprobs"][t] - at["old"][t])
        surrogate = ratio * advantages[t]
        clipped = min(max(ratio, 1 - CLIP), 1 + CLIP) * advantages[t]
        out["policy"].append(-min(surrogate, clipped))
        out["clipped"].append(float(clipped < surrogate))
        near = min(max(at["values"][t], values[t] - CLIP), values[t] + CLIP)
        errors = (at["values"][t] - returns[t]) ** 2, (near - returns[t]) ** 2
        out["value"].append(0.5 * max(errors))
        out["value_clipped"].append(float(errors[1] > errors[0]))
    return out


@settings(deadline=None, max_examples=60)
@given(batches())
def test_everything_is_what_a_slow_reference_of_loops_gives(batch: dict[str, Tensor]) -> None:
    fast = pipeline_of(batch)
    for row in range(len(batch["scores"])):
        slow = slow_reference(batch, row)
        for name, values in slow.items():
            assert fast[name][row, : len(values)].tolist() == pytest.approx(values, abs=1e-12), name
            assert not fast[name][row, len(values) :].any(), name


@settings(deadline=None, max_examples=60)
@given(batches())
def test_a_batch_of_8_is_8_batches_of_1(batch: dict[str, Tensor]) -> None:
    together = pipeline_of(batch)
    for row in range(len(batch["scores"])):
        alone = pipeline_of({name: value[row : row + 1] for name, value in batch.items()})
        for name, value in alone.items():
            assert torch.equal(value[0], together[name][row]), name


@settings(deadline=None, max_examples=60)
@given(batches(), st.floats(-1e6, 1e6))
def test_masked_positions_change_nothing(batch: dict[str, Tensor], junk: float) -> None:
    mask = batch["mask"]
    filled = {name: value.masked_fill(~mask, junk) if name in FIELDS else value for name, value in batch.items()}
    clean, dirty = pipeline_of(batch), pipeline_of(filled)
    for name, value in clean.items():
        assert torch.equal(value[mask], dirty[name][mask]), name
    for shift in (True, False):
        assert torch.equal(ppo.whiten(batch["old"], mask, shift), ppo.whiten(filled["old"], mask, shift))
    assert ppo.masked_mean(batch["old"], mask) == ppo.masked_mean(filled["old"], mask)
    explained = [ppo.explained_variance(b["values"], b["old_values"], mask) for b in (batch, filled)]
    assert explained[0] == explained[1] or all(math.isnan(value) for value in explained)


@settings(deadline=None, max_examples=60)
@given(batches())
def test_padding_on_the_left_and_on_the_right_agree(batch: dict[str, Tensor]) -> None:
    def to_the_left(value: Tensor) -> Tensor:
        if value.ndim == 1:
            return value
        counts = batch["mask"].sum(1).tolist()
        return torch.stack([row.roll(value.shape[1] - count) for row, count in zip(value, counts, strict=True)])

    left = {name: to_the_left(value) for name, value in batch.items()}
    right_out, left_out = pipeline_of(batch), pipeline_of(left)
    for name, value in right_out.items():
        assert torch.equal(to_the_left(value), left_out[name]), name
    right_white, left_white = (ppo.whiten(b["old"], b["mask"]) for b in (batch, left))
    assert torch.allclose(to_the_left(right_white), left_white, atol=1e-12)  # the sums add up in another order


@settings(deadline=None, max_examples=60)
@given(batches())
def test_with_lambda_1_the_advantage_is_the_return_minus_the_value(batch: dict[str, Tensor]) -> None:
    rewards, mask = batch["reference"], batch["mask"]
    advantages, _ = ppo.gae(rewards, batch["values"], mask, GAMMA, lam=1.0)
    for row, count in enumerate(mask.sum(1).tolist()):
        for t in range(count):
            discounted = sum(GAMMA ** (k - t) * float(rewards[row, k]) for k in range(t, count))
            assert float(advantages[row, t]) == pytest.approx(discounted - float(batch["values"][row, t]), abs=1e-12)


@settings(deadline=None, max_examples=60)
@given(batches())
def test_whitening_has_mean_0_and_deviation_1_or_keeps_the_mean(batch: dict[str, Tensor]) -> None:
    mask, values = batch["mask"], batch["old"] * 3 + 5
    assume(int(mask.sum()) > 1)
    for shift_mean, mean in ((True, 0.0), (False, float(values[mask].mean()))):
        whitened = ppo.whiten(values, mask, shift_mean)[mask]
        assert float(whitened.mean()) == pytest.approx(mean, abs=1e-9)
        assert float(whitened.std(correction=0)) == pytest.approx(1.0, abs=1e-3)


@settings(deadline=None, max_examples=60)
@given(batches())
def test_k3_is_never_negative_and_0_only_where_the_two_agree(batch: dict[str, Tensor]) -> None:
    k3 = ppo.kl_k3(batch["old"], batch["reference"])
    assert bool((k3 >= 0).all())
    assert not ppo.kl_k3(batch["old"], batch["old"]).any()


def test_both_kl_estimators_average_to_the_divergence() -> None:
    """Weighted by π over the whole vocabulary both are Σ π log(π / π_ref), here of two coins: p = 0.75 and q = 0.5."""
    p, q = torch.tensor([0.75, 0.25], dtype=torch.float64), torch.tensor([0.5, 0.5], dtype=torch.float64)
    divergence = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    for estimator in (ppo.kl_k1, ppo.kl_k3):
        assert float((p * estimator(p.log(), q.log())).sum()) == pytest.approx(divergence, abs=1e-12)
    near = torch.tensor([-1.0]), torch.tensor([-1.0 + 1e-4])
    assert float(ppo.kl_k3(*near)) == pytest.approx(0.5e-8, rel=0.05)  # half the square: float32 does not cancel it


def test_logprobs_and_entropy_of_a_worked_distribution() -> None:
    """Logits log(1), log(2), log(1): probabilities 1/4, 1/2, 1/4. At temperature 0.5 they square: 1/6, 4/6, 1/6."""
    logits = torch.tensor([[1.0, 2.0, 1.0]]).log().repeat(2, 1)
    tokens = torch.tensor([1, 2])
    assert ppo.token_logprobs(logits, tokens, 1.0).exp().tolist() == pytest.approx([1 / 2, 1 / 4])
    assert ppo.token_logprobs(logits, tokens, 0.5).exp().tolist() == pytest.approx([4 / 6, 1 / 6])
    assert ppo.token_entropy(logits, 1.0).tolist() == pytest.approx([1.5 * math.log(2)] * 2)


def test_values_are_spread_over_the_mask_row_by_row_with_their_gradient() -> None:
    packed = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
    spread = ppo.spread(packed, torch.tensor([[False, True], [True, True]]))
    assert spread.tolist() == [[0, 1], [2, 3]]
    (spread * torch.tensor([[7.0, 1.0], [2.0, 3.0]])).sum().backward()
    assert packed.grad is not None
    assert packed.grad.tolist() == [1, 2, 3]


def test_the_score_comes_at_the_last_token_and_the_penalty_at_each() -> None:
    kl = torch.tensor([[1.0, 2.0, 9.0], [3.0, 4.0, 5.0]])
    mask = torch.tensor([[True, True, False], [True, True, True]])
    scores = ppo.penalise_missing_end(torch.tensor([1.0, 2.0]), torch.tensor([True, False]), penalty=0.5)
    assert scores.tolist() == [1.0, 1.5]
    rewards = ppo.token_rewards(scores, kl, mask, kl_coefficient=0.1)
    assert rewards.flatten().tolist() == pytest.approx([-0.1, 0.8, 0, -0.3, -0.4, 1.0])
    with pytest.raises(ValueError, match="no token"):
        ppo.last_positions(torch.tensor([[True], [False]]))


def test_gae_by_hand() -> None:
    """γ = λ = ½, rewards 1, 0, 2, values 1, 2, 4: δ = 1, 0, −2; A₂ = −2, A₁ = 0 − ½ = −½, A₀ = 1 − ⅛ = 0.875."""
    mask = torch.ones(1, 3, dtype=torch.bool)
    advantages, returns = ppo.gae(torch.tensor([[1.0, 0, 2]]), torch.tensor([[1.0, 2, 4]]), mask, 0.5, 0.5)
    assert advantages[0].tolist() == [0.875, -0.5, -2.0]
    assert returns[0].tolist() == [1.875, 1.5, 2.0]


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "clipped"),
    [
        (1.5, 1.0, -1.2, True),  # better, and already far enough up
        (1.5, -1.0, 1.5, False),  # worse, and too likely: the whole slope pulls it back
        (0.5, 1.0, -0.5, False),
        (0.5, -1.0, 0.8, True),
        (1.1, 2.0, -2.2, False),  # within the clip
    ],
)
def test_the_policy_loss_is_pessimistic(ratio: float, advantage: float, loss: float, clipped: bool) -> None:
    mask = torch.ones(1, 1, dtype=torch.bool)
    found = ppo.policy_loss(torch.tensor([[ratio]]).log(), torch.zeros(1, 1), torch.tensor([[advantage]]), mask, 0.2)
    assert float(found[0]) == pytest.approx(loss)
    assert bool(found[1]) is clipped


@pytest.mark.parametrize(
    ("value", "target", "loss", "clipped"),
    [(0.5, 1.0, 0.5 * 0.8**2, True), (0.5, 0.0, 0.5 * 0.5**2, False), (0.1, 1.0, 0.5 * 0.9**2, False)],
)
def test_the_value_loss_takes_the_worse_of_two(value: float, target: float, loss: float, clipped: bool) -> None:
    mask = torch.ones(1, 1, dtype=torch.bool)
    found = ppo.value_loss(torch.tensor([[value]]), torch.zeros(1, 1), torch.tensor([[target]]), mask, 0.2)
    assert float(found[0]) == pytest.approx(loss)
    assert bool(found[1]) is clipped


def test_explained_variance_of_worked_values() -> None:
    mask = torch.ones(1, 4, dtype=torch.bool)
    returns = torch.tensor([[0.0, 2.0, 4.0, 6.0]])
    assert ppo.explained_variance(returns + 3, returns, mask) == 1.0  # a constant off is no variance
    assert ppo.explained_variance(torch.zeros(1, 4), returns, mask) == 0.0
    assert ppo.explained_variance(-returns, returns, mask) == pytest.approx(-3.0)
    assert math.isnan(ppo.explained_variance(returns, torch.ones(1, 4), mask))


def test_the_kl_controller_turns_towards_its_target_by_at_most_a_fifth() -> None:
    controller = ppo.KlController(coefficient=0.1, target=5.0, horizon=100)
    assert controller.after(5.0, 50).coefficient == 0.1
    assert controller.after(5.5, 50).coefficient == pytest.approx(0.1 * (1 + 0.1 * 0.5))
    assert controller.after(500.0, 50).coefficient == pytest.approx(0.1 * (1 + 0.2 * 0.5))
    assert controller.after(-3.0, 50).coefficient == pytest.approx(0.1 * (1 - 0.2 * 0.5))
