"""One base model in four roles: policy, reference, reward model and value function, for PPO.

The base weights are in memory once. The policy is a LoRA adapter on them; the reference is a frozen copy of the
parent's adapter, or the base with no adapter at work; the reward model is its own adapter and score head; the value
function is a small head on the policy's trunk, as in Ziegler et al. 2019, arXiv:1909.08593.

Layers below the lowest adapter say the same to policy and reference, before and after every update: they are worked out
once a rollout (`Roles.below`), where that is the same to the last bit.

For models whose head over the vocabulary is a plain linear layer: no soft-capping and no scaling of logits.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from peft import PeftModel, get_peft_model
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors.torch import load_file
from torch import Tensor
from transformers import set_seed

from .checkpoints import ADAPTER_FILE
from .errors import PrefloopError
from .language_model import LanguageModel, batches_of_like_length, load_tokenizer
from .policy_model import load_base
from .ppo import spread, token_entropy, token_logprobs
from .reward_model import encode, padded, score_of, states_read
from .rewards import Row
from .training import LoraSettings

POLICY, REFERENCE, REWARD = "default", "reference", "reward"  # names of adapters; peft saves "default" without a folder
SCORE_WEIGHT = "base_model.model.score.weight"
SCALED_LOGITS = ("final_logit_softcapping", "logit_scale", "logits_scaling")  # keys of configs


class ValueHead(torch.nn.Module):
    """V of a state, from the trunk's last hidden state. (N, H) → (N,). It starts at 0 everywhere."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.norm = torch.nn.LayerNorm(hidden_size)
        self.inner = torch.nn.Linear(hidden_size, hidden_size)
        self.out = torch.nn.Linear(hidden_size, 1)
        torch.nn.init.zeros_(self.out.weight)
        torch.nn.init.zeros_(self.out.bias)

    def forward(self, hidden_N_H: Tensor) -> Tensor:
        value: Tensor = self.out(torch.nn.functional.silu(self.inner(self.norm(hidden_N_H.float()))))[:, 0]
        return value


@dataclass(frozen=True)
class Packed:
    """Episodes of like length as tensors, padded on the right. Axes: B episodes, S positions of prompt and completion,
    T positions of the completion, N the positions of the mask, row by row.

    No attention mask is needed: a causal model does not look to the right, where the padding is.
    """

    tokens_B_S: Tensor
    predicts_B_S: Tensor  # whether the next token belongs to the completion
    actions_N: Tensor  # the completions' tokens
    mask_B_T: Tensor


def pack(rows: Sequence[tuple[Sequence[int], Sequence[int]]], width: int, pad_id: int, device: torch.device) -> Packed:
    """(prompt ids, completion ids) of each row; `width` is T, at least the longest completion."""
    longest = max(len(prompt) + len(completion) for prompt, completion in rows)
    tokens = [[*p, *c, *([pad_id] * (longest - len(p) - len(c)))] for p, c in rows]
    starts, counts = (torch.tensor([len(side) for side in sides])[:, None] for sides in zip(*rows, strict=True))
    positions = torch.arange(longest)
    return Packed(
        tokens_B_S=torch.tensor(tokens).to(device),
        predicts_B_S=((positions >= starts - 1) & (positions < starts + counts - 1)).to(device),
        actions_N=torch.tensor([token for _, completion in rows for token in completion]).to(device),
        mask_B_T=(torch.arange(width) < counts).to(device),
    )


@dataclass(frozen=True)
class Roles:
    """The four roles. Make one with `load`."""

    model: Any  # peft's model with all adapters; the policy's is active between calls
    tokenizer: Any
    value_head: ValueHead
    score_weight_1_H: Tensor
    reference: str | None  # the adapter of the reference; None: the bare base
    reward_max_length: int  # tokens; longer sequences lose their beginning
    temperature: float
    device: torch.device
    shared_layers: int = 0  # from the bottom, without an adapter of policy or reference

    @property
    def window(self) -> int:
        """Tokens that the model takes, prompt and completion together."""
        return int(self.model.get_base_model().config.get_text_config().max_position_embeddings)

    @property
    def policy_parameters(self) -> dict[str, torch.nn.Parameter]:
        """The parameters of the policy's adapter, by name."""
        return {name: p for name, p in self.model.named_parameters() if f".{POLICY}." in name}

    @torch.no_grad()
    def below(self, packed: Packed) -> Tensor | None:
        """(B, S, H) of the topmost shared layer, which the other methods go on from; None if no layer is shared."""
        if not self.shared_layers:
            return None
        decoder = self._decoder
        with _replaced(decoder, layers=decoder.layers[: self.shared_layers], norm=torch.nn.Identity()):
            hidden: Tensor = decoder(input_ids=packed.tokens_B_S, use_cache=False).last_hidden_state
        return hidden

    def act(self, packed: Packed, below_B_S_H: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """((B, T) log π, (B, T) V) at the completions' tokens, with gradient."""
        logprobs_B_T, values_B_T, _ = self._act(packed, below_B_S_H)
        return logprobs_B_T, values_B_T

    @torch.no_grad()
    def evaluate(self, packed: Packed, below_B_S_H: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """`act` without gradient, and the (B, T) entropy of the policy in nats.

        The same path and the same rows as in training, so that the ratio of new to old starts at exactly 1.
        """
        logprobs_B_T, values_B_T, logits_N_V = self._act(packed, below_B_S_H)
        rows = range(0, len(logits_N_V), 64)  # float32 copies of all logits at once would be large
        entropy_N = torch.cat([token_entropy(logits_N_V[i : i + 64], self.temperature) for i in rows])
        return logprobs_B_T, values_B_T, spread(entropy_N, packed.mask_B_T)

    @torch.no_grad()
    def reference_logprobs(self, packed: Packed, below_B_S_H: Tensor | None = None) -> Tensor:
        """(B, T) log π_ref at the completions' tokens."""
        with self._role(self.reference):
            logits_N_V = self._head(self._predicting(packed, below_B_S_H))
        return spread(token_logprobs(logits_N_V, packed.actions_N, self.temperature), packed.mask_B_T)

    @torch.no_grad()
    def scores(self, rows: Sequence[Row], token_budget: int = 8_192) -> list[float]:
        """The reward model's score of each (messages, completion, ended): what `RewardModel.score` gives."""
        encoded = [encode(self.tokenizer, m, text, ended, self.reward_max_length) for m, text, ended in rows]
        scores = [0.0] * len(rows)
        with self._role(REWARD):
            for batch in batches_of_like_length([len(row.ids) for row in encoded], token_budget):
                inputs = {k: v.to(self.device) for k, v in padded([encoded[i] for i in batch], 0).items()}
                hidden = states_read(self._decoder, input_ids=inputs["input_ids"])
                values = score_of(hidden, inputs["answer_mask"], self.score_weight_1_H)[:, 0].tolist()
                for index, value in zip(batch, values, strict=True):
                    scores[index] = value
        return scores

    @contextmanager
    def sampler(self) -> Iterator[LanguageModel]:
        """The policy for decoding, at the speed of the bare base: within, its adapter is merged into the weights.

        Merged into copies, which are let go afterwards: in bfloat16 a merge cannot be taken back exactly.
        """
        causal = self.model.get_base_model()
        layers = [m for m in causal.modules() if isinstance(m, BaseTunerLayer) and POLICY in m.lora_A]
        layers = [layer for layer in layers if layer.get_base_layer().weight.is_floating_point()]  # not the 4-bit ones
        kept = [layer.get_base_layer().weight.data for layer in layers]
        try:
            for layer, weight in zip(layers, kept, strict=True):
                layer.get_base_layer().weight.data = weight.clone()
                layer.merge(adapter_names=[POLICY])
            yield LanguageModel(causal, self.tokenizer, self.device)
        finally:
            for layer, weight in zip(layers, kept, strict=True):
                layer.get_base_layer().weight.data = weight
                layer.merged_adapters.clear()

    @property
    def _decoder(self) -> Any:
        return self.model.get_base_model().base_model

    def _act(self, packed: Packed, below_B_S_H: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        hidden_N_H = self._predicting(packed, below_B_S_H)
        logits_N_V = self._head(hidden_N_H)
        logprobs_N = token_logprobs(logits_N_V, packed.actions_N, self.temperature)
        return spread(logprobs_N, packed.mask_B_T), spread(self.value_head(hidden_N_H), packed.mask_B_T), logits_N_V

    def _predicting(self, packed: Packed, below_B_S_H: Tensor | None) -> Tensor:
        hidden: Tensor = self._trunk(packed.tokens_B_S, below_B_S_H)[packed.predicts_B_S]
        return hidden

    def _trunk(self, tokens_B_S: Tensor, below_B_S_H: Tensor | None = None) -> Tensor:
        decoder = self._decoder
        if below_B_S_H is None:
            hidden: Tensor = decoder(input_ids=tokens_B_S, use_cache=False).last_hidden_state
            return hidden
        with _replaced(decoder, layers=decoder.layers[self.shared_layers :]):
            hidden = decoder(inputs_embeds=below_B_S_H, use_cache=False).last_hidden_state
        return hidden

    def _head(self, hidden_N_H: Tensor) -> Tensor:
        logits: Tensor = self.model.get_base_model().get_output_embeddings()(hidden_N_H)
        return logits

    @contextmanager
    def _role(self, adapter: str | None) -> Iterator[None]:
        """Another adapter at work, or with None no adapter; the policy's again afterwards."""
        if adapter is None:
            with self.model.disable_adapter():
                yield
            return
        self.model.set_adapter(adapter, inference_mode=True)
        try:
            yield
        finally:
            self.model.set_adapter(POLICY)


@contextmanager
def _replaced(module: torch.nn.Module, **parts: torch.nn.Module) -> Iterator[None]:
    """Within: these modules stand in the module's places of the same name."""
    before = {name: getattr(module, name) for name in parts}
    try:
        for name, part in parts.items():
            setattr(module, name, part)
        yield
    finally:
        for name, part in before.items():
            setattr(module, name, part)


def _with_shared_layers(models: Roles) -> Roles:
    """The same roles, sharing the layers below the lowest adapter if they can be shared to the last bit.

    That is tried: some models scale their embeddings, or give layers masks by their number.
    """
    adapted = [
        int(found[1])
        for name, _ in models.model.named_parameters()
        if (f".{POLICY}." in name or f".{REFERENCE}." in name) and (found := re.search(r"\.layers\.(\d+)\.", name))
    ]
    config = models.model.get_base_model().config.get_text_config()
    one_kind = len(set(getattr(config, "layer_types", None) or ["one"])) == 1
    plain = all(hasattr(models._decoder, name) for name in ("layers", "norm"))
    lowest = min(adapted, default=0)
    if not (lowest and one_kind and plain):
        return models
    sharing = replace(models, shared_layers=lowest)
    ids = torch.arange(5, 21).tolist()
    packed = pack([(ids[:8], ids[8:]), (ids[:3], ids[3:6])], 8, 0, models.device)
    same = torch.equal(sharing.evaluate(packed, sharing.below(packed))[0], sharing.evaluate(packed)[0])
    return sharing if same else models


def load(
    base: Path,
    parent_adapter: Path | None,
    reward_adapter: Path,
    lora: LoraSettings,
    reference: Literal["parent", "base"],
    dtype: str,
    temperature: float,
    reward_max_length: int,
    chat_template: str | None,
    device: torch.device,
    seed: int,
    load_in_4bit: bool = False,
) -> Roles:
    """Base, adapters and heads in memory. The fresh parts are drawn by `seed`.

    A bfloat16 base has float32 adapters: their updates are smaller than bfloat16 resolves.
    """
    tokenizer = load_tokenizer(base, chat_template)
    set_seed(seed)
    model = load_base(base, dtype, load_in_4bit)
    config = model.config.get_text_config()
    scaled = [key for key in SCALED_LOGITS if getattr(config, key, None) not in (None, 1, 1.0)]
    if scaled:
        raise PrefloopError(f"PPO needs a plain head over the vocabulary, and this model has {', '.join(scaled)}")
    model.config.pad_token_id = model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.requires_grad_(False)
    if parent_adapter is None:
        model = get_peft_model(model, lora.config(model, "CAUSAL_LM"))
    else:
        model = PeftModel.from_pretrained(model, str(parent_adapter), is_trainable=True, use_safetensors=True)
    frozen_parent = parent_adapter is not None and reference == "parent"
    if frozen_parent:
        model.load_adapter(str(parent_adapter), REFERENCE, use_safetensors=True)
    model.load_adapter(str(reward_adapter), REWARD, use_safetensors=True)
    model.set_adapter(POLICY)
    saved = load_file(reward_adapter / ADAPTER_FILE)
    if SCORE_WEIGHT not in saved:
        raise PrefloopError(f"{reward_adapter} has no score head: it is no reward model")
    models = Roles(
        model=model.to(device).eval(),  # eval: no dropout, which would make old and new log-probabilities differ
        tokenizer=tokenizer,
        value_head=ValueHead(config.hidden_size).to(device),
        score_weight_1_H=saved[SCORE_WEIGHT].to(device).float(),
        reference=REFERENCE if frozen_parent else None,
        reward_max_length=reward_max_length,
        temperature=temperature,
        device=device,
    )
    return _with_shared_layers(models)


def save_policy(models: Roles, out: Path) -> None:
    """The policy's adapter in `out`, all or nothing."""
    draft = out.with_name(out.name + ".partial")
    shutil.rmtree(draft, ignore_errors=True)
    models.model.save_pretrained(draft, selected_adapters=[POLICY])
    draft.rename(out)
