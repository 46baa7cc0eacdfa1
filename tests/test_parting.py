"""Where two judges part: on curves whose answer is known."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.pictures import save_judges_picture
from pipeline.stats.parting import noise, parted_at, smooth, window

STEPS = list(range(1, 101))


def rising(seed: int, noise_of_a_step: float = 0.5) -> list[float]:
    return list(0.05 * np.arange(100) + np.random.default_rng([1, seed]).normal(0, noise_of_a_step, 100))


def turning(seed: int, at: int = 50, noise_of_a_step: float = 0.5) -> list[float]:
    """Rises up to step `at` and falls as fast after it."""
    trend = 0.05 * np.minimum(np.arange(100), 2 * (at - 1) - np.arange(100))
    return list(trend + np.random.default_rng([2, seed]).normal(0, noise_of_a_step, 100))


def test_judges_that_part_at_50_are_found_there() -> None:
    assert parted_at(STEPS, rising(0, 0.0), turning(0, 50, 0.0)) == 50  # without noise: to the step
    found = [parted_at(STEPS, rising(seed), turning(seed)) for seed in range(200)]
    assert all(step is not None for step in found)
    assert np.mean([abs(step - 50) <= 15 for step in found if step is not None]) >= 0.95


def test_judges_that_rise_together_never_part() -> None:
    assert all(parted_at(STEPS, rising(seed), rising(seed + 1000)) is None for seed in range(200))


@pytest.mark.parametrize("count", [12, 30, 100, 300])
def test_noise_alone_parts_in_fewer_than_one_run_in_twenty(count: int) -> None:
    """The hard case: the proxy rises without doubt, and the second judge does nothing at all."""
    alarms = [
        parted_at(range(count), list(0.5 * np.arange(count)), list(np.random.default_rng(seed).normal(size=count)))
        for seed in range(1000)
    ]
    assert sum(step is not None for step in alarms) <= 50


def test_a_run_in_which_both_fall_and_one_that_recovers_have_not_parted() -> None:
    falling = [-value for value in rising(0)]
    assert parted_at(STEPS, falling, turning(0)) is None
    dip = turning(0, 40)[:70] + list(np.linspace(1, 4, 30))
    assert parted_at(STEPS, rising(0), dip) is None


def test_the_figure_does_not_depend_on_the_judges_scales() -> None:
    proxy, second = rising(3), turning(3)
    expected = parted_at(STEPS, proxy, second)
    assert parted_at(STEPS, [100 * v - 7 for v in proxy], [0.01 * v + 3 for v in second]) == expected is not None


def test_too_few_steps_say_nothing_and_unequal_curves_are_refused() -> None:
    assert parted_at(range(9), list(range(9)), list(range(9, 0, -1))) is None
    assert parted_at(range(10), list(range(10)), list(range(10, 0, -1))) == 1  # of three-step windows, the first
    with pytest.raises(ValueError, match="curves of 2 and 3 values over 3 steps"):
        parted_at([1, 2, 3], [1, 2], [1, 2, 3])


def test_smoothing_and_noise_on_numbers_worked_by_hand() -> None:
    assert window(12) == 3
    assert window(100) == 11
    assert smooth([0, 3, 6, 0]).tolist() == pytest.approx([3, 3])
    assert noise([0, 1, 0, 1, 0]) == pytest.approx(np.sqrt(4 / 3 / 2))  # differences ±1, mean 0, three degrees


def test_the_picture_is_drawn_with_and_without_a_parting(tmp_path: Path) -> None:
    sizes = []
    for name, second in (("parted", turning(0)), ("together", rising(9))):
        rows = [*zip(["reward"] * 100, STEPS, rising(0), strict=True)]
        rows += zip(["second_reward"] * 100, STEPS, second, strict=True)
        assert save_judges_picture(rows, tmp_path / f"{name}.png", "grpo") == parted_at(STEPS, rising(0), second)
        sizes.append((tmp_path / f"{name}.png").read_bytes()[:4])
    assert sizes == [b"\x89PNG"] * 2
    assert save_judges_picture([("reward", 1, 0.5)], tmp_path / "alone.png", "grpo") is None
    assert (tmp_path / "alone.png").exists()
