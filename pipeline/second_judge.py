"""Watching a run of reinforcement learning for reward hacking: a second judge scores what the policy writes, and
teaches nothing. While both rise the policy gets better; where they part, it has found what the reward gets wrong
(Gao et al. 2023, arXiv:2210.10760).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from db import runs, snapshots, versions
from db.engine import reading
from db.tables import Round, Version

from .context import Context
from .errors import PrefloopError
from .pictures import save_judges_picture
from .recorded_run import RecordedRun
from .train import second_judge_version

if TYPE_CHECKING:
    from .rewards import Score

PICTURE = "judges.png"


@dataclass(frozen=True)
class SecondJudge:
    name: str  # "taste:concise", "reward:r2"
    version: Version | None  # None: a taste
    disjoint: bool  # shares no label with the reward model that is optimised

    def score(self, ctx: Context) -> Score:
        """Its scoring function; a reward model is loaded now."""
        from .rewards import taste

        return taste(self.name.split(":", 1)[1]) if self.version is None else ctx.reward_model(self.version).score


def resolve(ctx: Context, name: str, reward: Version | None, round_: Round | None = None) -> SecondJudge | None:
    """The judge of that name; None for "none".

    "auto" is the planted taste where the reward model learned from simulated annotators, and otherwise a reward model
    from the other half of its snapshot, trained now unless it is there; without a reward model it is nobody. Raises
    PrefloopError for a judge that is unknown, or that is the reward model itself.
    """
    if name == "none" or (name == "auto" and reward is None):
        return None
    if name == "auto":
        assert reward is not None and reward.snapshot_id is not None, "a trained reward model has a snapshot"
        with reading(ctx.engine) as session:
            simulated = snapshots.get(session, reward.snapshot_id).policy["annotators"] == "simulated"
        if simulated:
            return resolve(ctx, f"taste:{ctx.workspace.settings.simulate.taste}", reward)
        version = second_judge_version(ctx, reward, round_)
        if not share_no_label(ctx, reward, version):
            ctx.say(
                f"{version.name} watches {reward.name}, but {reward.name} learned from its labels, too: "
                "`prefloop train reward --half a` makes one that did not"
            )
        return SecondJudge(f"reward:{version.name}", version, share_no_label(ctx, reward, version))
    kind, _, of = name.partition(":")
    if kind == "taste":
        from .rewards import taste

        taste(of)  # an unknown one is refused
        return SecondJudge(name, None, disjoint=True)
    if kind != "reward":
        raise PrefloopError(f"unknown second judge {name!r}; use auto, none, reward:NAME or taste:NAME")
    with reading(ctx.engine) as session:
        version = versions.by_name(session, of)
    if version.kind != "reward" or (reward is not None and version.id == reward.id):
        raise PrefloopError(f"{of} cannot watch: a second judge is a reward model other than the one that is optimised")
    return SecondJudge(name, version, reward is not None and share_no_label(ctx, reward, version))


def share_no_label(ctx: Context, first: Version, second: Version) -> bool:
    """Whether two reward models learned from different halves of one snapshot. Of two snapshots nothing is known."""
    if first.snapshot_id != second.snapshot_id:
        return False
    with reading(ctx.engine) as session:
        halves = {
            runs.get(session, version.run_id).config.get("half")
            for version in (first, second)
            if version.run_id is not None
        }
    return halves == {"a", "b"}


def watched(ctx: Context, run: RecordedRun, metrics: Sequence[tuple[str, int, float]], title: str) -> dict[str, Any]:
    """What the run's summary says (`parted_at`, a step or None). Saves the picture, and says if the judges parted.

    `metrics` has `reward`, what was optimised, and `second_reward`, by step.
    """
    picture = run.folder / PICTURE
    parted = save_judges_picture(metrics, picture, title)
    if parted is not None:
        ctx.say(
            f"reward hacking: since step {parted} the second judge's score falls while the reward rises; see {picture}"
        )
    return {"parted_at": parted}
