"""RLOO and GRPO for real, on a tiny model: what is learned, which parameters change, and what is kept of a run."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from test_crash_safety import at_step, kill, killed
from transformers import AutoModelForCausalLM, AutoTokenizer

from pipeline.errors import PrefloopError
from pipeline.lm_head import add_completion_head
from pipeline.rewards import Row, Term, rule
from pipeline.train_online import SAMPLES_FILE, GrpoSettings, RlooSettings, train_online
from pipeline.training import ADAPTER_FILE, LoraSettings, OnMetrics, TrainResult, file_sha256

LORA = LoraSettings(rank=4, alpha=8)
RLOO = RlooSettings(
    steps=22,
    prompts_per_step=4,
    generations=8,
    max_new_tokens=12,
    micro_batch=32,
    beta=0.01,
    learning_rate=2e-2,
    lora=LORA,
    dtype="float32",
)
GRPO = GrpoSettings(**{name: value for name, value in RLOO.__dict__.items() if name != "normalize_advantages"})
SHORT = {"steps": 3, "prompts_per_step": 2, "generations": 2, "micro_batch": 2}
BOTH = pytest.mark.parametrize("settings", [RLOO, GRPO], ids=["rloo", "grpo"])
PROMPTS = [
    [{"role": "system", "content": "Be brief."}, {"role": "user", "content": f"question {number}"}]
    for number in range(12)
]


@pytest.fixture(scope="module")
def base(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with ten times its embeddings: as it is, its head cannot tell any token from another."""
    folder = tmp_path_factory.mktemp("outspoken")
    model = AutoModelForCausalLM.from_pretrained(tiny_base)
    with torch.no_grad():
        model.get_input_embeddings().weight.mul_(10)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny_base).save_pretrained(folder)
    return folder


def series(result: TrainResult, name: str) -> list[float]:
    return [value for metric, _, value in result.metrics if metric == name]


def varied(rows: list[Row]) -> list[float]:
    """A reward that differs between any two completions, so that every step has something to learn."""
    return [float(len(text)) for _, text, _ in rows]


VARIED = Term("test:length", 1.0, varied)


@BOTH
def test_a_rule_is_learned_and_the_base_stays(
    base: Path, tmp_path: Path, settings: RlooSettings | GrpoSettings
) -> None:
    """A model that hardly ever ends its turn learns to, and reward, KL, length and samples tell so."""
    before = file_sha256(base / "model.safetensors")
    result = train_online(PROMPTS, [rule("ended=1")], None, settings, base, None, tmp_path / "adapter", seed=0)
    assert file_sha256(base / "model.safetensors") == before
    assert result.adapter_sha256 == file_sha256(tmp_path / "adapter" / ADAPTER_FILE)
    reward = series(result, "reward")
    assert len(reward) == settings.steps
    assert sum(reward[:5]) / 5 < 0.1
    assert sum(reward[-5:]) / 5 > 0.8
    assert series(result, "term/rule:ended") == pytest.approx(reward)
    assert series(result, "kl")[0] == pytest.approx(0, abs=1e-5)  # it starts at its reference
    assert series(result, "kl")[-1] > 0.5
    assert series(result, "completions/mean_length")[-1] < series(result, "completions/mean_length")[0]
    assert {"entropy", "clip_ratio/region_mean", "loss"} <= {name for name, _, _ in result.metrics}
    assert "second_reward" not in {name for name, _, _ in result.metrics}
    assert result.tokens > 0

    samples = [json.loads(line) for line in (tmp_path / SAMPLES_FILE).read_text().splitlines()]
    assert [sample["step"] for sample in samples] == [1 + i // 4 for i in range(4 * settings.steps)]
    assert all(sample["reward"] == float(sample["ended"]) for sample in samples)
    assert samples[0]["messages"] in PROMPTS


@BOTH
def test_only_the_upper_layers_adapter_is_trained_and_every_part_of_it(
    base: Path, tmp_path: Path, settings: RlooSettings | GrpoSettings
) -> None:
    train_online(PROMPTS, [VARIED], None, replace(settings, **SHORT), base, None, tmp_path / "adapter", seed=0)
    weights = load_file(tmp_path / "adapter" / ADAPTER_FILE)
    assert {name.split(".layers.")[1].split(".")[0] for name in weights} == {"1"}
    assert len(weights) == 2 * 7  # A and B of q, k, v, o, gate, up, down
    assert all(float(value.abs().max()) > 0 for name, value in weights.items() if "lora_B" in name)


@BOTH
def test_a_child_starts_from_its_parent_and_is_anchored_as_asked(
    base: Path, tmp_path: Path, settings: RlooSettings | GrpoSettings
) -> None:
    """The KL before the first update is that of the parent to itself, or to the base, from which it has moved."""
    short = replace(settings, **SHORT, max_new_tokens=6)
    parent = train_online(PROMPTS, [VARIED], None, replace(short, steps=8), base, None, tmp_path / "parent", seed=0)
    first = {}
    for reference in ("parent", "base"):
        anchored = replace(short, reference=reference)
        child = train_online(
            PROMPTS, [VARIED], None, anchored, base, parent.adapter, tmp_path / f"child-{reference}", seed=1
        )
        first[reference] = series(child, "kl")[0]
        saved = load_file(child.adapter / ADAPTER_FILE)
        assert set(saved) == set(load_file(parent.adapter / ADAPTER_FILE))  # no copy of the reference is saved along
        assert child.adapter_sha256 != parent.adapter_sha256
    assert file_sha256(parent.adapter / ADAPTER_FILE) == parent.adapter_sha256
    assert first["parent"] == pytest.approx(0, abs=1e-5)
    assert abs(first["base"]) > 1e-3


@BOTH
def test_a_second_judge_sees_the_same_completions_and_changes_nothing(
    base: Path, tmp_path: Path, settings: RlooSettings | GrpoSettings
) -> None:
    seen: list[list[Row]] = []

    def judge(rows: list[Row]) -> list[float]:
        seen.append(rows)
        return [float(index) for index in range(len(rows))]

    short = replace(settings, **SHORT)
    (tmp_path / "watched").mkdir()
    alone = train_online(PROMPTS, [VARIED], None, short, base, None, tmp_path / "adapter", seed=5)
    watched = train_online(PROMPTS, [VARIED], judge, short, base, None, tmp_path / "watched" / "adapter", seed=5)
    other = train_online(PROMPTS, [VARIED], None, short, base, None, tmp_path / "other", seed=6)
    assert alone.adapter_sha256 == watched.adapter_sha256 != other.adapter_sha256
    assert series(watched, "second_reward") == [1.5] * 3  # of 0, 1, 2, 3
    assert [len(rows) for rows in seen] == [4] * 3
    sample = json.loads((tmp_path / "watched" / SAMPLES_FILE).read_text().splitlines()[0])
    assert (sample["text"], sample["ended"]) == (seen[0][0][1], seen[0][0][2])


@BOTH
def test_with_two_updates_a_draw_half_the_steps_draw_and_ratios_leave_one(
    base: Path, tmp_path: Path, settings: RlooSettings | GrpoSettings
) -> None:
    twice = replace(settings, **SHORT | {"steps": 6, "updates_per_draw": 2, "clip": 1e-4, "warmup_share": 0.0})
    result = train_online(PROMPTS, [VARIED], None, twice, base, None, tmp_path / "adapter", seed=0)
    assert [step for name, step, _ in result.metrics if name == "reward"] == [1, 3, 5]
    clipped = series(result, "clip_ratio/region_mean")
    assert clipped[0::2] == [0, 0, 0]  # on what the policy has just drawn
    assert sum(clipped[1::2]) > 0
    samples = [json.loads(line)["step"] for line in (tmp_path / SAMPLES_FILE).read_text().splitlines()]
    assert samples == [1] * 4 + [3] * 4 + [5] * 4


@pytest.mark.parametrize(("settings", "reference"), [(RLOO, "parent"), (GRPO, "base")], ids=["rloo", "grpo"])
def test_a_killed_run_goes_on_and_ends_with_the_weights_of_an_undisturbed_one(
    base: Path, tmp_path: Path, settings: RlooSettings | GrpoSettings, reference: str
) -> None:
    """Killed in the second pass over the prompts, where a shuffling of TRL's own would begin anew."""
    changed = {**SHORT, "steps": 6, "checkpoint_steps": 2, "reference": reference}
    short = replace(settings, **changed)
    folders = [tmp_path / name for name in ("parent", "undisturbed", "killed")]
    for folder in folders:
        folder.mkdir()
    start = train_online(PROMPTS, [VARIED], None, replace(settings, **SHORT), base, None, folders[0] / "adapter", 3)

    def train(folder: Path, on_metrics: OnMetrics | None = None) -> TrainResult:
        return train_online(
            PROMPTS[:5], [VARIED], varied, short, base, start.adapter, folder / "adapter", 0, on_metrics
        )

    undisturbed = train(folders[1])
    killed(lambda: train(folders[2], at_step(5, kill)))
    resumed = train(folders[2])
    assert resumed.adapter_sha256 == undisturbed.adapter_sha256
    for name in ("reward", "second_reward", "kl", "num_tokens"):
        assert series(resumed, name) == series(undisturbed, name)
    assert resumed.tokens == undisturbed.tokens
    assert (folders[2] / SAMPLES_FILE).read_text() == (folders[1] / SAMPLES_FILE).read_text()


def test_a_completion_is_ended_if_its_last_token_ends_a_turn(base: Path, tmp_path: Path) -> None:
    """Drawn with room to end or to be cut off: `ended` tells the two apart, and the text has no marker."""
    seen: list[Row] = []

    def note(rows: list[Row]) -> list[float]:
        seen.extend(rows)
        return [0.0 for _ in rows]

    draw = replace(RLOO, **{**SHORT, "steps": 1, "prompts_per_step": 8, "generations": 4, "max_new_tokens": 60})
    result = train_online(PROMPTS, [Term("note", 1.0, note)], None, draw, base, None, tmp_path / "draw", seed=0)
    share = sum(ended for _, _, ended in seen) / len(seen)
    assert 0 < share < 1
    assert 1 - share == pytest.approx(series(result, "completions/clipped_ratio")[0])  # as TRL counts
    assert not any("<|end|>" in text for _, text, _ in seen)


def test_settings_that_cannot_be_are_refused_with_the_remedy(base: Path, tmp_path: Path) -> None:
    def attempt(prompts: list[list[dict[str, str]]], terms: list[Term], **changed: int) -> None:
        train_online(prompts, terms, None, replace(RLOO, **changed), base, None, tmp_path / "out", seed=0)

    with pytest.raises(PrefloopError, match="at least one reward; name one with --reward or --rule"):
        attempt(PROMPTS, [])
    with pytest.raises(PrefloopError, match="micro_batch = 5 does not divide the 32 completions"):
        attempt(PROMPTS, [VARIED], micro_batch=5)
    with pytest.raises(PrefloopError, match="there are 3 prompts and prompts_per_step is 4"):
        attempt(PROMPTS[:3], [VARIED])
    long = [{"role": "user", "content": "word " * 600}]
    with pytest.raises(PrefloopError, match="'word word .* does not fit the model's window of 512"):
        attempt([*PROMPTS, long], [VARIED])
    broken = Term("reward:r1", 1.0, lambda rows: [float("inf") for _ in rows])
    with pytest.raises(PrefloopError, match="reward:r1 gives inf"):
        attempt(PROMPTS, [broken])
    assert not (tmp_path / "out").exists()


def test_the_head_leaves_generation_as_it_is(base: Path) -> None:
    """`generate` reads from the signature of forward that one position is enough, also of the prompt."""
    tokenizer = AutoTokenizer.from_pretrained(base, padding_side="left")
    tokenizer.pad_token = "<|pad|>"
    batch = tokenizer(["a", "a longer question of some more words"], padding=True, return_tensors="pt")
    found, projected = [], []
    for headed in (False, True):
        model = AutoModelForCausalLM.from_pretrained(base).eval()
        if headed:
            add_completion_head(model, temperature=0.7)
        model.lm_head.register_forward_pre_hook(lambda _, inputs: projected.append(inputs[0].shape[1]))
        found.append(model.generate(**batch, max_new_tokens=8, do_sample=False, pad_token_id=0).tolist())
    assert found[0] == found[1]
    assert set(projected) == {1}
