"""Versions to look at, in the store of office_store.py: what they answered, how they compare, and where `current` went.

v0 the base; v1 and v2 by DPO, each better than its parent; v3 by PPO against r1, which writes at length and is worse.
"""

import random
from dataclasses import asdict
from typing import Any

from office_store import EVIL
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from db import (
    annotators,
    candidates,
    comparisons,
    evaluations,
    judgments,
    promotions,
    prompts,
    queues,
    runs,
    scores,
    versions,
)
from db.engine import writing
from db.judgments import Said
from db.tables import Candidate, Version
from pipeline.stats.win_rate import win_rate

SAMPLING = {"temperature": 0.7}
JUDGE = "reward:r1"
_STRENGTH = {"v0": 0.0, "v1": 0.7, "v2": 1.3, "v3": -0.8}
_KL = {"v0": 0.0, "v1": 3.1, "v2": 6.4, "v3": 48.2}
_WORDS = (
    "warm", "plain", "short", "careful", "bread", "letter", "trees", "map", "first", "then", "slowly", "twice", "home",
    "because", "ask", "keep", "dry", "early", "kindly", "again",
)  # fmt: skip


def add(engine: Engine, rng_seed: int = 0) -> None:
    """Everything of the docstring: comparisons by the judge, 30 votes of people between v2 and v1, three moves."""
    rng = random.Random(rng_seed)
    with writing(engine) as session:
        _train_v3(session)
        answered = {name: _answers(session, versions.by_name(session, name), rng) for name in _STRENGTH}
        for a, b in (("v1", "v0"), ("v2", "v0"), ("v2", "v1"), ("v3", "v0"), ("v3", "v1")):
            compare(session, a, b, answered, rng)
        newest = [run.id for run in runs.list_runs(session, "compare") if run.summary and run.summary["a"] == "v2"]
        promotions.promote_compared(session, newest[0], "dora")
        versions.rollback(session, "ada", "answers to children got worse")
        _vote(session, answered, rng)


def compare(session: Session, a: str, b: str, answered: dict[str, list[Candidate]], rng: random.Random) -> None:
    """A finished comparison of the two, with a report as pipeline/compare.py makes it."""
    values = scores.known(session, JUDGE, [each.id for name in (a, b) for each in answered[name]])
    outcomes = [
        (ours.prompt_id, float(values[ours.id] > values[theirs.id]))
        for ours, theirs in zip(answered[a], answered[b], strict=True)
    ]
    rate = asdict(win_rate(outcomes)) | {"optimised": [name for name in (a, b) if name == "v3"], "exam_passed": True}
    words = f"{a} wins {rate['rate']:.1%} [{rate['low']:.1%}, {rate['high']:.1%}] against {b} by {JUDGE}"
    longer = _described(answered[a], a)["mean_tokens"] / _described(answered[b], b)["mean_tokens"]
    rules = [
        {"rule": f"better by {JUDGE}", "passed": rate["low"] > 0.5, "found": rate["low"], "limit": 0.5, "words": words},
        {"rule": "length", "passed": longer < 2, "found": longer, "limit": 2,
         "words": f"{a} writes {longer:.1f} times as much as {b}; at most 2"},
    ]  # fmt: skip
    report: dict[str, Any] = {
        "a": a, "b": b, "prompts": len(outcomes), "confidence": 0.95, "deciding_judge": JUDGE, "judges": {JUDGE: rate},
        "versions": {name: _described(answered[name], name) for name in (a, b)}, "slices": [],
        "gate": {"passed": all(rule["passed"] for rule in rules), "rules": rules},
    }  # fmt: skip
    run = runs.start(session, "compare", {}, 0, "code", f"{a}{b}{rng.random()}".ljust(64, "0")[:64])
    runs.finish(session, run.id, report)


def _train_v3(session: Session) -> None:
    parent = versions.by_name(session, "v1")
    run = runs.start(session, "ppo", {"reward": JUDGE}, 0, "code", "3" * 64, version_id=parent.id)
    runs.add_metrics(session, run.id, [("kl", step, 0.9 * step) for step in range(1, 41)])
    runs.add_metrics(session, run.id, [("reward", step, 2 - 40 / (step + 10)) for step in range(1, 41)])
    runs.finish(session, run.id, {})
    base = parent.base_model, parent.base_sha256
    versions.create(session, "policy", "v3", *base, "v3/adapter", "3" * 64, parent.id, run.id, None)


def _answers(session: Session, version: Version, rng: random.Random) -> list[Candidate]:
    """One to each held-out prompt, scored by the judge; the first is one that would do harm if it were rendered."""
    heldout = prompts.list_prompts(session, split="heldout")
    most = 60 if version.name == "v3" else 24
    completions = []
    for number, prompt in enumerate(heldout):
        text = " ".join(rng.choices(_WORDS, k=rng.randint(8, most))).capitalize() + "."
        text = f"{EVIL} {text}" if number == 0 else text
        reason = "length" if len(text.split()) > 50 else "stop"
        completions.append(candidates.Completion(prompt.id, 0, text, len(text) // 4, reason, -20.0))  # type: ignore[arg-type]
    candidates.store(session, version.id, SAMPLING, 0, completions)
    found = candidates.of_version(session, version.id, SAMPLING, 0, [prompt.id for prompt in heldout])
    scores.store(session, JUDGE, {each.id: rng.gauss(_STRENGTH[version.name], 0.8) for each in found})
    return found


def _described(answered: list[Candidate], name: str) -> dict[str, float]:
    return {
        "mean_tokens": sum(each.token_count for each in answered) / len(answered),
        "ended": sum(each.finish_reason == "stop" for each in answered) / len(answered),
        "kl_to_base": _KL[name],
        "repetition": 0.02 + 0.1 * (name == "v3"),
        "refusal": 0.0,
        "distinct_2": 0.81 - 0.2 * (name == "v3"),
    }


def _vote(session: Session, answered: dict[str, list[Candidate]], rng: random.Random) -> None:
    """People choose between v2 and v1, 30 times of those they are asked for; one of them flags a question."""
    queue = queues.ensure(session, evaluations.DEFAULT, overlap=1)
    evaluations.ask(session, queue.id, answered["v2"], answered["v1"], judges=2)
    writer = {each.id: name for name in ("v1", "v2") for each in answered[name]}
    for number in range(31):
        person = annotators.by_name(session, ("ben", "cleo")[number % 2]).id
        task = comparisons.next_assignment(session, person, queue_id=queue.id)
        assert task is not None, "there are not so many held-out prompts"
        better = "v2" if rng.random() < 0.7 else "v1"
        side = "left" if writer[task.candidate_ids[0]] == better else "right"
        said = Said("flag", reason="unsafe") if number == 30 else Said("tie" if number % 9 == 0 else side)  # type: ignore[arg-type]
        judgments.submit(session, task.assignment_id, person, said)
