"""Rollouts for PPO: which prompts come next, what the policy answers, and what the four roles say about it.

Nothing here keeps state. The order of prompts follows from the seed, and each completion has a random stream keyed by
seed, prompt and pass over the prompts; so a run that resumes at step k draws what an undisturbed one would have drawn.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from torch import Tensor

from db.hashing import canonical_json, sha256_text

from . import ppo
from .errors import PrefloopError
from .generate import Request, Sampling, decode, plan_batches
from .language_model import Message, prompt_ids
from .ppo_settings import PpoSettings
from .rewards import Row, Score
from .roles import Packed, Roles, pack

SAMPLING_SEED = 40_000  # added to the run's: its completions are others than the candidates that people judged
TOKEN_BUDGET = 16_384  # tokens in one batch of decoding, prompts and completions together


@dataclass(frozen=True)
class PromptRow:
    """A conversation that ends in a user turn."""

    prompt_sha256: str
    messages: tuple[Message, ...]

    @classmethod
    def of(cls, prompt: str | Sequence[Message]) -> PromptRow:
        """From a text, which is one user turn, or from chat messages."""
        messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else list(prompt)
        return cls(sha256_text(canonical_json(messages)), tuple(messages))


@dataclass(frozen=True)
class Episode:
    """A prompt and what the policy answered."""

    number: int  # in its rollout
    messages: tuple[Message, ...]
    prompt_ids: list[int]
    completion_ids: list[int]  # as sampled, with the token that ended it
    text: str
    ended: bool  # by itself; otherwise cut off at the length limit

    @property
    def row(self) -> Row:
        """As judges read it."""
        return self.messages, self.text, self.ended


@dataclass(frozen=True)
class Experience:
    """A rollout with what the four roles say about it. Axes: R episodes, shortest first; T completion positions.

    Episodes that were evaluated together are trained on together (`PpoSettings.micro_batches`): the same rows with the
    same padding give the same log-probabilities, to the last bit.
    """

    episodes: list[Episode]
    mask_R_T: Tensor
    logprobs_R_T: Tensor  # log π of the policy that sampled, by the training path
    values_R_T: Tensor
    entropy_R_T: Tensor
    reference_R_T: Tensor
    scores_R: Tensor  # of the reward model, as it gives them
    below: dict[int, Tensor]  # what this process has of `Roles.below`, by a micro-batch's first row

    def packed(self, rows: slice, models: Roles) -> Packed:
        """These episodes as the models take them."""
        width = self.mask_R_T.shape[1]
        return pack_episodes(self.episodes[rows], width, models)

    def figures(self, second_judge: Score | None = None) -> dict[str, float]:
        """What the rollout says about the policy that drew it: means over episodes, entropy over tokens."""
        count = len(self.episodes)
        figures = {
            "reward": float(self.scores_R.mean()),
            "kl": float(ppo.kl_k1(self.logprobs_R_T, self.reference_R_T).sum(1).mean()),
            "kl_k3": float(ppo.kl_k3(self.logprobs_R_T, self.reference_R_T).sum(1).mean()),
            "entropy": float(ppo.masked_mean(self.entropy_R_T, self.mask_R_T)),
            "length": float(self.mask_R_T.sum() / count),
            "ended": sum(e.ended for e in self.episodes) / count,
        }
        if second_judge is not None:
            figures["second_reward"] = sum(second_judge([e.row for e in self.episodes])) / count
        return figures


def requests_of_step(prompts: Sequence[PromptRow], step: int, size: int, seed: int) -> list[Request]:
    """The `size` requests of a step, counted from 0. Each pass takes all prompts once, in an order of its own."""
    requests = []
    for position in range(step * size, (step + 1) * size):
        pass_number, place = divmod(position, len(prompts))
        index = _order(len(prompts), pass_number, seed)[place]
        row = prompts[index]
        requests.append(Request(index, row.prompt_sha256, row.messages, sample_index=pass_number))
    return requests


def _order(count: int, pass_number: int, seed: int) -> list[int]:
    order = list(range(count))
    random.Random(f"rollouts {seed} {pass_number}").shuffle(order)
    return order


def check_prompts(prompts: Sequence[PromptRow], models: Roles, max_new_tokens: int) -> None:
    """Raises PrefloopError, before anything is trained, without prompts and for one that does not fit the window."""
    if not prompts:
        raise PrefloopError("PPO needs prompts of the train split and there are none; run `prefloop prompts import`")
    for row in prompts:
        length = len(prompt_ids(models.tokenizer, row.messages))
        if length + max_new_tokens > models.window:
            raise PrefloopError(
                f"prompt {row.prompt_sha256[:12]} has {length} tokens; with {max_new_tokens} new ones it does not fit "
                f"the model's window of {models.window}: retire it, or lower ppo.max_new_tokens"
            )


def roll_out(
    models: Roles, requests: Sequence[Request], settings: PpoSettings, process: PartialState, seed: int
) -> list[Episode]:
    """One episode for each request, drawn by the policy as it is now. Processes share the work and all have the result,
    sorted by length."""
    mine = range(process.process_index, len(requests), process.num_processes)
    rows = [requests[number] for number in mine]
    sampling = Sampling(settings.temperature, top_p=1.0, top_k=0, max_new_tokens=settings.max_new_tokens)
    prompts = {r.prompt_id: prompt_ids(models.tokenizer, r.messages) for r in rows}
    lengths = [len(prompts[r.prompt_id]) for r in rows]
    episodes = []
    with models.sampler() as lm:
        for batch in plan_batches(lengths, [r.prompt_id for r in rows], TOKEN_BUDGET, settings.max_new_tokens):
            decoded = decode(lm, [rows[i] for i in batch], prompts, sampling, seed + SAMPLING_SEED)
            episodes += [
                Episode(
                    number=mine[i],
                    messages=rows[i].messages,
                    prompt_ids=prompts[rows[i].prompt_id],
                    completion_ids=completion.ids,
                    text=lm.decode(completion.ids),
                    ended=completion.stopped,
                )
                for i, completion in zip(batch, decoded, strict=True)
            ]
    return sorted(gather_object(episodes), key=lambda e: (len(e.prompt_ids) + len(e.completion_ids), e.number))


def evaluate(models: Roles, episodes: list[Episode], settings: PpoSettings, process: PartialState) -> Experience:
    """What the four roles say. Each micro-batch is worked out by one process, and all have the result."""
    width = max(len(e.completion_ids) for e in episodes)
    micro_batches = settings.micro_batches
    found, below = [], {}
    for number in range(process.process_index, len(micro_batches), process.num_processes):
        rows = episodes[micro_batches[number]]
        packed = pack_episodes(rows, width, models)
        under = models.below(packed)
        if under is not None:
            below[micro_batches[number].start] = under
        parts = [packed.mask_B_T, *models.evaluate(packed, under), models.reference_logprobs(packed, under)]
        scores_B = torch.tensor(models.scores([e.row for e in rows]))
        found.append((number, [part.cpu() for part in parts] + [scores_B]))
    in_order = sorted(gather_object(found), key=lambda item: item[0])
    mask, logprobs, values, entropy, reference, scores = (
        torch.cat(column) for column in zip(*(parts for _, parts in in_order), strict=True)
    )
    return Experience(episodes, mask, logprobs, values, entropy, reference, scores, below)


def pack_episodes(episodes: Sequence[Episode], width: int, models: Roles) -> Packed:
    rows = [(e.prompt_ids, e.completion_ids) for e in episodes]
    return pack(rows, width, models.tokenizer.pad_token_id, models.device)
