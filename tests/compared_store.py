"""Versions to look at: what they answered, how they compare, and where `current` went.

v0 the base; v1 and v2 by DPO, each better than its parent; v3 by PPO against r1, which writes at length and is worse.
"""

import random
from dataclasses import asdict
from typing import Any

from browser import question
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
from db.engine import open_store, writing
from db.hashing import sha256_text
from db.judgments import Said
from db.prompts import PromptItem
from db.tables import Candidate, Version
from db.words import Choice, VersionKind
from pipeline.stats.win_rate import win_rate

SAMPLING = {"temperature": 0.7}
JUDGE = "reward:r1"
_STRENGTH = {"v0": 0.0, "v1": 0.7, "v2": 1.3, "v3": -0.8}
_KL = {"v0": 0.0, "v1": 3.1, "v2": 6.4, "v3": 48.2}
_WORDS = (
    "warm", "plain", "short", "careful", "bread", "letter", "trees", "map", "first", "then", "slowly", "twice", "home",
    "because", "ask", "keep", "dry", "early", "kindly", "again",
)  # fmt: skip


def seed(url: str, prompts_wanted: int = 24, votes: int = 30) -> Engine:
    """A store of these versions and no other data: dora a manager, ben and cleo annotators, held-out prompts."""
    engine = open_store(url)
    with writing(engine) as session:
        for name in ("ben", "cleo"):
            annotators.ensure(session, name, "human")
        annotators.ensure(session, "dora", "human", role="manager")
        annotators.ensure(session, "ada", "human", role="admin")
        turns = [{"role": "user", "content": f"Tell me more {EVIL}"}]
        items = [
            PromptItem(turns, EVIL),
            *(PromptItem(question(f"Why {n}?"), "why") for n in range(prompts_wanted - 1)),
        ]
        prompts.add_many(session, items, heldout_share=1.0)
        base = versions.ensure_base(session, "SmolLM2-135M-Instruct", "0" * 64)
        v1 = train(session, "policy", "v1", "dpo", base)
        train(session, "reward", "r1", "reward", base)
        train(session, "policy", "v2", "dpo", v1)
        versions.promote(session, v1.id, None, {}, "ada")
    add(engine, votes)
    return engine


def add(engine: Engine, votes: int = 30) -> None:
    """v3, comparisons by the judge, a promotion and a rollback, and so many votes of people between v2 and v1."""
    rng = random.Random(0)
    with writing(engine) as session:
        ppo = train(session, "policy", "v3", "ppo", versions.by_name(session, "v1"), {"reward": JUDGE})
        assert ppo.run_id is not None
        runs.add_metrics(session, ppo.run_id, [("kl", step, 0.9 * step) for step in range(1, 41)])
        runs.add_metrics(session, ppo.run_id, [("reward", step, 2 - 40 / (step + 10)) for step in range(1, 41)])
        answered = {name: _answers(session, versions.by_name(session, name), rng) for name in _STRENGTH}
        for a, b in (("v1", "v0"), ("v2", "v0"), ("v2", "v1"), ("v3", "v0"), ("v3", "v1")):
            run_id = compare(session, a, b, answered)
            if (a, b) == ("v2", "v1"):
                promotions.promote_compared(session, run_id, "dora")
                versions.rollback(session, "ada", f"answers to children got worse {EVIL}")
        _drift(session)
        _vote(session, answered, rng, votes)


def train(
    session: Session, kind: VersionKind, name: str, stage: str, parent: Version, config: dict[str, Any] | None = None
) -> Version:
    """A version, and the run that made it."""
    run = runs.start(session, stage, config or {}, 0, "code", name.ljust(64, "f"), version_id=parent.id)
    runs.finish(session, run.id, {})
    base = parent.base_model, parent.base_sha256
    return versions.create(session, kind, name, *base, f"{name}/adapter", name.ljust(64, "1"), parent.id, run.id, None)


def compare(session: Session, a: str, b: str, answered: dict[str, list[Candidate]]) -> int:
    """A finished comparison of the two, with a report as pipeline/compare.py makes it; its run."""
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
    run = runs.start(session, "compare", {}, 0, "code", sha256_text(f"{a} {b}"))
    runs.finish(session, run.id, report)
    return run.id


def _answers(session: Session, version: Version, rng: random.Random) -> list[Candidate]:
    """One to each held-out prompt, scored by the judge; a prompt that would do harm is answered in kind."""
    heldout = prompts.list_prompts(session, split="heldout")
    most = 60 if version.name == "v3" else 24
    completions = []
    for prompt in heldout:
        text = " ".join(rng.choices(_WORDS, k=rng.randint(8, most))).capitalize() + "."
        text = f"{EVIL} {text}" if EVIL in prompt.messages[-1]["content"] else text
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


def _drift(session: Session) -> None:
    """What `prefloop drift` says of v1, which is current."""
    change = {"since": "v0", "measure": "mean_tokens", "mean": 5.25, "low": 1.5, "high": 9.0, "moved": True}
    report = {"versions": ["v0", "v1"], "anchors": 12, "confidence": 0.95, "rows": [], "changes": [change], "votes": {}}
    run = runs.start(session, "drift", {}, 0, "code", sha256_text("drift"))
    runs.finish(session, run.id, report)


def _vote(session: Session, answered: dict[str, list[Candidate]], rng: random.Random, votes: int) -> None:
    """Ben and cleo are both asked about every pair; they prefer v2 in seven of ten, and flag one question."""
    queue = queues.ensure(session, evaluations.DEFAULT)
    evaluations.ask(session, queue.id, answered["v2"], answered["v1"], judges=2)
    writer = {each.id: name for name in ("v1", "v2") for each in answered[name]}
    for number in range(votes + 1 if votes else 0):
        person = annotators.by_name(session, ("ben", "cleo")[number % 2]).id
        task = comparisons.next_assignment(session, person, queue_id=queue.id)
        assert task is not None, "there are not so many held-out prompts"
        better = "v2" if rng.random() < 0.7 else "v1"
        side: Choice = "left" if writer[task.candidate_ids[0]] == better else "right"
        said = Said("flag", reason="unsafe") if number == votes else Said("tie" if number % 9 == 0 else side)
        judgments.submit(session, task.assignment_id, person, said)
