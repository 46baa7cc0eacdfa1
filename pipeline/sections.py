"""The sections of `prefloop.toml`: every key with its default, its bounds, and its meaning with the unit."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

from db.words import NotificationEvent


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelSection(Section):
    base: str = Field("embedded", description='"embedded" (SmolLM2-135M-Instruct), a local folder, or a hub id')
    dtype: Literal["auto", "bfloat16", "float32"] = Field(
        "auto", description="weights in memory; auto is bfloat16 where the hardware has it"
    )
    chat_template: str = Field("", description="path of a .jinja file for a model without a chat template")
    load_in_4bit: bool = Field(False, description="train over a base in 4 bits; needs CUDA and bitsandbytes")


class SamplingSection(Section):
    temperature: float = Field(0.9, ge=0, description="0 is greedy")
    top_p: float = Field(0.95, gt=0, le=1, description="probability mass kept; 1 keeps all")
    top_k: int = Field(50, ge=0, description="tokens kept; 0 keeps all")
    max_new_tokens: int = Field(64, ge=1, description="tokens, completion only")


class GenerateSection(Section):
    candidates_per_prompt: int = Field(4, ge=2, description="candidates drawn for each prompt of a round")
    token_budget: int = Field(24_576, ge=256, description="tokens in one batch, prompts and completions together")


class LabelSection(Section):
    prompts_per_round: int = Field(100, ge=1, description="comparisons, one a prompt, asked in each round")
    overlap: int = Field(1, ge=1, description="judgments wanted for each comparison, from each kind of annotator")


class PromptsSection(Section):
    heldout_share: float = Field(0.25, gt=0, lt=1, description="share of prompts kept out of training, 0 to 1")


class LoraSection(Section):
    rank: int = Field(16, ge=1, description="rank of the adapter's matrices")
    alpha: int = Field(32, ge=1, description="scale; the update is multiplied by alpha / rank")
    target_modules: str = Field("all-linear", description='"all-linear", or layer names separated by commas')
    layer_share: float = Field(0.5, gt=0, le=1, description="share of the layers, from the top, with an adapter")
    variant: str = Field("lora", description="lora, rslora (scale alpha / sqrt(rank)) or dora (slower, finer)")


class TrainingSection(Section):
    checkpoint_steps: int = Field(
        25, ge=0, description="steps between the checkpoints of every training stage; 0: only when told to stop"
    )


class RewardSection(Section):
    learning_rate: float = Field(5e-4, gt=0, description="peak, per step")
    epochs: int = Field(2, ge=1, description="passes over the pairs")
    batch_size: int = Field(8, ge=1, description="pairs a step")
    micro_batch_size: int = Field(4, ge=1, description="pairs in one pass through the model, of batch_size; memory")
    max_length: int = Field(512, ge=16, description="tokens, prompt and completion; longer ones are cut")
    center_coefficient: float = Field(0.01, ge=0, description="pull of the mean reward to 0; 0 switches it off")
    margin_scale: float = Field(1.0, ge=0, description="of the margins from votes and strength; 0 switches them off")
    head_rate: float = Field(10.0, gt=0, description="learning rate of the score head, in units of the adapter's")
    head_scale: float = Field(0.0, ge=0, description="size of the score head's first random weights; 0 is a zero head")
    weight_decay: float = Field(0.0, ge=0, description="of adapter and score head")


class ExamSection(Section):
    min_accuracy: float = Field(0.5, ge=0, lt=1, description="that the lower bound of the accuracy must reach, 0 to 1")
    max_trick_share: float = Field(
        0.5, ge=0, le=1, description="of answers whose trick may score higher, by the lower bound, 0 to 1"
    )
    max_trick_gain: float = Field(
        0.2, ge=0, description="of a preferred trick: its median gain, in median differences of real pairs"
    )
    allowed: list[str] = Field([], description='tricks that annotators are meant to like, for instance ["markdown"]')
    answers: int = Field(80, ge=1, description="most held-out answers that are probed, with each trick")
    confidence: float = Field(0.95, gt=0.5, lt=1, description="of the intervals, two-sided")


class DpoSection(Section):
    loss_type: str = Field(
        "sigmoid",
        description="sigmoid, sigmoid_norm, ipo, hinge, robust, exo_pair, nca_pair, bco_pair, sppo_hard, aot, "
        "aot_unpaired, apo_zero, apo_down or discopop (docs/training.md)",
    )
    beta: float = Field(0.1, gt=0, description="strength of the pull to the reference")
    label_smoothing: float = Field(
        0.0, ge=0, lt=0.5, description="assumed share of wrong labels, 0 to 0.5; only with loss robust, exo_pair or aot"
    )
    sft_weight: float = Field(0.0, ge=0, description="weight of the chosen text's likelihood; 0 is none")
    reference: Literal["parent", "base"] = Field("base", description="what the policy is anchored to")
    learning_rate: float = Field(5e-4, gt=0, description="peak, per step")
    epochs: int = Field(2, ge=1, description="passes over the pairs")
    batch_size: int = Field(4, ge=1, description="pairs a step")
    extrapolation: float = Field(
        0.5, ge=0, le=2, description="of a fresh adapter's way, gone on beyond the end of training; 0 stops there"
    )
    max_length: int = Field(512, ge=16, description="tokens, prompt and completion; longer ones are cut")


class SftSection(Section):
    learning_rate: float = Field(5e-4, gt=0, description="peak, per step")
    epochs: int = Field(2, ge=1, description="passes over the demonstrations, or over the text")
    batch_size: int = Field(8, ge=1, description="demonstrations, or pieces of text, a step")
    max_length: int = Field(
        512, ge=16, description="tokens, prompt and answer, longer ones are cut; of a piece of text"
    )


class KtoSection(Section):
    loss_type: str = Field("kto", description="kto or apo_zero_unpaired")
    beta: float = Field(0.1, gt=0, description="strength of the pull to the reference")
    reference: Literal["parent", "base"] = Field("parent", description="what the policy is anchored to")
    learning_rate: float = Field(5e-4, gt=0, description="peak, per step")
    epochs: int = Field(2, ge=1, description="passes over the answers")
    batch_size: int = Field(8, ge=1, description="answers a step; 2 or more for the loss kto")
    max_length: int = Field(512, ge=16, description="tokens, prompt and completion; longer ones are cut")


class PpoSection(Section):
    steps: int = Field(32, ge=1, description="rollouts, each learned from and then thrown away")
    rollout_size: int = Field(32, ge=2, description="episodes a step")
    epochs: int = Field(2, ge=1, description="passes over each rollout")
    batch_size: int = Field(8, ge=1, description="episodes an update")
    micro_batch_size: int = Field(8, ge=1, description="episodes in one pass through the model; bounds memory")
    max_new_tokens: int = Field(64, ge=1, description="tokens, completion only")
    temperature: float = Field(0.9, gt=0, description="of drawing; log-probabilities are taken at it, too")
    learning_rate: float = Field(3e-4, gt=0, description="of the adapter at the first step; falls to 0")
    value_learning_rate: float = Field(1e-3, gt=0, description="of the value head, likewise")
    gamma: float = Field(1.0, gt=0, le=1, description="discount a token")
    lam: float = Field(0.95, ge=0, le=1, description="lambda of the advantage estimation")
    clip: float = Field(0.2, gt=0, description="how far a probability ratio may leave 1")
    value_clip: float = Field(0.2, gt=0, description="how far a value may move in one step")
    value_weight: float = Field(0.1, ge=0, description="of the value loss beside the policy loss")
    whiten_rewards: bool = Field(False, description="divide token rewards by their deviation")
    missing_end_penalty: float = Field(0.0, ge=0, description="off the reward of an answer that was cut off")
    reference: Literal["parent", "base"] = Field("parent", description="what the policy is anchored to")
    kl_control: Literal["adaptive", "fixed"] = Field("adaptive", description="whether kl_coefficient is steered")
    kl_coefficient: float = Field(0.05, ge=0, description="price of a nat, in deviations of the score, at the start")
    kl_target: float = Field(8.0, gt=0, description="nats a completion that it is steered to")
    kl_horizon: float = Field(500.0, gt=0, description="episodes; the smaller, the faster it is steered")
    kl_limit: float = Field(50.0, gt=0, description="nats a completion; beyond it training stops")
    length_floor: float = Field(0.1, ge=0, lt=1, description="of the parent's mean length; below it training stops")
    entropy_floor: float = Field(0.05, ge=0, lt=1, description="of the parent's entropy; below it training stops")
    max_gradient_norm: float = Field(1.0, gt=0, description="larger gradients are scaled down to it")
    checkpoint_steps: int = Field(4, ge=0, description="steps between checkpoints; 0: only when told to stop")


class RlSection(Section):
    reward_weight: float = Field(1.0, gt=0, description="of the reward model's score in what is optimised")
    rules: tuple[str, ...] = Field(
        (), description='rules beside it, "name=weight" each: ended, complete, no_repetition'
    )
    second_judge: str = Field(
        "auto",
        description='watches for reward hacking: "reward:NAME", "taste:NAME", "none", or "auto" (docs/training.md)',
    )


class OnlineSection(Section):
    steps: int = Field(60, ge=1, description="of the optimizer")
    prompts_per_step: int = Field(8, ge=1, description="prompts in one step")
    generations: int = Field(4, ge=2, description="completions of each prompt, which are compared with each other")
    max_new_tokens: int = Field(64, ge=1, description="tokens, completion only")
    temperature: float = Field(1.0, gt=0, description="of drawing")
    beta: float = Field(0.05, ge=0, description="strength of the pull to the reference; 0 is none")
    reference: Literal["parent", "base"] = Field("parent", description="what the policy is anchored to")
    learning_rate: float = Field(1e-4, gt=0, description="per step, after the warm-up")
    updates_per_draw: int = Field(1, ge=1, description="steps on the same completions")
    clip: float = Field(0.2, gt=0, description="how far a probability ratio may leave 1, above one update per draw")
    micro_batch: int = Field(16, ge=1, description="completions in one pass; bounds memory")


class RlooSection(OnlineSection):
    normalize_advantages: bool = Field(False, description="advantages of a step to mean 0 and deviation 1")


class GrpoSection(OnlineSection):
    beta: float = Field(0.04, ge=0, description="strength of the pull to the reference; 0 is none")
    scale_rewards: Literal["group", "batch", "none"] = Field(
        "group", description="by whose standard deviation advantages are divided"
    )
    loss_type: Literal["dapo", "grpo", "dr_grpo", "bnpo", "cispo", "sapo", "luspo", "vespo"] = Field(
        "dapo", description="loss of TRL's GRPOTrainer: dapo, grpo, dr_grpo, bnpo, ..."
    )


class LoopSection(Section):
    trainer: Literal["dpo", "ppo", "rloo", "grpo"] = Field("dpo", description="what trains the policy in a round")
    accept_failed_exam: bool = Field(
        False, description="let ppo, rloo and grpo use a reward model without a passed exam; it is recorded"
    )


class CompareSection(Section):
    samples_per_prompt: int = Field(2, ge=1, description="completions of each held-out prompt, for each version")
    seed: int = Field(20_000, description="of the held-out completions; the same for every version")
    confidence: float = Field(0.95, gt=0.5, lt=1, description="of the intervals, two-sided")
    agreement_pairs: int = Field(
        200, ge=0, description="most pairs on which a judge's agreement with people is measured; 0 measures none"
    )


class JudgeSection(Section):
    base_url: str = Field(
        "", description='of an OpenAI-compatible endpoint that judges, for instance "https://host/v1"; empty: none'
    )
    model: str = Field("", description='which of its models judges where only "llm" is named')
    api_key_variable: str = Field("", description="name of the environment variable that holds the key; empty: none")
    timeout: float = Field(60.0, gt=0, description="seconds for one answer")
    retries: int = Field(3, ge=0, description="of a question whose answer did not come: no connection, 429, 5xx")
    parallel: int = Field(4, ge=1, description="questions under way at once")
    max_tokens: int = Field(512, ge=1, description="tokens of one answer; one that is cut off is unreadable")


class DriftSection(Section):
    prompts: int = Field(
        48, ge=1, description="held-out prompts in the anchor set, when it is chosen; then it is frozen"
    )


class GateSection(Section):
    judges: list[str] = Field(
        [],
        description='that must each find a version better before it is promoted, "people" among them; empty: the first '
        "that is named",
    )
    people: bool = Field(False, description="whether people's votes must find it better, too")
    no_category_worse: bool = Field(
        True, description="refuse a version that is significantly worse on a category of prompts, by the first judge"
    )
    max_repetition_rise: float = Field(
        0.1,
        ge=0,
        le=1,
        description="of the share of repeated 4-word sequences, over the current version's; 1 is off",
    )
    max_refusal_rise: float = Field(
        0.1, ge=0, le=1, description="of the share of answers that refuse, over the current version's; 1 is off"
    )
    max_kl: float = Field(0.0, ge=0, description="nats a completion, to the base; 0 is off")
    max_length_ratio: float = Field(
        0.0, ge=0, description="of mean tokens, to the current version or the other way round; 0 is off"
    )
    exam: bool = Field(False, description="whether a reward model that decides must have passed its exam")


class ServeSection(Section):
    host: str = Field("127.0.0.1", description="where `prefloop serve` listens; others than loopback need a key")
    port: int = Field(8000, ge=1, le=65_535, description="of `prefloop serve`; the playground asks there, too")
    max_tokens: int = Field(256, ge=1, description="tokens of an answer, where a request does not say how many")
    api_key_env: str = Field("", description="environment variable that holds the key to be shown; empty: no key")


class SimulateSection(Section):
    taste: str = Field("concise", description="planted taste of the simulated annotators: concise, structured or warm")
    annotators: int = Field(3, ge=1, description="simulated annotators in the panel")
    flip_share: float = Field(0.15, ge=0, lt=0.5, description="share of decided answers that they turn around")


class WorkerSection(Section):
    lease_seconds: float = Field(
        60.0, ge=1, description="seconds without a heartbeat after which another worker takes a run over"
    )
    attempts: int = Field(3, ge=1, description="times that a run is begun, if its stages crash or its worker dies")
    backoff_seconds: float = Field(
        60.0, ge=0, description="seconds before the second attempt; doubled for each further"
    )
    min_free_gb: float = Field(2.0, ge=0, description="gigabytes that must be free on the disk before a run is begun")
    gives_way: bool = Field(
        True, description="whether stages take only the processor time that the labeling UI and other programs leave"
    )
    watts: float = Field(0.0, ge=0, description="that the device draws at work, to estimate energy by; 0: no estimate")


class RetentionSection(Section):
    checkpoints: int = Field(
        1, ge=0, description="newest kept of each run that failed or was cancelled; the same work goes on from there"
    )
    adapters: Annotated[int, Field(ge=1)] | Literal["all"] = Field(
        "all", description='newest policies and reward models kept beside those that are needed; "all" keeps every one'
    )
    log_days: Annotated[int, Field(ge=0)] | Literal["all"] = Field(
        "all", description='days that the logs of scheduled runs are kept; "all" keeps them for good'
    )
    after_run: bool = Field(False, description="whether a worker makes room after each run, as `prefloop gc` does")


class NotifySection(Section):
    url: str = Field("", description="where events are posted, https://host/path; empty: no webhook")
    hosts: tuple[str, ...] = Field((), description='hosts that url may name, for instance ["hooks.example.com"]')
    private_hosts: tuple[str, ...] = Field(
        (), description="hosts that url may name though they stand in your own network; plain http is allowed to them"
    )
    secret_variable: str = Field(
        "", description="environment variable with the secret that signs, whsec_...; empty: not signed"
    )
    command: tuple[str, ...] = Field(
        (), description="program with arguments that gets each event on stdin; empty: no command"
    )
    events: tuple[NotificationEvent, ...] = Field(get_args(NotificationEvent), description="that are told")
    timeout_seconds: float = Field(10.0, gt=0, description="seconds for one attempt")
    attempts: int = Field(8, ge=1, description="after which an event is given up")
    backoff_seconds: float = Field(
        30.0, ge=0, description="seconds before the second attempt; doubled for each further"
    )
