"""The card of a version: what it was made from, what it was measured by, and what that does not show.

Everything on it is read from the store when it is asked for; what was not measured is said to be so.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from db import judgments, runs, snapshots, versions
from db.engine import reading
from db.judgments import JudgmentRow
from db.tables import Run, Version

from . import embedded_model
from .context import Context
from .stats.agreement import krippendorff_alpha, plain_agreement, tabled

_EMBEDDED_ON_HUB = "HuggingFaceTB/SmolLM2-135M-Instruct"
_ALL = 1_000_000  # runs: more than a store has


def public_name(base_model: str) -> str | None:
    """What others call the base model: its hub id; None for a folder, which means nothing elsewhere."""
    if base_model == embedded_model.NAME:
        return _EMBEDDED_ON_HUB
    is_folder = Path(base_model).expanduser().exists() or base_model.count("/") != 1 or base_model[0] in "./~"
    return None if is_folder else base_model


def shown_name(base_model: str) -> str:
    """Its public name, or the last part of the folder's: no path of this machine."""
    return public_name(base_model) or Path(base_model).name


def facts(ctx: Context, version: Version, base_name: str | None = None) -> dict[str, Any]:
    """What the store knows of the version. A figure that there is none of is None or an empty list."""
    with reading(ctx.engine) as session:
        run = runs.get(session, version.run_id) if version.run_id else None
        parent = versions.get(session, version.parent_id) if version.parent_id else None
        current = versions.current(session)
        return {
            "version": version.name,
            "kind": version.kind,
            "base": base_name or shown_name(version.base_model),
            "embedded": version.base_model == embedded_model.NAME,
            "base_sha256": version.base_sha256,
            "adapter_sha256": version.adapter_sha256,
            "parent": parent.name if parent else None,
            "stale": version.stale_reason,
            "run": _run(run) if run else None,
            "data": _data(session, version.snapshot_id) if version.snapshot_id else None,
            "comparisons": _comparisons(session, version.name),
            "exam": _exam(session, version, run),
            "is_current": bool(current and current.id == version.id),
            "promotions": [
                {"kind": move.kind, "at": f"{move.created_at:%Y-%m-%d}", "forced": move.forced, "reason": move.reason}
                for move in versions.history(session)
                if move.version_id == version.id
            ],
        }


def _run(run: Run) -> dict[str, Any]:
    return {"id": run.id, "stage": run.stage, "seed": run.seed, "code": run.code_version, "config": run.config}


def _data(session: Session, snapshot_id: int) -> dict[str, Any]:
    """The snapshot, who spoke in it, and how far they agree where several judged the same pair."""
    snapshot = snapshots.get(session, snapshot_id)
    rows = judgments.by_ids(session, snapshots.judgment_ids(session, snapshot_id))
    people: dict[str, set[int]] = {"human": set(), "simulated": set()}
    for row in rows:
        people[row.annotator_kind].add(row.annotator_id)
    return {
        "sha256": snapshot.sha256,
        "judgments": len(rows),
        "rows": snapshot.row_count,
        "shape": snapshot.policy.get("shape", "pairs"),
        "annotators": {kind: len(ids) for kind, ids in people.items()},
        "agreement": _agreement([row for row in rows if row.queue_kind == "pair" and row.purpose == "train"]),
    }


def _agreement(rows: Sequence[JudgmentRow]) -> dict[str, Any] | None:
    """Among pairs with an answer; None where nobody judged what another one did."""
    rows = [row for row in rows if row.choice not in ("skip", "flag")]
    if not rows:
        return None
    values = [row.preferred_id if row.preferred_id is not None else row.choice for row in rows]
    votes = tabled([row.comparison_id for row in rows], [row.annotator_id for row in rows], values)
    share, alpha = plain_agreement(votes), krippendorff_alpha(votes, "nominal")
    if share is None:
        return None
    return {"share": share.value, "low": share.low, "high": share.high, "comparisons": share.n,
            "alpha": alpha.value if alpha else None}  # fmt: skip


def _comparisons(session: Session, name: str) -> list[dict[str, Any]]:
    """The newest finished comparison with each version, by each judge, from this version's side."""
    newest: dict[tuple[str, str], dict[str, Any]] = {}
    for run in reversed(runs.list_runs(session, stage="compare", state="finished", limit=_ALL)):
        report = run.summary or {}
        if name not in (report.get("a"), report.get("b")):
            continue
        ours = report["a"] == name
        other = report["b"] if ours else report["a"]
        for judge, rate in report["judges"].items():
            low, high = (rate["low"], rate["high"]) if ours else (1 - rate["high"], 1 - rate["low"])
            newest[other, judge] = {
                "run": run.id,
                "against": other,
                "judge": judge,
                "rate": rate["rate"] if ours else 1 - rate["rate"],
                "low": low,
                "high": high,
                "confidence": report["confidence"],
                "prompts": rate["prompts"],
                "gate": report.get("gate") if ours else None,
            }
    return list(newest.values())


def _exam(session: Session, version: Version, run: Run | None) -> dict[str, Any] | None:
    """The exam of the reward model that the version was optimised by, or that it is; None where there was none."""
    gate = (run.config.get("exam") or {}) if run else {}
    name = version.name if version.kind == "reward" else gate.get("reward_model")
    if name is None:
        return None
    exam = runs.newest_finished(session, "exam", versions.by_name(session, name).id)
    if exam is None or exam.summary is None:
        return {"reward_model": name, "passed": None, "rules": []}
    return {"reward_model": name, "passed": exam.summary["passed"], "rules": exam.summary["rules"]}


def render(known: dict[str, Any], merged: bool = False) -> str:
    """The card as Markdown, with the front matter that the Hugging Face hub reads."""
    parts = [
        _front_matter(known, merged),
        f"# {known['version']}\n\n{_opening(known, merged)}",
        f"## Training\n\n{_training(known)}",
        f"## Data\n\n{_of_data(known['data'])}",
        f"## Evaluation\n\n{_evaluation(known)}",
        f"## Promotion\n\n{_promotion(known)}",
        f"## Intended use and limits\n\n{_limits(known)}",
    ]
    return "\n\n".join(parts) + "\n"


def _front_matter(known: dict[str, Any], merged: bool) -> str:
    lines = [f"base_model: {json.dumps(known['base'])}", f"library_name: {'transformers' if merged else 'peft'}"]
    lines += ["license: apache-2.0"] if known["embedded"] else []
    lines += ["pipeline_tag: text-generation", "tags: [prefloop, preference-learning, lora]"]
    return "---\n" + "\n".join(lines) + "\n---"


def _opening(known: dict[str, Any], merged: bool) -> str:
    what = "the weights with the adapter merged into them (float32)" if merged else "a LoRA adapter over the base"
    text = f"A {known['kind']} trained by prefloop; this is {what}. Base model: {known['base']}, "
    text += f"weights sha256 `{known['base_sha256']}`."
    if known["embedded"] and not merged:
        text += (
            " The adapter was trained over weights converted from a quantized file of that model: over the original "
            "its answers can differ slightly. Merged weights do not have that gap."
        )
    return text if known["adapter_sha256"] is None else f"{text} Adapter sha256 `{known['adapter_sha256']}`."


def _training(known: dict[str, Any]) -> str:
    run = known["run"]
    if run is None:
        return "Not trained by prefloop, or by no recorded run."
    config = json.dumps(run["config"], indent=2, ensure_ascii=False)
    return (
        f"Stage `{run['stage']}` (run {run['id']}), parent {known['parent'] or 'none'}, seed {run['seed']}, "
        f"code `{run['code']}`.\n\n```json\n{config}\n```"
    )


def _of_data(data: dict[str, Any] | None) -> str:
    if data is None:
        return "No snapshot of judgments: nobody's judgments were trained on directly."
    human, simulated = data["annotators"]["human"], data["annotators"]["simulated"]
    lines = [
        f"- snapshot sha256 `{data['sha256']}`",
        f"- {data['judgments']} judgments, {data['rows']} rows ({data['shape']})",
        f"- annotators: {human} human, {simulated} **simulated**" if simulated else f"- annotators: {human} human",
    ]
    if (found := data["agreement"]) is None:
        lines.append("- agreement: not known, no two annotators judged the same pair")
    else:
        alpha = "" if found["alpha"] is None else f"; Krippendorff's alpha {found['alpha']:.2f}"
        lines.append(f"- agreement: {_interval(found, 'share')} of {found['comparisons']} shared pairs{alpha}")
    return "\n".join(lines)


def _evaluation(known: dict[str, Any]) -> str:
    lines = [
        f"- wins {_interval(row, 'rate')} against {row['against']} by `{row['judge']}` on {row['prompts']} held-out "
        f"prompts ({row['confidence']:.0%} interval, run {row['run']}){_gate(row['gate'])}"
        for row in known["comparisons"]
    ] or ["Not compared with another version yet."]
    if (exam := known["exam"]) is None:
        lines.append("\nNo exam of a reward model: none was optimised against.")
    else:
        verdict = {True: "passed", False: "failed", None: "was not taken"}[exam["passed"]]
        lines.append(f"\nExam of the reward model {exam['reward_model']}: {verdict}.")
        lines += [f"- {rule['name']}: {rule['found']}{'' if rule['passed'] else ' (failed)'}" for rule in exam["rules"]]
    return "\n".join(lines)


def _gate(gate: dict[str, Any] | None) -> str:
    return "" if gate is None else f"; gate {'passed' if gate['passed'] else 'not passed'}"


def _promotion(known: dict[str, Any]) -> str:
    state = "It is the current version." if known["is_current"] else "It is not the current version."
    if known["stale"]:
        state += f" It is **stale**: {known['stale']}."
    lines = [
        f"- {move['at']}: {'rolled back to' if move['kind'] == 'rollback' else 'promoted'}"
        f"{', forced' if move['forced'] else ''}{': ' + move['reason'] if move['reason'] else ''}"
        for move in known["promotions"]
    ]
    return "\n".join([state, *(["", *lines] if lines else ["It was never promoted."])])


def _limits(known: dict[str, Any]) -> str:
    limits = [
        "For the conversations that its prompts stand for; what people preferred there is all that it was taught.",
        "Preferred is not true: nothing here measures facts, safety or fairness. Test for them before use.",
        "A reward model is a biased judge of a policy that was chosen or trained by it; its name stands at its figure.",
    ]
    if known["data"] and known["data"]["annotators"]["simulated"]:
        limits.append("Simulated annotators took part: it shows that the loop works, not what people want.")
    return "\n".join(f"- {limit}" for limit in limits)


def _interval(row: dict[str, Any], name: str) -> str:
    return f"{row[name]:.1%} [{row['low']:.1%}, {row['high']:.1%}]"
