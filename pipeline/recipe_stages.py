"""What the stages of a recipe do, one process each. What one finds out, the run keeps for those that follow.

Before the first stage the run is *resolved*: settings, seed, the version to start from and the one to beat are written
into its config, and so is each snapshot once it is frozen. A run that is taken over, or replayed with
`runs retry --same`, reads them there, whatever has been changed or labeled since.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from db import prompts, run_queue, runs, snapshots, versions
from db.engine import reading, writing
from db.tables import Prompt, Run, Version

from .compare import compare
from .config import NOT_RECORDED, overridden
from .context import Context
from .errors import PrefloopError
from .pairs import RowPolicy, Shape
from .promote import ensure_current, promote_if_better
from .recipe import TRAINERS, Recipe, Stage, fit
from .snapshot import Frozen, freeze, rebuild
from .take_exam import take_exam
from .train import train_dpo_version, train_kto_version, train_reward_version, train_sft_version
from .train_by_reward import train_online_version, train_ppo_version

Result = dict[str, Any]


def carry_out(ctx: Context, run_id: int, name: str) -> Result:
    """Do one stage of the run's recipe and keep its result in the run's summary, under the stage's name."""
    with reading(ctx.engine) as session:
        run = runs.get(session, run_id)
    recipe = fit(run.config["recipe"])
    stage = recipe.stage(name)
    resolved = run.config.get("resolved") or _resolve(ctx, run, recipe)
    work = _Work(_as_resolved(ctx, resolved, stage, run_id), recipe, stage, resolved, run.summary or {})
    result = work.do()
    with writing(ctx.engine) as session:
        run_queue.record_stage(session, run_id, name, result)
    return result


def _resolve(ctx: Context, run: Run, recipe: Recipe) -> dict[str, Any]:
    """Decide once what the whole run goes by."""
    current = ensure_current(ctx)
    start = ctx.base_version() if recipe.start == "base" else current
    settings = ctx.workspace.settings
    with writing(ctx.engine) as session:
        resolved = {
            "settings": settings.model_dump(mode="json", exclude=NOT_RECORDED),
            "base_sha256": start.base_sha256,
            "start": start.name,
            "against": current.name,
            "prompts_up_to": max((prompt.id for prompt in prompts.list_prompts(session)), default=0),
            "snapshots": {},  # id by shape
        }
        row = run_queue.record_config(session, run.id, resolved=resolved)
        row.seed, row.version_id = settings.seed, start.id
    return resolved


def _as_resolved(ctx: Context, resolved: dict[str, Any], stage: Stage, run_id: int) -> Context:
    """The context in which the stage works: the run's settings, and over them those of the stage."""
    sections = {name: values for name, values in resolved["settings"].items() if isinstance(values, dict)}
    settings = overridden(overridden(ctx.workspace.settings, sections), stage.settings)
    settings = settings.model_copy(update={"seed": resolved["settings"]["seed"]})
    made = replace(ctx, workspace=replace(ctx.workspace, settings=settings), recipe_run_id=run_id)
    if made.base.sha256 != resolved["base_sha256"]:
        raise PrefloopError(
            f"the base model {made.base.name} has other weights ({made.base.sha256[:12]}) than when run {run_id} was "
            f"resolved ({resolved['base_sha256'][:12]}); start a new run without --same"
        )
    return made


@dataclass
class _Work:
    """One stage with all that it may ask for."""

    ctx: Context
    recipe: Recipe
    stage: Stage
    resolved: dict[str, Any]
    done: dict[str, Result]  # by stage

    def do(self) -> Result:
        match self.stage.stage:
            case "snapshot":
                return self.snapshot()
            case "reward":
                return _made(train_reward_version(self.ctx, self.frozen("pairs"), seed=self.seed))
            case "exam":
                run_id, exam = take_exam(self.ctx, self.reward())
                return {"run": run_id, "passed": exam["passed"], "reasons": exam["reasons"]}
            case "compare":
                return self.compare()
            case "promote":
                return self.promote()
            case _:
                return _made(self.train())

    def train(self) -> Version:
        start, seed = self.policy(), self.seed
        accept = self.ctx.workspace.settings.loop.accept_failed_exam
        match self.stage.stage:
            case "sft":
                return train_sft_version(self.ctx, self.frozen("demonstrations"), start, seed)
            case "kto":
                return train_kto_version(self.ctx, self.frozen("thumbs"), start, seed)
            case "dpo":
                return train_dpo_version(self.ctx, self.frozen("pairs"), start, seed=seed)
            case "ppo":
                return train_ppo_version(
                    self.ctx, start, self.reward(), None, accept, on_prompts=self.prompts(), seed=seed
                )
            case "rloo" | "grpo" as algorithm:
                return train_online_version(
                    self.ctx, algorithm, start, self.reward(), None, None, accept, self.prompts(), seed=seed
                )
        raise AssertionError(f"{self.stage.stage} trains no policy")

    @property
    def seed(self) -> int:
        return self.ctx.workspace.settings.seed if self.stage.seed is None else self.stage.seed

    def snapshot(self) -> Result:
        """Freeze what the later stages learn from; a replay reads what its model froze."""
        found = {
            shape: self.frozen(shape)
            if shape in self.resolved["snapshots"]
            else freeze(self.ctx, RowPolicy(shape=shape, annotators=self.recipe.annotators))
            for shape in self.recipe.shapes()
        }
        ids: dict[str, int] = {shape: frozen.snapshot.id for shape, frozen in found.items()}
        run_id = self.ctx.recipe_run_id
        assert run_id is not None, "a stage of a recipe knows its run"
        with writing(self.ctx.engine) as session:
            # A snapshot of the same rows is the one of then: it may be older than what was asked for.
            seen = [runs.get(session, run_id).config["judgments_up_to"]]
            seen += [judgment for one in ids.values() for judgment in snapshots.judgment_ids(session, one)]
            row = run_queue.record_config(
                session, run_id, resolved={**self.resolved, "snapshots": ids}, judgments_up_to=max(seen)
            )
            row.snapshot_id = next(iter(ids.values()), None)
        return {
            shape: {"snapshot": frozen.snapshot.id, "rows": len(frozen.rows), "counts": frozen.snapshot.counts}
            for shape, frozen in found.items()
        }

    def frozen(self, shape: Shape) -> Frozen[Any]:
        with reading(self.ctx.engine) as session:
            snapshot = snapshots.get(session, int(self.resolved["snapshots"][shape]))
        return Frozen(snapshot, rebuild(self.ctx, snapshot), created=False)

    def prompts(self) -> list[Prompt]:
        """The train prompts that there were when the run was resolved."""
        with reading(self.ctx.engine) as session:
            found = prompts.list_prompts(session, split="train")
        return [prompt for prompt in found if prompt.id <= self.resolved["prompts_up_to"]]

    def policy(self) -> Version:
        """What the last stage that trains has made so far, or what the recipe starts from."""
        trained = [
            self.done[s.stage]["version"] for s in self.recipe.stages if s.stage in TRAINERS and s.stage in self.done
        ]
        return self.version(trained[-1] if trained else self.resolved["start"])

    def reward(self) -> Version:
        return self.version(self.done["reward"]["version"])

    def version(self, name: str) -> Version:
        with reading(self.ctx.engine) as session:
            return versions.by_name(session, name)

    def judges(self) -> list[str]:
        """Those of the recipe; otherwise its reward model, or the newest, after the planted taste if that is known.

        Those that the gate asks for come after them.
        """
        gate = self.ctx.workspace.settings.gate
        return list(dict.fromkeys([*(self.recipe.judges or self.usual_judges()), *gate.judges]))

    def usual_judges(self) -> list[str]:
        with reading(self.ctx.engine) as session:
            newest = [version.name for version in versions.list_versions(session, "reward")][-1:]
        named = [f"reward:{name}" for name in ([self.reward().name] if "reward" in self.done else newest)]
        if self.recipe.annotators == "simulated":
            named.insert(0, f"taste:{self.ctx.workspace.settings.simulate.taste}")
        if not named:
            raise PrefloopError("no judge: there is no reward model; give the recipe a stage reward, or name judges")
        return named

    def compare(self) -> Result:
        ours, theirs = self.policy(), self.version(self.resolved["against"])
        if ours.id == theirs.id:
            return {"version": ours.name, "skipped": f"{ours.name} is current already: nothing new was learned"}
        judges = self.judges()
        run_id, report = compare(self.ctx, ours, theirs, judges)
        rate = report["judges"][judges[0]]
        return {"run": run_id, "version": ours.name, "against": theirs.name, "judge": judges[0], "win_rate": rate}

    def promote(self) -> Result:
        compared = self.done["compare"]
        if "skipped" in compared:
            return {"promoted": False, "reason": compared["skipped"]}
        with reading(self.ctx.engine) as session:
            current = versions.current(session)
            report = runs.get(session, compared["run"]).summary
        assert current is not None and report is not None, "a finished comparison was made against a current version"
        if current.name not in (compared["against"], compared["version"]):
            reason = f"{current.name} is current by now, and {compared['version']} was not compared with it"
            return {"promoted": False, "reason": reason}
        ours = self.version(compared["version"])
        decision = promote_if_better(self.ctx, ours, compared["run"], report)
        return {"promoted": decision.promote, "version": ours.name, "reason": decision.reason}


def _made(version: Version) -> Result:
    return {"version": version.name, "run": version.run_id, "adapter_sha256": version.adapter_sha256}
